"""``host.events.follow`` and engines that are killed: real processes, on each loop."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio import to_thread

import aiovirt
from aiovirt import Host, HostGone
from aiovirt.engine.attached import AttachedEngine
from aiovirt.errors import HostHeld
from aiovirt.events import DomainLifecycle, Event, Follow
from aiovirt.events.cursor import parse_cursor
from aiovirt.system.files import FileLock
from tests.real.conftest import PATIENCE, Place, engine_of

pytestmark = pytest.mark.anyio


def holder(place: Place) -> int | None:
    """The process that holds the host."""
    try:
        FileLock(place.folder / "engine/runtime/engine.lock").look()
    except HostHeld as held:
        return held.pid
    return None


async def kill_engine(place: Place) -> None:
    """As a crash does, and waits until the host is free."""
    pid = await to_thread.run_sync(holder, place)
    assert pid is not None
    assert pid != os.getpid()
    os.kill(pid, signal.SIGKILL)
    while await to_thread.run_sync(holder, place):
        await anyio.lowlevel.checkpoint()


@asynccontextmanager
async def attached(place: Place) -> AsyncIterator[Host]:
    async with place.attach() as host:
        assert isinstance(host.engine, AttachedEngine)
        yield host


async def change(place: Place, times: int = 1) -> None:
    """Makes two events for each time, as another process."""
    async with attached(place) as host:
        for _ in range(times):
            await host.define(place.spec("other"))
            await host.domain("other").undefine()


async def until_second_undefined(events: Follow[Event], seen: list[Event], count: int) -> None:
    """Reads until ``count`` events of the domain's going have been seen in all."""
    with anyio.fail_after(PATIENCE):
        while len([1 for event in seen if isinstance(event, DomainLifecycle) and event.kind == "undefined"]) < count:
            seen.append(await events.receive())


def assert_without_a_gap(seen: list[Event]) -> None:
    places = [parse_cursor(event.cursor) for event in seen]
    first = places[0]
    assert places == [(first[0], first[1] + number) for number in range(len(places))]


async def test_each_event_once_from_whichever_engine(place: Place) -> None:
    """kill -9 of the engine, three times, with events before, between and after."""
    seen: list[Event] = []
    async with engine_of(place) as first, attached(place) as host:
        async with host.events.follow(after=host.events.cursor) as events:
            await change(place)
            first.kill()
            await first.wait()
            for number in (2, 4, 6):
                async with engine_of(place):
                    await change(place)  # before anybody of us has looked
                    await until_second_undefined(events, seen, number)
                    await change(place)
                    await kill_engine(place)
            cursor = events.cursor
        assert_without_a_gap(seen)
        assert len([event for event in seen if event.topic == "host.started"]) == 3
        async with engine_of(place):
            await change(place)
            async with host.events.follow("domain", after=cursor) as rest:  # a second one, by the handle of a host long gone
                more: list[Event] = []
                await until_second_undefined(rest, more, 2)
        kinds = [event.kind for event in [*seen, *more] if isinstance(event, DomainLifecycle)]
        assert kinds == ["defined", "undefined"] * 8


async def test_who_only_follows_starts_no_engine_unless_asked(place: Place) -> None:
    async with (
        engine_of(place),
        attached(place) as host,
        host.events.follow() as waiting,
        host.events.follow(start_engine=True) as starting,
    ):
        await kill_engine(place)
        with anyio.move_on_after(1):
            await waiting.receive()
        assert await to_thread.run_sync(holder, place) is None
        with anyio.fail_after(PATIENCE):
            assert (await starting.receive()).topic == "host.started"
        assert (place.folder / "engine/state/engine.log").exists()
        with anyio.fail_after(PATIENCE):
            assert (await waiting.receive()).topic == "host.started"
        assert waiting.cursor == starting.cursor
        await kill_engine(place)


async def test_a_guest_that_outlives_its_engine_is_followed(place: Place) -> None:
    seen: list[Event] = []
    async with place.listening() as (spec, up), engine_of(place), attached(place) as host:
        domain = await host.create(spec)
        await up.wait()
        async with host.events.follow(DomainLifecycle, subject=domain) as events:
            await kill_engine(place)
            async with engine_of(place), attached(place) as other:
                same = other.domain("tiny")
                assert same.uuid == domain.uuid
                with anyio.fail_after(PATIENCE):
                    await same.suspend()
                    seen.append(await events.receive())
                    await same.destroy()
                    seen.append(await events.receive())
    assert [event.kind for event in seen if isinstance(event, DomainLifecycle)] == ["suspended", "stopped"]


@pytest.mark.parametrize("when", ["by the first engine", "between two", "by the second"])
async def test_the_end_of_the_connect_block_is_the_end_of_the_stream(place: Place, when: str) -> None:
    """Whoever leaves ``connect`` is not connected again behind their back, nor any longer."""
    hosts: list[Host] = []
    entered, leave = anyio.Event(), anyio.Event()

    async def connect() -> None:
        async with attached(place) as host:
            hosts.append(host)
            entered.set()
            await leave.wait()

    async with engine_of(place), anyio.create_task_group() as tasks:
        tasks.start_soon(connect)
        await entered.wait()
        async with hosts[0].events.follow() as events:
            if when != "by the first engine":
                await kill_engine(place)
                with anyio.move_on_after(0.1):
                    await events.receive()
            async with contextlib.AsyncExitStack() as stack:
                if when == "by the second":
                    await stack.enter_async_context(engine_of(place))
                    with anyio.fail_after(PATIENCE):
                        assert (await events.receive()).topic == "host.started"
                tasks.start_soon(leave_when_it_waits, leave)
                with anyio.fail_after(PATIENCE), pytest.raises(HostGone) as gone:
                    while True:
                        await events.receive()
            assert gone.value.cursor == events.cursor
        with pytest.raises(HostGone):
            hosts[0].reconnect()


async def leave_when_it_waits(leave: anyio.Event) -> None:
    await anyio.wait_all_tasks_blocked()
    leave.set()


async def test_the_holder_itself_follows(place: Place) -> None:
    async with aiovirt.connect(place.uri) as host, host.events.follow("domain") as events:
        await host.define(place.spec())
        with anyio.fail_after(PATIENCE):
            assert (await events.receive()).topic == "domain.lifecycle"


async def test_the_same_host_by_the_next_engine(place: Place) -> None:
    async with engine_of(place), attached(place) as host:
        await host.define(place.spec())
        await kill_engine(place)
        async with engine_of(place):
            with anyio.fail_after(PATIENCE):
                async with host.reconnect() as again:
                    assert isinstance(again.engine, AttachedEngine)
                    assert again.uuid == host.uuid
                    assert again.domain("tiny") == host.domain("tiny")


async def test_cancelled_anywhere_nothing_is_left(place: Place) -> None:
    """A reader is cancelled again and again while engines go and come; it loses nothing."""
    seen: list[Event] = []
    async with engine_of(place), attached(place) as host, host.events.follow() as events:
        await kill_engine(place)
        async with engine_of(place), anyio.create_task_group() as tasks:
            tasks.start_soon(change, place, 5)
            with anyio.fail_after(PATIENCE):
                while len(seen) < 11 or not (isinstance(seen[-1], DomainLifecycle) and seen[-1].kind == "undefined"):
                    with anyio.move_on_after(0.001):
                        seen.append(await events.receive())
    assert_without_a_gap(seen)
