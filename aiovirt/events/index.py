"""Which parked readers an event wakes: found by its type and subject, without asking each reader.

A reader stands under each type or family that it wants, once for its subject; an event looks under its
own type and that type's families. A reader that is found is taken out: it is woken once.
"""

from __future__ import annotations

from functools import cache
from typing import Protocol

from aiovirt.events.filters import Filter
from aiovirt.events.types import Event

__all__ = ["Index", "Parked"]


class Parked(Protocol):
    """A reader that waits: it is woken by the first event that its filter lets through."""

    @property
    def filter(self) -> Filter: ...

    def wake(self, position: int) -> None:
        """Read on from ``position``: nothing that came before it while parked matches."""


class _Shelf:
    """The readers of one type: of any subject, of one, or of a prefix (each of these ends in ``/``)."""

    __slots__ = ("any", "prefixes", "subjects")

    def __init__(self) -> None:
        self.any: set[Parked] = set()
        self.subjects: dict[str, set[Parked]] = {}
        self.prefixes: dict[str, set[Parked]] = {}

    def place(self, subject: str) -> dict[str, set[Parked]]:
        return self.prefixes if subject[-1] == "/" else self.subjects


class Index:
    """Parked readers by what they wait for."""

    def __init__(self) -> None:
        self._shelves: dict[type[Event], _Shelf] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, reader: Parked) -> None:
        """It waits from now on."""
        self._count += 1
        subject = reader.filter.subject
        for kind in reader.filter.types:
            shelf = self._shelves.get(kind)
            if shelf is None:
                shelf = self._shelves[kind] = _Shelf()
            if subject:
                shelf.place(subject).setdefault(subject, set()).add(reader)
            else:
                shelf.any.add(reader)

    def remove(self, reader: Parked) -> None:
        """It does not wait any more; it must have been added, and not found since."""
        self._count -= 1
        subject = reader.filter.subject
        for kind in reader.filter.types:
            shelf = self._shelves[kind]
            if not subject:
                shelf.any.discard(reader)
                continue
            place = shelf.place(subject)
            if readers := place.get(subject):
                readers.discard(reader)
                if not readers:
                    del place[subject]

    def take(self, event: Event) -> list[Parked]:
        """Those that ``event`` wakes; they wait no more."""
        found: list[Parked] = []
        for kind in _lineage(type(event)):
            shelf = self._shelves.get(kind)
            if shelf is None:
                continue
            found += shelf.any
            if shelf.subjects and (readers := shelf.subjects.get(event.subject)):
                found += readers
            if shelf.prefixes:
                subject = event.subject
                found += [reader for prefix, readers in shelf.prefixes.items() if subject.startswith(prefix) for reader in readers]
        if not found:
            return found
        woken = list(dict.fromkeys(found))
        for reader in woken:
            self.remove(reader)
        return woken

    def take_all(self) -> list[Parked]:
        """Everyone; nobody waits any more."""
        everyone = {
            reader
            for shelf in self._shelves.values()
            for readers in (shelf.any, *shelf.subjects.values(), *shelf.prefixes.values())
            for reader in readers
        }
        self._shelves.clear()
        self._count = 0
        return list(everyone)


@cache
def _lineage(kind: type[Event]) -> tuple[type[Event], ...]:
    """The type and its families, up to Event."""
    return tuple(base for base in kind.__mro__ if issubclass(base, Event))
