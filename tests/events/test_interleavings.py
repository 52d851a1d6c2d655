"""Interleavings and checkpoints that trio can dictate: cancellation and wake-ups at every await."""

from __future__ import annotations

import contextlib

import anyio
import pytest
import trio
from trio.testing import Sequencer, assert_checkpoints, wait_all_tasks_blocked

from aiovirt.errors import SystemFailure
from aiovirt.events import Event, Events, JournalDegraded
from aiovirt.events.bus import Bus
from aiovirt.events.past import PastReader
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


# -- with a journal ----------------------------------------------------------------------------


class FailingJournal:
    """A journal whose disk takes nothing, and whose past is read in one step."""

    first = 1

    def __init__(self, *events: Event) -> None:
        self.events = list(events)

    def append(self, event: Event) -> int:  # noqa: ARG002 - one of the door
        return 1

    def payloads(self, first: int, last: int) -> list[bytes] | None:
        raise NotImplementedError

    def note(self) -> None: ...

    def write(self) -> None:
        raise SystemFailure("no space left")

    def read_from(self, position: int) -> PastReader:
        return Past(self.events[position - 1 :], position)


class Past:
    def __init__(self, events: list[Event], position: int) -> None:
        self.events = events
        self.position = position

    async def read(self) -> list[Event]:
        await trio.lowlevel.checkpoint()
        found, self.events = self.events[:3], self.events[3:]
        self.position += len(found)
        return found


@pytest.mark.parametrize("look", ["cancel", "cursor", "statistics", "close"])
async def test_who_waits_hears_of_the_disk_that_fails_just_then(look: str) -> None:
    bus = Bus(host=samples.HOST, journal=FailingJournal())
    async with Events(bus).subscribe(JournalDegraded) as stream, trio.open_nursery() as nursery:
        got: list[Event] = []
        scope = trio.CancelScope()

        async def read() -> None:
            with scope, contextlib.suppress(anyio.ClosedResourceError):
                got.append(await stream.receive())

        nursery.start_soon(read)
        await wait_all_tasks_blocked()
        bus.publish(started(0))  # nobody waits for that, so nobody has written it
        cursor = ""
        if look == "cancel":
            scope.cancel()
        elif look == "cursor":
            cursor = stream.cursor
        elif look == "statistics":
            assert stream.statistics().behind == 1
        else:
            await stream.aclose()
        await wait_all_tasks_blocked()
        if look == "close":
            cursor = stream.cursor
        elif not got:
            got.append(stream.receive_nowait())
    assert [event.cursor for event in got] == ([] if look == "close" else [bus.cursor])
    if cursor:
        assert bus.seek(cursor) == bus.head  # it goes on with what it has not seen


async def test_reading_the_past_is_a_checkpoint_for_each_batch() -> None:
    bus = Bus(host=samples.HOST, capacity=2)
    published = [bus.publish(started(0)) for _ in range(7)]
    bus.journal = FailingJournal(*published)
    async with Events(bus).subscribe(after=bus.chain.cursor(0)) as stream:
        with assert_checkpoints():
            found = [await stream.receive()]
        found += [await stream.receive() for _ in range(2)]
        with assert_checkpoints():
            found.append(await stream.receive())
        while len(found) < 7:
            found.append(await stream.receive())
    assert found == published
