"""The window of events in memory: the newest ones, whole, within a budget that no one subject can use up.

Events have positions without a gap, and an event's weight stands for its bytes. The ring drops its
oldest when it is full. While one subject (a guest that spams) holds over its share of it, what others
said is spilled as it leaves the ring, instead of being lost, and what is dropped of the noisy one is counted:
a reader that wanted it gets an EventGap, one that did not goes on undisturbed.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from msgspec import Struct

from aiovirt.events.dropped import Dropped
from aiovirt.events.filters import Filter
from aiovirt.events.types import Event

__all__ = ["DroppedEarly", "Ring"]

SHARE: Final = 4
"""A subject is noisy when it holds more than one part in so many of the ring."""
BATCH: Final = 256
"""Events that may come before they are weighed."""


class DroppedEarly(Struct):
    """Events of one kind and subject that were dropped, while others were kept: how many, and the last one's position."""

    count: int
    last: int


class _Chunk(Struct, gc=False):
    """Events that follow one another, and once they are weighed what each subject holds of them."""

    events: list[Event]
    loads: dict[object, int]


class Ring:
    """About ``capacity`` events and ``budget`` bytes at most, beginning after position ``head``; as much again may be spilled."""

    def __init__(self, capacity: int, budget: int, head: int = 0) -> None:
        self.head = head
        self.first = head + 1
        self.dropped_early: dict[tuple[type[Event], str], DroppedEarly] = {}
        self._begin = head + 1
        self._batch = min(BATCH, -(-capacity // BATCH))
        self._newest: list[Event] = []
        self._chunks = {0: _Chunk(self._newest, {})}  # by number, each but the newest with a whole batch
        self._budget = budget
        self._share = budget // SHARE
        self._grain = -(-budget // capacity)  # each event weighs at least this, so the budget bounds the count, too
        self._weight = 0
        self._loads: dict[object, int] = {}  # what each subject holds of the ring, by what names it at the least cost
        self._noisy: set[object] = set()
        self._spilled: deque[tuple[int, Event, int]] = deque()
        self._spilled_weight = 0
        self._floor = head + 1

    def append(self, event: Event) -> int:
        """Takes the next event in; returns its position."""
        self.head = head = self.head + 1
        newest = self._newest
        newest.append(event)
        if len(newest) == self._batch:
            self._weigh()
        return head

    def _weigh(self) -> None:
        """Counts what came since the last time, and drops what is too much."""
        grain, batch = self._grain, self._chunks[self._number(self.head)].loads
        for event in self._newest:
            key, weight = event.key(), event.weight()
            batch[key] = batch.get(key, 0) + (weight if weight > grain else grain)  # noqa: FURB136 - max() takes longer
        loads, share = self._loads, self._share
        for key, weight in batch.items():
            loads[key] = load = loads.get(key, 0) + weight
            if load > share:
                self._noisy.add(key)
        self._weight += sum(batch.values())
        while self._weight > self._budget and len(self._chunks) > 1:
            self._drop_oldest()
        self._newest = []
        self._chunks[self._number(self.head + 1)] = _Chunk(self._newest, {})

    def _number(self, position: int) -> int:
        """That of the chunk with the event at ``position``."""
        return (position - self._begin) // self._batch

    def span(self, first: int, last: int) -> list[Event]:
        """The events at ``first`` to ``last``, both within the ring."""
        begin, size = self._begin, self._batch
        (number, start), (final, stop) = divmod(first - begin, size), divmod(last - begin, size)
        if number == final:
            return self._chunks[number].events[start : stop + 1]
        between = (event for other in range(number + 1, final) for event in self._chunks[other].events)
        return [*self._chunks[number].events[start:], *between, *self._chunks[final].events[: stop + 1]]

    def get(self, position: int) -> Event | None:
        """The event at ``position``, or None when the ring does not have it (any more)."""
        if not self.first <= position <= self.head:
            return None
        return self._chunks[self._number(position)].events[(position - self._begin) % self._batch]

    def skip(self, dropped: Dropped) -> None:
        """Events that follow are not to be had: what there is is spilled, and those count as dropped."""
        for number in sorted(self._chunks):
            self._part(self._chunks[number].events)
            self.first += len(self._chunks[number].events)
        for kind in dropped.kinds:
            dropped_early = self.dropped_early.setdefault((kind.type, kind.subject), DroppedEarly(0, dropped.last))
            dropped_early.count, dropped_early.last = dropped_early.count + kind.count, dropped.last
        self.head, self.first = dropped.last, dropped.last + 1
        self._begin, self._newest, self._weight = self.first, [], 0
        self._chunks = {0: _Chunk(self._newest, {})}
        self._loads.clear()
        self._noisy.clear()

    # -- what left the ring ----------------------------------------------------------------

    @property
    def floor(self) -> int:
        """The first position from which on nothing is gone but what is counted in :attr:`dropped_early`."""
        return self._floor

    def spilled(self, position: int, wanted: Filter) -> list[Event] | None:
        """All that ``wanted`` matches from ``position`` up to the ring, or None where some of that is gone."""
        if position < self.floor or any(
            dropped.last >= position and wanted.may_match(kind, subject) for (kind, subject), dropped in self.dropped_early.items()
        ):
            return None
        return [event for at, event, _ in self._spilled if at >= position and wanted.matches(event)]

    @property
    def kept(self) -> int:
        """How many events there are, those spilled included."""
        return self.head - self.first + 1 + len(self._spilled)

    def _drop_oldest(self) -> None:
        """The oldest chunk leaves the ring."""
        chunk = self._chunks.pop(self._number(self.first))
        last = self.first + self._batch - 1
        if self._noisy:
            self._part(chunk.events)
        else:
            self._forget(last)
        self.first = last + 1
        for key, weight in chunk.loads.items():
            self._weight -= weight
            self._lighten(key, weight)

    def _part(self, oldest: list[Event]) -> None:
        """Spills what is not of the noisy ones, and counts the rest."""
        for position, event in enumerate(oldest, self.first):
            if event.key() not in self._noisy:
                self._spill(position, event)
            else:
                dropped_early = self.dropped_early.setdefault((type(event), event.subject), DroppedEarly(0, position))
                dropped_early.count, dropped_early.last = dropped_early.count + 1, position

    def _lighten(self, key: object, weight: int) -> None:
        load = self._loads[key] - weight
        if load:
            self._loads[key] = load
        else:
            del self._loads[key]
        if load <= self._share:
            self._noisy.discard(key)

    def _forget(self, position: int) -> None:
        """The event at ``position`` is gone for good, and so is all before it."""
        self._spilled.clear()
        self._spilled_weight = 0
        self.dropped_early.clear()
        self._floor = position + 1

    def _spill(self, position: int, event: Event) -> None:
        weight = max(event.weight(), self._grain)
        self._spilled.append((position, event, weight))
        self._spilled_weight += weight
        while self._spilled_weight > self._budget:
            oldest, _, gone = self._spilled.popleft()
            self._spilled_weight -= gone
            self._floor = oldest + 1
            self.dropped_early = {key: dropped_early for key, dropped_early in self.dropped_early.items() if dropped_early.last > oldest}
