from __future__ import annotations

import asyncio
import socket
import threading

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest

from aiovirt.testing.clock import VirtualLoop, run_virtual, virtual_backend, virtual_backends

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

DAY = 24 * 3600.0


async def test_time_starts_at_zero_and_moves_by_exactly_what_was_slept() -> None:
    assert anyio.current_time() == 0
    await anyio.sleep(3600)
    assert anyio.current_time() == 3600


async def test_years_are_over_at_once() -> None:
    for _ in range(10):
        await anyio.sleep(365 * DAY)
    assert anyio.current_time() == 3650 * DAY


async def test_deadlines_fire_in_their_order() -> None:
    fired: list[tuple[float, int]] = []

    async def after(delay: int) -> None:
        await anyio.sleep(delay)
        fired.append((anyio.current_time(), delay))

    async with anyio.create_task_group() as tasks:
        for delay in (300, 5, 86400, 60, 1):
            tasks.start_soon(after, delay)
    assert fired == [(delay, delay) for delay in (1, 5, 60, 300, 86400)]


async def test_a_deadline_interrupts_what_never_ends() -> None:
    with anyio.move_on_after(30) as scope:
        await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert anyio.current_time() == 30


async def test_a_deadline_that_is_not_reached_costs_no_time() -> None:
    with anyio.fail_after(60):
        await anyio.sleep(1)
    assert anyio.current_time() == 1


async def test_fail_after_raises_timeout_error() -> None:
    with pytest.raises(TimeoutError):
        with anyio.fail_after(5):
            await anyio.sleep(6)
    assert anyio.current_time() == 5


async def test_time_stands_still_while_a_task_can_run() -> None:
    with anyio.move_on_after(1) as scope:
        for _ in range(1000):
            await anyio.lowlevel.checkpoint()
    assert not scope.cancelled_caught
    assert anyio.current_time() == 0


async def test_a_socket_is_served_before_time_moves() -> None:
    near, far = socket.socketpair()
    for end in (near, far):
        end.setblocking(False)

    async def echo() -> None:
        for _ in range(20):
            await anyio.wait_readable(far)
            far.send(far.recv(100))

    with near, far, anyio.fail_after(0.001):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(echo)
            for number in range(20):
                near.send(b"%d" % number)
                await anyio.wait_readable(near)
                assert near.recv(100) == b"%d" % number
    assert anyio.current_time() == 0


async def test_a_thread_at_work_is_given_its_real_time() -> None:
    started = threading.Event()
    release = threading.Event()

    def work() -> str:
        started.set()
        release.wait()
        return "done"

    async def release_when_started() -> None:
        while not started.is_set():
            await anyio.lowlevel.checkpoint()
        for _ in range(1000):
            await anyio.lowlevel.checkpoint()
        threading.Timer(0.02, release.set).start()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(release_when_started)
        with anyio.fail_after(3600):
            assert await anyio.to_thread.run_sync(work) == "done"
    assert anyio.current_time() == 0


async def test_a_thread_that_waits_for_a_deadline_of_the_loop_gets_it() -> None:
    await anyio.to_thread.run_sync(anyio.from_thread.run, anyio.sleep, 0.02)
    assert anyio.current_time() == 0.02


async def test_time_jumps_again_once_the_thread_is_done() -> None:
    await anyio.to_thread.run_sync(int)
    await anyio.sleep(DAY)
    assert anyio.current_time() == DAY


@pytest.mark.parametrize("name", ["asyncio", "trio"])
class TestRunVirtual:
    def test_it_returns_what_the_function_returns(self, name: str) -> None:
        async def late(seconds: float, answer: str) -> tuple[float, str]:
            await anyio.sleep(seconds)
            return anyio.current_time(), answer

        assert run_virtual(late, 7200.0, "yes", backend=name) == (7200, "yes")

    def test_each_run_starts_at_zero(self, name: str) -> None:
        async def nap() -> float:
            await anyio.sleep(10)
            return anyio.current_time()

        assert [run_virtual(nap, backend=name) for _ in range(2)] == [10, 10]

    def test_an_exception_leaves_as_itself(self, name: str) -> None:
        async def fail() -> None:
            await anyio.sleep(10)
            raise LookupError("gone")

        with pytest.raises(LookupError, match="gone"):
            run_virtual(fail, backend=name)


def test_there_is_virtual_time_for_asyncio_and_trio_only() -> None:
    assert [(name, backend) for name, backend, _ in virtual_backends()] == [("virtual-asyncio", "asyncio"), ("virtual-trio", "trio")]
    with pytest.raises(KeyError):
        virtual_backend("uvloop")


def test_the_loop_serves_plain_asyncio_too() -> None:
    async def never() -> None:
        await asyncio.Event().wait()

    async def main() -> float:
        await asyncio.gather(*[asyncio.sleep(delay) for delay in (3, 2, 1)])
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(never(), 60)
        return asyncio.get_running_loop().time()

    assert anyio.run(main, backend_options={"loop_factory": VirtualLoop}) == 63
