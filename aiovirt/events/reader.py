"""Streams over the bus: ``Subscription`` (the log) and ``Watch`` (the state, then its changes).

A stream belongs to the task that reads it. It costs the writer nothing while it is behind, and one
wake when it has caught up. Leaving its block ends it; nothing runs in the background.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Final, Generic, Self, TypeVar, cast

import anyio
import anyio.lowlevel
from anyio.abc import ObjectReceiveStream
from msgspec import Struct

from aiovirt.errors import EventGap
from aiovirt.events.bus import Bus
from aiovirt.events.cursor import format_cursor
from aiovirt.events.filters import Filter
from aiovirt.events.folding import folded
from aiovirt.events.types import Event
from aiovirt.model.view import HostView

__all__ = ["Resync", "Stream", "StreamStatistics", "Subscription", "Watch"]

E_co = TypeVar("E_co", covariant=True)
Where = Callable[[Event], bool]

CHECKPOINT_EVERY: Final = 32
NOT_ENTERED: Final = -1


class StreamStatistics(Struct, frozen=True):
    """``behind`` counts events published and not yet looked at, ``delivered`` those handed out."""

    behind: int
    delivered: int


class Resync(Struct, frozen=True):
    """A watch fell behind: here is the state at ``snapshot.cursor``; what follows goes on from there."""

    snapshot: HostView

    @property
    def cursor(self) -> str:
        """Where the stream goes on."""
        return self.snapshot.cursor

    def __str__(self) -> str:
        return f"resync at {self.cursor}"


class Stream(ObjectReceiveStream[E_co], Generic[E_co]):
    """What both streams share: a place in the ring, a filter, and a way to wait."""

    def __init__(self, bus: Bus, wanted: Filter, where: Where | None) -> None:
        self.filter = wanted
        self._bus = bus
        self._where = where
        self._next = NOT_ENTERED
        self._woken: anyio.Event | None = None
        self._ended: BaseException | None = None
        self._delivered = 0
        self._since_checkpoint = 0

    # -- life ------------------------------------------------------------------------------

    async def aclose(self) -> None:
        """Ends the stream: who reads on gets ClosedResourceError."""
        self._end()
        await anyio.lowlevel.checkpoint()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._end()

    def _end(self) -> None:
        self._ended = self._ended or anyio.ClosedResourceError()
        self._bus.unpark(self)
        if self._woken:
            self._woken.set()

    # -- reading ---------------------------------------------------------------------------

    async def receive(self) -> E_co:
        """The next event.

        Raises HostGone when the engine has ended and all is read, EventGap (a subscription only)
        when events were lost to this reader, whatever ``where`` raised, ClosedResourceError after
        ``aclose``, BusyResourceError when another task is already reading.
        """
        if self._woken is not None:
            raise anyio.BusyResourceError("reading from")
        if self._since_checkpoint >= CHECKPOINT_EVERY:
            self._since_checkpoint = 0
            await anyio.lowlevel.checkpoint()
        while (found := self._take()) is None:
            self._since_checkpoint = 0
            await self._park()
        self._since_checkpoint += 1
        return found

    def receive_nowait(self) -> E_co:
        """The next event; raises WouldBlock when there is none yet, else as :meth:`receive`."""
        if (found := self._take()) is None:
            raise anyio.WouldBlock
        return found

    @property
    def cursor(self) -> str:
        """Seen up to here, filtered events included: what to pass as ``after=`` to go on."""
        return format_cursor(self._bus.epoch, self._position - 1)

    def statistics(self) -> StreamStatistics:
        """Figures of now."""
        return StreamStatistics(self._bus.head + 1 - self._position, self._delivered)

    @property
    def _position(self) -> int:
        """The seq to look at next. While parked that is always the next to come: the filter has seen the rest."""
        return self._bus.head + 1 if self._bus.is_parked(self) else self._next

    def wake(self, seq: int) -> None:
        """Called by the bus: see :class:`aiovirt.events.bus.Parked`."""
        self._next = seq
        if self._woken:
            self._woken.set()

    @abstractmethod
    def _take(self) -> E_co | None:
        """The next item without waiting, or None."""

    def _scan(self) -> Event | None:
        """The next event that is wanted, or None when all is read."""
        if self._ended:
            raise self._ended
        if self._next == NOT_ENTERED:
            raise RuntimeError("enter the stream first: async with … as events")
        while (event := self._bus.read(self._next)) is not None:
            wanted = self.filter.matches(event) and self._holds(event)
            self._next += 1
            if wanted:
                return event
        return None

    def _holds(self, event: Event) -> bool:
        if self._where is None:
            return True
        try:
            return bool(self._where(event))
        except BaseException as error:
            self._ended = error
            raise

    async def _park(self) -> None:
        self._woken = anyio.Event()
        self._bus.park(self)
        try:
            await self._woken.wait()
        finally:
            self._woken = None
            if self._bus.is_parked(self):
                self._next = self._position
                self._bus.unpark(self)


class Subscription(Stream[E_co]):
    """The log: every matching event after a cursor, in order, none twice and none silently missing."""

    def __init__(self, bus: Bus, wanted: Filter, where: Where | None, after: str | None) -> None:
        super().__init__(bus, wanted, where)
        self._after = after

    async def __aenter__(self) -> Self:
        """Begins to read: after the cursor given, else after the newest event. Raises EventGap."""
        self._next = self._bus.head + 1 if self._after is None else self._bus.seek(self._after)
        return self

    def _take(self) -> E_co | None:
        event = self._scan()
        self._delivered += event is not None
        return cast("E_co | None", event)


class Watch(Stream[E_co]):
    """The state and then its changes; when it falls behind, a :class:`Resync` with a fresh state."""

    snapshot: HostView

    def __init__(self, bus: Bus, wanted: Filter, where: Where | None, *, fold: bool) -> None:
        super().__init__(bus, wanted, where)
        self._fold = fold
        self._backlog: deque[Event] = deque()
        self._last = ""

    async def __aenter__(self) -> Self:
        """Takes the snapshot; what follows begins right after it."""
        self.snapshot = self._bus.snapshot()
        self._next = self._bus.head + 1
        return self

    @property
    def cursor(self) -> str:
        """Seen up to here, filtered events included."""
        return self._last if self._backlog else super().cursor

    def _take(self) -> E_co | None:
        item: Event | Resync | None
        try:
            item = self._next_folded() if self._fold else self._scan()
        except EventGap:
            item = self._resync()
        self._delivered += item is not None
        return cast("E_co | None", item)

    def _next_folded(self) -> Event | None:
        if isinstance(self._ended, anyio.ClosedResourceError):
            raise self._ended
        if not self._backlog:
            self._backlog.extend(folded(self._read_backlog()))
        if not self._backlog:
            return None
        event = self._backlog.popleft()
        self._last = event.cursor
        return event

    def _read_backlog(self) -> list[Event]:
        """All that waits. An error behind the first event is met again once those before it are read."""
        waiting: list[Event] = []
        try:
            while (event := self._scan()) is not None:
                waiting.append(event)
        except Exception:
            if not waiting:
                raise
        return waiting

    def _resync(self) -> Resync:
        self.snapshot = self._bus.snapshot()
        self._next = self._bus.head + 1
        return Resync(self.snapshot)
