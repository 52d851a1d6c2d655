"""What it costs to know the network devices of a host: how soon a change is seen, a storm of them, the first look, a message.

Each measurement is in namespaces of its own (tests/lab/sandbox.py) where the kernel is real and udevd is the sandbox's. Who
changes links is another process; a delay is from just before its request to where the reader has the event: for
``aiovirt`` a subscriber of a whole engine with a journal on disk, for ``aiovirt, the watch alone`` of a bus in memory.
``bare socket`` is the floor: a blocking socket and a walk over the structs that extracts the same fields. libvirt's figures
are those of its client; its daemon works beside.
"""

from __future__ import annotations

import gc
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, closing
from functools import partial
from pathlib import Path
from statistics import quantiles
from time import monotonic_ns
from typing import Final

import anyio
from msgspec import Struct
from pyroute2.netlink.rtnl.marshal import MarshalRtnl

from aiovirt.events import SourceResynced
from aiovirt.wire import rtnetlink
from benchmarks.harness import ASYNC, SYNC, Bench, Figures, Lane, Stopwatch, main, run_on
from benchmarks.hostdev_changes import Changes, number_of
from benchmarks.hostdev_contenders import (
    BARE,
    KERNELS,
    LIBVIRT,
    LISTERS,
    NDB_NAME,
    OPENED,
    OURS,
    READERS,
    SMALL,
    UDEVS,
    WATCH,
    Opened,
    follow,
)
from benchmarks.hostdev_walk import LARGEST, listener, walk
from tests.lab import sandbox
from tests.lab.links import as_known, as_told_by_ip, ip_batch

__all__ = ["BENCH"]

QUICK: Final = 5  # times less
NAP: Final = 0.001
PATIENCE: Final = 20

PYROUTE2: Final = "pyroute2"
IDLE: Final = "idle loop"
BARE_READER: Final = "bare reader"

DELAY: Final = {"p99": "us", "p50": "us", "cpu": "us", "memory": "MiB"}
COST: Final = {"cpu": "us", "wall": "us", "memory": "MiB"}
LAG: Final = {"p99": "ms", "stall": "ms", "resynced": "times", "grown": "MiB", "memory": "MiB"}
LOOK: Final = {"wall": "ms", "cpu": "ms", "memory": "MiB"}


class Case(Struct, frozen=True):
    """``measure(lane, quick)`` gives what ``units`` names, in a sandbox with a udevd or without."""

    contenders: tuple[str, ...]
    measure: Callable[[Lane, bool], Figures]
    units: dict[str, str]
    udev: bool = True
    loops: bool = True


def ip(lines: Sequence[str]) -> None:
    assert ip_batch(lines).wait() == 0


def settled() -> None:
    """Before anything is measured, the collector forgets what is there: a daemon is up for long."""
    gc.collect()
    gc.freeze()


# -- delay -------------------------------------------------------------------------------------


WARMING: Final = 50
"""Changes before those that are looked at: Python takes its time with what it has not done some dozens of times."""


