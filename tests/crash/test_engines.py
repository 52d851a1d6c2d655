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
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import anyio
import msgspec
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream

from aiovirt import Domain, DomainState, Host
from aiovirt.errors import NoSuchDomain
from aiovirt.events import DomainEvent, MonitorHealth
from aiovirt.libvirtxml import parse
from tests.crash.client import Known, Round, Told
from tests.real.conftest import PATIENCE, Place, engine_of

POINTS = max(2, int(os.environ.get("AIOVIRT_CRASH_POINTS", "20")) // 2)
GUESTS = 10
BACKENDS = ["asyncio", "uvloop", "trio"]
LONGEST = 0.5
"""Seconds for which the orders go on before the kill, at most."""


class Client:
    """A process of tests.crash.client."""

    def __init__(self, process: anyio.abc.Process, names: list[str]) -> None:
        self._process = process
        assert process.stdin is not None
        assert process.stdout is not None
        self._stdin, self._stdout = process.stdin, BufferedByteReceiveStream(process.stdout)
        self.part = Round(0, {name: Known() for name in names})

    async def attach(self, seed: float) -> None:
        """It gives orders from here on, until the engine is gone."""
        self.part.seed = seed
        await self._stdin.send(msgspec.json.encode(self.part) + b"\n")
        assert await self._line() == b"attached"

    async def end(self) -> None:
        """What it knows when the engine is gone."""
        self.part = msgspec.json.decode(await self._line(), type=Round)

    async def _line(self) -> bytes:
        with anyio.fail_after(PATIENCE):
            return await self._stdout.receive_until(b"\n", 1 << 20)


@asynccontextmanager
async def clients(place: Place) -> AsyncIterator[list[Client]]:
    """Three processes, each on a loop of another kind, that share ten guests between them."""
    names = [f"g{number}" for number in range(GUESTS)]
    async with AsyncExitStack() as stack:
        found: list[Client] = []
        for number, backend in enumerate(BACKENDS):
            command = [sys.executable, "-m", "tests.crash.client", str(place.folder), backend]
            process = await stack.enter_async_context(await anyio.open_process(command, stderr=None))
            found.append(Client(process, names[number :: len(BACKENDS)]))
        yield found


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
    async with clients(place) as parts:
        for _ in range(POINTS):
            told = {name: known for part in parts for name, known in part.part.told.items()}
            async with engine_of(place) as process:
                async with place.attach() as host:
                    await check(host, place, told)
                async with anyio.create_task_group() as tasks:
                    for part in parts:
                        tasks.start_soon(part.attach, choose.random())
                await anyio.sleep(choose.uniform(0, LONGEST))  # any moment
                process.kill()
                await process.wait()
            for part in parts:
                await part.end()
    assert all(part.part.given > POINTS for part in parts)
    told = {name: known for part in parts for name, known in part.part.told.items()}
    async with place.attach() as host:
        await check(host, place, told)
        for domain in host.domains(active=True):
            assert domain.state in {DomainState.PAUSED, DomainState.RUNNING}
            await domain.destroy()
    assert processes(place) == set()


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
    monkeypatch.setattr("aiovirt.drivers.qemu.guests.ADOPT_TIMEOUT", 0.5)

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
