"""The journal as the bus sees it: a door that the engine fills in. Nothing here does I/O."""

from __future__ import annotations

from typing import Protocol

from aiovirt.events.dropped import Dropped
from aiovirt.events.types import Event

__all__ = ["Journal", "Past", "PastReader"]


class PastReader(Protocol):
    """Reads a journal from one position on: ``position`` is that of the next event."""

    position: int

    async def read(self) -> list[Event] | Dropped:
        """The next events, in order and without a gap; empty when it has caught up. Or which ones were dropped early there.

        Raises EventGap's cause, LookupError, when they are not kept any more.
        """
        ...


class Past(Protocol):
    """Where events are read that memory has no more."""

    @property
    def first(self) -> int:
        """The position of the oldest event kept."""
        ...

    def read_from(self, position: int) -> PastReader:
        """A reader of the events from ``position`` on."""
        ...


class Journal(Past, Protocol):
    """Where events are kept beyond memory."""

    def append(self, event: Event) -> int:
        """Takes a numbered event for the next :meth:`write`; returns how many bytes wait."""
        ...

    def payloads(self, first: int, last: int) -> list[bytes] | None:
        """The events at ``first`` to ``last`` as they were written, where they were written just now; else None."""
        ...

    def note(self) -> None:
        """Something waits now, where nothing did; called behind those who wait for it, so that they come first."""
        ...

    def write(self) -> None:
        """Puts all that waits into the file, without waiting for the disk; raises SystemFailure."""
