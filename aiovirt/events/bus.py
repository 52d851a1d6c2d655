"""The bus: one writer, one ring of numbered events, and readers that are cursors into it.

``publish`` numbers, folds, keeps and announces an event in one synchronous step on the loop's
thread, so a snapshot and the events after it meet exactly. A reader never holds the writer up: one
that falls out of the ring reads the journal, and where that has it no more it gets an EventGap.

With a journal no reader sees an event (nor its cursor, nor the state it led to) before its bytes are
in the file: whoever looks first writes out what waits. What needs a disk is behind a door.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import get_ident
from typing import Final, TypeVar
from uuid import UUID

from msgspec import Struct
from msgspec.structs import force_setattr

from aiovirt.errors import EventGap, SystemFailure
from aiovirt.events.chain import Chain
from aiovirt.events.cursor import format_cursor
from aiovirt.events.filters import Filter
from aiovirt.events.index import Index
from aiovirt.events.past import Journal, Past
from aiovirt.events.ring import Ring
from aiovirt.events.segment import encode_event
from aiovirt.events.state import HostState
from aiovirt.events.types import Event, JournalDegraded
from aiovirt.events.waiting import EventWaker, NewWaker
from aiovirt.model.view import HostView

__all__ = ["Bus", "BusStatistics"]

E = TypeVar("E", bound=Event)

CAPACITY: Final = 65_536
BUDGET: Final = 64 * 1024 * 1024
GROUP: Final = 1000
LAST_DIGITS: Final = tuple(f"{number:03}" for number in range(GROUP))
"""To write a whole cursor takes longer than all else in numbering an event."""
WORDS_LIMIT: Final = 4096
"""Letters of a word that has to be shortened."""
UNWRITTEN: Final = 256 * 1024
"""Bytes that may wait to be written when nobody looks."""


class BusStatistics(Struct, frozen=True):
    """Figures of the bus.

    ``published`` counts the events since this engine began, ``kept`` those still in memory,
    ``parked`` the readers that wait. ``dropped_early`` says of subjects that said too much how many of
    their events memory gave up before those of others.
    """

    published: int
    kept: int
    capacity: int
    parked: int
    dropped_early: dict[str, int] = {}


class Bus:
    """The numbered events of one host and the state they fold into.

    ``chain`` and ``state`` are what was there before, for a journal that goes on, and ``last_time``
    the time of its last event. ``capacity`` and ``budget`` (bytes) bound what is kept in memory;
    ``clock`` gives nanoseconds since 1970 UTC; ``new_waker`` how a reader waits.
    """

    def __init__(  # noqa: PLR0913 - all but the host have a value that does
        self,
        *,
        host: UUID,
        chain: Chain | None = None,
        head: int = 0,
        state: HostState | None = None,
        last_time: int = 0,
        journal: Journal | None = None,
        capacity: int = CAPACITY,
        budget: int = BUDGET,
        clock: Callable[[], int] = time.time_ns,
        new_waker: NewWaker = EventWaker,
    ) -> None:
        self.host = host
        self.folded = state or HostState()
        self.ring = Ring(capacity, budget, head)
        self.index = Index()
        self.closed = False
        self.new_waker = new_waker
        self.journal: Past | None = journal
        self._began = head
        self._capacity = capacity
        self._clock = clock
        self._last_time = last_time
        self._thread = get_ident()
        self._writing: Journal | None = journal
        self.unwritten = 0  # events that are in memory only, and that nobody has seen
        self._go_on(chain or Chain.fresh())

    def _go_on(self, chain: Chain) -> None:
        self.chain = chain
        self._digit = (self.ring.head - chain.current.base) % GROUP
        self._prefix = self._prefix_at(self.ring.head)

    def _prefix_at(self, position: int) -> str:
        """What the cursor at ``position`` begins with, and those of its group: all up to their last digits."""
        return format_cursor(self.chain.current.epoch, position - self.chain.current.base)[: -len(LAST_DIGITS[0])]

    # -- writing ---------------------------------------------------------------------------

    def publish(self, event: E) -> E:
        """Numbers ``event``, folds it into the state, keeps it and wakes who waits for it.

        Returns it, stamped. Raises RuntimeError off the loop's thread, for an event that was published
        before, or once the bus is closed; ValueError for one that no journal can hold.
        """
        if event.cursor or get_ident() != self._thread:
            self._refuse(event)
        now = self._clock()
        if now < self._last_time:  # noqa: PLR1730 - max() takes longer
            now = self._last_time
        self._last_time = now
        digit = self._digit + 1
        if digit == GROUP:
            digit, self._prefix = 0, self._prefix_at(self.ring.head + 1)
        self._digit = digit
        force_setattr(event, "cursor", self._prefix + LAST_DIGITS[digit])
        force_setattr(event, "time", now)
        force_setattr(event, "host", self.host)
        if self._writing is None:
            waiting = 0
        else:
            waiting = self._hand_over(event, self._writing)
            self.unwritten += 1
        event.fold(self.folded)
        position = self.ring.append(event)
        if self.index.parked:
            self.index.wake(event, position)
        if waiting:
            self._see_to_it(waiting)
        return event

    def _hand_over(self, event: Event, journal: Journal) -> int:
        """Gives ``event`` to the journal; one that cannot be written as it is (words that are no text, or endless) is made so."""
        try:
            try:
                return journal.append(event)
            except ValueError:
                _make_plain(event)
                return journal.append(event)
        except BaseException:
            self._digit -= 1  # below 0 at a group's first, whose number is given out again
            force_setattr(event, "cursor", "")
            raise

    def _see_to_it(self, waiting: int) -> None:
        """So many bytes wait for the file: somebody puts them there, also where nobody looks."""
        if self.unwritten == 1 and self._writing is not None:
            self._writing.note()
        if waiting > UNWRITTEN:
            self.write()

    def write(self) -> None:
        """Puts what is in memory only into the journal's file, where there is one; afterwards readers may see it."""
        if not self.unwritten or self._writing is None:
            return
        try:
            self._writing.write()
        except SystemFailure as failure:
            self.degrade(str(failure))
        else:
            self.unwritten = 0

    @property
    def is_durable(self) -> bool:
        """Whether what is published outlives this process."""
        return self._writing is not None

    def begin_epoch(self) -> str:
        """From the next event on they are of a new epoch, which is returned, and may have earlier times. All before is written."""
        self.write()
        self._go_on(self.chain.chained(self.ring.head))
        self._last_time = 0
        return self.chain.current.epoch

    def go_on_disk(self, journal: Journal) -> None:
        """``journal`` has all that memory has, and is written from now on."""
        self.journal = self._writing = journal
        self.unwritten = 0

    def degrade(self, why: str) -> None:
        """The journal's disk failed: from the first event that is not in the file on, a new epoch goes on in memory.

        Nobody has seen those events, so they take numbers of the new epoch: a cursor that was given
        out is never given to another event, whatever the file has when it is read again.
        """
        if self._writing is None:
            return
        self._writing.note()
        self._writing = None
        written = self.ring.head - self.unwritten
        self.unwritten = 0
        self._go_on(self.chain.chained(written))
        for position in range(written + 1, self.ring.head + 1):
            if (event := self.ring.get(position)) is not None:
                before = event.cursor
                force_setattr(event, "cursor", self.chain.cursor(position))
                event.renumbered(before, self.folded)
        if not self.closed:
            self.publish(JournalDegraded(why=why.encode(errors="backslashreplace").decode()))

    def close(self) -> None:
        """Ends every stream: what is still kept is read out, then HostGone follows."""
        self.write()
        self.closed = True
        self._thread = 0  # nobody publishes any more
        self.index.wake_all(self.ring.head + 1)

    def _refuse(self, event: Event) -> None:
        if self.closed:
            raise RuntimeError("the bus is closed")
        if event.cursor:
            raise RuntimeError(f"event {event.cursor} was published before")
        raise RuntimeError("events are published on the loop's thread only")

    # -- reading ---------------------------------------------------------------------------

    def payloads(self, first: int, last: int) -> list[bytes]:
        """The events at ``first`` to ``last``, all of them in memory, encoded: as the journal wrote them, where it just did."""
        written = None if self._writing is None else self._writing.payloads(first, last)
        return [encode_event(event) for event in self.ring.span(first, last)] if written is None else written

    @property
    def state(self) -> HostState:
        """The present, for reading: all that it shows is in the journal."""
        if self.unwritten:
            self.write()
        return self.folded

    @property
    def head(self) -> int:
        """The position of the newest event; readers may see it."""
        if self.unwritten:
            self.write()
        return self.ring.head

    @property
    def cursor(self) -> str:
        """The cursor of the newest event."""
        head = self.head  # to look may begin an epoch: a write that fails does
        return self.chain.cursor(head)

    @property
    def first(self) -> int:
        """The position of the oldest event that can still be read by anyone (after the newest when there is none)."""
        return self.journal.first if self.journal else self.ring.floor

    def seek(self, after: str, wanted: Filter | None = None) -> int:
        """The position to read first so as to go on after the cursor ``after``, for who wants that.

        Raises InvalidArgument for what is no cursor, EventGap when events after it are gone, when it
        is of an epoch that is not known, or when it is past the end of what was kept.
        """
        head = self.head
        position = self.chain.position(after)
        if position is None or position > head:
            raise self.gap(None, wanted)
        if position + 1 < self.first:
            raise self.gap(position + 1, wanted)
        return position + 1

    def gap(self, position: int | None, wanted: Filter | None = None) -> EventGap:
        """The EventGap of a reader that wanted to go on at ``position`` (None: nobody knows where that was).

        It can go on where the gap ends, with all that ``wanted`` matches.
        """
        self.write()
        first = self.first
        if wanted is not None and self.journal is None and self.ring.spilled(first, wanted) is None:
            first = self.ring.first
        if position is not None and position >= first:
            # What is gone is in a hole between two epochs, or between what was spilled and the ring.
            first = self.chain.behind_hole(position) or self.ring.first
        missed = None if position is None else first - position
        return EventGap(self.chain.cursor(first), missed, self.chain.cursor(first - 1))

    def snapshot(self) -> HostView:
        """The state at :attr:`cursor`, frozen."""
        return self.state.snapshot(self.cursor)

    def statistics(self) -> BusStatistics:
        """Figures of now."""
        dropped_early: dict[str, int] = {}
        for (_, subject), gone in self.ring.dropped_early.items():
            dropped_early[subject] = dropped_early.get(subject, 0) + gone.count
        return BusStatistics(self.ring.head - self._began, self.ring.kept, self._capacity, self.index.waiting(), dropped_early)


def _make_plain(event: Event) -> None:
    """Makes the words of an event that nobody has seen fit to be kept: text that can be written, and not without end."""
    for name in event.__struct_fields__:
        value = getattr(event, name)
        if isinstance(value, str) and name != "cursor":
            force_setattr(event, name, value[:WORDS_LIMIT].encode(errors="backslashreplace").decode())
