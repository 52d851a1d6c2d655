"""What all events have.

An event is made by what learned of it, without a number; the bus stamps ``cursor``, ``time`` and
``host`` when it publishes. Nothing here does I/O or knows who reads.
"""

from __future__ import annotations

from typing import ClassVar, Final
from uuid import UUID

from msgspec import Struct

from aiovirt.events.words import clock
from aiovirt.text import plain

__all__ = ["NIL", "Event"]

NIL: Final = UUID(int=0)
"""The host of an event that is not published yet."""


class Event(Struct, frozen=True, kw_only=True, gc=False):
    """What all events have.

    ``cursor`` is ``EPOCH:SEQ``: text order is event order. ``time`` is nanoseconds since 1970 UTC,
    never decreasing within an epoch; ``source_time`` is the time the source gave (QEMU's), or None.
    ``host`` is this host's UUID; ``cause`` the id of the order that led to it, or None. ``missed``
    says that it happened while no engine was there: ``time`` is when it was learned.
    """

    cursor: str = ""
    time: int = 0
    source_time: int | None = None
    host: UUID = NIL
    cause: str | None = None
    missed: bool = False

    family: ClassVar[str] = "event"
    libvirt: ClassVar[str] = ""
    """What libvirt's own clients know it as; empty where libvirt has nothing like it."""
    trigger: ClassVar[str] = ""
    """What makes it happen."""

    @property
    def subject(self) -> str:
        """What it is about: ``domain/<uuid>``, ``netdev/<id>`` or ``host``."""
        return "host"

    @classmethod
    def may_concern(cls, wanted: str) -> bool:  # noqa: ARG003 - an event of a kind that says no more may be about anything
        """Whether there can be an event of this kind about the subject ``wanted``, or, where that is a prefix, about one of them."""
        return True

    def key(self) -> object:
        """What it is about, as the value that is had and hashed at the least cost."""
        return None

    def weight(self) -> int:
        """About how many bytes it holds in memory: what the bus's budgets count."""
        return 512

    @property
    def topic(self) -> str:
        """Its kind, as in the outside form: ``domain.lifecycle``, ``netdev.changed``, …"""
        return str(self.__struct_config__.tag)

    def describe(self) -> tuple[str, str, str]:
        """(whom, what happened, details), the three parts of its line for people."""
        return self.subject, self.topic, ""

    def __str__(self) -> str:
        return "  ".join(part for part in (clock(self.time), *self.line()) if part)

    def line(self) -> tuple[str, str, str]:
        """The same as :meth:`describe`, fit for a terminal, and with whether it was missed."""
        who, what, detail = map(plain, self.describe())
        return who, what, f"{detail}  (missed)".lstrip() if self.missed else detail
