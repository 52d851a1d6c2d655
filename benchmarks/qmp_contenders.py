"""Clients of QMP: aiovirt's, its rivals on a loop, and the least that can be written with Python's ``json`` and no loop."""

from __future__ import annotations

import asyncio
import json
import select
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from functools import partial
from itertools import islice
from typing import Any, Final, Self

import anyio
from anyio import to_thread
from anyio.abc import TaskGroup
from qemu.qmp import QMPClient

from aiovirt.drivers.qemu.commands import StatusInfo
from aiovirt.drivers.qemu.monitor import Listener, Monitor
from aiovirt.system.bytestream import UnixStream
from aiovirt.system.deadlines import Deadline, Deadlines
from aiovirt.system.sockets import connect_now

__all__ = [
    "CONNECTED",
    "OURS",
    "PATIENCE",
    "RIVAL",
    "STREAMS",
    "Ask",
    "Blocking",
    "all_then_all",
    "as_they_come",
    "blocking_sessions",
    "in_batches",
    "in_turn",
    "open_monitor",
]

OURS: Final = "aiovirt"
RIVAL: Final = "QMPClient"
STREAMS: Final = "asyncio streams"

PATIENCE: Final = 30
OPENED_AT_ONCE: Final = 100
CHUNK: Final = 64 * 1024

Ask = Callable[[], Coroutine[Any, Any, object]]
"""One command, and its answer."""


# -- on a loop ---------------------------------------------------------------------------------


async def open_monitor(path: str, listener: Listener, deadlines: Deadlines, stack: AsyncExitStack, tasks: TaskGroup) -> Monitor:
    """A session that is ready; it runs in ``tasks``, and ``stack`` closes it."""
    stream = await stack.enter_async_context(UnixStream(await to_thread.run_sync(connect_now, path)))
    monitor = Monitor(stream, listener, deadlines)
    tasks.start_soon(monitor.run)
    await monitor.ready(Deadline.after(PATIENCE))
    return monitor


@asynccontextmanager
async def monitors(paths: Sequence[str]) -> AsyncIterator[list[Ask]]:
    asks: list[Ask] = []
    deadlines = Deadlines()
    async with AsyncExitStack() as stack, anyio.create_task_group() as tasks:
        tasks.start_soon(deadlines.run)

        async def join(path: str) -> None:
            monitor = await open_monitor(path, Listener(), deadlines, stack, tasks)
            asks.append(partial(monitor.execute, "query-status", returns=StatusInfo, by=Deadline.after(PATIENCE)))

        await in_batches(join, paths)
        yield asks
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def qmp_clients(paths: Sequence[str]) -> AsyncIterator[list[Ask]]:
    asks: list[Ask] = []
    async with AsyncExitStack() as stack:

        async def join(path: str) -> None:
            client = QMPClient()
            await client.connect(path)
            stack.push_async_callback(client.disconnect)
            asks.append(partial(client.execute, "query-status"))

        await in_batches(join, paths)
        yield asks


@asynccontextmanager
async def streams(paths: Sequence[str]) -> AsyncIterator[list[Ask]]:
    """The least that is written with asyncio's own streams: a line out, a line in, with Python's ``json``."""
    asks: list[Ask] = []
    async with AsyncExitStack() as stack:

        async def join(path: str) -> None:
            lines, writer = await asyncio.open_unix_connection(path)
            stack.callback(writer.close)

            async def ask(command: str = "query-status") -> object:
                writer.write(_question(command))
                return json.loads(await lines.readline())["return"]

            assert b'"QMP"' in await lines.readline()
            await ask("qmp_capabilities")
            asks.append(ask)

        await in_batches(join, paths)
        yield asks


async def in_batches(join: Callable[[str], Coroutine[Any, Any, None]], paths: Sequence[str]) -> None:
    """Many at once, but not all: only so many may wait for a socket to let them in."""
    rest = iter(paths)
    while batch := list(islice(rest, OPENED_AT_ONCE)):
        async with anyio.create_task_group() as tasks:
            for path in batch:
                tasks.start_soon(join, path)


CONNECTED: Final = {OURS: monitors, RIVAL: qmp_clients, STREAMS: streams}


# -- without one -------------------------------------------------------------------------------


class Blocking:
    """A blocking socket and a file over it."""

    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(path)
        self._lines = self.socket.makefile("rb")
        assert b'"QMP"' in self._lines.readline()
        self.ask("qmp_capabilities")
        self.answer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()
        self.socket.close()

    def ask(self, command: str = "query-status") -> None:
        self.socket.sendall(_question(command))

    def answer(self) -> object:
        return json.loads(self._lines.readline())["return"]

    def until(self, member: str, value: object = None) -> None:
        """Reads up to a message that has this member, with this value where that is given."""
        while not (member in (said := json.loads(self._lines.readline())) and value in (None, said[member])):
            pass


@contextmanager
def blocking_sessions(paths: Sequence[str]) -> Iterator[list[Blocking]]:
    with ExitStack() as stack:
        yield [stack.enter_context(Blocking(path)) for path in paths]


def _question(command: str = "query-status") -> bytes:
    return json.dumps({"execute": command, "id": 1}).encode() + b"\n"


def in_turn(sessions: Sequence[Blocking], in_flight: int, each: int) -> None:
    """One session over its blocking socket, ``in_flight`` times ``each`` commands."""
    (session,) = sessions
    for _ in range(in_flight):
        session.ask()
    for _ in range((each - 1) * in_flight):
        session.answer()
        session.ask()
    for _ in range(in_flight):
        session.answer()


def as_they_come(sessions: Sequence[Blocking], in_flight: int, each: int) -> None:
    """Many sessions on a bare epoll loop; each asks again when it is answered."""
    assert in_flight == 1
    sockets = {session.socket.fileno(): session.socket for session in sessions}
    rests, left, unfinished = dict.fromkeys(sockets, b""), dict.fromkeys(sockets, each), len(sockets)
    with select.epoll() as epoll:
        for fd, sock in sockets.items():
            sock.setblocking(False)
            epoll.register(fd, select.EPOLLIN)
            sock.send(_question())
        while unfinished:
            for fd, _ in epoll.poll():
                *lines, rests[fd] = (rests[fd] + sockets[fd].recv(CHUNK)).split(b"\n")
                for line in lines:
                    assert json.loads(line)["return"]
                    left[fd] -= 1
                    if left[fd]:
                        sockets[fd].send(_question())
                    else:
                        unfinished -= 1


def all_then_all(sessions: Sequence[Blocking]) -> None:
    """Asks all before it reads an answer."""
    for session in sessions:
        session.ask()
    for session in sessions:
        session.answer()
