"""What a reader wants to see: event types, and one subject or a prefix of some."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Protocol, runtime_checkable
from uuid import UUID

from msgspec import Struct

from aiovirt.errors import InvalidArgument
from aiovirt.events.event import CLASSES
from aiovirt.events.registry import event_families, event_types
from aiovirt.events.types import Event

__all__ = ["Filter", "HasSubject", "kinds_of", "make_filter"]


@runtime_checkable
class HasSubject(Protocol):
    """A handle or a value that an event can be about: Domain, Netdev, …"""

    @property
    def subject(self) -> str: ...


class Filter(Struct, frozen=True):
    """Types and subject, compiled once.

    ``kinds`` has every type of event that the ``types`` stand for. ``subject`` "" matches
    everything; one that ends in ``/`` is a prefix.
    """

    types: tuple[type[Event], ...]
    kinds: frozenset[type[Event]]
    subject: str

    def matches(self, event: Event) -> bool:
        """Whether ``event`` is wanted, its type first."""
        return type(event) in self.kinds and self.may_concern(event.subject)

    def may_match(self, kind: type[Event], subject: str) -> bool:
        """Whether an event of this type and subject would be wanted."""
        return kind in self.kinds and self.may_concern(subject)

    def may_concern(self, subject: str) -> bool:
        """Whether ``subject`` is the one that is wanted, or one of them."""
        wanted = self.subject
        return not wanted or (subject.startswith(wanted) if wanted[-1] == "/" else subject == wanted)

    def select(self, events: list[Event]) -> list[Event]:
        """Those that match, in order."""
        kinds = self.kinds
        found = [event for event in events if type(event) in kinds]
        return [event for event in found if self.may_concern(event.subject)] if self.subject else found


def make_filter(types: tuple[type[Event] | str, ...], subject: HasSubject | str | None) -> Filter:
    """What matches any of ``types`` (none: all) about ``subject`` (None: anything).

    Raises InvalidArgument for what is no type, topic or family of events, for a subject that cannot name anything, and where
    no event of these types can ever be about that subject.
    """
    found = tuple(dict.fromkeys(map(_kind, types))) or (Event,)
    return _filter(found, _subject_text(subject))


@lru_cache(4096)
def _filter(found: tuple[type[Event], ...], wanted: str) -> Filter:
    if wanted and not any(kind.may_concern(wanted) for kind in found):
        names = ", ".join(sorted(kind.__name__ for kind in found))
        raise InvalidArgument(f"no event of these types is ever about {wanted[:80]!r}: {names}")
    return Filter(found, kinds_of(found), wanted)


def _kind(kind: object) -> type[Event]:
    """The class that ``kind`` is or names: ``"domain.lifecycle"``, or a family, ``"domain"``."""
    if isinstance(kind, str):
        return _named(kind)
    if isinstance(kind, type) and issubclass(kind, Event):
        return kind
    raise InvalidArgument(f"{kind!r} is not a type of event")


def _named(name: str) -> type[Event]:
    named = event_types() | event_families()
    if name in named:
        return named[name]
    from difflib import get_close_matches

    meant = get_close_matches(name, named, n=1)
    hint = f"did you mean {meant[0]!r}?" if meant else f"there are {', '.join(sorted(named))}"
    raise InvalidArgument(f"there is no event {name[:80]!r}: {hint}")


def kinds_of(types: tuple[type[Event], ...]) -> frozenset[type[Event]]:
    """Every type of event that is one of ``types`` or of their families."""
    return _kinds_of(types, len(CLASSES))


@cache
def _kinds_of(types: tuple[type[Event], ...], _count: int) -> frozenset[type[Event]]:
    return frozenset({*types, *(kind for kind in CLASSES if issubclass(kind, types))})


def _subject_text(subject: HasSubject | str | None) -> str:
    if subject is None:
        return ""
    text = subject if isinstance(subject, str) else getattr(subject, "subject", None)
    if not isinstance(text, str) or not text:
        raise InvalidArgument(f"{subject!r} has no subject in the event stream")
    if "/" not in text and text != "host":
        raise InvalidArgument(f"{text!r} is not a subject: try 'domain/<uuid>', 'netdev/<id>' or 'host'")
    kind, _, name = text.partition("/")
    if kind == "domain" and name and not _is_uuid(name):
        raise InvalidArgument(f"{text[:80]!r} is not a subject: that of a domain is 'domain/<uuid>', and a handle has it as .subject")
    return text


@lru_cache(4096)
def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False