class Sightings:
    """When each change was first seen."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._seen: dict[int, int] = {}

    def see(self, name: str, mtu: int) -> bool:
        now, number = monotonic_ns(), number_of(self._changes.kind, name, mtu)
        self._seen.setdefault(number, now)
        return number == self._changes.count - 1

    def percentiles(self) -> Figures:
        """Of microseconds between where a change was asked for and where it was seen; each has to be."""
        delays = [self._seen[number] - time for number, time in enumerate(self._changes.times())]
        found = quantiles(delays[WARMING:], n=100)
        return {"p50": found[49] / 1000, "p99": found[98] / 1000}


def delay(kind: str, count: int, every: float, lane: Lane, quick: bool) -> Figures:  # noqa: FBT001 - a Case's measure
    ip(["add r type veth peer name s"])  # libvirt has no nodes for bridges
    many = WARMING + count // (QUICK if quick else 1)
    changes = Changes(kind, socket.if_nametoindex("r"), many, every)
    sightings, watch = Sightings(changes), Stopwatch()

    async def program() -> None:
        async with OPENED[lane.contender]() as opened:
            settled()
            with watch:
                await follow(opened, changes.start, sightings.see)

    if lane.contender in OPENED:
        run_on(lane.backend, program)
    else:
        settled()
        with watch:
            READERS[lane.contender](changes.start, sightings.see)
    return watch.per(many, 1e6) | sightings.percentiles()


# -- a storm -----------------------------------------------------------------------------------

DEVICES: Final = 50
STORM: Final = 10_000
END: Final = "end"


def before_the_storm() -> list[str]:
    return [line for n in range(DEVICES) for line in (f"add b{n} type bridge", f"add v{n} type veth peer name w{n}", f"set w{n} up")]


def the_storm(count: int) -> Iterator[str]:
    """So many renames of links that are down, and as many other changes of others."""
    names = [f"b{n}" for n in range(DEVICES)]
    for number in range(count):
        n, turn = number % DEVICES, number // DEVICES
        yield f"set {names[n]} name b{n}t{turn}"
        yield f"set v{n} " + (f"mtu {1300 + turn % 200}", "up", f"address 52:54:00:{turn % 256:02x}:00:{n:02x}", "down")[turn % 4]
        names[n] = f"b{n}t{turn}"
    yield f"set {names[0]} name {END}"


class Ticker:
    """How late a nap was, in milliseconds, while something else went on."""

    def __init__(self) -> None:
        self.late: list[float] = []

    async def run(self) -> None:
        while True:
            before = monotonic_ns()
            await anyio.sleep(NAP)
            self.late.append((monotonic_ns() - before) / 1e6 - NAP * 1e3)

    def figures(self) -> Figures:
        return {"p99": quantiles(self.late, n=100)[98], "stall": max(self.late)}


async def weather(opened: Opened, count: int) -> Figures:
    """One storm, from its first change to where its last one is known; what is known then has to be what ip says."""
    ticker, watch, resynced = Ticker(), Stopwatch(), 0
    lines = list(the_storm(count))
    settled()
    size = memory()

    async def listen(*, task_status: anyio.abc.TaskStatus[None]) -> None:
        nonlocal resynced
        async with opened.events.subscribe(SourceResynced) as events:
            task_status.started()
            async for _ in events:
                resynced += 1

    async with anyio.create_task_group() as tasks:
        await tasks.start(listen)
        with watch, anyio.fail_after(PATIENCE):
            processes: list[subprocess.Popen[bytes]] = []
            tasks.start_soon(ticker.run)
            await follow(opened, lambda: processes.append(ip_batch(lines)), lambda name, _: name == END)
        lag = ticker.figures()
        await until_as_ip_says(opened)
        assert processes[0].wait() == 0
        tasks.cancel_scope.cancel()
    return watch.per(2 * count, 1e6) | lag | {"resynced": float(resynced), "grown": memory() - size}


async def read_bare(count: int) -> Figures:
    """What the storm does to a loop with the least that reads all of it: a task, a datagram at a time, walked over by hand."""
    ticker, lines = Ticker(), list(the_storm(count))
    settled()
    size = memory()
    with closing(listener()) as opened:
        opened.setblocking(False)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ticker.run)
            process = ip_batch(lines)
            with anyio.fail_after(PATIENCE):
                names: list[object] = []
                while END not in names:
                    await anyio.wait_readable(opened)
                    names = [link.get("name") for link in walk(opened.recv(LARGEST)) if link is not None]
            tasks.cancel_scope.cancel()
        assert process.wait() == 0
    return ticker.figures() | {"resynced": 0.0, "grown": memory() - size}


async def idle(count: int) -> Figures:
    """What the machine itself does to a loop that has nothing else to do, while others make the same storm."""
    ticker, lines = Ticker(), list(the_storm(count))
    settled()
    size = memory()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ticker.run)
        await anyio.to_thread.run_sync(ip, lines)
        tasks.cancel_scope.cancel()
    return ticker.figures() | {"resynced": 0.0, "grown": memory() - size}


async def until_as_ip_says(opened: Opened) -> None:
    async with opened.events.subscribe() as events:
        with anyio.fail_after(PATIENCE):
            while as_known(opened.netdevs()) != as_told_by_ip():
                await events.receive()


def memory() -> float:
    """MiB held."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20


def storm(lane: Lane, quick: bool) -> Figures:  # noqa: FBT001 - a Case's measure
    ip(before_the_storm())
    count = STORM // (QUICK if quick else 1)

    async def program() -> Figures:
        async with OPENED[lane.contender]() as opened:
            return await weather(opened, count)

    if lane.contender == IDLE:
        return run_on(lane.backend, partial(idle, count))
    if lane.contender == BARE_READER:
        return run_on(lane.backend, partial(read_bare, count))
    if lane.contender in OPENED:
        return run_on(lane.backend, program)
    lines, processes = list(the_storm(count)), list[subprocess.Popen[bytes]]()
    settled()
    with Stopwatch() as watch:
        READERS[lane.contender](lambda: processes.append(ip_batch(lines)), lambda name, _: name == END)
    assert processes[0].wait() == 0
    return watch.per(2 * count, 1e6)


# -- the first look ----------------------------------------------------------------------------


