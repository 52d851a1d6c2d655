"""What a QMP command costs: ``query-status``, asked of real QEMUs that have no machine to run.

CPU is the client's alone, QEMU being another process; wall is mostly QEMU's. ``raw socket`` is the
floor: it blocks, and has Python's ``json``; with many sessions it asks all before it reads any.
"""

from __future__ import annotations

import json
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

import anyio
from msgspec import Struct
from qemu.qmp import QMPClient

from aiovirt.drivers.qemu.monitor import Monitor
from aiovirt.system.carrier import connect_unix, listen_unix
from benchmarks.harness import ASYNC, SYNC, Bench, Figures, Lane, Stopwatch, main, run_on

__all__ = ["BENCH"]

CASES: Final = {"1 session": 1, "20 sessions": 20}
COMMANDS: Final = 4_000
QUICK: Final = 1_200
WARM_UP: Final = 10
PATIENCE: Final = 30
MICROSECONDS: Final = 1e6

QEMU: Final = ("qemu-system-x86_64", "-machine", "none", "-accel", "tcg", "-nodefaults", "-no-user-config", "-display", "none", "-S")


Session = Callable[[int], Coroutine[Any, Any, None]]
"""Sends so many commands."""


class Status(Struct):
    """``query-status`` (QAPI: StatusInfo)."""

    status: str


# -- the far side ------------------------------------------------------------------------------


@contextmanager
def guests() -> Iterator[str]:
    """The folder with a socket for each of 20 QEMUs that have greeted."""
    with tempfile.TemporaryDirectory(prefix="aiovirt-") as folder, ExitStack() as running:
        paths = sockets(folder, max(CASES.values()))
        for path in paths:
            running.enter_context(guest(path))
        for path in paths:
            with RawSession(path):
                pass
        yield folder


def sockets(folder: str, count: int) -> list[str]:
    return [str(Path(folder, f"{number}.qmp")) for number in range(count)]


@contextmanager
def guest(path: str) -> Iterator[None]:
    """A QEMU that is given its socket listening, so that nobody has to wait for it to be there."""
    with listen_unix(path) as listening:
        fd = listening.fileno()
        monitor = ("-chardev", f"socket,id=qmp,fd={fd},server=on,wait=off", "-mon", "chardev=qmp,mode=control")
        process = subprocess.Popen([*QEMU, *monitor], pass_fds=(fd,), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait()


# -- contenders --------------------------------------------------------------------------------


class RawSession:
    """A blocking socket and a file over it."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(PATIENCE)
        self._socket.connect(path)
        self._lines = self._socket.makefile("rb")
        assert b'"QMP"' in self._lines.readline()
        self.ask("qmp_capabilities")
        self.answer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()
        self._socket.close()

    def ask(self, command: str) -> None:
        self._socket.sendall(json.dumps({"execute": command, "id": 1}).encode() + b"\n")

    def answer(self) -> object:
        return json.loads(self._lines.readline())["return"]


def raw_sockets(paths: Sequence[str], each: int) -> Figures:
    def ask_all(times: int) -> None:
        for _ in range(times):
            for session in sessions:
                session.ask("query-status")
            for session in sessions:
                session.answer()

    with ExitStack() as stack:
        sessions = [stack.enter_context(RawSession(path)) for path in paths]
        ask_all(WARM_UP)
        with Stopwatch() as watch:
            ask_all(each)
    return watch.per(each * len(paths), MICROSECONDS)


@asynccontextmanager
async def monitors(paths: Sequence[str]) -> AsyncIterator[list[Session]]:
    async with AsyncExitStack() as stack, anyio.create_task_group() as tasks:
        sessions: list[Session] = []
        for path in paths:
            carrier = await stack.enter_async_context(await connect_unix(path))
            monitor = Monitor(carrier, on_event=lambda _: None, on_heard=lambda _: None)
            tasks.start_soon(monitor.run)
            await monitor.ready(PATIENCE)
            sessions.append(partial(ask_monitor, monitor))
        yield sessions
        tasks.cancel_scope.cancel()


async def ask_monitor(monitor: Monitor, times: int) -> None:
    for _ in range(times):
        await monitor.execute("query-status", returns=Status, timeout=PATIENCE)


@asynccontextmanager
async def qmp_clients(paths: Sequence[str]) -> AsyncIterator[list[Session]]:
    async with AsyncExitStack() as stack:
        sessions: list[Session] = []
        for path in paths:
            client = QMPClient()
            await client.connect(path)
            stack.push_async_callback(client.disconnect)
            sessions.append(partial(ask_client, client))
        yield sessions


async def ask_client(client: QMPClient, times: int) -> None:
    for _ in range(times):
        await client.execute("query-status")


CONTENDERS: Final = {"aiovirt": (monitors, ASYNC), "QMPClient": (qmp_clients, ("asyncio",))}
FLOOR: Final = "raw socket"


# -- measuring ---------------------------------------------------------------------------------


async def on_a_loop(contender: str, paths: Sequence[str], each: int) -> Figures:
    """The cost of a command when each session sends ``each``, one after another."""
    connected, _ = CONTENDERS[contender]
    async with connected(paths) as sessions:
        await at_once(sessions, WARM_UP)
        with Stopwatch() as watch:
            await at_once(sessions, each)
        return watch.per(each * len(sessions), MICROSECONDS)


async def at_once(sessions: Sequence[Session], times: int) -> None:
    async with anyio.create_task_group() as tasks:
        for session in sessions:
            tasks.start_soon(session, times)


def measure(lane: Lane, quick: bool, place: str) -> Figures:  # noqa: FBT001 - a Bench's measure
    paths = sockets(place, CASES[lane.case])
    each = (QUICK if quick else COMMANDS) // len(paths)
    if lane.contender == FLOOR:
        return raw_sockets(paths, each)
    return run_on(lane.backend, partial(on_a_loop, lane.contender, paths, each))


def lanes() -> Iterator[Lane]:
    for case in CASES:
        yield from (Lane(case, FLOOR, backend) for backend in SYNC)
        for contender, (_, backends) in CONTENDERS.items():
            yield from (Lane(case, contender, backend) for backend in backends)


BENCH: Final = Bench(
    name="bench_qmp",
    lanes=tuple(lanes()),
    baselines=(FLOOR, "QMPClient"),
    units={"cpu": "us", "wall": "us", "memory": "MiB"},
    measure=measure,
    stage=guests,
)

if __name__ == "__main__":
    main(BENCH)
