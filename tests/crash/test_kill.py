"""An engine that is killed outright, at any moment: nothing that was seen is lost, and nothing is numbered twice."""

from __future__ import annotations

import random
import subprocess
import sys
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import anyio
import pytest

from aiovirt.events import DomainEvent, Event
from aiovirt.events.cursor import parse_cursor
from tests.crash.engines import engine, fold, read_after
from tests.crash.points import points
from tests.crash.publisher import BOOT, LIMITS

if TYPE_CHECKING:
    from pathlib import Path

KILLS = 4
"""How often the engine of one folder is killed."""
Seen = dict[str, str]


def publish_until_killed(folder: Path, seed: str, lines: int) -> Seen:
    """cursor -> name of all that a reader saw before the kill, which came after so many."""
    command = [sys.executable, "-m", "tests.crash.publisher", str(folder), seed]
    seen: Seen = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        for line in child.stdout:
            cursor, name = line.split()
            assert cursor not in seen
            seen[cursor] = name
            if len(seen) == lines:
                child.kill()
    assert child.returncode == -9
    return seen


async def reopen(folder: Path, seen: Seen, *, clean: bool) -> None:
    """What an engine of the same boot finds."""
    async with engine(folder, BOOT, LIMITS, clean=clean) as (bus, opened):
        found = await read_after(bus)
        names = {event.cursor: name_of(event) for event in found}
        assert {cursor: names.get(cursor) for cursor in seen} == seen
        check_numbers(found)
        started = found.pop()
        assert started == bus.ring.get(bus.head)
        assert opened.started.clean is False
        assert opened.started.resumed
        assert same_epoch(found[-1], started) or opened.started.cut
        state = fold([*found, started])
        assert (bus.state.domains, bus.state.netdevs) == (state.domains, state.netdevs)
        last = next(reversed(seen))
        assert await read_after(bus, last) == [*found[[event.cursor for event in found].index(last) + 1 :], started]
        seen[started.cursor] = "-"


def name_of(event: Event) -> str:
    return event.name if isinstance(event, DomainEvent) else "-"


def same_epoch(one: Event, other: Event) -> bool:
    return parse_cursor(one.cursor)[0] == parse_cursor(other.cursor)[0]


def check_numbers(found: list[Event]) -> None:
    """Each event has the next number, of its epoch and of its engine."""
    for before, event in pairwise(found):
        seq = parse_cursor(event.cursor)[1]
        assert seq == (parse_cursor(before.cursor)[1] + 1 if same_epoch(before, event) else 1)
        assert event.time >= before.time
        if name_of(event) != "-" and name_of(before) != "-":
            assert int(name_of(event).split("-")[1]) == int(name_of(before).split("-")[1]) + 1


@pytest.mark.parametrize("seed", range(points(20) // KILLS))
def test_a_kill_loses_nothing_that_was_seen(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 - dice, not secrets
    folder = tmp_path / "journal"
    seen: Seen = {}
    for kill in range(KILLS):
        seen |= publish_until_killed(folder, f"{seed}{kill}", dice.choice([1, dice.randrange(2, 60), dice.randrange(60, 900)]))
        if dice.random() < 0.7 or kill == KILLS - 1:
            anyio.run(partial(reopen, folder, seen, clean=dice.random() < 0.5))
