"""A log that goes on with the next engine: here the engines are buses, and whoever finds them is the test."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from types import TracebackType

import anyio
import pytest
from msgspec.structs import replace

from aiovirt.errors import ConnectionLost, Error, EventGap, HostGone
from aiovirt.events import DomainLifecycle, Event, Follow, NetdevAdded
from aiovirt.events.bus import Bus
from aiovirt.events.feed import Events
from tests.events import samples
from tests.events.samples import netdev, started

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

Way = Callable[[Follow[Event]], Awaitable[list[Event]]]


async def one(stream: Follow[Event]) -> list[Event]:
    return [await stream.receive()]


async def by_loop(stream: Follow[Event]) -> list[Event]:
    async for event in stream:
        return [event]
    raise AssertionError("a loop ended without a word")


async def a_batch(stream: Follow[Event]) -> list[Event]:
    return list(await stream.receive_batch())


EACH_WAY = pytest.mark.parametrize("read", [one, by_loop, a_batch])


class Engines:
    """Gives out the buses that the test puts in, or raises what it puts in."""

    def __init__(self) -> None:
        self.blocks = 0
        self.asked = 0
        self._coming: deque[Bus | Error] = deque()
        self._came = anyio.Event()

    def come(self, found: Bus | Error) -> None:
        self._coming.append(found)
        self._came.set()

    async def __aenter__(self) -> None:
        self.blocks += 1

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.blocks -= 1

    async def next(self) -> Bus:
        self.asked += 1
        while not self._coming:
            self._came = anyio.Event()
            await self._came.wait()
        found = self._coming.popleft()
        if isinstance(found, Error):
            raise found
        return found


class Engine:
    """An engine's bus, the events it has, and the one that goes on with its journal."""

    def __init__(self) -> None:
        self.bus = Bus(host=samples.HOST, capacity=64)
        self.engines = Engines()
        self.events = Events(self.bus, lambda *, start_engine: self.engines)  # noqa: ARG005 - none is started here
        self.said: list[Event] = []

    def say(self, *numbers: int) -> list[Event]:
        said: list[Event] = [self.bus.publish(started(number)) for number in numbers]
        self.said += said
        return said

    def replaced(self, *, forgetting: int = 0) -> Bus:
        """The next engine: with all that was said, as from its journal, or without the first of it."""
        successor = Bus(host=samples.HOST, capacity=64, chain=self.bus.chain, head=forgetting)
        for event in self.said[forgetting:]:
            successor.publish(replace(event, cursor=""))
        assert successor.cursor == self.bus.cursor
        self.bus.close()
        self.bus = successor
        return successor


@pytest.fixture
def engine() -> Engine:
    return Engine()


def ids(events: list[Event]) -> list[str]:
    return [event.cursor for event in events]


@EACH_WAY
async def test_it_goes_on_with_the_next_engine_without_a_gap_or_a_duplicate(engine: Engine, read: Way) -> None:
    engine.say(0)
    async with engine.events.follow() as events:
        expected = ids(engine.say(0, 1, 0))
        seen = ids(await read(events))
        while len(seen) < 3:
            seen += ids(await read(events))
        for _ in range(3):
            expected += ids(engine.say(1, 1))  # of these nothing was read yet when the engine goes
            engine.engines.come(engine.replaced())
            expected += ids(engine.say(0))
            while len(seen) < len(expected):
                seen += ids(await read(events))
            assert events.cursor == engine.bus.cursor
        assert events.statistics().delivered == len(expected)
        assert events.statistics().behind == 0
    assert seen == expected
    assert (engine.engines.asked, engine.engines.blocks) == (3, 0)
    assert (engine.bus.index.parked, engine.bus.index.waiting(), len(engine.bus.index._interests)) == (0, 0, 0)


@EACH_WAY
async def test_who_waits_for_an_event_waits_for_the_next_engine_too(engine: Engine, read: Way) -> None:
    seen: list[str] = []
    async with engine.events.follow("domain.lifecycle") as events, anyio.create_task_group() as tasks:

        async def wait() -> None:
            seen.extend(ids(await read(events)))

        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        successor = engine.replaced()
        await anyio.wait_all_tasks_blocked()
        assert seen == []
        with pytest.raises(anyio.BusyResourceError):
            await events.receive()
        engine.engines.come(successor)
        await anyio.wait_all_tasks_blocked()
        successor.publish(NetdevAdded(device=netdev(1)))
        await anyio.wait_all_tasks_blocked()
        assert seen == []
        expected = ids(engine.say(0))
    assert seen == expected


