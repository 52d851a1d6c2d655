"""What a reader wants to see: event types, one subject or a prefix, and its own condition."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from msgspec import Struct

from aiovirt.errors import InvalidArgument
from aiovirt.events.types import Event

__all__ = ["Filter", "HasSubject", "make_filter"]


@runtime_checkable
class HasSubject(Protocol):
    """A handle or a value that an event can be about: Domain, Netdev, …"""

    @property
    def subject(self) -> str: ...


class Filter(Struct, frozen=True):
    """Types and subject, compiled once. ``subject`` "" matches everything; one that ends in ``/`` is a prefix."""

    types: tuple[type[Event], ...]
    subject: str

    def matches(self, event: Event) -> bool:
        """Whether ``event`` is wanted, its type first."""
        if not isinstance(event, self.types):
            return False
        wanted = self.subject
        if not wanted:
            return True
        return event.subject.startswith(wanted) if wanted[-1] == "/" else event.subject == wanted


def make_filter(types: tuple[type[Event], ...], subject: HasSubject | str | None) -> Filter:
    """Raises InvalidArgument for a type that is no event, or a subject that cannot name anything."""
    for kind in types:
        if not (isinstance(kind, type) and issubclass(kind, Event)):
            raise InvalidArgument(f"{kind!r} is not a type of event")
    return Filter(types or (Event,), _subject_text(subject))


def _subject_text(subject: HasSubject | str | None) -> str:
    if subject is None:
        return ""
    text = subject if isinstance(subject, str) else getattr(subject, "subject", None)
    if not isinstance(text, str) or not text:
        raise InvalidArgument(f"{subject!r} has no subject in the event stream")
    if "/" not in text and text != "host":
        raise InvalidArgument(f"{text!r} is not a subject: try 'domain/<uuid>', 'netdev/<id>' or 'host'")
    return text
