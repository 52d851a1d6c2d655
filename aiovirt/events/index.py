"""Which parked readers an event wakes: found by its type and subject, without asking each reader.

A reader is given its place when it begins, and stands there while it is parked. Those that want the same
have one place. An event looks at the places of its type and of that type's families, and takes out who
stands there: each is woken once.
"""

from __future__ import annotations

from functools import cache

from aiovirt.events.filters import Filter
from aiovirt.events.types import Event
from aiovirt.events.waiting import Waker

__all__ = ["Index", "Place", "Sleepers"]


class Sleepers(set[Waker]):
    """Who is parked at a place, up to the event that wakes them: ``woken`` is its position then."""

    __slots__ = ("woken",)

    def __init__(self) -> None:
        self.woken = 0


class Place:
    """Where those park that want the same; ``readers`` counts those that may.

    ``events`` are those that match from position ``first`` to before ``after``: what the last one of them
    to look was given, and what the others are given after it.
    """

    __slots__ = ("after", "events", "first", "readers", "sleepers", "wanted")

    def __init__(self, wanted: Filter) -> None:
        self.wanted = wanted
        self.readers = self.after = 0
        self.first = -1
        self.events: tuple[Event, ...] = ()
        self.sleepers = Sleepers()


class _Shelf:
    """The places of one type: for any subject, for one, and for a prefix (each of these ends in ``/``)."""

    __slots__ = ("any", "prefixes", "subjects")

    def __init__(self) -> None:
        self.any: list[Place] = []
        self.subjects: dict[str, list[Place]] = {}
        self.prefixes: dict[str, list[Place]] = {}

    def put(self, place: Place) -> None:
        subject = place.wanted.subject
        (self._narrow(subject).setdefault(subject, []) if subject else self.any).append(place)

    def take(self, place: Place) -> None:
        subject = place.wanted.subject
        if not subject:
            self.any.remove(place)
            return
        narrow = self._narrow(subject)
        narrow[subject].remove(place)
        if not narrow[subject]:
            del narrow[subject]

    def about(self, subject: str) -> list[Place]:
        """Those for this subject, or for a prefix of it."""
        found = list(self.subjects.get(subject, ()))
        for prefix, places in self.prefixes.items():
            if subject.startswith(prefix):
                found += places
        return found

    def _narrow(self, subject: str) -> dict[str, list[Place]]:
        return self.prefixes if subject[-1] == "/" else self.subjects


class Index:
    """Parked readers by what they wait for: ``parked`` counts the places where there are some."""

    def __init__(self) -> None:
        self.parked = 0
        self._places: set[Place] = set()
        self._shared: dict[Filter, Place] = {}  # of those
        self._shelves: dict[type[Event], _Shelf] = {}
        self._of_kind: dict[type[Event], tuple[_Shelf, ...]] = {}  # of those, a type's own and its families'

    def enter(self, wanted: Filter, *, alone: bool = False) -> Place:
        """The place of a reader that begins, one for itself if it is to be ``alone``; :meth:`leave` gives it back."""
        place = None if alone else self._shared.get(wanted)
        if place is None:
            place = Place(wanted)
            self._places.add(place)
            if not alone:
                self._shared[wanted] = place
            for kind in wanted.types:
                self._shelf(kind).put(place)
        place.readers += 1
        return place

    def leave(self, place: Place) -> None:
        """A reader has ended; it is parked no more."""
        place.readers -= 1
        if place.readers:
            return
        self._places.remove(place)
        if self._shared.get(place.wanted) is place:
            del self._shared[place.wanted]
        for kind in place.wanted.types:
            self._shelf(kind).take(place)

    def park(self, place: Place, waker: Waker) -> Sleepers:
        """Among whom ``waker`` sleeps now, for :meth:`unpark`: the first event that is wanted at ``place`` wakes it."""
        sleepers = place.sleepers
        if not sleepers:
            self.parked += 1
        sleepers.add(waker)
        return sleepers

    def unpark(self, among: Sleepers, waker: Waker) -> int:
        """The position to read on from, nothing before it is wanted; 0 when nothing woke it."""
        if not among.woken:
            among.discard(waker)
            self.parked -= not among
        return among.woken

    def wake(self, event: Event, position: int) -> None:
        """Wakes those that wait for ``event``, which is at ``position``."""
        shelves = self._of_kind.get(type(event))
        if shelves is None:
            shelves = self._shelves_of(type(event))
        for shelf in shelves:
            for place in shelf.any:
                if place.sleepers:
                    self._wake(place, position)
            if shelf.subjects or shelf.prefixes:
                for place in shelf.about(event.subject):
                    if place.sleepers:
                        self._wake(place, position)

    def wake_all(self, position: int) -> None:
        """Wakes everyone."""
        for place in self._places:
            if place.sleepers:
                self._wake(place, position)

    def waiting(self) -> int:
        """How many wait."""
        return sum(len(place.sleepers) for place in self._places) if self.parked else 0

    def _wake(self, place: Place, position: int) -> None:
        sleepers, place.sleepers = place.sleepers, Sleepers()
        sleepers.woken = position
        self.parked -= 1
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


@cache
def _lineage(kind: type[Event]) -> tuple[type[Event], ...]:
    """The type and its families, Event first: who passes everything on has others that wait."""
    return tuple(base for base in reversed(kind.__mro__) if issubclass(base, Event))
