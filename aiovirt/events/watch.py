"""``Watch``: the state and then its changes; when it falls behind, the state again."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Self, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from aiovirt.events.bus import Bus
from aiovirt.events.filters import Filter
from aiovirt.events.folding import folded
from aiovirt.events.reader import Numbered, Stream, StreamStatistics, Where
from aiovirt.events.types import Event
from aiovirt.model.view import HostView

__all__ = ["Resync", "Watch"]

E_co = TypeVar("E_co", bound=Numbered, covariant=True)


class Resync(Struct, frozen=True):
    """A watch fell behind: here is the state at ``snapshot.cursor``; what follows goes on from there."""

    snapshot: HostView

    @property
    def cursor(self) -> str:
        """Where the stream goes on."""
        return self.snapshot.cursor

    def __str__(self) -> str:
        return f"resync at {self.cursor}"


class Watch(Stream[E_co]):
    """The state and then its changes; when it falls behind, a :class:`Resync` with a fresh state."""

    snapshot: HostView

    def __init__(self, bus: Bus, wanted: Filter, where: Where | None, *, fold: bool) -> None:
        super().__init__(bus, wanted, None if fold else where)
        self._folded = 0
        self._since: dict[str, str] = {}  # the oldest part of each merged event that waits
        self._unfolded_where = where
        if fold:
            self._reach = sys.maxsize
            self._shares = False

    async def __aenter__(self) -> Self:
        """Takes the snapshot; what follows begins right after it."""
        self.snapshot = self._bus.snapshot()
        self._begin(self._bus.head + 1)
        return self

    def statistics(self) -> StreamStatistics:
        """Figures of now."""
        return replace(super().statistics(), folded=self._folded)

    def _merged(self, found: list[Event]) -> list[Event]:
        """``where`` is asked about events as they were published; if it raises, those before are read first."""
        wanted = found if self._unfolded_where is None else list(self._held(found))
        self._since = {}
        merged = folded(wanted, self._since)
        self._folded += len(wanted) - len(merged)
        return merged

    def _held(self, events: list[Event]) -> Iterator[Event]:
        assert self._unfolded_where
        for event in events:
            try:
                wanted = self._unfolded_where(event)
            except BaseException as error:
                self._end(error)  # raised to the reader in its place, and again to who reads on
                self._next = self._bus.chain.position_of(event.cursor)
                if isinstance(error, Exception):
                    return
                self._next = self._bus.chain.position_of(events[0].cursor)
                raise
            if wanted:
                yield event

    @property
    def _position(self) -> int:
        """No further than the oldest part of what is still to be handed out."""
        position = super()._position
        oldest = (self._since.get(item.cursor) for item in self._batch[len(self._batch) - self._waiting :])
        return min([position, *(self._bus.chain.position_of(cursor) for cursor in oldest if cursor)])

    def _fell_behind(self) -> Sequence[Event | Resync]:
        kept = self._bus.ring.spilled(self._next, self.filter)
        if kept is not None:
            self._next = self._bus.ring.first
            return kept if self._shares else self._merged(kept)
        self.snapshot = self._bus.snapshot()
        self._next = self._bus.head + 1
        return (Resync(self.snapshot),)
