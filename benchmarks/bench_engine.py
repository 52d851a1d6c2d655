"""What it costs that the engine is another process, and to find guests again: a call, an event, clients that wait, a command, a restart.

Guests are real QEMUs whose machines stand still. An event's delay is from QEMU's own timestamp to where a subscriber has it.
What a client takes of the engine's memory is what that process grows by.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory
from typing import Final

import anyio
from msgspec import Struct
from msgspec.structs import replace

import aiovirt
from aiovirt import Domain, Host
from aiovirt.events import DomainEvent, DomainLifecycle, Lifecycle, MonitorHealth
from aiovirt.model.spec import VirtType
from aiovirt.system.sockets import connect_now
from aiovirt.testing.tinyguest import tiny_guest
from aiovirt.wire.attach import VERSION, Frames, framed
from aiovirt.wire.attach.messages import ENGINE_LIMIT, Hello, Welcome, decode_from_engine, encode
from benchmarks.harness import ASYNC, SYNC, Bench, Figures, Lane, Stopwatch, main, run_on
from benchmarks.qmp_contenders import Blocking
from benchmarks.qmp_peers import raise_descriptor_limit

__all__ = ["BENCH"]

QUICK: Final = 5  # times less
LOCAL: Final = "local"
ATTACHED: Final = "attached"
OURS: Final = "aiovirt"
RAW: Final = "raw sockets"
WARMING: Final = 50
"""Orders before those that are looked at."""
NAP: Final = 0.002
"""Seconds for which the guest runs."""
IMPORT: Final = "import anyio, msgspec"
GUESTS: Final = 200
PATIENCE: Final = 300

CALL: Final = {"wall": "us", "cpu": "us", "memory": "MiB"}
DELAY: Final = {"p50": "us", "p99": "us", "memory": "MiB"}
ROOM: Final = {"bytes": "B", "memory": "MiB"}
COMMAND: Final = {"wall": "ms", "memory": "MiB"}
ADOPT: Final = {"wall": "ms", "cpu": "ms", "memory": "MiB"}


class Case(Struct, frozen=True):
    """``measure(lane, quick, place)`` gives what ``units`` names."""

    contenders: tuple[str, ...]
    measure: Callable[[Lane, bool, str], Figures]
    units: dict[str, str]
    backends: tuple[str, ...] = ASYNC
    alone: frozenset[str] = frozenset()  # contenders that run on no loop


# -- hosts -------------------------------------------------------------------------------------


def folders(root: str) -> dict[str, str]:
    return {f"{name}_dir": f"{root}/{name}" for name in ("config", "state", "runtime")}


def environment(root: str) -> dict[str, str]:
    return os.environ | {f"AIOVIRT_{name.upper()}_DIR": f"{root}/{name}" for name in ("config", "state", "runtime")}


@contextmanager
def engine(root: str, backend: str = "asyncio") -> Iterator[int]:
    """An engine in a process of its own."""
    command = [sys.executable, "-m", "aiovirt", "-c", "qemu:///session", "--backend", backend, "engine", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment(root)) as process:
        assert process.stdout
        yield int(json.loads(process.stdout.readline())["pid"])
        process.terminate()


async def guest(host: Host, root: str, name: str = "tiny") -> Domain:
    spec = replace(tiny_guest(f"{root}/none", name=name), type=VirtType.QEMU, devices=())
    return await host.create(spec, paused=True, timeout=PATIENCE)


@asynccontextmanager
async def connected(lane: Lane) -> AsyncIterator[tuple[Host, Domain]]:
    """A guest of an engine that is here, or in another process on the same kind of loop."""
    async with AsyncExitStack() as stack:
        root = stack.enter_context(TemporaryDirectory(prefix="aiovirt-"))
        if lane.contender == ATTACHED:
            stack.enter_context(engine(root, lane.backend))
        host = await stack.enter_async_context(aiovirt.connect("qemu:///session", **folders(root)))
        domain = await guest(host, root)
        try:
            yield host, domain
        finally:
            with anyio.CancelScope(shield=True):
                await domain.destroy()


# -- calls and events --------------------------------------------------------------------------


def call(count: int, lane: Lane, quick: bool, _: str) -> Figures:  # noqa: FBT001 - a Case's measure
    many, watch = count // (QUICK if quick else 1), Stopwatch()

    async def program() -> None:
        async with connected(lane) as (_, domain):
            await domain.qmp("query-status")
            with watch:
                for _ in range(many):
                    await domain.qmp("query-status")

    run_on(lane.backend, program)
    return watch.per(many, 1e6)


def event(count: int, lane: Lane, quick: bool, _: str) -> Figures:  # noqa: FBT001 - a Case's measure
    many, delays = count // (QUICK if quick else 1), list[float]()

    async def program() -> None:
        async with connected(lane) as (host, domain), anyio.create_task_group() as tasks:

            async def listen(*, task_status: anyio.abc.TaskStatus[None]) -> None:
                async with host.events.subscribe(DomainLifecycle, subject=domain) as events:
                    task_status.started()
                    async for news in events:
                        now = time.time_ns()
                        if news.source_time is not None:
                            delays.append((now - news.source_time) / 1000)

            await tasks.start(listen)
            for _ in range(many // 2):
                await domain.resume()
                await domain.suspend()
            tasks.cancel_scope.cancel()

    run_on(lane.backend, program)
    found = quantiles(delays, n=100)
    return {"p50": found[49], "p99": found[98]}


# -- an order --------------------------------------------------------------------------------


def order(count: int, lane: Lane, quick: bool, _: str) -> Figures:  # noqa: FBT001 - a Case's measure
    """From where ``suspend`` is called to where a subscriber has its event, beside a journal on disk; of raw QMP, from stop to STOP."""
    many, delays = count // (QUICK if quick else 1), list[float]()

    async def program() -> None:
        async with connected(lane) as (host, domain), anyio.create_task_group() as tasks:
            seen = anyio.Event()

            async def listen(*, task_status: anyio.abc.TaskStatus[None]) -> None:
                async with host.events.subscribe(DomainLifecycle, subject=domain) as events:
                    task_status.started()
                    async for news in events:
                        if news.kind is Lifecycle.SUSPENDED:
                            delays.append((time.perf_counter() - begun) * 1e6)
                            seen.set()

            await tasks.start(listen)
            for number in range(WARMING + many):
                await domain.resume()
                await anyio.sleep(NAP)
                if number == WARMING:
                    delays.clear()
                    gc.collect()
                    gc.freeze()
                seen, begun = anyio.Event(), time.perf_counter()
                await domain.suspend()
                await seen.wait()
            tasks.cancel_scope.cancel()

    if lane.contender == RAW:
        delays += list(raw_orders(many))[WARMING:]
    else:
        run_on(lane.backend, program)
    found = quantiles(delays, n=100)
    return {"p50": found[49], "p99": found[98]}


def raw_orders(many: int) -> Iterator[float]:
    """The same guest, left to itself by its engine, and a blocking socket at its monitor."""

    async def start(root: str) -> None:
        async with aiovirt.connect("qemu:///session", **folders(root)) as host:
            await guest(host, root)

    with TemporaryDirectory(prefix="aiovirt-") as root:
        anyio.run(start, root)
        try:
            (path,) = Path(root, "runtime/qemu").glob("*.monitor")
            with Blocking(str(path)) as session:
                for _ in range(WARMING + many):
                    session.ask("cont")
                    session.until("return")
                    time.sleep(NAP)
                    begun = time.perf_counter()
                    session.ask("stop")
                    session.until("event", "STOP")
                    yield (time.perf_counter() - begun) * 1e6
                    session.until("return")
        finally:
            end_all(root)


def end_all(root: str) -> None:
    for record in Path(root, "state/run").glob("*.json"):
        os.kill(json.loads(record.read_bytes())["process"]["pid"], signal.SIGKILL)


# -- clients that wait -------------------------------------------------------------------------


def room(count: int, lane: Lane, quick: bool, _: str) -> Figures:  # noqa: ARG001, FBT001 - a Case's measure
    """What an engine grows by for each process that is attached and does nothing."""
    raise_descriptor_limit(count + 100)
    with TemporaryDirectory(prefix="aiovirt-") as root, engine(root, lane.backend) as pid:
        first = [attach(root) for _ in range(50)]  # tables grow, and stay
        before = resident(pid)
        others = [attach(root) for _ in range(count)]
        grown = resident(pid) - before
        for client in first + others:
            client.close()
    return {"bytes": grown / count}


def attach(root: str) -> socket.socket:
    """A client that has been welcomed."""
    client = connect_now(f"{root}/runtime/engine.sock")
    client.settimeout(PATIENCE)
    client.sendall(framed(encode(Hello(VERSION))))
    frames = Frames(ENGINE_LIMIT)
    while not (heard := [decode_from_engine(frame) for frame in frames.feed(client.recv(65_536))]):
        pass
    assert isinstance(heard[0], Welcome)
    return client


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGESIZE")


# -- a command ---------------------------------------------------------------------------------


def command(times: int, lane: Lane, quick: bool, _: str) -> Figures:  # noqa: FBT001 - a Case's measure
    """A whole process, from its start to its end, with its modules compiled already, as pip does for who installs them."""
    words = ["-m", "aiovirt", "-c", "qemu:///session", "list"] if lane.contender == OURS else ["-c", IMPORT]
    many = times // (QUICK if quick else 1)
    with TemporaryDirectory(prefix="aiovirt-") as root, engine(root):
        variables = environment(root)
        variables.pop("PYTHONDONTWRITEBYTECODE", None)
        run = partial(subprocess.run, [sys.executable, *words], env=variables, stdout=subprocess.DEVNULL, check=True)
        run()
        with Stopwatch() as watch:
            for _again in range(many):
                run()
    return {"wall": watch.per(many, 1e3)["wall"]}


# -- guests found again ------------------------------------------------------------------------


@contextmanager
def left_running() -> Iterator[str]:
    """A folder whose engine has ended, and whose guests run on."""
    raise_descriptor_limit(4 * GUESTS)

    async def start(root: str) -> None:
        async with aiovirt.connect("qemu:///session", **folders(root)) as host, anyio.create_task_group() as tasks:
            for number in range(GUESTS):
                tasks.start_soon(guest, host, root, f"g{number}")

    with TemporaryDirectory(prefix="aiovirt-") as root:
        anyio.run(start, root)
        try:
            yield root
        finally:
            end_all(root)


def adopt(lane: Lane, quick: bool, root: str) -> Figures:  # noqa: ARG001, FBT001 - a Case's measure
    raise_descriptor_limit(4 * GUESTS)
    watch = Stopwatch()

    async def program() -> None:
        with TemporaryDirectory(prefix="aiovirt-") as empty:  # what is imported on use has been used before
            async with aiovirt.connect("qemu:///session", **folders(empty)):
                pass
        async with AsyncExitStack() as stack:
            with watch:
                host = await stack.enter_async_context(aiovirt.connect("qemu:///session", **folders(root)))
                events = await stack.enter_async_context(host.events.subscribe(DomainEvent))
                while any(domain.status.monitor is not MonitorHealth.CONNECTED for domain in host.domains()):
                    await events.receive()
            assert len(host.domains()) == GUESTS

    if lane.contender == RAW:
        paths = [str(path) for path in Path(root, "runtime/qemu").glob("*.monitor")]
        assert len(paths) == GUESTS
        with watch:
            ask_all(paths)
    else:
        run_on(lane.backend, program)
    return watch.per(1, 1e3)


QUESTIONS: Final = (
    "",  # QEMU greets
    "qmp_capabilities",
    "query-uuid",
    "query-cpus-fast",
    "qom-list",
    "query-jobs",
    "query-balloon",  # refused, without a balloon
    "query-status",
)


def arguments(question: str) -> dict[str, object]:
    return {"arguments": {"path": "/machine/peripheral"}} if question == "qom-list" else {}


def ask_all(paths: list[str]) -> None:
    """The same questions over blocking sockets, each of all before the next."""
    sockets = [connect_now(path) for path in paths]
    said = [sock.makefile("rb") for sock in sockets]
    for sock in sockets:
        sock.setblocking(True)
    for question in QUESTIONS:
        for sock in sockets if question else ():
            sock.sendall(json.dumps({"execute": question} | arguments(question)).encode())
        for answers in said:
            while not {"QMP", "return", "error"} & json.loads(answers.readline()).keys():
                pass
    for answers, client in zip(said, sockets, strict=True):
        answers.close()
        client.close()


# -- cases -------------------------------------------------------------------------------------

CASES: Final = {
    "a query-status": Case((LOCAL, ATTACHED), partial(call, 5000), CALL),
    "an event of QEMU": Case((LOCAL, ATTACHED), partial(event, 2000), DELAY),
    "an order to its event": Case((LOCAL, RAW), partial(order, 1000), DELAY, alone=frozenset({RAW})),
    "500 idle clients": Case((OURS,), partial(room, 500), ROOM),
    "aiovirt list": Case((OURS, IMPORT), partial(command, 50), COMMAND, SYNC),
    "200 guests found again": Case((OURS, RAW), adopt, ADOPT, ASYNC, frozenset({RAW})),
}
STAGES: Final[dict[str, Callable[[], AbstractContextManager[str]]]] = {"200 guests found again": left_running}


def measure(lane: Lane, quick: bool, place: str) -> Figures:  # noqa: FBT001 - a Bench's measure
    return CASES[lane.case].measure(lane, quick, place)


def lanes() -> Iterator[Lane]:
    for name, case in CASES.items():
        for contender in case.contenders:
            yield from (Lane(name, contender, backend) for backend in (SYNC if contender in case.alone else case.backends))


BENCH: Final = Bench(
    name="bench_engine",
    lanes=tuple(lanes()),
    baselines=(LOCAL, IMPORT, RAW),
    units=CALL,
    own_units={name: case.units for name, case in CASES.items()},
    measure=measure,
    stages=STAGES,
)

if __name__ == "__main__":
    main(BENCH)
