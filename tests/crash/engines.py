"""Engines reduced to their journal and bus, for tests that end them in every way there is."""

from __future__ import annotations

import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiovirt.engine.journal import Journal
from aiovirt.engine.opening import Opened, open_journal
from aiovirt.engine.segments import Limits
from aiovirt.errors import EventGap
from aiovirt.events import Event, Events, NetdevAdded, NetdevChanged, NetdevRemoved
from aiovirt.events.bus import Bus
from aiovirt.events.cursor import parse_cursor
from aiovirt.events.state import HostState
from aiovirt.model.state import Detail, DomainState, Lifecycle, Reason
from tests.events import samples

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence
    from pathlib import Path

SMALL = Limits(segment=2000, bytes=20_000, share=1)  # nobody says too much: what goes is the oldest, whole
HUGE = Limits(segment=2000, bytes=10_000_000)


async def open_engine(folder: Path, boot: str, limits: Limits = SMALL, capacity: int = 64) -> tuple[Bus, Opened]:
    """A bus that goes on with the journal in ``folder``; the first event that it has is HostStarted."""
    opened = await open_journal(folder, host=samples.HOST, boot_id=boot, uri="test:///", limits=limits)
    bus = Bus(
        host=samples.HOST,
        chain=opened.chain,
        head=opened.head,
        state=opened.state,
        last_time=opened.time,
        journal=opened.journal,
        capacity=capacity,
    )
    bus.publish(opened.started)
    return bus, opened


@asynccontextmanager
async def engine(
    folder: Path, boot: str, limits: Limits = SMALL, *, capacity: int = 64, clean: bool = True
) -> AsyncIterator[tuple[Bus, Opened]]:
    """An engine whose journal is kept by hand (:func:`turn_over`); without ``clean`` it ends as if it were killed."""
    bus, opened = await open_engine(folder, boot, limits, capacity)
    assert opened.journal, opened.failure
    try:
        await opened.journal._retire()
        yield bus, opened
    except BaseException:
        drop(opened.journal)
        raise
    if clean:
        bus.close()
        await opened.journal.close(bus)
    else:
        drop(opened.journal)


def drop(journal: Journal) -> None:
    """What a kill leaves: the file as it was written, and nothing else."""
    assert journal._appender is not None
    journal._appender.close()


async def turn_over(journal: Journal, bus: Bus) -> None:
    """What ``keep`` does when a segment is full, at once."""
    bus.write()
    assert journal._appender is not None
    if bus.is_durable and journal._is_full(journal._appender):
        await journal._rotate(bus, journal._appender)


async def read_after(bus: Bus, cursor: str | None = None) -> list[Event]:
    """All events after ``cursor``, or all that there are; raises EventGap."""
    after = bus.chain.cursor(bus.first - 1) if cursor is None else cursor
    found: list[Event] = []
    async with Events(bus).subscribe(after=after) as stream:
        while stream.cursor != bus.cursor:
            found.append(await stream.receive())
    return found


def fold(events: Iterable[Event]) -> HostState:
    """The state that ``events`` lead to, folded from nothing."""
    state = HostState()
    for event in events:
        state.apply(event)
    return state


class Host:
    """Makes up what happens on a host: domains and devices come, change and go."""

    def __init__(self, seed: object) -> None:
        self.dice = random.Random(str(seed))  # noqa: S311 - dice, not secrets
        self._number = 0

    def next(self, state: HostState) -> Event:
        """One more event that makes sense in ``state``."""
        self._number += 1
        move = self.dice.randrange(4)
        if move and state.netdevs:
            old = self.dice.choice(list(state.netdevs.values()))
            if move == 1:
                return NetdevRemoved(device=old)
            return NetdevChanged(old=old, new=samples.netdev(old.ifindex, id=old.id, mtu=self.dice.randrange(9000)))
        if move > 1:
            incarnation = state.incarnation + 1
            return NetdevAdded(device=samples.netdev(incarnation, id=f"{incarnation}.{incarnation}"))
        if move:
            return samples.lifecycle(
                self.dice.randrange(3), Lifecycle.STOPPED, Detail.DESTROYED, DomainState.SHUTOFF, Reason.DESTROYED, persistent=False
            )
        return samples.started(self.dice.randrange(3))


class Told:
    """All events that anybody was told, in order: what no engine may ever contradict."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.lost: list[Event] = []
        self._by_cursor: dict[str, Event] = {}

    def tell(self, events: Iterable[Event]) -> None:
        for event in events:
            before = self._by_cursor.get(event.cursor)
            assert before is None or before == event, f"{event.cursor} is both {before} and {event}"
            if before is None:
                self._by_cursor[event.cursor] = event
                self.events.append(event)

    def survive(self, count: int) -> None:
        """Only the first ``count`` are left."""
        self.lost += self.events[count:]
        del self.events[count:]

    async def check(self, bus: Bus, some: Sequence[int] | None = None) -> None:
        """A reader that goes on after any of them gets exactly the rest, or is told the truth."""
        present = await read_after(bus)
        kept = len(self.events) - len(present)
        assert kept >= 0
        assert present == self.events[kept:]
        for event in self.lost[-20:]:
            assert (await gap_after(bus, event.cursor)).missed is None
        for place in range(len(self.events)) if some is None else some:
            cursor = self.events[place].cursor
            if place + 1 >= kept:
                assert await read_after(bus, cursor) == self.events[place + 1 :]
            else:
                gap = await gap_after(bus, cursor)
                assert gap.missed in {kept - place - 1, None}
                assert gap.missed is not None or parse_cursor(cursor)[0] not in {era.epoch for era in bus.chain.eras}
                assert gap.first_available == present[0].cursor
                assert await read_after(bus, gap.resume) == present


async def gap_after(bus: Bus, cursor: str) -> EventGap:
    """The gap of who asks to go on there."""
    try:
        await read_after(bus, cursor)
    except EventGap as gap:
        return gap
    raise AssertionError(f"nothing is missing after {cursor}")
