"""What a QMP command costs: ``query-status``, asked of scripted peers and of real QEMUs.

CPU is the client's alone: who answers is another process. ``peer`` is that one's CPU where it is scripted;
as long as it is less than the client's, the client is not waiting for it. ``floor`` has Python's ``json``
and no event loop: one session is a blocking socket, many are on a bare epoll loop, and of real QEMUs all
are asked before any answer is read. ``aiovirt`` is a session by itself, its ``execute`` with deadline and all;
``Domain.qmp`` is the whole public path to it: handle, engine, admission, driver.
"""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from functools import partial
from typing import Final, Self

import anyio
from msgspec import Struct

from benchmarks.harness import ASYNC, SYNC, Bench, Figures, Lane, Stopwatch, main, run_on
from benchmarks.qmp_contenders import CONNECTED, OURS, RIVAL, STREAMS, Ask, all_then_all, as_they_come, blocking_sessions, in_turn
from benchmarks.qmp_door import domains, doors
from benchmarks.qmp_libvirt import libvirt_sweep, libvirts_guests
from benchmarks.qmp_peers import PeerClock, guests, raise_descriptor_limit, scripted

__all__ = ["BENCH"]

MICROSECONDS: Final = 1e6
QUICK: Final = 5  # times less
WARM_UP: Final = 500
REAL: Final = 50

FLOOR: Final = "floor"
DOOR: Final = "Domain.qmp"
LIBVIRT: Final = {"libvirtd": 1, "libvirtd, 5 threads": 5}  # it works on at most five calls of a client at once
BACKENDS: Final = {OURS: ASYNC, DOOR: ASYNC, RIVAL: ("asyncio", "uvloop"), STREAMS: ("asyncio", "uvloop")}
CLIENTS: Final = {**CONNECTED, DOOR: doors}

COST: Final = {"cpu": "us", "wall": "us", "peer": "us", "memory": "MiB"}
SWEPT: Final = {"cpu": "us", "wall": "us", "memory": "MiB"}
OPENED: Final = {"cpu": "us", "wall": "us", "peer": "us", "open": "us", "memory": "MiB"}
ROOM: Final = {"bytes": "B", "memory": "MiB"}


class Case(Struct, frozen=True):
    """``measure(lane, quick, place)`` gives what ``units`` names; ``stage`` has the far side, and tells its place."""

    contenders: tuple[str, ...]
    measure: Callable[[Lane, bool, str], Figures]
    units: dict[str, str]
    stage: Callable[[], AbstractContextManager[str]] = scripted


# -- commands ----------------------------------------------------------------------------------


class Shape(Struct, frozen=True):
    """So many ``sessions`` have so many commands ``in_flight`` each, and send ``each`` in the place of each of those."""

    sessions: int
    each: int
    in_flight: int = 1

    @property
    def askers(self) -> int:
        return self.sessions * self.in_flight


class Crowd:
    """Tasks that are there beforehand, one for each of ``asks``: what starting one takes is not what a command takes."""

    def __init__(self, asks: Sequence[Ask]) -> None:
        self._asks = asks
        self._go, self._over = anyio.Event(), anyio.Event()
        self._each = self._busy = 0

    @asynccontextmanager
    async def gathered(self) -> AsyncIterator[Self]:
        async with anyio.create_task_group() as tasks:
            for ask in self._asks:
                tasks.start_soon(self._wait, ask)
            await anyio.wait_all_tasks_blocked()
            yield self
            tasks.cancel_scope.cancel()

    async def ask(self, each: int) -> None:
        """All ask at once, ``each`` times, one answer after another; returns when all are answered."""
        go, self._go, self._over = self._go, anyio.Event(), anyio.Event()
        self._each, self._busy = each, len(self._asks)
        go.set()
        await self._over.wait()

    async def _wait(self, ask: Ask) -> None:
        while True:
            await self._go.wait()
            for _ in range(self._each):
                await ask()
            self._busy -= 1
            if not self._busy:
                self._over.set()


