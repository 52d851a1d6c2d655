"""Streams over the bus: what a log and a watch share, and the log itself, ``Subscription``.

A stream belongs to the task that reads it. It is a position in the ring and a small batch of events
taken from it; it costs the writer nothing while it is behind, and one wake when it has caught up.
Leaving its block ends it; nothing runs in the background.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from operator import length_hint
from types import AsyncGeneratorType, TracebackType
from typing import Any, Final, Generic, Protocol, Self, TypeVar, cast

import anyio
import anyio.lowlevel
from anyio.abc import ObjectReceiveStream
from msgspec import Struct

from aiovirt.errors import EventGap, HostGone
from aiovirt.events.bus import Bus
from aiovirt.events.dropped import Dropped
from aiovirt.events.filters import Filter
from aiovirt.events.index import Interest, Waiters
from aiovirt.events.past import PastReader
from aiovirt.events.types import Event
from aiovirt.events.waiting import Waker

__all__ = ["Numbered", "Stream", "StreamStatistics", "Subscription", "Where"]


class Numbered(Protocol):
    """What a stream hands out."""

    @property
    def cursor(self) -> str: ...


E_co = TypeVar("E_co", bound=Numbered, covariant=True)
Where = Callable[[Event], bool]

BATCH: Final = 64
"""Positions looked at at once; between two batches that did not have to be waited for, others have a turn."""


class StreamStatistics(Struct, frozen=True):
    """``behind`` counts events published and not yet looked at, ``delivered`` those handed out.

    ``folded`` counts those that a folding watch merged into others.
    """

    behind: int
    delivered: int
    folded: int = 0


class Stream(ObjectReceiveStream[E_co], Generic[E_co]):
    """What both streams share: a position, a filter, and a way to wait."""

    _waker: Waker
    _interest: Interest  # where it parks
    _shares = True  # whether it hands out what its filter selects, as its neighbours do

    def __init__(self, bus: Bus, wanted: Filter, where: Where | None) -> None:
        self.filter = wanted
        self._bus = bus
        self._ring = bus.ring
        self._index = bus.index
        self._where = where
        self._reach = BATCH - 1
        self._next = 0  # the position to look at next
        self._batch: tuple[E_co, ...] = ()  # looked at and wanted, to be handed out one by one
        self._rest: Iterator[E_co] = iter(self._batch)  # of these, what was not handed out yet
        self._unread = self._rest  # the same, but for what ``where`` refuses when it is its turn
        self._taken = 0
        self._walk: AsyncGeneratorType[E_co, None] | None = None  # what ``async for`` goes through
        self._past: PastReader | None = None  # what is to be read before anything else
        self._waiters: Waiters | None = None  # among whom it is parked, until it reads on
        self._reading = self._due = False
        self._ended: BaseException | None = RuntimeError("enter the stream first: async with … as events")

    # -- life ------------------------------------------------------------------------------

    async def aclose(self) -> None:
        """Ends the stream: who reads on gets ClosedResourceError."""
        self._end(anyio.ClosedResourceError())
        await anyio.lowlevel.checkpoint()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._end(anyio.ClosedResourceError())
        if self._walk is not None and not self._walk.ag_running:  # a loop that was left: it stands between two items
            await self._walk.aclose()

    def _begin(self, position: int) -> None:
        self._next = position
        self._ended = None
        self._waker = self._bus.new_waker()
        self._interest = self._index.enter(self.filter, alone=not self._shares)

    def _end(self, error: BaseException) -> None:
        """It ends here: what it had taken and not handed out is still to be read by who goes on from its cursor."""
        if is_open := self._ended is None:
            self._ended = error
        if waiting := self._waiting:
            self._next = self._position
            self._taken -= waiting
            deque(self._unread, maxlen=0)  # whoever goes through it finds nothing more
        if self._waiters is not None:
            self._unpark()
            self._waker.wake()
        if is_open:
            self._index.leave(self._interest)

    # -- reading ---------------------------------------------------------------------------

    async def receive(self) -> E_co:
        """The next event.

        Raises HostGone when the engine has ended and all is read, EventGap (a subscription only)
        when events were lost to this reader, whatever ``where`` raised, ClosedResourceError after
        ``aclose``, BusyResourceError when another task is already reading.
        """
        while True:
            for item in self._rest:
                return item
            await self._refill()

    async def __anext__(self) -> E_co:
        return await self.receive()  # the end is HostGone: it is never silent

    def __aiter__(self) -> AsyncIterator[E_co]:  # type: ignore[override]
        """Each event, as :meth:`receive` gives and raises it; a loop that was left is gone on with."""
        if self._reading or self._waiters is not None:
            raise anyio.BusyResourceError("reading from")
        if self._walk is None:
            self._walk = cast("AsyncGeneratorType[E_co, None]", self._walk_on())
        return self._walk

    async def _walk_on(self) -> AsyncGenerator[E_co, None]:
        # A step of a generator is taken by the interpreter: half of what a call of a coroutine takes.
        try:
            while True:
                rest = self._rest
                for item in rest:
                    yield item
                if rest is self._rest:  # nobody has read on by another way meanwhile
                    more = self._more()
                    try:
                        await more
                    except BaseException:
                        self._unpark()
                        raise
                    if self._waiters is not None and (found := self._found()):
                        self._put(found)
        finally:
            self._walk = None

    async def receive_batch(self) -> tuple[E_co, ...]:
        """The next events, in order: at least one, and some of what is there behind it. Raises as :meth:`receive`.

        For who handles many at once: it costs less than one by one.
        """
        while True:
            if self._batch and (batch := tuple(self._rest) if self._where is None else self._drain()):
                return batch
            more = self._more()
            try:
                await more
            except BaseException:
                self._unpark()
                raise
            if self._waiters is not None and (found := self._found()):
                if self._where is None:
                    self._taken += len(found)
                    return found
                self._put(found)

    def receive_nowait(self) -> E_co:
        """The next event, if memory has it; raises WouldBlock when there is none yet, else as :meth:`receive`."""
        if self._reading or self._waiters is not None:
            raise anyio.BusyResourceError("reading from")
        while True:
            for item in self._rest:
                return item
            if not self._take():
                if not self._due:
                    raise anyio.WouldBlock
                self._due = False

    @property
    def cursor(self) -> str:
        """Seen up to here, filtered events included: what to pass as ``after=`` to go on."""
        if not self._next:
            raise RuntimeError("enter the stream first: async with … as events")
        position = self._position  # to look may begin an epoch: a write that fails does
        return self._bus.chain.cursor(position - 1)

    def statistics(self) -> StreamStatistics:
        """Figures of now."""
        waiting = self._waiting
        behind = self._bus.head + 1 - self._next_position + waiting
        return StreamStatistics(behind, self._taken - waiting)

    @property
    def _waiting(self) -> int:
        """How many are taken and not handed out."""
        return length_hint(self._unread)

    @property
    def _position(self) -> int:
        """The position to hand out or look at next."""
        next_position, waiting = self._next_position, self._waiting
        return self._bus.chain.position_of(self._batch[-waiting].cursor) if waiting else next_position

    @property
    def _next_position(self) -> int:
        """The position to look at next. While parked that is the next to come: the filter has seen the rest."""
        head = self._bus.head  # to look there may wake this stream: a write that fails is an event
        if self._waiters is None:
            return self._next
        return self._waiters.woken or head + 1

    # -- taking ----------------------------------------------------------------------------

    def _more(self) -> Awaitable[object]:
        """To be awaited: returns when there may be something to hand out. Raises BusyResourceError at once.

        Where it was asleep, it is up to the caller to look for what woke it. That is what most readers do most of the
        time, each of them by itself, so it takes no coroutine.
        """
        if self._waiters is not None or self._reading:
            raise anyio.BusyResourceError("reading from")
        if self._next <= self._ring.head or self._ended is not None or self._bus.closed:
            return self._refill()
        self._due = False
        self._waiters = self._index.park(self._interest, self._waker)
        return self._waker.wait()

    async def _refill(self) -> None:
        """The same where there is more to it than to sleep."""
        if self._reading or self._waiters is not None:
            raise anyio.BusyResourceError("reading from")
        self._reading = True
        try:
            while True:
                if self._next > self._ring.head and self._ended is None and not self._bus.closed:
                    self._due = False
                    self._waiters = self._index.park(self._interest, self._waker)
                    await self._waker.wait()
                if self._take():
                    return
                if self._past is not None:
                    await self._read_past(self._past)
                    return
                if self._due:
                    self._due = False
                    await anyio.lowlevel.checkpoint()
        finally:
            self._reading = False
            self._unpark()

    def _take(self) -> bool:
        """Takes what is there next, when all of before is handed out; returns whether it did.

        If not, and ``_due`` is set, others should have a turn first.
        """
        if not (found := self._found()):
            return False
        self._put(found)
        return True

    def _found(self) -> tuple[Any, ...]:
        """What is there next and wanted, looked at in one go; as :meth:`_take` where there is none."""
        if (asleep := self._waiters) is not None:  # it was woken
            place = self._interest
            if place.first == asleep.woken:  # with neighbours, one of which has looked
                self._waiters = None
                self._next = place.after
                return place.events
            self._unpark()
        if self._bus.unwritten:
            self._bus.write()
        ring, first = self._ring, self._next
        if self._due or first > ring.head or first < ring.first or self._ended is not None:
            return self._found_otherwise()
        self._due = True
        place = self._interest
        if place.first != first:
            place.events = self._look()
            place.first, place.after = first, self._next
        self._next = place.after
        return place.events

    def _look(self) -> tuple[Event, ...]:
        """Those of the next positions in the ring that are handed out."""
        first, last = self._next, self._ring.head
        if last - first > self._reach:
            last = first + self._reach
        self._next = last + 1
        found = self.filter.select(self._ring.span(first, last))
        return tuple(found if self._shares else self._merged(found))

    def _merged(self, found: list[Event]) -> list[Event]:
        """What is handed out of ``found``, by who does not share it."""
        return found

    def _found_otherwise(self) -> tuple[Any, ...]:
        """The same where it is not for the ring alone to say. Raises what ends the stream."""
        bus, ring = self._bus, self._ring
        if self._ended is not None:
            raise self._ended
        if self._due and ring.first <= self._next <= ring.head:
            return ()
        self._due = False
        if self._next < ring.first:
            found = tuple(self._fell_behind())
            self._due = not found and self._past is None  # there is more behind it
            return found
        if bus.closed and self._next > ring.head:
            raise HostGone(bus.cursor)
        return ()

    def _holds(self, item: object) -> bool:
        """Whether ``where`` lets through what it is the turn of."""
        if not isinstance(item, Event):
            return True
        assert self._where
        try:
            held = bool(self._where(item))
        except BaseException as error:
            self._put_back()
            self._end(error)
            raise
        self._taken -= not held
        return held

    def _drain(self) -> tuple[E_co, ...]:
        """What ``where`` lets through of what is taken; where it raises, those before that are read first, and then it is raised."""
        batch: list[E_co] = []
        try:
            batch.extend(self._rest)
        except Exception:
            if not batch:
                raise
        except BaseException:
            if batch:  # nobody has them
                self._next = self._bus.chain.position_of(batch[0].cursor)
                self._taken -= len(batch)
            raise
        return tuple(batch)

    def _put_back(self) -> None:
        """The last one was not handed out."""
        before = self._unread
        self._batch = self._batch[-self._waiting - 1 :]
        self._unread = iter(self._batch)
        deque(before, maxlen=0)

    def _put(self, items: tuple[Any, ...]) -> None:
        """Makes ``items`` what is handed out next."""
        self._taken += len(items)
        self._batch = items
        self._rest = self._unread = iter(items)
        if self._where is not None:
            self._rest = filter(self._holds, self._rest)

    @abstractmethod
    def _fell_behind(self) -> Sequence[Any]:
        """As :meth:`_found_otherwise`, for a stream whose next position is not in the ring any more."""

    # -- waiting ---------------------------------------------------------------------------

    def _unpark(self) -> None:
        """If it is asleep: it reads on where it was woken, or else behind all that is there, as nothing before that is wanted."""
        if (asleep := self._waiters) is not None:
            head = 0 if asleep.woken else self._bus.head  # to look there may wake this stream: a write that fails is an event
            self._next = self._index.unpark(asleep, self._waker) or head + 1
            self._waiters = None

    async def _read_past(self, past: PastReader) -> None:
        """Takes a batch from the journal."""
        try:
            found = await past.read()
        except LookupError as gone:
            raise self._bus.gap(self._next) from gone
        if self._ended is not None:
            self._past = None  # closed meanwhile: what was read is still to be read by who goes on
            return
        if isinstance(found, Dropped):
            self._pass_over(found)
            found = []
        elif not found:
            raise self._bus.gap(self._next)  # it was never written: its disk had failed
        self._due = False
        self._next = past.position
        if self._next >= self._bus.ring.first:
            self._past = None
        self._put(tuple(self.filter.select(found)))

    def _pass_over(self, dropped: Dropped) -> None:
        """Raises EventGap where some of those that are not kept are wanted."""
        if missed := dropped.missed(self.filter):
            self._past = None  # a reader that goes on with this stream all the same gets it again
            chain = self._bus.chain
            raise EventGap(chain.cursor(dropped.last + 1), missed, chain.cursor(dropped.last))


class Subscription(Stream[E_co]):
    """The log: every matching event after a cursor, in order, none twice and none silently missing."""

    def __init__(self, bus: Bus, wanted: Filter, where: Where | None, after: str | None) -> None:
        super().__init__(bus, wanted, where)
        self._after = after

    async def __aenter__(self) -> Self:
        """Begins to read: after the cursor given, else after the newest event. Raises EventGap."""
        self._past = None
        self._next = self._bus.head + 1 if self._after is None else self._bus.seek(self._after, self.filter)
        if self._next < self._ring.first:
            self._put(tuple(self._fell_behind()))
        self._begin(self._next)
        return self

    def _fell_behind(self) -> Sequence[Any]:
        """What was spilled in memory does, where it has all that is wanted; else the journal; else it is gone."""
        if self._past is None and (kept := self._bus.ring.spilled(self._next, self.filter)) is not None:
            self._next = self._bus.ring.first
            return kept
        journal = self._bus.journal
        if journal is None or self._next < journal.first:
            raise self._bus.gap(self._next, self.filter)
        self._past = self._past or journal.read_from(self._next)
        return ()
