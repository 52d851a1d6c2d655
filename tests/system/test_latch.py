from __future__ import annotations

import anyio
import pytest

from aiovirt.system.latch import Latch

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]


async def test_all_who_wait_go_on_once_it_is_set_and_who_comes_later_does_not_wait() -> None:
    latch, told = Latch(), list[str]()

    async def wait(name: str) -> None:
        await latch.wait()
        told.append(name)

    async with anyio.create_task_group() as tasks:
        for name in "ab":
            tasks.start_soon(wait, name)
        await anyio.wait_all_tasks_blocked()
        assert (told, latch.is_set) == ([], False)
        latch.set()
        await anyio.wait_all_tasks_blocked()
        assert (sorted(told), latch.is_set) == (["a", "b"], True)
        latch.set()
        await wait("c")
    assert told[-1] == "c"


async def test_who_waits_can_be_cancelled_also_where_it_is_set() -> None:
    latch = Latch()
    with anyio.move_on_after(1) as scope:
        await latch.wait()
    assert scope.cancelled_caught
    latch.set()
    with anyio.CancelScope() as over:
        over.cancel()
        await latch.wait()
    assert over.cancelled_caught
