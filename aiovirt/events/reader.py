"""Streams over the bus: what a log and a watch share, and the log itself, ``Subscription``.

A stream belongs to the task that reads it. It is a position in the ring and a small batch of events
taken from it; it costs the writer nothing while it is behind, and one wake when it has caught up.
Leaving its block ends it; nothing runs in the background.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import Final, Generic, Protocol, Self, TypeVar, cast

import anyio
import anyio.lowlevel
from anyio.abc import ObjectReceiveStream
from msgspec import Struct

from aiovirt.errors import HostGone
from aiovirt.events.bus import Bus
from aiovirt.events.filters import Filter
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
UNWANTED: Final = 1024
"""Positions looked at in one turn while none of them is wanted."""
NOT_ENTERED: Final = -1


class StreamStatistics(Struct, frozen=True):
    """``behind`` counts events published and not yet looked at, ``delivered`` those handed out.

    ``folded`` counts those that a folding watch merged into others.
    """

    behind: int
    delivered: int
    folded: int = 0


class Stream(ObjectReceiveStream[E_co], Generic[E_co]):
    """What both streams share: a position, a filter, and a way to wait."""

    def __init__(self, bus: Bus, wanted: Filter, where: Where | None) -> None:
        self.filter = wanted
        self._bus = bus
        self._where = where
        self._next = NOT_ENTERED  # the position to look at next
        self._batch: list[E_co] = []  # looked at and wanted, newest first
        self._last = ""  # the cursor of what was handed out last, while there is a batch
        self._taken = 0
        self._waker: Waker | None = None
        self._parked = self._reading = self._due = False
        self._ended: BaseException | None = None

    # -- life ------------------------------------------------------------------------------

    async def aclose(self) -> None:
        """Ends the stream: who reads on gets ClosedResourceError."""
        self._end()
        await anyio.lowlevel.checkpoint()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._end()

    def _end(self) -> None:
        self._ended = self._ended or anyio.ClosedResourceError()
        self._taken -= len(self._batch)
        self._batch.clear()
        if self._parked:
            self._unpark()
            self.wake(self._next)

    # -- reading ---------------------------------------------------------------------------

    async def receive(self) -> E_co:
        """The next event.

        Raises HostGone when the engine has ended and all is read, EventGap (a subscription only)
        when events were lost to this reader, whatever ``where`` raised, ClosedResourceError after
        ``aclose``, BusyResourceError when another task is already reading.
        """
        if self._where is None and (batch := self._batch):
            item = batch.pop()
            self._last = item.cursor
            return item
        if self._reading:
            raise anyio.BusyResourceError("reading from")
        self._reading = True
        try:
            return await self._receive()
        finally:
            self._reading = False

    __anext__ = receive  # the end is HostGone: it is never silent

    async def _receive(self) -> E_co:
        while True:
            if (item := self._pop()) is not None:
                return item
            if self._due:
                await anyio.lowlevel.checkpoint()
                self._due = False
            if self._fill():
                self._due = True
            else:
                await self._wait()
                self._due = False

    def receive_nowait(self) -> E_co:
        """The next event, if memory has it; raises WouldBlock when there is none yet, else as :meth:`receive`."""
        while (item := self._pop()) is None:
            if not self._fill():
                raise anyio.WouldBlock
        return item

    @property
    def cursor(self) -> str:
        """Seen up to here, filtered events included: what to pass as ``after=`` to go on."""
        return self._last if self._batch else self._bus.chain.cursor(self._position - 1)

    def statistics(self) -> StreamStatistics:
        """Figures of now."""
        return StreamStatistics(self._bus.head + 1 - self._position + len(self._batch), self._taken - len(self._batch))

    @property
    def _position(self) -> int:
        """The position to look at next. While parked that is always the next to come: the filter has seen the rest."""
        return self._bus.head + 1 if self._parked else self._next

    # -- taking ----------------------------------------------------------------------------

    def _pop(self) -> E_co | None:
        """The next of the batch that ``where`` lets through."""
        while self._batch:
            item = self._batch.pop()
            if self._where is None or not isinstance(item, Event) or self._holds(item):
                self._last = item.cursor
                return item
            self._taken -= 1
        return None

    def _holds(self, event: Event) -> bool:
        assert self._where
        try:
            return bool(self._where(event))
        except BaseException as error:
            self._taken -= 1
            self._end()
            self._ended = error
            raise

    def _fill(self) -> bool:
        """Takes a new batch; False when there is nothing to look at in memory. Raises what ends the stream."""
        if self._ended:
            raise self._ended
        if self._next == NOT_ENTERED:
            raise RuntimeError("enter the stream first: async with … as events")
        head = self._bus.head
        if self._next > head:
            if self._bus.closed:
                raise HostGone(self._bus.cursor)
            return False
        if self._next < self._bus.ring.first:
            return self._fell_behind()
        self._scan(head)
        return True

    def _scan(self, head: int) -> None:
        """Looks at what the ring has, up to the first batch that has something wanted."""
        position, limit = self._next, min(head, self._next + UNWANTED - 1)
        found: list[Event] = []
        while position <= limit and not found:
            last = min(limit, position + BATCH - 1)
            found = self.filter.select(self._bus.ring.span(position, last))
            position = last + 1
        self._next = position
        self._put(found)

    def _put(self, events: list[Event]) -> None:
        """Makes ``events`` the batch."""
        self._taken += len(events)
        events.reverse()
        self._batch = cast("list[E_co]", events)

    @abstractmethod
    def _fell_behind(self) -> bool:
        """As :meth:`_fill`, for a stream whose next position is not in the ring any more."""

    # -- waiting ---------------------------------------------------------------------------

    async def _wait(self) -> None:
        """Until there may be something."""
        if self._waker is None:
            self._waker = self._bus.new_waker()
        self._parked = True
        self._bus.index.add(self)
        try:
            await self._waker.wait()
        finally:
            if self._parked:
                self._unpark()

    def _unpark(self) -> None:
        self._next = self._position
        self._parked = False
        self._bus.index.remove(self)

    def wake(self, position: int) -> None:
        """Called by the bus: see :class:`aiovirt.events.index.Parked`."""
        self._next = position
        self._parked = False
        if self._waker:
            self._waker.wake()


class Subscription(Stream[E_co]):
    """The log: every matching event after a cursor, in order, none twice and none silently missing."""

    def __init__(self, bus: Bus, wanted: Filter, where: Where | None, after: str | None) -> None:
        super().__init__(bus, wanted, where)
        self._after = after
        self._past: PastReader | None = None

    async def __aenter__(self) -> Self:
        """Begins to read: after the cursor given, else after the newest event. Raises EventGap."""
        self._next = self._bus.head + 1 if self._after is None else self._bus.seek(self._after)
        if self._next < self._bus.ring.first:
            self._fell_behind()
        return self

    def _fell_behind(self) -> bool:
        """What was put aside in memory does, where it has all that is wanted; else the journal; else it is gone."""
        if self._past is None and (kept := self._bus.ring.put_aside(self._next, self.filter)) is not None:
            self._next = self._bus.ring.first
            self._put(kept)
            return True
        if self._bus.journal is None or self._next < self._bus.journal.first:
            raise self._bus.gap(self._next)
        return False

    async def _wait(self) -> None:
        journal = self._bus.journal
        if journal is None or self._next > self._bus.head:
            await super()._wait()
            return
        self._past = self._past or journal.read_from(self._next)
        try:
            events = await self._past.read()
        except LookupError as gone:
            raise self._bus.gap(self._next) from gone
        self._next += len(events)
        self._put(self.filter.select(list(events)))
        if not events or self._next >= self._bus.ring.first:
            self._past = None
