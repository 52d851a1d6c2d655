"""Interleavings and checkpoints that trio can dictate: cancellation and wake-ups at every await."""

from __future__ import annotations

import anyio
import pytest
import trio
from trio.testing import Sequencer, assert_checkpoints, wait_all_tasks_blocked

from aiovirt.events import Event, Events
from aiovirt.events.bus import Bus
from tests.events import samples
from tests.events.samples import started

pytestmark = pytest.mark.trio


@pytest.fixture
def bus() -> Bus:
    return Bus(host=samples.HOST, capacity=64)


async def test_waiting_and_closing_are_checkpoints(bus: Bus, nursery: trio.Nursery) -> None:
    async with Events(bus).subscribe() as stream:

        async def publish() -> None:
            await wait_all_tasks_blocked()
            bus.publish(started(0))

        nursery.start_soon(publish)
        with assert_checkpoints():
            await stream.receive()
        with assert_checkpoints():
            await stream.aclose()


@pytest.mark.parametrize("cancel_first", [True, False])
async def test_a_wake_and_a_cancellation_in_either_order_lose_nothing(bus: Bus, *, cancel_first: bool) -> None:
    steps = Sequencer()
    got: list[Event] = []
    async with Events(bus).subscribe() as stream, trio.open_nursery() as nursery:
        scope = trio.CancelScope()

        async def read() -> None:
            with scope:
                async with steps(0):
                    pass
                got.append(await stream.receive())

        nursery.start_soon(read)
        async with steps(1):
            await wait_all_tasks_blocked()
            if cancel_first:
                scope.cancel()
            event = bus.publish(started(0))
            if not cancel_first:
                scope.cancel()
        await wait_all_tasks_blocked()
        if not got:
            got.append(stream.receive_nowait())
        with pytest.raises(anyio.WouldBlock):
            stream.receive_nowait()
    assert got == [event]


async def test_a_deadline_in_virtual_time(bus: Bus, autojump_clock: trio.testing.MockClock) -> None:
    async with Events(bus).subscribe() as stream:
        with trio.move_on_after(3600) as scope:
            await stream.receive()
    assert scope.cancelled_caught
    assert trio.current_time() >= 3600
    assert autojump_clock.autojump_threshold == 0