class Meter(Stopwatch):
    """A stopwatch for the CPU time of the peers, too."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._peers = PeerClock(path)
        self._theirs = 0.0

    def __enter__(self) -> Self:
        self._theirs = self._peers.read()
        return super().__enter__()

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self._theirs = self._peers.read() - self._theirs

    def per(self, count: int, scale: float) -> Figures:
        return super().per(count, scale) | {"peer": self._theirs / count * scale}


def commands(shape: Shape, lane: Lane, quick: bool, path: str) -> Figures:  # noqa: FBT001 - a Case's measure
    """The cost of a command; ``open`` is the wall time that it took to have a session ready."""
    raise_descriptor_limit(shape.sessions + 100)
    each = shape.each // (QUICK if quick else 1)
    paths, meter, start = [path] * shape.sessions, Meter(path), time.perf_counter()

    async def program() -> float:
        async with CLIENTS[lane.contender](paths) as asks:
            opened = time.perf_counter()
            async with Crowd([ask for ask in asks for _ in range(shape.in_flight)]).gathered() as crowd:
                await crowd.ask(max(1, WARM_UP // shape.askers))
                with meter:
                    await crowd.ask(each)
        return opened

    def floor() -> float:
        converse = in_turn if shape.sessions == 1 else as_they_come
        with blocking_sessions(paths) as sessions:
            opened = time.perf_counter()
            converse(sessions, shape.in_flight, max(1, WARM_UP // shape.askers))
            with meter:
                converse(sessions, shape.in_flight, each)
        return opened

    opened = floor() if lane.contender == FLOOR else run_on(lane.backend, program)
    return meter.per(shape.askers * each, MICROSECONDS) | {"open": (opened - start) / shape.sessions * MICROSECONDS}


# -- memory ------------------------------------------------------------------------------------


def guests_room(many: int, lane: Lane, quick: bool, path: str) -> Figures:  # noqa: ARG001, FBT001 - a Case's measure
    """Bytes for each guest that runs and waits, beside what an engine without any takes."""

    async def held(count: int) -> int:
        async with domains([path] * count) as handles:
            for domain in handles:
                await domain.qmp("query-status")
            await anyio.wait_all_tasks_blocked()
            gc.collect()
            return tracemalloc.get_traced_memory()[0]

    async def program() -> Figures:
        await held(many)
        return {"bytes": (await held(many) - await held(0)) / many}

    raise_descriptor_limit(4 * many)
    tracemalloc.start()
    return run_on(lane.backend, program)


def room(count: int, lane: Lane, quick: bool, path: str) -> Figures:  # noqa: FBT001 - a Case's measure
    """Bytes for each session that has asked something, and waits: all of it but what the kernel has.

    Counted by tracemalloc: the process's own size moves in pages and arenas, and keeps what was freed before.
    """
    many = count // (QUICK if quick else 1)

    async def held() -> int:
        async with CLIENTS[lane.contender]([path] * many) as asks:
            for ask in asks:
                await ask()
            await anyio.wait_all_tasks_blocked()
            gc.collect()
            return tracemalloc.get_traced_memory()[0]

    async def program() -> Figures:
        await held()  # the loop's own tables and threads come, and stay
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        return {"bytes": (await held() - before) / many}

    raise_descriptor_limit(count + 100)
    tracemalloc.start()
    return run_on(lane.backend, program)


# -- real QEMUs --------------------------------------------------------------------------------


@contextmanager
def real(count: int) -> Iterator[str]:
    """Their sockets, a line for each."""
    with guests(count) as started:
        yield "\n".join(started)


@contextmanager
def real_beside_libvirts(count: int) -> Iterator[str]:
    """The same, and above them the address of a libvirtd that has as many."""
    with libvirts_guests(count) as address, real(count) as paths:
        yield f"{address}\n{paths}"


def sweeps(guests: int, count: int, lane: Lane, quick: bool, place: str) -> Figures:  # noqa: FBT001 - a Case's measure
    """The cost of a command when all are asked at once, and again when all have answered."""
    paths = place.split("\n")[-guests:]
    times, watch = count // (QUICK if quick else 1), Stopwatch()

    async def program() -> None:
        async with CLIENTS[lane.contender](paths) as asks, Crowd(asks).gathered() as crowd:
            await crowd.ask(1)
            with watch:
                for _ in range(times):
                    await crowd.ask(1)

    def floor() -> None:
        with blocking_sessions(paths) as sessions:
            all_then_all(sessions)
            with watch:
                for _ in range(times):
                    all_then_all(sessions)

    def libvirt() -> None:
        with libvirt_sweep(place.partition("\n")[0], LIBVIRT[lane.contender]) as sweep:
            sweep()
            with watch:
                for _ in range(times):
                    sweep()

    if lane.contender in CLIENTS:
        run_on(lane.backend, program)
    else:
        (libvirt if lane.contender in LIBVIRT else floor)()
    return watch.per(times * guests, MICROSECONDS)


# -- cases -------------------------------------------------------------------------------------

ALIKE: Final = (FLOOR, OURS, DOOR, RIVAL)

CASES: Final = {
    "1 session": Case((*ALIKE, STREAMS), partial(commands, Shape(1, 20_000)), COST),
    "1 session, 100 in flight": Case((FLOOR, OURS, RIVAL), partial(commands, Shape(1, 200, in_flight=100)), COST),
    "100 sessions": Case(ALIKE, partial(commands, Shape(100, 200)), COST),
    "1,000 sessions": Case(ALIKE, partial(commands, Shape(1000, 50)), COST),
    "10,000 sessions": Case((FLOOR, OURS, RIVAL), partial(commands, Shape(10_000, 5)), OPENED),
    "1,000 idle sessions": Case((OURS, RIVAL), partial(room, 1000), ROOM),
    "40 idle guests": Case((DOOR,), partial(guests_room, 40), ROOM),
    "240 idle guests": Case((DOOR,), partial(guests_room, 240), ROOM),
    "1 QEMU": Case((*ALIKE, STREAMS), partial(sweeps, 1, 2500), SWEPT, partial(real, 1)),
    "50 QEMUs": Case(ALIKE, partial(sweeps, REAL, 50), SWEPT, partial(real, REAL)),
    "50 QEMUs, and libvirtd's 50": Case((FLOOR, OURS, *LIBVIRT), partial(sweeps, REAL, 50), SWEPT, partial(real_beside_libvirts, REAL)),
}


def measure(lane: Lane, quick: bool, place: str) -> Figures:  # noqa: FBT001 - a Bench's measure
    return CASES[lane.case].measure(lane, quick, place)


def lanes() -> Iterator[Lane]:
    for name, case in CASES.items():
        for contender in case.contenders:
            yield from (Lane(name, contender, backend) for backend in BACKENDS.get(contender, SYNC))


BENCH: Final = Bench(
    name="bench_qmp",
    lanes=tuple(lanes()),
    baselines=(FLOOR, RIVAL, STREAMS, *LIBVIRT),
    units=COST,
    own_units={name: case.units for name, case in CASES.items()},
    measure=measure,
    stages={name: case.stage for name, case in CASES.items()},
)

if __name__ == "__main__":
    main(BENCH)
