"""How long a loop stands still while one QEMU says 200,000 things at once, each of which becomes an event on the bus.

``stall`` is the longest that anything else on the loop had to wait, beside a journal on disk. The peer is
another process. ``bare reader`` is a task on the same loop that reads 64 KiB at a time, as asyncio's streams do, and decodes each
line with Python's ``json``. What was there before is put out of the garbage collector's sight, as a daemon does once it
is up: a pass over all objects of a Python process takes longer than anything here.
"""

from __future__ import annotations

import gc
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from statistics import quantiles
from tempfile import TemporaryDirectory
from time import perf_counter_ns
from typing import Final
from uuid import UUID

import anyio

from aiovirt.drivers.qemu.monitor import Listener, Monitor
from aiovirt.drivers.qemu.translate import quoted, translate
from aiovirt.events.bus import Bus
from aiovirt.system.bytestream import UnixStream
from aiovirt.system.deadlines import Deadlines
from aiovirt.wire.qmp import QMPEvent
from benchmarks.bench_events import kept
from benchmarks.harness import ASYNC, Bench, Figures, Lane, Stopwatch, main, run_on

__all__ = ["BENCH"]

CASE: Final = "200,000 events"
EVENTS: Final = 200_000
AT_ONCE: Final = 100
BARE: Final = "bare reader"
READ: Final = 64 * 1024
NAP: Final = 0.001
PATIENCE: Final = 30
GUEST: Final = UUID(int=1)

GREETING: Final = b'{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": ""}, "capabilities": ["oob"]}}\r\n'
AGREED: Final = b'{"return": {}, "id": 1}\r\n'
EVENT: Final = (
    b'{"timestamp": {"seconds": 1795365015, "microseconds": 446386}, "event": "BLOCK_IO_ERROR", "data": {"device": "disk0",'
    b' "nospace": false, "node-name": "n", "reason": "Input/output error", "operation": "write", "action": "report"}}\r\n'
)


@contextmanager
def talker() -> Iterator[socket.socket]:
    """Our end of a monitor whose peer says all that it has to say, as fast as it is read."""
    near, far = socket.socketpair()
    child = os.fork()
    if not child:
        near.close()
        far.sendall(GREETING)
        far.recv(1000)
        far.sendall(AGREED)
        for _ in range(EVENTS // AT_ONCE):
            far.sendall(EVENT * AT_ONCE)
        far.recv(1)
        os._exit(0)
    far.close()
    try:
        yield near
    finally:
        near.close()
        os.waitpid(child, 0)


class Quoting(Listener):
    """Does with each event what a guest does."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._left = EVENTS
        self.done = anyio.Event()

    def event(self, event: QMPEvent) -> None:
        self._bus.publish(quoted(event, GUEST, "guest"))
        translate(event)
        self._left -= 1
        if not self._left:
            self.done.set()


async def listen(near: socket.socket, folder: str) -> Figures:
    """Milliseconds that a nap was late by while the burst came."""
    late: list[float] = []
    async with kept(folder) as bus, UnixStream(near) as stream, anyio.create_task_group() as tasks:
        listener, deadlines = Quoting(bus), Deadlines()
        tasks.start_soon(deadlines.run)
        gc.collect()
        gc.freeze()
        tasks.start_soon(Monitor(stream, listener, deadlines).run)
        with Stopwatch() as watch, anyio.fail_after(PATIENCE):
            await nap_until(listener.done, late)
        tasks.cancel_scope.cancel()
    return watch.per(EVENTS, 1e6) | {"stall": max(late), "p99": quantiles(late, n=100)[98]}


async def read_bare(near: socket.socket) -> Figures:
    """The same of the least that reads all of it."""
    late, done = list[float](), anyio.Event()
    near.setblocking(False)

    async def read() -> None:
        left, rest = EVENTS, b""
        near.send(b'{"execute":"qmp_capabilities","id":1}')
        while left:
            await anyio.wait_readable(near)
            *lines, rest = (rest + near.recv(READ)).split(b"\n")
            for line in lines:
                left -= "event" in json.loads(line)
        done.set()

    async with anyio.create_task_group() as tasks:
        gc.collect()
        gc.freeze()
        tasks.start_soon(read)
        with Stopwatch() as watch, anyio.fail_after(PATIENCE):
            await nap_until(done, late)
    return watch.per(EVENTS, 1e6) | {"stall": max(late), "p99": quantiles(late, n=100)[98]}


async def nap_until(done: anyio.Event, late: list[float]) -> None:
    while not done.is_set():
        before = perf_counter_ns()
        await anyio.sleep(NAP)
        late.append((perf_counter_ns() - before) / 1e6 - NAP * 1e3)


def measure(lane: Lane, quick: bool, _: str) -> Figures:  # noqa: ARG001, FBT001 - a Bench's measure
    with talker() as near, TemporaryDirectory() as folder:
        program = partial(read_bare, near) if lane.contender == BARE else partial(listen, near, folder)
        return run_on(lane.backend, program)


BENCH: Final = Bench(
    name="bench_burst",
    lanes=tuple(Lane(CASE, contender, backend) for contender in ("aiovirt", BARE) for backend in ASYNC),
    baselines=(BARE,),
    units={"stall": "ms", "p99": "ms", "cpu": "us", "memory": "MiB"},
    measure=measure,
)

if __name__ == "__main__":
    main(BENCH)