def look(links: int, lane: Lane, quick: bool) -> Figures:  # noqa: ARG001, FBT001 - a Case's measure
    """All that there is, from nothing; what is imported on use has been used before."""
    watch = Stopwatch()
    veths = [f"add v{n} type veth peer name w{n}" for n in range(links // 2)]

    async def warm_up() -> None:
        async with OPENED[lane.contender]():
            pass

    async def program() -> int:
        settled()
        async with AsyncExitStack() as stack:
            with watch:
                opened = await stack.enter_async_context(OPENED[lane.contender]())
                return len(list(opened.netdevs()))

    if lane.contender in OPENED:
        run_on(lane.backend, warm_up)
        ip(veths)
        found = run_on(lane.backend, program)
    else:
        ip(veths)
        settled()
        with watch:
            found = LISTERS[lane.contender]()
    assert found == links + 1, found
    return watch.per(1, 1e3)


# -- a message ---------------------------------------------------------------------------------


def heard(links: int) -> list[bytes]:
    """What the kernel says, unasked, of links that come, get a name and go up."""
    with closing(listener()) as opened:
        ip([line for n in range(links) for line in (f"add v{n} type veth peer name w{n}", f"set v{n} name x{n}", f"set x{n} up")])
        opened.setblocking(False)
        datagrams: list[bytes] = []
        while True:
            try:
                datagrams.append(opened.recv(LARGEST))
            except BlockingIOError:
                return datagrams


def decode_ours(datagram: bytes) -> object:
    """As a watch does it, which remembers how messages are laid out."""
    return rtnetlink.decode(datagram, body=READER.body)


def decode_bare(datagram: bytes) -> object:
    return list(walk(datagram))


def decode_pyroute2(datagram: bytes) -> object:
    """An attribute is decoded when it is asked for: those that LinkMessage has, too, and that most links have."""
    return [[message.get_attr(name) for name in WANTED] for message in MARSHAL.parse(datagram)]


MARSHAL: Final = MarshalRtnl()
READER: Final = rtnetlink.LinkReader()
WANTED: Final = ("IFLA_ADDRESS", "IFLA_IFNAME", "IFLA_MTU", "IFLA_LINK", "IFLA_MASTER", "IFLA_OPERSTATE", "IFLA_LINKINFO", "IFLA_CARRIER")
DECODERS: Final[dict[str, Callable[[bytes], object]]] = {BARE: decode_bare, OURS: decode_ours, PYROUTE2: decode_pyroute2}


def messages(links: int, times: int, lane: Lane, quick: bool) -> Figures:  # noqa: FBT001 - a Case's measure
    datagrams, decode = heard(links), DECODERS[lane.contender]
    many = times // (QUICK if quick else 1)
    count = sum(len(rtnetlink.decode(datagram)) for datagram in datagrams)
    settled()
    with Stopwatch() as watch:
        for _ in range(many):
            for datagram in datagrams:
                decode(datagram)
    return watch.per(many * count, 1e6)


# -- cases -------------------------------------------------------------------------------------

CASES: Final = {
    "an MTU is changed": Case((BARE, OURS, WATCH, NDB_NAME), partial(delay, "mtu", 1000, 0.002), DELAY),
    "a link is renamed": Case((BARE, OURS, WATCH, KERNELS, UDEVS, NDB_NAME, LIBVIRT), partial(delay, "name", 500, 0.01), DELAY),
    "a storm of 20,000 changes": Case((IDLE, BARE_READER, OURS, WATCH, SMALL), storm, LAG),
    "the cost of each in a storm": Case((BARE, OURS, WATCH, KERNELS), storm, COST),
    "2,000 links at first": Case((BARE, OURS, WATCH, UDEVS, NDB_NAME, LIBVIRT), partial(look, 2000), LOOK, udev=False),
    "a link message": Case((BARE, OURS, PYROUTE2), partial(messages, 50, 50), COST, udev=False, loops=False),
}


def measure(lane: Lane, quick: bool, _: str) -> Figures:  # noqa: FBT001 - a Bench's measure
    case = CASES[lane.case]
    if os.environ.get(sandbox.INSIDE) != "1":
        line = sandbox.enter([sys.executable, "-m", "benchmarks.bench_hostdev", *sys.argv[1:]], udev=case.udev)
        os.execvp(line[0], line)  # noqa: S606 - no shell is wanted
    return case.measure(lane, quick)


def lanes() -> Iterator[Lane]:
    for name, case in CASES.items():
        for contender in case.contenders:
            backends = ASYNC if case.loops and contender in {*OPENED, IDLE, BARE_READER} else SYNC
            yield from (Lane(name, contender, backend) for backend in backends)


BENCH: Final = Bench(
    name="bench_hostdev",
    lanes=tuple(lanes()),
    baselines=(BARE, BARE_READER, KERNELS, UDEVS, NDB_NAME, LIBVIRT, PYROUTE2),
    units=COST,
    own_units={name: case.units for name, case in CASES.items()},
    measure=measure,
)

if __name__ == "__main__":
    main(BENCH)