async def test_to_give_up_waiting_loses_nothing(engine: Engine) -> None:
    async with engine.events.follow() as events:
        successor = engine.replaced()
        for _ in range(3):
            with anyio.move_on_after(1):
                await events.receive()
            with pytest.raises(anyio.WouldBlock):
                events.receive_nowait()
            assert events.cursor == successor.cursor
        engine.engines.come(successor)
        expected = engine.say(0)
        assert ids([await events.receive()]) == ids(expected)


async def test_what_the_next_engine_has_no_more_is_a_gap_and_can_be_passed(engine: Engine) -> None:
    engine.say(0, 0, 0)
    after = engine.said[0].cursor
    async with engine.events.follow(after=after) as events:
        first = await events.receive()
        assert first == engine.said[1]
    engine.engines.come(engine.replaced(forgetting=3))
    expected = engine.say(0)
    with pytest.raises(EventGap) as gap:
        async with engine.events.follow(after=first.cursor) as events:
            with pytest.raises(EventGap) as once:
                await events.receive()
            assert events.cursor == first.cursor
            assert once.value.missed == 1
            await events.receive()  # it stays
    engine.engines.come(engine.bus)
    async with engine.events.follow(after=gap.value.resume) as events:  # by the handle of the host that is gone
        assert ids([await events.receive()]) == ids(expected)


async def test_on_a_host_that_is_gone_it_begins_with_the_next(engine: Engine) -> None:
    engine.say(0)
    engine.engines.come(engine.replaced())
    async with engine.events.follow() as events:
        assert engine.engines.asked == 0, "nobody reads yet"
        with anyio.move_on_after(1):
            await events.receive()
        expected = engine.say(1)
        assert ids([await events.receive()]) == ids(expected)


async def test_what_connecting_raises_is_raised_and_can_be_tried_again(engine: Engine) -> None:
    async with engine.events.follow() as events:
        engine.engines.come(ConnectionLost("the engine ended before it had welcomed us"))
        engine.engines.come(engine.replaced())
        expected = engine.say(0)
        with pytest.raises(ConnectionLost):
            await events.receive()
        assert ids([await events.receive()]) == ids(expected)


async def test_where_no_engine_can_come_the_end_is_told_with_the_cursor(engine: Engine) -> None:
    said = engine.say(0)
    before = engine.bus.chain.cursor(0)
    engine.engines.come(HostGone("another cursor"))
    for events in (engine.events, Events(engine.bus)):
        engine.bus.closed = False
        async with events.follow(after=before) as follow:
            assert ids([await follow.receive()]) == ids(said)
            engine.bus.close()
            with pytest.raises(HostGone) as gone:
                await follow.receive()
            assert gone.value.cursor == follow.cursor == said[0].cursor


async def test_what_where_raises_ends_it(engine: Engine) -> None:
    def broken(event: DomainLifecycle) -> bool:
        raise ZeroDivisionError(event.name)

    async with engine.events.follow(DomainLifecycle, where=broken) as events:
        engine.say(0)
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                await events.receive()


@pytest.mark.parametrize("waits_for", ["an event", "an engine"])
async def test_a_closed_stream_is_told_to_who_reads_it(engine: Engine, waits_for: str) -> None:
    async with engine.events.follow() as events, anyio.create_task_group() as tasks:
        told: list[BaseException] = []

        async def wait() -> None:
            with pytest.raises(anyio.ClosedResourceError) as closed:
                await events.receive()
            told.append(closed.value)

        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        if waits_for == "an engine":
            engine.replaced()
            await anyio.wait_all_tasks_blocked()
        await events.aclose()
        await anyio.wait_all_tasks_blocked()
        assert len(told) == 1
        with pytest.raises(anyio.ClosedResourceError):
            events.receive_nowait()
    with pytest.raises(anyio.ClosedResourceError):
        await events.receive()


async def test_it_has_to_be_entered(engine: Engine) -> None:
    events = engine.events.follow()
    with pytest.raises(RuntimeError, match="enter the stream first"):
        events.receive_nowait()
    with pytest.raises(RuntimeError, match="enter the stream first"):
        await events.receive()
    with pytest.raises(RuntimeError, match="enter the stream first"):
        assert events.cursor
    with pytest.raises(EventGap):
        async with engine.events.follow(after="01M81ZVW3XKGW4EMTQQQ6K1X6K:0000000000000001"):
            pytest.fail("there is nothing of this")
    assert engine.engines.blocks == 0
