"""Engines that are killed at any moment while others give orders: the guests live, and nobody is told anything untrue.

One host with ten guests goes through all of it, a kill after the other: each engine finds what the one before has left.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import pytest
from msgspec import Struct

from aiovirt import Domain, DomainState, Host
from aiovirt.domainxml import parse
from aiovirt.errors import Error, HostGone, NoSuchDomain
from aiovirt.events import DomainEvent, Event, MonitorHealth
from aiovirt.events.cursor import parse_cursor
from tests.system.conftest import PATIENCE, Place, engine_of

POINTS = max(2, int(os.environ.get("AIOVIRT_CRASH_POINTS", "20")) // 2)
GUESTS = 10
CLIENTS = 3
LONGEST = 0.5
"""Seconds for which the orders go on before the kill, at most."""


class Known(Struct):
    """What is known for certain of a guest: None where an order was under way when the engine was killed."""

    defined: bool | None = False
    active: bool | None = False


Told = dict[str, Known]


async def give(host: Host, place: Place, known: Known, name: str, order: str) -> None:
    """One order, and what is certain before, while and after it."""
    match order:
        case "define":
            known.defined = None
            await host.define(place.spec(name))
            known.defined = True
        case "undefine":
            known.defined = None
            await host.domain(name).undefine()
            known.defined = False
        case "start":
            known.active = None
            await host.domain(name).start(paused=True)
            known.active = True
        case "destroy":
            known.active = None
            await host.domain(name).destroy()
            known.active = False
        case _:
            await getattr(host.domain(name), order)()


async def drive(host: Host, place: Place, told: Told, names: list[str], choose: random.Random) -> None:
    """Orders without end on some guests, each one that may be given, until the host is gone."""
    while True:
        name = choose.choice(names)
        known = told[name]
        if known.active:
            order = choose.choice(["destroy", "suspend", "resume", "reset"])
        else:
            order = choose.choice(["start", "start", "define", "undefine"]) if known.defined else "define"
        try:
            await give(host, place, known, name, order)
        except HostGone:
            return
        except Error:
            settle(host, known, name)


def settle(host: Host, known: Known, name: str) -> None:
    """An order that was refused changed nothing: what is so now is so."""
    try:
        domain = host.domain(name)
        known.defined, known.active = domain.is_persistent, domain.is_active
    except NoSuchDomain:
        known.defined = known.active = False


async def read(host: Host, after: str, heard: list[Event], *, task_status: anyio.abc.TaskStatus[None]) -> None:
    async with host.events.subscribe(after=after) as events:
        task_status.started()
        try:
            while True:
                heard.append(await events.receive())
        except HostGone as gone:
            assert gone.cursor == (heard[-1].cursor if heard else after)


def contiguous(after: str, heard: list[Event]) -> str:
    """Each event follows the one before; returns the last one's cursor."""
    for event in heard:
        (epoch, number), (new, next_number) = parse_cursor(after), parse_cursor(event.cursor)
        assert (new, next_number) == (epoch, number + 1), f"{event.cursor} after {after}"
        after = event.cursor
    return after


def processes(place: Place) -> set[str]:
    """The uuids of the guests that run."""
    found = set[str]()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"-uuid" in words and str(place.folder).encode() in b" ".join(words):
            found.add(words[words.index(b"-uuid") + 1].decode())
    return found


async def until(host: Host, holds: Callable[[], bool]) -> None:
    with anyio.fail_after(PATIENCE):
        async with host.events.subscribe(DomainEvent) as events:
            while not holds():
                await events.receive()


async def check(host: Host, place: Place, told: Told) -> None:
    """What is there is what was known, and what the machine says."""
    await until(host, lambda: all(domain.status.monitor in {None, MonitorHealth.CONNECTED} for domain in host.domains()))
    running = processes(place)
    assert {str(domain.uuid) for domain in host.domains(active=True)} == running
    for path in (place.folder / "engine/config/qemu").glob("*.xml"):
        assert parse(path.read_bytes()).name == path.stem
    for name, known in told.items():
        domain: Domain | None = None
        with contextlib.suppress(NoSuchDomain):
            domain = host.domain(name)
        defined, active = domain is not None and domain.is_persistent, domain is not None and domain.is_active
        assert known.defined in {None, defined}, f"{name} defined: {defined}, known {known}"
        assert known.active in {None, active}, f"{name} active: {active}, known {known}"
        known.defined, known.active = defined, active


async def life(place: Place, choose: random.Random) -> None:
    names = [f"g{number}" for number in range(GUESTS)]
    told: Told = {name: Known() for name in names}
    cursors: list[str] = []
    for _ in range(POINTS):
        heard: list[list[Event]] = [[] for _ in range(CLIENTS)]
        async with engine_of(place) as process, anyio.create_task_group() as tasks:
            hosts = [await enter(tasks, place.attach()) for _ in range(CLIENTS)]
            cursors = cursors or [host.events.cursor for host in hosts]
            with anyio.fail_after(PATIENCE):
                for host, cursor, list_ in zip(hosts, cursors, heard, strict=True):
                    await tasks.start(read, host, cursor, list_)
                await check(hosts[0], place, told)
                async with anyio.create_task_group() as orders:
                    for number, host in enumerate(hosts):
                        orders.start_soon(drive, host, place, told, names[number::CLIENTS], random.Random(choose.random()))  # noqa: S311 - a script
                    with anyio.move_on_after(choose.uniform(0, LONGEST)):
                        await anyio.sleep_forever()
                    process.kill()
                await process.wait()
                while any(not host.engine.bus.closed for host in hosts):
                    await anyio.lowlevel.checkpoint()
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        cursors = [contiguous(cursor, list_) for cursor, list_ in zip(cursors, heard, strict=True)]
    async with place.attach() as host:
        await check(host, place, told)
        for domain in host.domains(active=True):
            assert domain.state in {DomainState.PAUSED, DomainState.RUNNING}
            await domain.destroy()
    assert processes(place) == set()


