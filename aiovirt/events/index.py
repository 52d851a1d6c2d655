"""Which parked readers an event wakes: found by its type and subject, without asking each reader.

A reader says what it wants when it begins. Those that want the same share one :class:`Interest`, at which they wait while
they are parked. An event looks at the interests in its type and in that type's families, and takes out the readers that
wait there: each is woken once.
"""

from __future__ import annotations

from functools import cache

from aiovirt.events.filters import Filter
from aiovirt.events.types import Event
from aiovirt.events.waiting import Waker

__all__ = ["Index", "Interest", "Waiters"]


class Waiters(set[Waker]):
    """Readers that wait at one interest, up to the event that wakes them: ``woken`` is its position then."""

    __slots__ = ("woken",)

    def __init__(self) -> None:
        self.woken = 0


class Interest:
    """What some readers want; ``readers`` counts them, parked or not.

    ``events`` are those that match from position ``first`` to before ``after``: what the last one of them
    to look was given, and what the others are given after it.
    """

    __slots__ = ("after", "events", "first", "readers", "waiters", "wanted")

    def __init__(self, wanted: Filter) -> None:
        self.wanted = wanted
        self.readers = self.after = 0
        self.first = -1
        self.events: tuple[Event, ...] = ()
        self.waiters = Waiters()


class _ByType:
    """The interests in one type of event: for any subject, for one, and for a prefix (each of these ends in ``/``)."""

    __slots__ = ("any", "prefixes", "subjects")

    def __init__(self) -> None:
        self.any: list[Interest] = []
        self.subjects: dict[str, list[Interest]] = {}
        self.prefixes: dict[str, list[Interest]] = {}

    def put(self, interest: Interest) -> None:
        subject = interest.wanted.subject
        (self._narrow(subject).setdefault(subject, []) if subject else self.any).append(interest)

    def take(self, interest: Interest) -> None:
        subject = interest.wanted.subject
        if not subject:
            self.any.remove(interest)
            return
        narrow = self._narrow(subject)
        narrow[subject].remove(interest)
        if not narrow[subject]:
            del narrow[subject]

    def about(self, subject: str) -> list[Interest]:
        """Those for this subject, or for a prefix of it."""
        found = list(self.subjects.get(subject, ()))
        for prefix, interests in self.prefixes.items():
            if subject.startswith(prefix):
                found += interests
        return found

    def _narrow(self, subject: str) -> dict[str, list[Interest]]:
        return self.prefixes if subject[-1] == "/" else self.subjects


class Index:
    """Parked readers by what they wait for: ``parked`` counts the interests at which some wait."""

    def __init__(self) -> None:
        self.parked = 0
        self._interests: set[Interest] = set()
        self._shared: dict[Filter, Interest] = {}  # of those
        self._by_types: dict[type[Event], _ByType] = {}
        self._of_kind: dict[type[Event], tuple[_ByType, ...]] = {}  # of those, a type's own and its families'

    def enter(self, wanted: Filter, *, alone: bool = False) -> Interest:
        """The interest of a reader that begins, one for itself if it is to be ``alone``; :meth:`leave` gives it back."""
        interest = None if alone else self._shared.get(wanted)
        if interest is None:
            interest = Interest(wanted)
            self._interests.add(interest)
            if not alone:
                self._shared[wanted] = interest
            for kind in wanted.types:
                self._by_type(kind).put(interest)
        interest.readers += 1
        return interest

    def leave(self, interest: Interest) -> None:
        """A reader has ended; it is parked no more."""
        interest.readers -= 1
        if interest.readers:
            return
        self._interests.remove(interest)
        if self._shared.get(interest.wanted) is interest:
            del self._shared[interest.wanted]
        for kind in interest.wanted.types:
            self._by_type(kind).take(interest)

    def park(self, interest: Interest, waker: Waker) -> Waiters:
        """Those among whom ``waker`` waits now, for :meth:`unpark`: the first event of this interest wakes it."""
        waiters = interest.waiters
        if not waiters:
            self.parked += 1
        waiters.add(waker)
        return waiters

    def unpark(self, among: Waiters, waker: Waker) -> int:
        """The position to read on from, nothing before it is wanted; 0 when nothing woke it."""
        if not among.woken:
            among.discard(waker)
            self.parked -= not among
        return among.woken

    def wake(self, event: Event, position: int) -> None:
        """Wakes those that wait for ``event``, which is at ``position``."""
        by_types = self._of_kind.get(type(event))
        if by_types is None:
            by_types = self._by_types_of(type(event))
        for by_type in by_types:
            for interest in by_type.any:
                if interest.waiters:
                    self._wake(interest, position)
            if by_type.subjects or by_type.prefixes:
                for interest in by_type.about(event.subject):
                    if interest.waiters:
                        self._wake(interest, position)

    def wake_all(self, position: int) -> None:
        """Wakes everyone."""
        for interest in self._interests:
            if interest.waiters:
                self._wake(interest, position)

    def waiting(self) -> int:
        """How many wait."""
        return sum(len(interest.waiters) for interest in self._interests) if self.parked else 0

    def _wake(self, interest: Interest, position: int) -> None:
        waiters, interest.waiters = interest.waiters, Waiters()
        waiters.woken = position
        self.parked -= 1
        for waker in waiters:
            waker.wake()

    def _by_type(self, kind: type[Event]) -> _ByType:
        by_type = self._by_types.get(kind)
        if by_type is None:
            by_type = self._by_types[kind] = _ByType()
            self._of_kind.clear()
        return by_type

    def _by_types_of(self, kind: type[Event]) -> tuple[_ByType, ...]:
        found = tuple(self._by_types[base] for base in _lineage(kind) if base in self._by_types)
        self._of_kind[kind] = found
        return found


@cache
def _lineage(kind: type[Event]) -> tuple[type[Event], ...]:
    """The type and its families, Event first: who wants everything passes it on to others, and is woken first."""
    return tuple(base for base in reversed(kind.__mro__) if issubclass(base, Event))
