from __future__ import annotations

import anyio
import pytest

from aiovirt.errors import HostGone, ProtocolError
from aiovirt.events import DomainLifecycle, Event, Events
from aiovirt.events.bus import Bus
from aiovirt.events.past import PastReader
from aiovirt.events.replica import Replica
from aiovirt.events.segment import encode_event
from aiovirt.events.state import HostState
from aiovirt.events.tail import Tail
from tests.events.samples import HOST, started

pytestmark = pytest.mark.anyio


class Past:
    """The events of a bus, for one that follows it."""

    first = 1

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    def read_from(self, position: int) -> PastReader:
        bus = self._bus

        class Reader:
            def __init__(self) -> None:
                self.position = position

            async def read(self) -> list[Event]:
                await anyio.lowlevel.checkpoint()
                event = bus.ring.get(self.position)
                self.position += 1
                return [event] if event is not None else []

        return Reader()


def following(bus: Bus) -> Replica:
    return Replica(host=bus.host, chain=bus.chain, head=bus.head, state=HostState(bus.state.checkpoint(bus.cursor)), past=Past(bus))


def pass_on(bus: Bus, replica: Replica) -> None:
    replica.take([event for position in range(replica.head + 1, bus.head + 1) if (event := bus.ring.get(position)) is not None])


def published(bus: Bus, *numbers: int) -> list[Event]:
    return [bus.publish(started(number % 3)) for number in numbers]


async def test_the_same_events_lead_to_the_same_state_and_the_same_cursors() -> None:
    bus = Bus(host=HOST)
    published(bus, 0)
    replica = following(bus)
    assert (replica.cursor, replica.snapshot()) == (bus.cursor, bus.snapshot())
    async with Events(replica).subscribe(DomainLifecycle) as events, Events(replica).watch() as watch:
        told = published(bus, 1, 2, 0)
        pass_on(bus, replica)
        assert [await events.receive() for _ in told] == told == [await watch.receive() for _ in told]
        assert events.cursor == bus.cursor
    assert replica.snapshot() == bus.snapshot()


async def test_a_parked_reader_is_woken() -> None:
    bus = Bus(host=HOST)
    replica = following(bus)
    heard: list[Event] = []
    async with anyio.create_task_group() as tasks:

        async def read(*, task_status: anyio.abc.TaskStatus[None]) -> None:
            async with Events(replica).subscribe() as events:
                task_status.started()
                heard.append(await events.receive())

        await tasks.start(read)
        await anyio.wait_all_tasks_blocked()
        told = published(bus, 0)
        pass_on(bus, replica)
    assert heard == told


async def test_what_came_before_it_followed_is_read_where_that_is_kept() -> None:
    bus = Bus(host=HOST)
    before = bus.cursor
    told = published(bus, 0, 1, 2)
    replica = following(bus)
    more = published(bus, 0)
    pass_on(bus, replica)
    async with Events(replica).subscribe(after=before) as events:
        assert [await events.receive() for _ in range(4)] == told + more


def test_an_event_that_is_missing_is_found_out() -> None:
    bus = Bus(host=HOST)
    replica = following(bus)
    first, second = published(bus, 0, 1)
    with pytest.raises(ProtocolError, match="does not follow"):
        replica.take([second])
    replica.take([first])
    with pytest.raises(ProtocolError, match="does not follow"):
        replica.take([first])
    replica.take([second])
    assert replica.cursor == bus.cursor


def test_a_new_epoch_is_gone_on_with() -> None:
    bus = Bus(host=HOST)
    published(bus, 0, 1)
    replica = following(bus)
    old = bus.cursor
    bus._go_on(bus.chain.chained(bus.head))
    replica.go_on(bus.chain)
    told = published(bus, 2)
    pass_on(bus, replica)
    assert replica.cursor == bus.cursor == told[0].cursor
    assert replica.seek(old) == bus.head
    with pytest.raises(ProtocolError, match="begins at 2"):
        replica.go_on(Bus(host=HOST).chain.chained(2))


def test_nobody_publishes_on_it() -> None:
    with pytest.raises(RuntimeError, match="DomainLifecycle"):
        following(Bus(host=HOST)).publish(started())


async def test_its_end_is_told() -> None:
    bus = Bus(host=HOST)
    replica = following(bus)
    async with Events(replica).subscribe() as events:
        told = published(bus, 0)
        pass_on(bus, replica)
        replica.close()
        assert await events.receive() == told[0]
        with pytest.raises(HostGone) as gone:
            await events.receive()
    assert gone.value.cursor == bus.cursor


# -- the tail ----------------------------------------------------------------------------------


async def test_a_tail_wakes_for_each_news_and_for_none_twice() -> None:
    bus = Bus(host=HOST)
    tail, woken = Tail(bus), list[int]()
    async with anyio.create_task_group() as tasks:

        async def follow() -> None:
            while True:
                await tail.wait()
                woken.append(bus.head)

        tasks.start_soon(follow)
        await anyio.wait_all_tasks_blocked()
        assert (woken, bus.statistics().parked) == ([], 1)
        published(bus, 0, 1)
        await anyio.wait_all_tasks_blocked()
        published(bus, 2)
        await anyio.wait_all_tasks_blocked()
        assert woken == [2, 3]
        tasks.cancel_scope.cancel()
    assert bus.statistics().parked == 0


async def test_what_comes_while_a_tail_does_not_wait_is_news() -> None:
    bus = Bus(host=HOST)
    tail = Tail(bus)
    published(bus, 0)
    with anyio.fail_after(5):
        await tail.wait()
    with anyio.move_on_after(0) as none:
        await tail.wait()
    assert none.cancelled_caught
    bus.close()
    with anyio.fail_after(5):
        await tail.wait()


def test_a_tail_gives_what_memory_has() -> None:
    bus = Bus(host=HOST, capacity=64)
    tail, told = Tail(bus), published(bus, *range(400))
    assert tail.after(bus.head, 10) == []
    assert tail.after(bus.head - 3, 10) == [encode_event(event) for event in told[-3:]]
    assert tail.after(bus.head - 3, 2) == [encode_event(event) for event in told[-3:-1]]
    assert tail.after(0, 10) is None
    assert tail.after(bus.ring.first - 1, 1) == [encode_event(told[bus.ring.first - 1])]
