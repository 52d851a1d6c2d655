"""The clock of a host that is set: only in a guest may a test do that."""

from __future__ import annotations

import time
from collections.abc import Iterator

import anyio
import pytest

import aiovirt
from aiovirt.events import ClockJumped, Event, HostStarted
from aiovirt.events.cursor import parse_cursor
from aiovirt.system.clock import boottime_ns
from tests.labguest.heard import all_after

pytestmark = pytest.mark.anyio

HOUR = 3600 * 10**9


@pytest.fixture
def clock() -> Iterator[None]:
    """It is put right again afterwards."""
    ahead = time.time_ns() - boottime_ns()
    yield
    time.clock_settime_ns(time.CLOCK_REALTIME, ahead + boottime_ns())


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"], indirect=True)
@pytest.mark.parametrize("years", [0, 50])
async def test_a_clock_that_is_set_is_told_and_deletes_nothing(uri: str, clock: None, years: int) -> None:  # noqa: ARG001
    by = years * 365 * 24 * HOUR or 8 * 24 * HOUR
    async with aiovirt.connect(uri) as host, host.events.subscribe(ClockJumped) as jumps:
        begin = host.events.cursor
        time.clock_settime_ns(time.CLOCK_REALTIME, time.time_ns() + by)
        forward = await heard(jumps)
        assert abs(forward.by - by) < 60 * 10**9
        assert parse_cursor(forward.cursor)[0] == parse_cursor(begin)[0]
        time.clock_settime_ns(time.CLOCK_REALTIME, time.time_ns() - by)
        back = await heard(jumps)
        assert abs(back.by + by) < 60 * 10**9
        assert parse_cursor(back.cursor)[1] == 1, "a new epoch"
        assert abs(back.time - time.time_ns()) < 60 * 10**9, "times are right again"
        assert back.time < forward.time
    async with aiovirt.connect(uri) as host:
        told: list[Event] = await all_after(host, begin)
        assert [event for event in told if isinstance(event, ClockJumped)] == [forward, back]
        (started,) = [event for event in told if isinstance(event, HostStarted)]
        assert (started.clean, started.resumed) == (True, True)
        by_epoch: dict[str, list[int]] = {}
        for event in told:
            by_epoch.setdefault(parse_cursor(event.cursor)[0], []).append(event.time)
        assert all(times == sorted(times) for times in by_epoch.values())


async def heard(jumps: aiovirt.events.Subscription[ClockJumped]) -> ClockJumped:
    with anyio.fail_after(60):
        return await jumps.receive()
