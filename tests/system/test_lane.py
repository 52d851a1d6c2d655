from __future__ import annotations

import threading

import anyio
import pytest

from aiovirt.system.lane import Lane
from tests.system.conftest import PATIENCE

pytestmark = pytest.mark.anyio


async def test_what_raises_was_not_left_behind() -> None:
    lane = Lane(PATIENCE)

    def fail() -> None:
        raise ValueError("no")

    for _ in range(3):
        with pytest.raises(ValueError, match="no"):
            await lane.run(fail)
    assert (lane.returned, lane.is_full) == (0, False)
    with anyio.move_on_after(0.05) as waited:
        await lane.wait_for_return(0)
    assert waited.cancelled_caught


async def test_what_was_left_behind_is_counted_when_it_ends() -> None:
    lane, released = Lane(0.05), [threading.Event(), threading.Event()]
    for event in released:
        assert not lane.is_full
        assert not await lane.run(event.wait)
    assert lane.is_full
    assert not await lane.run(lambda: None), "no thread is free"
    with anyio.fail_after(PATIENCE):
        for returned, event in enumerate(released):
            assert lane.returned == returned
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(lane.wait_for_return, returned)
                await anyio.wait_all_tasks_blocked()
                event.set()
            assert await lane.run(lambda: None)
    assert (lane.returned, lane.is_full) == (2, False)
    await lane.wait_for_return(1)
