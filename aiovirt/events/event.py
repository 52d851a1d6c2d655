"""What all events have.

An event is made by what learned of it, without a number; the bus stamps ``cursor``, ``time`` and
``host`` when it publishes. Nothing here does I/O or knows who reads.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final, Self
from uuid import UUID

from msgspec import Struct

from aiovirt.events.state import HostState
from aiovirt.events.words import clock
from aiovirt.model.table import TableType
from aiovirt.text import plain

__all__ = ["CLASSES", "NIL", "Event"]

NIL: Final = UUID(int=0)
"""The host of an event that is not published yet."""
CLASSES: Final[list[type[Event]]] = []
"""Every class of events, families included, in the order in which they were defined: each is here as soon as it is one."""


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
    table: ClassVar[TableType[Any, Any] | None] = None
    """The table of the host's state that its :meth:`row` is put into; None where it changes none."""
    removes: ClassVar[bool] = False
    """Whether its :meth:`row` is taken away from there instead."""

    def __init_subclass__(cls, **options: Any) -> None:  # noqa: ANN401 - msgspec's own
        super().__init_subclass__(**options)
        CLASSES.append(cls)

    @classmethod
    def made(cls, **members: Any) -> Self:  # noqa: ANN401 - its own
        """The event with these members, as its outside form has them."""
        return cls(**members)

    def row(self) -> object:
        """The value that it puts into its table, or takes away. Each class with a table has one, or folds in another way."""
        raise NotImplementedError(f"{type(self).__name__} has a table, and does not say what it puts there")

    def fold(self, state: HostState) -> None:
        """Does to ``state`` what it says: nothing without a table."""
        kind = self.table
        if kind is None:
            return
        if self.removes:
            state.table(kind).drop(self.row())
        else:
            state.table(kind).put(self.row())

    @classmethod
    def changes_nothing(cls) -> bool:
        """Whether any state is the same without events of this class."""
        return cls.table is None and cls.fold is Event.fold

    def renumbered(self, before: str, state: HostState) -> None:
        """It was numbered ``before`` when it was folded into ``state``, and has another cursor now; nobody has seen that."""

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
