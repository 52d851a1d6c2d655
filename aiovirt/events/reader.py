"""Streams over the bus: what a log and a watch share, and the log itself, ``Subscription``.

A stream belongs to the task that reads it. It is a position in the ring and a small batch of events
taken from it; it costs the writer nothing while it is behind, and one wake when it has caught up.
Leaving its block ends it; nothing runs in the background.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from operator import length_hint
from types import TracebackType
from typing import Any, Final, Generic, Protocol, Self, TypeVar

import anyio
import anyio.lowlevel
from anyio.abc import ObjectReceiveStream
from msgspec import Struct

from aiovirt.errors import HostGone
from aiovirt.events.bus import Bus
from aiovirt.events.filters import Filter
from aiovirt.events.index import Place, Sleepers
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
    _shares = True  # whether it hands out what its filter selects, as its neighbours do

    def __init__(self, bus: Bus, wanted: Filter, where: Where | None) -> None:
        self.filter = wanted
        self._bus = bus
        self._ring = bus.ring
        self._index = bus.index
        self._where = where
        self._reach = BATCH - 1
        self._next = 0  # the position to look at next
        self._batch: list[E_co] = []  # looked at and wanted; may be shared, so never changed
        self._rest: Iterator[E_co] = iter(self._batch)  # of these, what was not handed out yet
        self._unread = self._rest  # the same, but for what ``where`` refuses when it is its turn
        self._taken = 0
        self._walk: AsyncGenerator[E_co, None] | None = None  # what ``async for`` goes through
        self._past: PastReader | None = None  # what is to be read before anything else
        self._places: tuple[Place, ...] = ()
        self._place: Place | None = None  # the only one, where all want the same
        self._among: tuple[Sleepers, ...] = ()  # while it is parked, and until it reads on
        self._reading = self._due = False
        self._ended: BaseException | None = RuntimeError("enter the stream first: async with … as events")

    # -- life ------------------------------------------------------------------------------

    async def aclose(self) -> None:
        """Ends the stream: who reads on gets ClosedResourceError."""
        self._end(anyio.ClosedResourceError())
        await self._leave_walk()
        await anyio.lowlevel.checkpoint()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._end(anyio.ClosedResourceError())
        await self._leave_walk()

    def _begin(self, position: int) -> None:
        self._next = position
        self._ended = None
        self._waker = self._bus.new_waker()
        self._places = self._bus.index.enter(self.filter)
        if len(self._places) == 1 and self._shares:
            self._place = self._places[0]

    def _end(self, error: BaseException) -> None:
        """It ends here: what it had taken and not handed out is still to be read by who goes on from its cursor."""
        self._ended = self._ended or error
        if waiting := self._waiting:
            self._next = self._position
            self._taken -= waiting
            deque(self._unread, maxlen=0)  # whoever goes through it finds nothing more
        if self._among:
            self._unpark()
            self._waker.wake()
        if self._places:
            self._places = ()
            self._bus.index.leave(self.filter)

    async def _leave_walk(self) -> None:
        """A loop that was left stands between two items: nothing in it waits, and nothing is lost with it."""
        if self._walk is not None and not self._reading:
            await self._walk.aclose()

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
        if self._reading:
            raise anyio.BusyResourceError("reading from")
        if self._walk is None:
            self._walk = self._walk_on()
        return self._walk

    async def _walk_on(self) -> AsyncGenerator[E_co, None]:
        # A step of a generator is taken by the interpreter: half of what a call of a coroutine takes.
        try:
            while True:
                rest = self._rest
                for item in rest:
                    yield item
                if rest is self._rest:  # nobody has read on by another way meanwhile
                    await self._refill()
        finally:
            self._walk = None

    async def receive_batch(self) -> list[E_co]:
        """The next events, in order: at least one, and some of what is there behind it. Raises as :meth:`receive`.

        For who handles many at once: it costs less than one by one.
        """
        while not (batch := [*self._rest] if self._where is None else self._drain()):
            await self._refill()
        return batch

    def receive_nowait(self) -> E_co:
        """The next event, if memory has it; raises WouldBlock when there is none yet, else as :meth:`receive`."""
        if self._reading:
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
        head = self._bus.head  # to look there may wake this stream: a write that fails is told
        if not self._among:
            return self._next
        return min((sleepers.woken for sleepers in self._among if sleepers.woken), default=head + 1)

    # -- taking ----------------------------------------------------------------------------

    async def _refill(self) -> None:
        """Waits until there may be something to hand out."""
        if self._reading:
            raise anyio.BusyResourceError("reading from")
        self._reading = True
        try:
            while True:
                if self._next > self._ring.head and not self._ended and not self._bus.closed:
                    await self._park()
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
            if self._among:
                self._unpark()

    def _park(self) -> Awaitable[object]:
        """Returns, awaited, when there may be something to look at."""
        self._due = False
        if (place := self._place) is None:
            self._among = self._index.park(self._places, self._waker)
        else:  # the same for one place, as most have: in line, since every wake has to come by here
            self._among = (place.sleepers,)
            place.sleepers.add(self._waker)
            self._index.parked += 1
        return self._waker.wait()

    def _take(self) -> bool:
        """Takes what is there next, when all of before is handed out; returns whether it did.

        If not, and ``_due`` is set, others should have a turn first.
        """
        if self._among:  # it was woken: there is one that reads
            self._unpark()
        ring, first = self._ring, self._next
        if self._due or first > ring.head or first < ring.first or self._ended or self._bus.unwritten:
            return self._take_otherwise()
        self._due = True
        place = self._place
        if place is None:
            found = self._look()
        elif place.first == first:
            found, self._next = place.events, place.after
        else:
            place.events = found = self._look()
            place.first, place.after = first, self._next
        self._put(found)
        return bool(found)

    def _look(self) -> list[Event]:
        """Those of the next positions in the ring that are handed out."""
        first, last = self._next, self._ring.head
        if last - first > self._reach:
            last = first + self._reach
        self._next = last + 1
        return self._pick(first, last)

    def _pick(self, first: int, last: int) -> list[Event]:
        """Those at ``first`` to ``last``."""
        return self.filter.select(self._ring.span(first, last))

    def _take_otherwise(self) -> bool:
        """The same where it is not for the ring alone to say. Raises what ends the stream."""
        bus, ring = self._bus, self._ring
        if self._ended:
            raise self._ended
        if bus.unwritten:
            bus.write()
            return self._take()
        if self._due and ring.first <= self._next <= ring.head:
            return False
        self._due = False
        if self._next < ring.first:
            return self._fell_behind()
        if bus.closed and self._next > ring.head:
            raise HostGone(bus.cursor)
        return False

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

    def _drain(self) -> list[E_co]:
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
        return batch

    def _put_back(self) -> None:
        """The last one was not handed out."""
        before = self._unread
        self._batch = self._batch[-self._waiting - 1 :]
        self._unread = iter(self._batch)
        deque(before, maxlen=0)

    def _put(self, items: list[Any]) -> None:
        """Makes ``items`` what is handed out next; the list may be shared."""
        self._taken += len(items)
        self._batch = items
        self._rest = self._unread = iter(items)
        if self._where is not None:
            self._rest = filter(self._holds, self._rest)

    @abstractmethod
    def _fell_behind(self) -> bool:
        """As :meth:`_take_otherwise`, for a stream whose next position is not in the ring any more."""

    # -- waiting ---------------------------------------------------------------------------

    def _unpark(self) -> None:
        """It reads on where it was woken, or else behind all that is there: nothing before that is wanted."""
        among = self._among
        if self._place is not None and (woken := among[0].woken):
            self._next = woken
        else:
            head = self._bus.head  # to look there may wake this stream: a write that fails is told
            self._next = self._index.unpark(among, self._waker) or head + 1
        self._among = ()

    async def _read_past(self, past: PastReader) -> None:
        """Takes a batch from the journal."""
        try:
            events = await past.read()
        except LookupError as gone:
            raise self._bus.gap(self._next) from gone
        if self._ended:
            self._past = None  # closed meanwhile: what was read is still to be read by who goes on
            return
        if not events:
            raise self._bus.gap(self._next)  # it was never written: its disk had failed
        self._due = False
        self._next += len(events)
        if self._next >= self._bus.ring.first:
            self._past = None
        self._put(self.filter.select(list(events)))


class Subscription(Stream[E_co]):
    """The log: every matching event after a cursor, in order, none twice and none silently missing."""

    def __init__(self, bus: Bus, wanted: Filter, where: Where | None, after: str | None) -> None:
        super().__init__(bus, wanted, where)
        self._after = after

    async def __aenter__(self) -> Self:
        """Begins to read: after the cursor given, else after the newest event. Raises EventGap."""
        self._past = None
        self._next = self._bus.head + 1 if self._after is None else self._bus.seek(self._after)
        if self._next < self._ring.first:
            self._fell_behind()
        self._begin(self._next)
        return self

    def _fell_behind(self) -> bool:
        """What was put aside in memory does, where it has all that is wanted; else the journal; else it is gone."""
        if self._past is None and (kept := self._bus.ring.put_aside(self._next, self.filter)) is not None:
            self._next = self._bus.ring.first
            self._put(kept)
            return True
        journal = self._bus.journal
        if journal is None or self._next < journal.first:
            raise self._bus.gap(self._next)
        self._past = self._past or journal.read_from(self._next)
        return False
