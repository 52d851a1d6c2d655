"""What a stuck QEMU costs the others: many real guests in one process, of which some are stopped every other round.

A round asks every guest ``query-status`` at once, with a deadline, and lasts as long as that, whoever is
stopped. What is compared is the latency of the same good guests with and without the stopped ones beside
them. Those are let go on after their round, and have to answer on the session they have had all along.

    python -m benchmarks.bench_isolation [--guests N] [--stopped N] [--rounds N] [--backend BACKEND] [--json]

The exit status is 1 where a bound is exceeded.
"""

from __future__ import annotations

import argparse
import gc
import math
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import Final

import anyio
import msgspec
from msgspec import Struct

from aiovirt.drivers.qemu.commands import StatusInfo
from aiovirt.drivers.qemu.monitor import Late, Listener, Monitor
from aiovirt.errors import OrderTimeout
from aiovirt.system.deadlines import Deadline, Deadlines
from benchmarks import harness
from benchmarks.harness import ASYNC, Bench, Figures, Lane, aligned, positive_number, run_on
from benchmarks.qmp_contenders import PATIENCE, open_monitor
from benchmarks.qmp_peers import guests

__all__ = ["BENCH", "BOUNDS", "figures_of"]

GUESTS: Final = 100
STOPPED: Final = 5
ROUNDS: Final = 30
QUICK_ROUNDS: Final = 10
DEADLINE: Final = 1.0

BOUNDS: Final = {"slowest": 1.25, "p99": 1.5}
UNITS: Final = {
    "slowest": "x",
    "p99": "x",
    "slowest stopped": "ms",
    "slowest running": "ms",
    "p99 stopped": "ms",
    "p99 running": "ms",
    "soonest": "ms",
    "latest": "ms",
}


class Latencies(Struct):
    """In seconds: the good guests' in each round of a kind, and how long after its deadline each stopped one was given up."""

    running: list[list[float]] = []
    stopped: list[list[float]] = []
    overdue: list[float] = []


def figures_of(seen: Latencies) -> Figures:
    """The median of each round's slowest reply and the 99th percentile of all: as ratios, then as they are.

    ``soonest`` and ``latest`` say when the stopped ones were given up, after their deadline.
    """
    kinds = {"stopped": seen.stopped, "running": seen.running}
    slowest = {kind: median(map(max, rounds)) * 1000 for kind, rounds in kinds.items()}
    p99 = {kind: quantiles([one for latencies in rounds for one in latencies], n=100)[98] * 1000 for kind, rounds in kinds.items()}
    return {
        "slowest": slowest["stopped"] / slowest["running"],
        "p99": p99["stopped"] / p99["running"],
        **{f"slowest {kind}": value for kind, value in slowest.items()},
        **{f"p99 {kind}": value for kind, value in p99.items()},
        "soonest": min(seen.overdue) * 1000,
        "latest": max(seen.overdue) * 1000,
    }


# -- guests ------------------------------------------------------------------------------------


