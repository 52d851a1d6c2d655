"""Streams over the bus: what a log and a watch share, and the log itself, ``Subscription``.

A stream belongs to the task that reads it. It is a position in the ring and a small batch of events
taken from it; it costs the writer nothing while it is behind, and one wake when it has caught up.
Leaving its block ends it; nothing runs in the background.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Generic, Protocol, Self, TypeVar

import anyio
import anyio.lowlevel
from anyio.abc import ObjectReceiveStream
from msgspec import Struct

from aiovirt.errors import HostGone
from aiovirt.events.bus import Bus
from aiovirt.events.filters import Filter
from aiovirt.events.index import Place
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

    def __init__(self, bus: Bus, wanted: Filter, where: Where | None) -> None:
        self.filter = wanted
        self._bus = bus
        self._ring = bus.ring
        self._index = bus.index
        self._where = where
        self._pick = wanted.select  # of some events, those that are handed out
        self._reach = BATCH - 1
        self._next = 0  # the position to look at next
        self._batch: list[E_co] = []  # looked at and wanted, newest first
        self._unsure: list[E_co] = []  # the same, for ``where`` to decide when it is their turn
        self._taken = 0
        self._past: PastReader | None = None  # what is to be read before anything else
        self._places: tuple[Place, ...] = ()
        self._parked = self._reading = self._due = self._several = False
        self._ended: BaseException | None = RuntimeError("enter the stream first: async with … as events")

    # -- life ------------------------------------------------------------------------------

    async def aclose(self) -> None:
        """Ends the stream: who reads on gets ClosedResourceError."""
        self._end(anyio.ClosedResourceError())
        await anyio.lowlevel.checkpoint()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._end(anyio.ClosedResourceError())

    def _begin(self, position: int) -> None:
        self._next = position
        self._ended = None
        self._waker = self._bus.new_waker()
        self._places = self._bus.index.enter(self.filter)
        self._several = len(self._places) > 1

    def _end(self, error: BaseException) -> None:
        """It ends here: what it had taken and not handed out is still to be read by who goes on from its cursor."""
        self._ended = self._ended or error
        waiting = self._batch or self._unsure
        if waiting:
            self._next = self._position
            self._taken -= len(waiting)
            waiting.clear()
        if self._parked:
            self._unpark()
            self._waker.wake()
        if self._places:
            self._places = ()
            self._bus.index.leave(self.filter)

    # -- reading ---------------------------------------------------------------------------

    async def receive(self) -> E_co:
        """The next event.

        Raises HostGone when the engine has ended and all is read, EventGap (a subscription only)
        when events were lost to this reader, whatever ``where`` raised, ClosedResourceError after
        ``aclose``, BusyResourceError when another task is already reading.
        """
        if batch := self._batch:
            return batch.pop()
        if self._reading:
            raise anyio.BusyResourceError("reading from")
        self._reading = True
        try:
            while (found := self._take()) is None:
                if self._past is not None:
                    await self._read_past(self._past)
                elif self._due:
                    self._due = False
                    await anyio.lowlevel.checkpoint()
                else:
                    self._parked = True
                    self._index.parked += 1
                    for place in self._places:
                        place.add(self)
                    try:
                        await self._waker.wait()
                    finally:
                        if self._parked:  # nobody has woken it: it was cancelled
                            self._unpark()
            return found
        finally:
            self._reading = False

    __anext__ = receive  # the end is HostGone: it is never silent

    async def receive_batch(self) -> list[E_co]:
        """The next events, in order: at least one, and some of what is there behind it. Raises as :meth:`receive`.

        For who handles many at once: it costs less than one by one.
        """
        found = [await self.receive()]
        if self._where is None:
            found += reversed(self._batch)
            self._batch.clear()
        return found

    def receive_nowait(self) -> E_co:
        """The next event, if memory has it; raises WouldBlock when there is none yet, else as :meth:`receive`."""
        while (found := self._take()) is None:
            if not self._due:
                raise anyio.WouldBlock
            self._due = False
        return found

    @property
    def cursor(self) -> str:
        """Seen up to here, filtered events included: what to pass as ``after=`` to go on."""
        if not self._next:
            raise RuntimeError("enter the stream first: async with … as events")
        position = self._position  # to look may begin an epoch: a write that fails does
        return self._bus.chain.cursor(position - 1)

    def statistics(self) -> StreamStatistics:
        """Figures of now."""
        waiting = len(self._batch) + len(self._unsure)
        head = self._bus.head
        behind = (0 if self._parked else head + 1 - self._next) + waiting
        return StreamStatistics(behind, self._taken - waiting)

    @property
    def _position(self) -> int:
        """The position to hand out or look at next. While parked that is the next to come: the filter has seen the rest."""
        head = self._bus.head  # to look there may wake this stream: a write that fails is told
        if self._parked:
            return head + 1
        waiting = self._batch or self._unsure
        return self._bus.chain.position_of(waiting[-1].cursor) if waiting else self._next

    # -- taking ----------------------------------------------------------------------------

    def _take(self) -> E_co | None:
        """The next item; None when there is none in memory or, with ``_due`` set, when others should have a turn first."""
        while not (batch := self._batch):
            if self._unsure:
                if (item := self._decide()) is not None:
                    return item
                continue
            ring, first = self._ring, self._next
            if not ring.first <= first <= ring.head or self._bus.unwritten or self._ended:
                if self._fill_otherwise():
                    continue
                self._due = False
                return None
            if self._due:
                return None
            self._due = True
            last = first + self._reach
            if last > ring.head:  # noqa: PLR1730 - min() takes longer
                last = ring.head
            self._next = last + 1
            self._put(self._pick(ring.span(first, last)))
        return batch.pop()

    def _fill_otherwise(self) -> bool:
        """What there is but for the ring; whether to look again. Raises what ends the stream."""
        bus, ring = self._bus, self._ring
        if self._ended:
            raise self._ended
        if bus.unwritten:
            bus.write()
            return True
        if self._next > ring.head:
            if bus.closed:
                raise HostGone(bus.cursor)
            return False
        return self._fell_behind()

    def _decide(self) -> E_co | None:
        """The first that ``where`` lets through."""
        while self._unsure:
            item = self._unsure.pop()
            if not isinstance(item, Event) or self._holds(item):
                return item
            self._taken -= 1
        return None

    def _holds(self, event: Event) -> bool:
        assert self._where
        try:
            return bool(self._where(event))
        except BaseException as error:
            taken: list[Any] = self._unsure
            taken.append(event)  # it was not handed out
            self._end(error)
            raise

    def _put(self, events: list[Event]) -> None:
        """Makes ``events`` what is handed out next."""
        self._taken += len(events)
        events.reverse()
        taken: list[Any] = events
        if self._where is None:
            self._batch = taken
        else:
            self._unsure = taken

    @abstractmethod
    def _fell_behind(self) -> bool:
        """As :meth:`_fill_otherwise`, for a stream whose next position is not in the ring any more."""

    # -- waiting ---------------------------------------------------------------------------

    def wake(self, position: int) -> None:
        """Called by the bus: see :class:`aiovirt.events.index.Parked`."""
        self._next = position
        self._parked = False
        self._index.parked -= 1
        if self._several:
            for place in self._places:
                place.discard(self)
        self._waker.wake()

    def _unpark(self) -> None:
        head = self._bus.head
        if not self._parked:
            return  # to look there has woken it
        self._next = head + 1
        self._parked = False
        self._index.parked -= 1
        for place in self._places:
            place.discard(self)

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
