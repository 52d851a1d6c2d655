"""Which parked readers an event wakes: found by its type and subject, without asking each reader.

A reader is given its places when it begins (one for each type or family that it wants, for its subject)
and stands in them while it is parked. An event looks at the places of its type and of that type's
families, and takes out who stands there: each is woken once.
"""

from __future__ import annotations

from functools import cache

from aiovirt.events.filters import Filter
from aiovirt.events.types import Event
from aiovirt.events.waiting import Waker

__all__ = ["Index", "Place", "Sleepers"]


class Sleepers(set[Waker]):
    """Who is parked at a place, up to the event that wakes them: ``woken`` is its position then."""

    woken = 0


class Place:
    """Where those park that want one type and subject; ``readers`` counts those that may.

    ``events`` are those that match from position ``first`` to before ``after``: what the last one of them
    to look was given, and what the others are given after it. Not to be changed.
    """

    __slots__ = ("after", "events", "first", "readers", "sleepers")

    def __init__(self) -> None:
        self.readers = self.first = self.after = 0
        self.events: list[Event] = []
        self.sleepers = Sleepers()


class _Shelf:
    """The places of one type: for any subject, for one, and for a prefix (each of these ends in ``/``)."""

    __slots__ = ("any", "prefixes", "subjects")

    def __init__(self) -> None:
        self.any = Place()
        self.subjects: dict[str, Place] = {}
        self.prefixes: dict[str, Place] = {}

    def narrow(self, subject: str) -> dict[str, Place]:
        return self.prefixes if subject[-1] == "/" else self.subjects


class Index:
    """Parked readers by what they wait for: ``parked`` counts them, each as often as it has places."""

    def __init__(self) -> None:
        self.parked = 0
        self._shelves: dict[type[Event], _Shelf] = {}
        self._of_kind: dict[type[Event], tuple[_Shelf, ...]] = {}  # of those, a type's own and its families'

    def enter(self, wanted: Filter) -> tuple[Place, ...]:
        """The places of a reader that begins; :meth:`leave` gives them back."""
        places: list[Place] = []
        for kind in wanted.types:
            shelf = self._shelf(kind)
            place = shelf.narrow(wanted.subject).setdefault(wanted.subject, Place()) if wanted.subject else shelf.any
            place.readers += 1
            places.append(place)
        return tuple(places)

    def leave(self, wanted: Filter) -> None:
        """The reader has ended; it is parked no more."""
        if subject := wanted.subject:
            for kind in wanted.types:
                places = self._shelf(kind).narrow(subject)
                places[subject].readers -= 1
                if not places[subject].readers:
                    del places[subject]

    def park(self, places: tuple[Place, ...], waker: Waker) -> tuple[Sleepers, ...]:
        """Among whom ``waker`` sleeps now, for :meth:`unpark`: the first event that is wanted at one of ``places`` wakes it."""
        self.parked += len(places)
        for place in places:
            place.sleepers.add(waker)
        return tuple([place.sleepers for place in places])

    def unpark(self, among: tuple[Sleepers, ...], waker: Waker) -> int:
        """The position to read on from, nothing before it is wanted; 0 when nothing woke it."""
        woken = 0
        for sleepers in among:
            if not sleepers.woken:
                sleepers.discard(waker)
                self.parked -= 1
            elif not woken or sleepers.woken < woken:
                woken = sleepers.woken
        return woken

    def wake(self, event: Event, position: int) -> None:
        """Wakes those that wait for ``event``, which is at ``position``."""
        shelves = self._of_kind.get(type(event))
        if shelves is None:
            shelves = self._shelves_of(type(event))
        for shelf in shelves:
            if shelf.any.sleepers:
                self._wake(shelf.any, position)
            if shelf.subjects and (place := shelf.subjects.get(event.subject)) is not None and place.sleepers:
                self._wake(place, position)
            if shelf.prefixes:
                for prefix, place in shelf.prefixes.items():
                    if place.sleepers and event.subject.startswith(prefix):
                        self._wake(place, position)

    def wake_all(self, position: int) -> None:
        """Wakes everyone."""
        for place in self._places():
            self._wake(place, position)

    def waiting(self) -> int:
        """How many wait."""
        return len({waker for place in self._places() for waker in place.sleepers}) if self.parked else 0

    def _wake(self, place: Place, position: int) -> None:
        sleepers, place.sleepers = place.sleepers, Sleepers()
        sleepers.woken = position
        self.parked -= len(sleepers)
        for waker in sleepers:
            waker.wake()

    def _shelf(self, kind: type[Event]) -> _Shelf:
        shelf = self._shelves.get(kind)
        if shelf is None:
            shelf = self._shelves[kind] = _Shelf()
            self._of_kind.clear()
        return shelf

    def _shelves_of(self, kind: type[Event]) -> tuple[_Shelf, ...]:
        found = tuple(self._shelves[base] for base in _lineage(kind) if base in self._shelves)
        self._of_kind[kind] = found
        return found

    def _places(self) -> list[Place]:
        shelves = self._shelves.values()
        return [place for shelf in shelves for place in (shelf.any, *shelf.subjects.values(), *shelf.prefixes.values())]


@cache
def _lineage(kind: type[Event]) -> tuple[type[Event], ...]:
    """The type and its families, Event first: who passes everything on has others that wait."""
    return tuple(base for base in reversed(kind.__mro__) if issubclass(base, Event))
