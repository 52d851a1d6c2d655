"""A host that is handed over from one engine to the next: guests run on, and who is attached goes on with the next. Real processes."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

import aiovirt
from aiovirt import DomainState, HostGone
from aiovirt.engine import attached as attached_side
from aiovirt.engine.attached import AttachedEngine
from aiovirt.errors import HostHeld, OrderTimeout
from aiovirt.events import DomainLifecycle, Event
from tests.real.conftest import PATIENCE, Place, engine_of
from tests.real.test_follow import assert_without_a_gap, attached, holder

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def running(place: Place) -> AsyncIterator[int]:
    """The process of a guest ``tiny`` that is up, until the block ends."""
    async with place.listening() as (spec, up):
        async with attached(place) as host:
            domain = await host.define(spec)
            await domain.start()
        await up.wait()
        pid = await process_of(place)
        try:
            yield pid
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


async def process_of(place: Place) -> int:
    """The guest's."""
    return await anyio.to_thread.run_sync(_pid_of, place)


def _pid_of(place: Place) -> int:
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with contextlib.suppress(OSError):
                words = (folder / "cmdline").read_bytes()
                if str(place.folder).encode() in words and b"-uuid" in words:
                    return int(folder.name)
    raise AssertionError("no guest runs")


async def refused(place: Place, *words: str) -> str:
    """What an engine says that cannot have the host."""
    command = [sys.executable, "-m", "aiovirt", "-c", place.uri, "engine", *words]
    with anyio.fail_after(60):
        done = await anyio.run_process(command, check=False)
    assert done.returncode == 1, done
    return done.stderr.decode()


async def test_guests_handles_and_streams_go_on_with_who_takes_over(place: Place) -> None:
    seen: list[Event] = []
    async with engine_of(place) as first, running(place) as pid, attached(place) as host:
        domain = host.domain("tiny")
        async with host.events.subscribe() as events:
            await domain.suspend()
            async with engine_of(place, "--take-over") as second:
                with anyio.fail_after(60):
                    assert await first.wait() == 0
                assert await anyio.to_thread.run_sync(holder, place) == second.pid
                await domain.resume(timeout=PATIENCE)
                assert domain.state is DomainState.RUNNING
                async with engine_of(place, "--take-over"):  # and once more
                    with anyio.fail_after(60):
                        assert await second.wait() == 0
                    await domain.suspend(timeout=PATIENCE)
                    assert await process_of(place) == pid
                    with anyio.fail_after(60):
                        while events.cursor != host.events.cursor:
                            seen.append(await events.receive())
                    assert "<name>tiny</name>" in await domain.xml()
                    await domain.destroy()
    assert_without_a_gap(seen)
    kinds = [event.kind for event in seen if isinstance(event, DomainLifecycle)]
    assert kinds == ["suspended", "resumed", "suspended"]
    assert [event.topic for event in seen].count("host.started") == 2


async def test_what_is_asked_while_there_is_no_engine_is_done_by_the_next(place: Place) -> None:
    async with engine_of(place) as first, attached(place) as host:
        domain = await host.define(place.spec())
        command = [sys.executable, "-m", "aiovirt", "-c", place.uri, "engine", "--stop"]
        await anyio.run_process(command)
        with anyio.fail_after(60):
            assert await first.wait() == 0
        with pytest.raises(OrderTimeout) as late:
            await domain.undefine(timeout=0.3)
        assert not late.value.sent
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(domain.start)
            await anyio.wait_all_tasks_blocked()
            async with engine_of(place):
                with anyio.fail_after(60):
                    await domain.wait_for_state(DomainState.RUNNING)
                await domain.destroy()
                await domain.undefine()


async def test_streams_end_where_no_engine_comes(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attached_side, "SUCCESSION", 0.5)
    async with engine_of(place), attached(place) as host, host.events.subscribe("domain") as events:
        await anyio.run_process([sys.executable, "-m", "aiovirt", "-c", place.uri, "engine", "--stop"])
        with anyio.fail_after(60), pytest.raises(HostGone) as gone:
            await events.receive()
        assert gone.value.cursor == events.cursor
        with pytest.raises(HostGone):
            await host.define(place.spec())


async def test_an_order_under_way_is_finished_first(place: Place) -> None:
    """The guest does not answer until the engine has been asked to leave."""
    async with engine_of(place) as first, running(place) as pid, attached(place) as host:
        domain = host.domain("tiny")
        os.kill(pid, signal.SIGSTOP)
        results: list[object] = []

        async def ask() -> None:
            results.append(await domain.qmp("query-status"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            async with host.events.subscribe("host") as news, anyio.create_task_group() as inner:
                assert isinstance(host.engine, AttachedEngine)
                inner.start_soon(_continue_when_it_leaves, host.engine, pid)
                async with engine_of(place, "--take-over"):
                    with anyio.fail_after(60):
                        assert await first.wait() == 0
                        assert (await news.receive()).topic == "host.started"
                    await domain.destroy()
        assert results


async def _continue_when_it_leaves(engine: AttachedEngine, pid: int) -> None:
    while not engine._leaves:
        await anyio.lowlevel.checkpoint()
    os.kill(pid, signal.SIGCONT)


async def test_an_application_keeps_its_host(place: Place) -> None:
    async with aiovirt.connect(place.uri):
        assert f"process {os.getpid()} keeps this host: an application" in await refused(place, "--take-over")
        assert "--take-over" not in await refused(place, "--stop")


async def test_who_does_not_insist_is_told_how_to(place: Place) -> None:
    async with engine_of(place) as first:
        assert f"held by process {first.pid}: --take-over asks it to hand over, --wait waits for its end" in await refused(place)
        with pytest.raises(HostHeld) as held:
            async with aiovirt.connect(place.uri):
                pass
        assert held.value.pid == first.pid


async def test_who_waits_holds_it_when_it_is_free(place: Place) -> None:
    taken = anyio.Event()

    async def wait() -> None:
        async with engine_of(place, "--wait"):
            taken.set()

    async with anyio.create_task_group() as tasks, aiovirt.connect(place.uri) as host:
        tasks.start_soon(wait)
        await host.define(place.spec())
        assert not taken.is_set()
    assert taken.is_set()


async def test_a_background_engine_that_nobody_uses_leaves_to_whoever_wants_to_be_the_engine(place: Place) -> None:
    async with engine_of(place, "--idle", "600") as first, running(place) as pid:
        async with attached(place) as host:
            domain = host.domain("tiny")
            assert "--take-over asks it" in await refused(place), "somebody uses it"
        with anyio.fail_after(60):
            async with aiovirt.connect(place.uri) as own:
                assert await first.wait() == 0
                same = own.domain(domain.uuid)
                await same.suspend()
                assert await process_of(place) == pid
                await same.destroy()


async def test_a_guest_that_lives_as_long_as_a_client_keeps_the_engine(place: Place) -> None:
    async with engine_of(place) as first, attached(place) as host, host.run(place.spec()) as domain:
        assert f"process {first.pid} keeps this host: the domain 'tiny' lives as long as process {os.getpid()}" in await refused(
            place, "--take-over"
        )
        assert domain.is_active
