from __future__ import annotations

import anyio
import pytest
import sniffio

from aiovirt.events import DomainLifecycle, Event, JournalDegraded
from benchmarks.event_contenders import LINES, made, make_line

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("contender", LINES)
async def test_each_reader_sees_all_that_it_wants_in_order(contender: str) -> None:
    line = make_line(contender, sniffio.current_async_library())
    seen: list[list[Event]] = [[], [], []]
    lifecycle, other = list(made(4)), JournalDegraded(why="made up")
    async with anyio.create_task_group() as tasks:
        for wanted, mine in zip((DomainLifecycle, DomainLifecycle, JournalDegraded), seen, strict=True):
            await tasks.start(line.read, wanted, mine.append)
        for event in (*lifecycle[:3], other):
            line.publish(event)
        await anyio.wait_all_tasks_blocked()
        line.publish(lifecycle[3])  # to readers that wait again
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert seen == [lifecycle, lifecycle, [other]]
