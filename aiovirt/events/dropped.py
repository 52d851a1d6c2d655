"""Events that were dropped early, to keep those of others: how many of what, and where they stood. Pure."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from aiovirt.events.filters import Filter
from aiovirt.events.registry import event_types
from aiovirt.events.types import Event, UnknownEvent

__all__ = ["ANYTHING", "Dropped", "Kind"]

ANYTHING: Final = ""
"""As a topic: nobody knows any more what they were."""


class Kind(Struct, frozen=True, array_like=True):
    """``count`` events of this topic about this subject; ``name`` is QAPI's name of those that QEMU itself said, else empty."""

    topic: str
    subject: str
    name: str
    count: int

    @property
    def type(self) -> type[Event]:
        """The class that such an event has here."""
        return event_types().get(self.topic, UnknownEvent)

    def is_wanted(self, wanted: Filter) -> bool:
        """Whether a reader with this filter would have had them."""
        return self.topic == ANYTHING or wanted.may_match(self.type, self.subject)


class Dropped(Struct, frozen=True):
    """All events from the one numbered ``first`` to the one numbered ``last``, none of which is kept."""

    first: int
    last: int
    kinds: tuple[Kind, ...]

    def missed(self, wanted: Filter) -> int:
        """How many of them a reader with this filter would have had."""
        return min(self.last - self.first + 1, sum(kind.count for kind in self.kinds if kind.is_wanted(wanted)))

    @property
    def changes_nothing(self) -> bool:
        """Whether the state is the same without them."""
        return all(kind.topic != ANYTHING and kind.type.changes_nothing() for kind in self.kinds)

    def moved(self, by: int, first: int = 0) -> Dropped:
        """The same with other numbers, and without those before ``first``."""
        return Dropped(max(self.first + by, first), self.last + by, self.kinds)
