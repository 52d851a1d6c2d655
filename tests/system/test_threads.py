from __future__ import annotations

import threading

import anyio
import pytest

from aiovirt.system.threads import BoundedThreads

pytestmark = pytest.mark.anyio

PATIENCE = 60


async def test_what_raises_was_not_left_behind() -> None:
    threads = BoundedThreads(PATIENCE)

    def fail() -> None:
        raise ValueError("no")

    for _ in range(3):
        with pytest.raises(ValueError, match="no"):
            await threads.run(fail)
    assert (threads.returned, threads.is_full) == (0, False)
    with anyio.move_on_after(0.05) as waited:
        await threads.wait_for_return(0)
    assert waited.cancelled_caught


async def test_what_was_left_behind_is_counted_when_it_ends() -> None:
    threads, released = BoundedThreads(0.05), [threading.Event(), threading.Event()]
    for event in released:
        assert not threads.is_full
        assert not await threads.run(event.wait)
    assert threads.is_full
    assert not await threads.run(lambda: None), "no thread is free"
    with anyio.fail_after(PATIENCE):
        for returned, event in enumerate(released):
            assert threads.returned == returned
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(threads.wait_for_return, returned)
                await anyio.wait_all_tasks_blocked()
                event.set()
            assert await threads.run(lambda: None)
    assert (threads.returned, threads.is_full) == (2, False)
    await threads.wait_for_return(1)
