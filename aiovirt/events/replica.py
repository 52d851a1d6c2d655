"""A bus that follows another one: the same events, numbered there, fold into the same state here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar
from uuid import UUID

from aiovirt.errors import ProtocolError
from aiovirt.events.bus import Bus
from aiovirt.events.chain import Chain
from aiovirt.events.dropped import Dropped
from aiovirt.events.past import Past
from aiovirt.events.state import HostState
from aiovirt.events.types import Event
from aiovirt.events.waiting import EventWaker, NewWaker

__all__ = ["Replica"]

E = TypeVar("E", bound=Event)


class Replica(Bus):
    """A :class:`Bus` that nobody publishes on: :meth:`take` what the bus that it follows published, all of it and in order.

    ``chain``, ``head`` and ``state`` are that bus's at one moment, and ``past`` where its readers find what is not in this
    memory.
    """

    def __init__(  # noqa: PLR0913 - a bus at one moment, and its past
        self, *, host: UUID, chain: Chain, head: int, state: HostState, past: Past, new_waker: NewWaker = EventWaker
    ) -> None:
        super().__init__(host=host, chain=chain, head=head, state=state, new_waker=new_waker)
        self.journal = past

    def publish(self, event: E) -> E:
        """Raises RuntimeError: events are numbered where they happen."""
        raise RuntimeError(f"{type(event).__name__} cannot be published on a bus that follows another one")

    def take(self, events: Iterable[Event]) -> None:
        """The next events. Raises ProtocolError where one is missing, and then takes no more."""
        for event in events:
            if self.chain.position(event.cursor) != self.ring.head + 1:
                raise ProtocolError(f"event {event.cursor} does not follow {self.cursor}")
            self.folded.apply(event)
            position = self.ring.append(event)
            if self.index.parked:
                self.index.wake(event, position)

    def skip(self, dropped: Dropped) -> None:
        """The next ones are not to be had, and change nothing. Raises ProtocolError where they are not the next."""
        if dropped.first != self.ring.head + 1 or not dropped.changes_nothing:
            raise ProtocolError(f"events {dropped.first} to {dropped.last} cannot be left out after {self.cursor}")
        self.ring.skip(dropped)
        self.index.wake_all(self.ring.head)

    def go_on(self, chain: Chain) -> None:
        """A new epoch begins behind some event that is yet to be taken, or the last one. Raises ProtocolError when it cannot."""
        if chain.current.base < self.ring.head:
            raise ProtocolError(f"an epoch that begins at {chain.current.base}, before {self.ring.head}")
        self.chain = chain