async def enter(tasks: anyio.abc.TaskGroup, connection: object) -> Host:
    """The host of a connection that lasts as long as ``tasks``."""

    async def hold(*, task_status: anyio.abc.TaskStatus[Host]) -> None:
        async with connection as host:  # type: ignore[attr-defined]
            task_status.started(host)
            await anyio.sleep_forever()

    host: Host = await tasks.start(hold)
    return host


@pytest.mark.parametrize("seed", [1, 2])
def test_every_guest_outlives_every_engine(seed: int) -> None:
    with tempfile.TemporaryDirectory(prefix="aiovirt-") as folder:
        place = Place(Path(folder))
        program: Callable[[], Awaitable[None]] = lambda: life(place, random.Random(seed))  # noqa: E731, S311 - a script of orders
        anyio.run(program, backend=["asyncio", "trio"][seed % 2])


# -- what else may go wrong between two engines ------------------------------------------------


async def left_behind(place: Place) -> dict[str, int]:
    """Four guests whose engine was killed: name -> pid."""
    async with engine_of(place) as process, place.attach() as host:
        for name in ("g0", "g1", "g2", "g3"):
            domain = await host.define(place.spec(name))
            await domain.start(paused=True)
        process.kill()
        await process.wait()
    records = [json.loads(path.read_bytes()) for path in (place.folder / "engine/state/run").glob("*.json")]
    return {record["name"]: record["process"]["pid"] for record in records}


def delete_the_runtime_folder(place: Place, _: dict[str, int]) -> set[str]:
    """As who empties /run: with it all sockets are gone."""
    shutil.rmtree(place.folder / "engine/runtime")
    return {"g0", "g1", "g2", "g3"}


def delete_a_monitor(place: Place, pids: dict[str, int]) -> set[str]:
    (words,) = [(Path(f"/proc/{pids['g1']}/cmdline").read_bytes()).split(b"\0")]
    uuid = words[words.index(b"-uuid") + 1].decode()
    (place.folder / f"engine/runtime/qemu/{uuid}.monitor").unlink()
    return {"g1"}


def stop_a_guest(_: Place, pids: dict[str, int]) -> set[str]:
    os.kill(pids["g2"], signal.SIGSTOP)
    return {"g2"}


def tear_a_record(place: Place, pids: dict[str, int]) -> set[str]:
    (path,) = [path for path in (place.folder / "engine/state/run").glob("*.json") if json.loads(path.read_bytes())["name"] == "g3"]
    path.write_bytes(path.read_bytes()[:40])
    return {"g3"} if pids else set()


def nothing(_: Place, __: dict[str, int]) -> set[str]:
    return set()


@pytest.mark.parametrize("mischief", [nothing, delete_the_runtime_folder, delete_a_monitor, stop_a_guest, tear_a_record])
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_no_guest_is_killed_for_what_is_wrong_around_it(
    backend: str, mischief: Callable[[Place, dict[str, int]], set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiovirt.drivers.qemu.driver.ADOPT_TIMEOUT", 0.5)

    async def program() -> None:
        pids = await left_behind(place)
        hurt = mischief(place, pids)
        async with place.attach() as host:
            await until(
                host, lambda: {domain.status.monitor for domain in host.domains()} <= {MonitorHealth.CONNECTED, MonitorHealth.DEGRADED}
            )
            assert {domain.name for domain in host.domains() if domain.status.monitor is MonitorHealth.DEGRADED} == hurt
            assert all(domain.is_active for domain in host.domains())
            for name in pids.keys() - hurt:
                await host.domain(name).resume()
                await host.domain(name).destroy()
        for name in hurt:
            os.kill(pids[name], signal.SIGCONT)
            os.kill(pids[name], signal.SIGKILL)  # they were alive to the end

    with tempfile.TemporaryDirectory(prefix="aiovirt-") as folder:
        place = Place(Path(folder))
        anyio.run(program, backend=backend)


# -- beginning at once -------------------------------------------------------------------------

ROUNDS = 3 if POINTS <= 10 else POINTS
BOTH = """
import anyio, aiovirt, sys
async def main():
    folders = {f"{name}_dir": f"{sys.argv[1]}/{name}" for name in ("config", "state", "runtime")}
    async with aiovirt.connect("qemu:///session", **folders) as host:
        print(type(host.engine).__name__, flush=True)
        await anyio.to_thread.run_sync(sys.stdin.read)
anyio.run(main)
"""


def test_of_those_that_begin_at_once_one_holds_and_the_others_attach() -> None:
    with tempfile.TemporaryDirectory(prefix="aiovirt-") as folder:
        for _ in range(ROUNDS):
            command = [sys.executable, "-c", BOTH, str(Path(folder, "engine"))]
            started = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)]
            said = [process.stdout.readline() for process in started if process.stdout]
            assert sorted(said) == ["AttachedEngine\n"] * 3 + ["LocalEngine\n"]
            for process in started:
                process.communicate()
                assert process.returncode == 0
