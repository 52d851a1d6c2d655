"""An engine whose journal others interfere with while it runs: clocks that are set, folders that go or are put back, forks, kills."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from aiovirt.engine import journal as journals
from aiovirt.engine.opening import open_journal
from aiovirt.engine.timekeeping import jumped
from aiovirt.errors import EventGap
from aiovirt.events import Event
from aiovirt.events.bus import Bus
from aiovirt.events.cursor import parse_cursor
from tests.crash.engines import HUGE, Host, drop, read_after
from tests.crash.points import points
from tests.events import samples

pytestmark = pytest.mark.anyio

STEPS = 12


@pytest.fixture(autouse=True)
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journals, "SYNC_EVERY", 0.001)
    monkeypatch.setattr(journals, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(journals, "LONGEST_PAUSE", 0.01)


class World:
    """A folder, a clock, and all that any reader was ever told."""

    def __init__(self, top: Path, seed: int) -> None:
        self.top = top
        self.folder = top / "journal"
        self.dice = random.Random(seed)  # noqa: S311 - dice, not secrets
        self.host = Host(seed)
        self.wall = 1_700_000_000 * 10**9
        self.told: dict[str, Event] = {}
        self.killed = False

    def tell(self, events: list[Event]) -> None:
        """No cursor ever stands for two events, and time never decreases within an epoch."""
        for event in events:
            assert self.told.setdefault(event.cursor, event) == event
        for one, other in pairwise(events):
            if parse_cursor(one.cursor)[0] == parse_cursor(other.cursor)[0]:
                assert one.time <= other.time

    @asynccontextmanager
    async def engine(self) -> AsyncIterator[tuple[Bus, journals.Journal]]:
        opened = await open_journal(
            self.folder, host=samples.HOST, boot_id="boot", uri="", limits=HUGE, mark=self.top / "mark", seen=self.top / "seen"
        )
        bus = Bus(
            host=samples.HOST,
            chain=opened.chain,
            head=opened.head,
            state=opened.state,
            last_time=opened.time,
            journal=opened.journal,
            clock=lambda: self.wall,
        )
        bus.publish(opened.started)
        assert opened.journal
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(opened.journal.keep, bus)
            with anyio.fail_after(60):
                yield bus, opened.journal
            tasks.cancel_scope.cancel()
        if self.killed:
            drop(opened.journal)
        else:
            bus.close()
            await opened.journal.close(bus)

    def publish(self, bus: Bus) -> None:
        for _ in range(self.dice.randrange(1, 30)):
            self.wall += self.dice.randrange(10**9)
            bus.publish(self.host.next(bus.folded))

    def set_clock(self, bus: Bus, journal: journals.Journal) -> None:
        by = self.dice.choice([8 * 86_400, -8 * 86_400, 50 * 365 * 86_400, -3600]) * 10**9
        self.wall += by
        jumped(bus, journal, by)

    def take_folder(self, _bus: Bus, _journal: journals.Journal) -> None:
        how = self.dice.choice(["removed", "moved", "replaced"])
        if not self.folder.exists():
            return
        if how == "removed":
            shutil.rmtree(self.folder, ignore_errors=True)  # the engine may be making it anew
            return
        copy = self.top / f"copy.{self.dice.randrange(10**9)}"
        with contextlib.suppress(OSError, shutil.Error):  # the same
            shutil.copytree(self.folder, copy)
            self.folder.rename(self.top / f"away.{self.dice.randrange(10**9)}")
            if how == "replaced":
                copy.rename(self.folder)

    def fork(self, _bus: Bus, _journal: journals.Journal) -> None:
        if (pid := os.fork()) == 0:
            os._exit(0)
        os.waitpid(pid, 0)

    async def settle(self, bus: Bus) -> None:
        while not bus.is_durable or bus.unwritten:
            assert bus.head
            await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize("seed", range(points(6)))
async def test_whatever_others_do_no_cursor_means_two_things_and_nothing_is_lost_in_silence(seed: int) -> None:
    with tempfile.TemporaryDirectory(prefix="aiovirt-") as folder:
        world = World(Path(folder), seed)
        for _ in range(3):
            world.killed = world.dice.random() < 0.5
            async with world.engine() as (bus, journal):
                last = bus.cursor
                for _ in range(STEPS):
                    world.publish(bus)
                    await partial(anyio.lowlevel.checkpoint)()
                    if world.dice.random() < 0.4:
                        world.dice.choice([world.set_clock, world.take_folder, world.fork])(bus, journal)
                    now = await read_after(bus, last)
                    world.tell(now)
                    last = bus.cursor
                await world.settle(bus)
                world.publish(bus)
                assert bus.cursor
                world.tell(await read_after(bus, last))
                last = bus.cursor
            async with world.engine() as (bus, _):
                while True:
                    try:
                        world.tell(await read_after(bus, last))
                    except EventGap as gap:
                        last = gap.resume
                    else:
                        break
                cursors = list(world.told)
                for cursor in world.dice.sample(cursors, min(10, len(cursors))):
                    position = bus.chain.position(cursor)
                    try:
                        rest = await read_after(bus, cursor)
                    except EventGap:
                        continue
                    assert position is not None
                    expected = [event for event in world.told.values() if (at := bus.chain.position(event.cursor)) and at > position]
                    in_order = sorted(expected, key=lambda event: bus.chain.position(event.cursor) or 0)
                    assert [event for event in rest if event.cursor in world.told] == in_order
