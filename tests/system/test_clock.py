from __future__ import annotations

import errno
import time
from typing import cast

import anyio
import anyio.lowlevel
import pytest

from aiovirt.engine import timekeeping
from aiovirt.engine.journal import Journal
from aiovirt.engine.timekeeping import jumped
from aiovirt.events import ClockJumped, Events
from aiovirt.events.bus import Bus
from aiovirt.system import clock
from aiovirt.system.clock import ClockWatch, boottime_ns
from tests.events import samples

pytestmark = pytest.mark.anyio

NO_JOURNAL = cast("Journal", None)  # a bus that is not durable never asks it for anything


async def test_a_clock_that_nobody_sets_is_not_told_of() -> None:
    with ClockWatch() as watch, anyio.move_on_after(0.05) as waited:
        await watch.jump()
    assert waited.cancelled_caught


async def test_what_the_kernel_says_of_a_clock_that_was_set_is_by_how_much(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lab guest sets a real one; here the kernel's word is made up."""
    said = [OSError(errno.EAGAIN, "no"), OSError(errno.ECANCELED, "set")]

    def read(_handle: int, _size: int) -> bytes:
        raise said.pop(0)

    async def at_once(_handle: int) -> None:
        await anyio.lowlevel.checkpoint()

    with ClockWatch() as watch:
        wall = time.time_ns()
        monkeypatch.setattr("aiovirt.system.clock.os.read", read)
        monkeypatch.setattr("aiovirt.system.clock.anyio.wait_readable", at_once)
        monkeypatch.setattr(clock, "time", SetBack(wall - 7200 * 10**9))
        by = await watch.jump()
    assert abs(by + 7200 * 10**9) < 60 * 10**9
    assert not said


class SetBack:
    def __init__(self, wall: int) -> None:
        self.wall = wall

    def time_ns(self) -> int:
        return self.wall

    def clock_gettime_ns(self, which: int) -> int:
        return time.clock_gettime_ns(which)


async def test_without_a_journal_times_are_right_again_all_the_same() -> None:
    now = 10**18
    bus = Bus(host=samples.HOST, clock=lambda: now)
    first = bus.publish(samples.started(0))
    now -= 10**12
    async with Events(bus).subscribe(ClockJumped) as jumps:
        jumped(bus, NO_JOURNAL, -(10**12))
        assert (await jumps.receive()).time == now < first.time
        jumped(bus, NO_JOURNAL, 5)
        jumped(bus, NO_JOURNAL, 10**12)
        assert (await jumps.receive()).by == 10**12
    assert len(bus.chain.eras) == 2


@pytest.mark.parametrize(("number", "comes_back"), [(errno.EMFILE, True), (errno.ENOMEM, True), (errno.ENOSYS, False)])
async def test_a_clock_is_watched_again_after_a_shortage_and_not_where_there_is_no_such_news(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int, *, comes_back: bool
) -> None:
    failures, watched = [OSError(number, "made up")], anyio.Event()

    class Watch(ClockWatch):
        def __init__(self) -> None:
            if failures:
                raise failures.pop()
            super().__init__()

        async def jump(self) -> int:
            watched.set()
            return await super().jump()

    monkeypatch.setattr(timekeeping, "ClockWatch", Watch)
    bus = Bus(host=samples.HOST)
    async with anyio.create_task_group() as tasks:
        if comes_back:
            tasks.start_soon(timekeeping.watch_clock, bus, NO_JOURNAL)
            with anyio.fail_after(60):
                await watched.wait()
        else:
            await timekeeping.watch_clock(bus, NO_JOURNAL)
        tasks.cancel_scope.cancel()
    assert "made up" in caplog.text
    assert ("are watched again" in caplog.text) is comes_back


def test_it_goes_on_while_nobody_looks() -> None:
    before = boottime_ns()
    assert boottime_ns() >= before > 0
