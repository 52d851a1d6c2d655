"""The bus: one writer, one ring of numbered events, and readers that are cursors into it.

``publish`` numbers, folds, keeps and announces an event in one synchronous step on the loop's
thread, so a snapshot and the events after it meet exactly. A reader never holds the writer up:
one that falls out of the ring is told what it missed. No I/O lives here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final, Protocol, TypeVar
from uuid import UUID

from msgspec import Struct
from msgspec.structs import force_setattr

from aiovirt.errors import EventGap, HostGone
from aiovirt.events.cursor import format_cursor, new_epoch, parse_cursor
from aiovirt.events.filters import Filter
from aiovirt.events.state import HostState
from aiovirt.events.types import Event
from aiovirt.model.view import HostView

__all__ = ["Bus", "BusStatistics", "Parked"]

E = TypeVar("E", bound=Event)

DEFAULT_CAPACITY: Final = 65_536


class BusStatistics(Struct, frozen=True):
    """``published`` counts this epoch's events, ``kept`` those still readable, ``parked`` the readers that wait."""

    published: int
    kept: int
    capacity: int
    parked: int


class Parked(Protocol):
    """A reader that waits: it is woken by the first event that its filter lets through."""

    filter: Filter

    def wake(self, seq: int) -> None:
        """Read on from ``seq``: nothing that came before it while parked matches."""


class Bus:
    """One epoch of numbered events and the state they fold into.

    ``capacity`` is the most events kept for readers that are behind; ``clock`` gives nanoseconds
    since 1970 UTC.
    """

    def __init__(self, *, host: UUID, capacity: int = DEFAULT_CAPACITY, clock: Callable[[], int] = time.time_ns) -> None:
        self.host = host
        self.epoch = new_epoch()
        self.state = HostState()
        self.closed = False
        self.head = 0
        self._ring: list[Event | None] = [None] * capacity
        self._capacity = capacity
        self._clock = clock
        self._last_time = 0
        self._parked: set[Parked] = set()
        self._thread = threading.get_ident()

    # -- writing ---------------------------------------------------------------------------

    def publish(self, event: E) -> E:
        """Numbers ``event``, folds it into the state, keeps it and wakes who waits for it.

        Returns it, stamped. Raises RuntimeError off the loop's thread, for an event that was
        published before, or once the bus is closed.
        """
        self._check_may_publish(event)
        seq = self.head + 1
        self._last_time = max(self._last_time, self._clock())
        force_setattr(event, "cursor", format_cursor(self.epoch, seq))
        force_setattr(event, "time", self._last_time)
        force_setattr(event, "host", self.host)
        self.state.apply(event)
        self._ring[seq % self._capacity] = event
        self.head = seq
        self._announce(event, seq)
        return event

    def close(self) -> None:
        """Ends every stream: what is still kept is read out, then HostGone follows."""
        self.closed = True
        woken, self._parked = self._parked, set()
        for reader in woken:
            reader.wake(self.head + 1)

    def _check_may_publish(self, event: Event) -> None:
        if threading.get_ident() != self._thread:
            raise RuntimeError("events are published on the loop's thread only")
        if event.cursor:
            raise RuntimeError(f"event {event.cursor} was published before")
        if self.closed:
            raise RuntimeError("the bus is closed")

    def _announce(self, event: Event, seq: int) -> None:
        woken = [reader for reader in self._parked if reader.filter.matches(event)]
        for reader in woken:
            self._parked.discard(reader)
            reader.wake(seq)

    # -- reading ---------------------------------------------------------------------------

    @property
    def cursor(self) -> str:
        """The cursor of the newest event."""
        return format_cursor(self.epoch, self.head)

    @property
    def first(self) -> int:
        """The seq of the oldest event that can still be read (``head + 1`` when there is none)."""
        return max(1, self.head - self._capacity + 1)

    def read(self, seq: int) -> Event | None:
        """Event ``seq``, or None when it is still to come; raises EventGap when it is gone, HostGone at the end."""
        if seq > self.head:
            if self.closed:
                raise HostGone(self.cursor)
            return None
        if seq < self.first:
            raise self.gap(missed=self.first - seq)
        return self._ring[seq % self._capacity]

    def seek(self, after: str) -> int:
        """The seq to read first so as to go on after the cursor ``after``.

        Raises InvalidArgument for what is no cursor, EventGap when events after it are gone or
        when it is not of this epoch.
        """
        epoch, seq = parse_cursor(after)
        if epoch != self.epoch or seq > self.head:
            raise self.gap(missed=None)
        if seq + 1 < self.first:
            raise self.gap(missed=self.first - seq - 1)
        return seq + 1

    def gap(self, *, missed: int | None) -> EventGap:
        """The EventGap that describes what is left."""
        first = self.first
        return EventGap(format_cursor(self.epoch, first), missed, format_cursor(self.epoch, first - 1))

    def snapshot(self) -> HostView:
        """The state at :attr:`cursor`, frozen."""
        return self.state.snapshot(self.cursor)

    def park(self, reader: Parked) -> None:
        """From now on ``reader`` is woken by the first event that its filter matches."""
        self._parked.add(reader)

    def unpark(self, reader: Parked) -> None:
        """Stops waiting; harmless when it does not wait."""
        self._parked.discard(reader)

    def is_parked(self, reader: Parked) -> bool:
        """Whether it waits, so that all published until now is known not to match."""
        return reader in self._parked

    def statistics(self) -> BusStatistics:
        """Figures of now."""
        return BusStatistics(self.head, self.head - self.first + 1, self._capacity, len(self._parked))