class Guest(Listener):
    """A QEMU, and the one session with it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.monitor: Monitor
        self._answered_late = anyio.Event()

    def late(self, answer: Late) -> None:
        assert answer.done
        self._answered_late.set()

    async def ask(self, deadline: float) -> float:
        """How long it took to answer, or to be given up, in seconds."""
        start = time.perf_counter()
        with suppress(OrderTimeout):
            await self.monitor.execute("query-status", returns=StatusInfo, by=Deadline.after(deadline))
        return time.perf_counter() - start

    async def stop(self) -> None:
        """Returns when none of its threads runs any more."""
        os.kill(self.pid, signal.SIGSTOP)
        stat = Path(f"/proc/{self.pid}/stat")
        while stat.read_text().rpartition(")")[2].split()[0] != "T":  # noqa: ASYNC110, ASYNC240 - /proc wakes nobody
            await anyio.sleep(0.001)

    async def go_on(self) -> None:
        """Returns when it has answered what it owed, and then something new; raises TimeoutError, or whatever its session has come to."""
        os.kill(self.pid, signal.SIGCONT)
        with anyio.fail_after(PATIENCE):
            await self._answered_late.wait()
        self._answered_late = anyio.Event()
        assert await self.ask(PATIENCE) < PATIENCE, "it is there again"


@asynccontextmanager
async def opened(started: dict[str, int]) -> AsyncIterator[list[Guest]]:
    async with AsyncExitStack() as stack, anyio.create_task_group() as tasks:
        deadlines = Deadlines()
        tasks.start_soon(deadlines.run)
        mine = [Guest(pid) for pid in started.values()]
        for guest, path in zip(mine, started, strict=True):
            guest.monitor = await open_monitor(path, guest, deadlines, stack, tasks)
        yield mine
        tasks.cancel_scope.cancel()


# -- rounds ------------------------------------------------------------------------------------


async def alternate(started: dict[str, int], stopped: int, rounds: int, deadline: float) -> Latencies:
    """As many rounds in which the first ``stopped`` are stopped as there are others, in turn, after one of each that does not count."""
    async with opened(started) as everyone:
        await two_rounds(everyone, stopped, deadline, Latencies())
        seen = Latencies()
        for _ in range(rounds // 2):
            await two_rounds(everyone, stopped, deadline, seen)
    return seen


async def two_rounds(everyone: Sequence[Guest], stopped: int, deadline: float, seen: Latencies) -> None:
    bad = everyone[:stopped]
    took = await ask_all(everyone, deadline)
    assert max(took) < deadline, "all answer while all run"
    seen.running.append(took[stopped:])

    for guest in bad:
        await guest.stop()
    took = await ask_all(everyone, deadline)
    for guest in bad:
        await guest.go_on()
    assert max(took[stopped:]) < deadline, "the good ones answer"
    seen.stopped.append(took[stopped:])
    seen.overdue += [one - deadline for one in took[:stopped]]


async def ask_all(everyone: Sequence[Guest], deadline: float) -> list[float]:
    """How long each took to answer, or to be given up; the round is over when its deadline is."""
    gc.collect()
    took = [math.nan] * len(everyone)

    async def ask(number: int) -> None:
        took[number] = await everyone[number].ask(deadline)

    end = anyio.current_time() + deadline
    async with anyio.create_task_group() as tasks:
        for number in range(len(everyone)):
            tasks.start_soon(ask, number)
    await anyio.sleep_until(end)
    return took


# -- running -----------------------------------------------------------------------------------

CASE: Final = f"{GUESTS} guests, {STOPPED} stopped"


@contextmanager
def stage() -> Iterator[str]:
    """Guests: the path and the process id of each, a line for each."""
    with guests(GUESTS) as started:
        yield "\n".join(f"{path} {pid}" for path, pid in started.items())


def measure(lane: Lane, quick: bool, place: str) -> Figures:  # noqa: FBT001 - a Bench's measure
    started = {path: int(pid) for path, pid in map(str.split, place.split("\n"))}
    rounds = QUICK_ROUNDS if quick else ROUNDS
    return figures_of(run_on(lane.backend, partial(alternate, started, STOPPED, rounds, DEADLINE)))


BENCH: Final = Bench(
    name="bench_isolation",
    lanes=tuple(Lane(CASE, "aiovirt", backend) for backend in ASYNC),
    baselines=(),
    units=UNITS,
    measure=measure,
    stages={CASE: stage},
)


def main(arguments: Sequence[str]) -> int:
    """Prints what was seen; 1 when a bound is exceeded."""
    if "--contender" in arguments:  # one measurement, as the harness asks for it
        harness.main(BENCH, arguments)
        return 0
    options = read_options(arguments)
    found: dict[str, Figures] = {}
    with guests(options.guests) as started:
        for backend in [options.backend] if options.backend else ASYNC:
            program = partial(alternate, started, options.stopped, options.rounds, options.deadline)
            found[backend] = figures_of(run_on(backend, program))
    for line in as_json(found) if options.json else as_table(found):
        print(line)
    return int(not all(figures[metric] <= most for figures in found.values() for metric, most in BOUNDS.items()))


def read_options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_isolation", description=__doc__)
    parser.add_argument("--guests", type=positive_number, default=GUESTS, metavar="N", help=f"how many there are ({GUESTS})")
    parser.add_argument("--stopped", type=positive_number, default=STOPPED, metavar="N", help=f"how many of them are stopped ({STOPPED})")
    parser.add_argument("--rounds", type=positive_number, default=ROUNDS, metavar="N", help=f"of both kinds together ({ROUNDS})")
    parser.add_argument("--deadline", type=float, default=DEADLINE, metavar="SECONDS", help=f"of each question ({DEADLINE:g})")
    parser.add_argument("--backend", choices=ASYNC, help="only this one")
    parser.add_argument("--json", action="store_true", help="one JSON object for each backend")
    options = parser.parse_args(arguments)
    if options.stopped >= options.guests or options.rounds < 2:
        parser.error("it takes a good guest, and a round of each kind")
    return options


def as_json(found: dict[str, Figures]) -> Iterator[str]:
    for backend, figures in found.items():
        yield msgspec.json.encode({"bench": BENCH.name, "backend": backend, **figures, "bounds": BOUNDS}).decode()


def as_table(found: dict[str, Figures]) -> list[str]:
    """A line for each figure, a column for each backend."""
    lines = [["", *found, "at most", ""]]
    for metric, unit in UNITS.items():
        values = [figures[metric] for figures in found.values()]
        most = BOUNDS.get(metric)
        verdict = "" if most is None else "kept" if max(values) <= most else "EXCEEDED"
        lines.append([f"{metric}, {unit}", *(f"{value:.2f}" for value in values), "" if most is None else f"{most:.2f}", verdict])
    return aligned(lines, left=1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
