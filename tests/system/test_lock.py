from __future__ import annotations

import anyio
import pytest

from aiovirt.system.lock import Lock

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]


async def test_one_has_it_at_a_time_in_the_order_they_asked() -> None:
    lock, had = Lock(), list[str]()

    async def have(name: str) -> None:
        await lock.acquire()
        had.append(name)

    assert lock.acquire_nowait()
    async with anyio.create_task_group() as tasks:
        for number, name in enumerate("abc", 1):
            tasks.start_soon(have, name)
            await anyio.wait_all_tasks_blocked()
            assert len(had) == 0, number
        for number in range(3):
            assert not lock.acquire_nowait()
            lock.release()
            await anyio.wait_all_tasks_blocked()
            assert had == list("abc"[: number + 1])
    lock.release()
    assert lock.acquire_nowait()


async def test_who_is_cancelled_while_it_waits_holds_nobody_up() -> None:
    lock, had = Lock(), list[str]()
    scopes = {name: anyio.CancelScope() for name in "abc"}

    async def have(name: str) -> None:
        with scopes[name]:
            await lock.acquire()
            had.append(name)

    assert lock.acquire_nowait()
    async with anyio.create_task_group() as tasks:
        for name in scopes:
            tasks.start_soon(have, name)
            await anyio.wait_all_tasks_blocked()
        scopes["a"].cancel()
        await anyio.wait_all_tasks_blocked()
        lock.release()
        scopes["b"].cancel()  # it was just given it
        await anyio.wait_all_tasks_blocked()
        if had[:1] == ["b"]:
            lock.release()
            await anyio.wait_all_tasks_blocked()
    assert had[-1] == "c"
    lock.release()
    assert lock.acquire_nowait()
