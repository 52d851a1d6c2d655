"""Positions and cursors: every event of a journal has one position, however many epochs it went through.

An epoch ends when what came after cannot be vouched for (a power loss, a disk that failed). The next
one is chained to its end: positions go on, sequence numbers begin again at 1. So a cursor of an old
epoch still finds its place, and one past that epoch's end is known never to have been kept.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Self

from msgspec import Struct

from aiovirt.events.cursor import format_cursor, new_epoch, parse_cursor

__all__ = ["Chain", "Era"]


class Era(Struct, frozen=True):
    """An epoch's place: its events have the positions ``base + 1`` to ``end`` (None: it goes on)."""

    epoch: str
    base: int
    end: int | None


class Chain:
    """The epochs of a journal, oldest first; the last one goes on. Positions count from 1."""

    def __init__(self, eras: tuple[Era, ...]) -> None:
        self.eras = eras

    @classmethod
    def fresh(cls) -> Self:
        """One epoch that begins now."""
        return cls((Era(new_epoch(), 0, None),))

    @property
    def current(self) -> Era:
        """The epoch that goes on."""
        return self.eras[-1]

    def chained(self, end: int, hole: int = 0) -> Chain:
        """The current epoch ends at position ``end``, and a new one goes on there, ``hole`` positions later."""
        last = self.current
        return Chain((*self.eras[:-1], Era(last.epoch, last.base, end), Era(new_epoch(after=last.epoch), end + hole, None)))

    def cursor(self, position: int) -> str:
        """The cursor of the event at ``position``; of position 0, or an epoch's base: what stands before its first event."""
        era = next(era for era in reversed(self.eras) if position >= era.base)
        return format_cursor(era.epoch, position - era.base)

    def position(self, cursor: str) -> int | None:
        """Where ``cursor`` stands, or None when its epoch is unknown or ended before it; raises InvalidArgument for none."""
        epoch, seq = parse_cursor(cursor)
        for era in self.eras:
            if era.epoch == epoch:
                position = era.base + seq
                return position if era.end is None or position <= era.end else None
        return None

    def behind_hole(self, position: int) -> int | None:
        """The first position behind the hole that ``position`` is in, or None where there is none."""
        for before, after in pairwise(self.eras):
            if before.end is not None and before.end < position <= after.base:
                return after.base + 1
        return None

    def position_of(self, cursor: str) -> int:
        """Where the event with this cursor stands, which this chain gave it (or one that it goes on from)."""
        position = self.position(cursor)
        if position is None:
            raise LookupError(cursor)
        return position
