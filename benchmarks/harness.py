"""Runs contenders side by side, and says what each costs as a ratio to the others.

Each measurement is a process of its own. A round measures every lane once, and ratios are taken
within a round: what a machine did between two rounds, nobody knows. What is measured stands in the
``bench_*`` modules, never here.

    python -m benchmarks.bench_x [--json] [--quick] [--rounds N] [--case CASE]
    python -m benchmarks.bench_x --contender NAME --backend BACKEND --case CASE [--quick] [--place PLACE]

The second form is one measurement, and prints one JSON object of figures.
"""

from __future__ import annotations

import argparse
import gc
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Generator, Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from statistics import median
from typing import Final, Self, TypeVar

import anyio
import msgspec
from msgspec import Struct

__all__ = [
    "ASYNC",
    "SYNC",
    "Bench",
    "Figures",
    "Lane",
    "Round",
    "Row",
    "Stopwatch",
    "aligned",
    "main",
    "ratios",
    "rounds_of",
    "rows",
    "run_on",
    "run_rounds",
]

T = TypeVar("T")

Figures = dict[str, float]

ASYNC: Final = ("asyncio", "uvloop", "trio")
SYNC: Final = ("none",)
ROOT: Final = Path(__file__).resolve().parent.parent
PATIENCE: Final = 120.0


def nowhere() -> AbstractContextManager[str]:
    """The stage of a case that needs none."""
    return nullcontext("")


class Lane(Struct, frozen=True):
    """One thing to measure."""

    case: str
    contender: str
    backend: str

    def __str__(self) -> str:
        return f"{self.case}: {self.contender} on {self.backend}"


Round = dict[Lane, Figures]


class Bench(Struct, frozen=True, kw_only=True):
    """``measure(lane, quick, place)`` runs in the lane's own process; its case's stage around them all, and gives the place.

    ``units`` names the unit of each metric, the metric that counts first; a case in ``own_units`` has
    those metrics instead. ``baselines`` are the contenders that the others are compared with.
    """

    name: str
    lanes: tuple[Lane, ...]
    baselines: tuple[str, ...]
    units: dict[str, str]
    measure: Callable[[Lane, bool, str], Figures]
    stages: dict[str, Callable[[], AbstractContextManager[str]]] = {}
    own_units: dict[str, dict[str, str]] = {}

    def units_of(self, case: str) -> dict[str, str]:
        """The unit of each metric of the case."""
        return self.own_units.get(case, self.units)

    def stage_of(self, case: str) -> AbstractContextManager[str]:
        """What has to be there while the case is measured; it gives the place."""
        return self.stages.get(case, nowhere)()

    def partner(self, lane: Lane, contender: str) -> Lane | None:
        """The lane to compare with: on the same backend where there is one, else the contender's first."""
        lanes = [other for other in self.lanes if (other.case, other.contender) == (lane.case, contender)]
        return next((other for other in lanes if other.backend == lane.backend), lanes[0] if lanes else None)


class Row(Struct, frozen=True, kw_only=True):
    """One line of ``--json``. ``value`` is the median of all rounds, ``ratio`` that of each round's ratio."""

    bench: str
    case: str
    contender: str
    backend: str
    metric: str
    value: float
    unit: str
    ratio_to: str | None = None
    ratio: float | None = None


# -- figures -----------------------------------------------------------------------------------


def ratios(rounds: Sequence[Round], lane: Lane, other: Lane, metric: str) -> list[float]:
    """``lane``'s cost in units of ``other``'s, round by round."""
    return [figures[lane][metric] / figures[other][metric] for figures in rounds]


def rows(bench: Bench, rounds: Sequence[Round]) -> list[Row]:
    """What was measured: a row for each baseline of each lane's metric, and one without where there is none."""
    return [row for lane in rounds[0] for metric in bench.units_of(lane.case) for row in _rows(bench, rounds, lane, metric)]


def _rows(bench: Bench, rounds: Sequence[Round], lane: Lane, metric: str) -> list[Row]:
    row = Row(
        bench=bench.name,
        case=lane.case,
        contender=lane.contender,
        backend=lane.backend,
        metric=metric,
        value=median(figures[lane][metric] for figures in rounds),
        unit=bench.units_of(lane.case)[metric],
    )
    partners = {name: bench.partner(lane, name) for name in bench.baselines if name != lane.contender}
    compared = [
        msgspec.structs.replace(row, ratio_to=name, ratio=median(ratios(rounds, lane, other, metric)))
        for name, other in partners.items()
        if other and other in rounds[0] and all(figures[other][metric] for figures in rounds)
    ]
    return compared or [row]


class Stopwatch:
    """``with Stopwatch() as watch: …``, then ``watch.per(count, scale)``: what one of ``count`` took."""

    def __init__(self) -> None:
        self._wall = self._cpu = 0.0

    def __enter__(self) -> Self:
        gc.collect()
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self._cpu, self._wall = time.process_time() - self._cpu, time.perf_counter() - self._wall

    def per(self, count: int, scale: float) -> Figures:
        """The process's CPU time and the wall time for each, in ``1 / scale`` seconds."""
        return {"cpu": self._cpu / count * scale, "wall": self._wall / count * scale}


def _peak_memory() -> float:
    """MiB at most held at once. Not ``ru_maxrss``: a child inherits that from the process that started it."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


# -- tables ------------------------------------------------------------------------------------


def aligned(lines: Sequence[Sequence[str]], *, left: int) -> list[str]:
    """Columns of one width: the first ``left`` begin at their left edge, the others end at their right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(text.ljust(w) if n < left else text.rjust(w) for n, (text, w) in enumerate(zip(line, widths, strict=True))).rstrip()
        for line in lines
    ]


def _tables(bench: Bench, found: Sequence[Row]) -> Iterable[str]:
    for case in dict.fromkeys(row.case for row in found):
        units = bench.units_of(case)
        first = next(iter(units))
        mine = [row for row in found if row.case == case]
        baselines = [name for name in bench.baselines if any(row.ratio_to == name for row in mine)]
        heads = [
            "contender",
            "backend",
            *(f"{metric} {unit}" for metric, unit in units.items()),
            *(f"{first} / {name}" for name in baselines),
        ]
        yield f"\n{bench.name}: {case}"
        yield from aligned([heads, *_lines(mine, list(units), baselines)], left=2)


def _lines(found: Sequence[Row], metrics: Sequence[str], baselines: Sequence[str]) -> Iterable[list[str]]:
    for contender, backend in dict.fromkeys((row.contender, row.backend) for row in found):
        mine = [row for row in found if (row.contender, row.backend) == (contender, backend)]
        values = {row.metric: row.value for row in mine}
        ratio = {row.ratio_to: f"{row.ratio:.2f}" for row in mine if row.metric == metrics[0] and row.ratio is not None}
        yield [contender, backend, *(f"{values[metric]:,.1f}" for metric in metrics), *(ratio.get(name, "") for name in baselines)]


# -- running -----------------------------------------------------------------------------------


def run_on(backend: str, program: Callable[[], Awaitable[T]]) -> T:
    """Runs ``program`` on asyncio, uvloop or trio."""
    if backend == "uvloop":
        return anyio.run(program, backend="asyncio", backend_options={"use_uvloop": True})
    return anyio.run(program, backend=backend)


def run_rounds(bench: Bench, lanes: Sequence[Lane], count: int, *, quick: bool) -> list[Round]:
    """Measures each lane once a round, every other round in the opposite order."""
    return list(rounds_of(bench, lanes, count, quick=quick))


def rounds_of(bench: Bench, lanes: Sequence[Lane], count: int, *, quick: bool) -> Generator[Round, None, None]:
    """The same, round by round: no more are run than are asked for."""
    with ExitStack() as stages:
        places = {case: stages.enter_context(bench.stage_of(case)) for case in dict.fromkeys(lane.case for lane in lanes)}
        for number in range(count):
            yield {lane: _in_own_process(bench, lane, places[lane.case], quick=quick) for lane in lanes[:: (1, -1)[number % 2]]}


def _in_own_process(bench: Bench, lane: Lane, place: str, *, quick: bool) -> Figures:
    which = ["--contender", lane.contender, "--backend", lane.backend, "--case", lane.case, "--place", place]
    command = [sys.executable, "-m", f"benchmarks.{bench.name}", *which, *(["--quick"] if quick else [])]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=PATIENCE, check=False)
    if done.returncode:
        sys.exit(f"{bench.name}, {lane}: failed\n{done.stderr.decode(errors='replace')}")
    return msgspec.json.decode(done.stdout, type=Figures)


def _measure_here(bench: Bench, lane: Lane, place: str, *, quick: bool) -> None:
    with nullcontext(place) if place else bench.stage_of(lane.case) as where:
        figures = bench.measure(lane, quick, where) | {"memory": _peak_memory()}
    print(msgspec.json.encode(figures).decode())


def _run_all(bench: Bench, options: argparse.Namespace) -> None:
    lanes = [lane for lane in bench.lanes if options.case in {None, lane.case}]
    found = rows(bench, run_rounds(bench, lanes, options.rounds, quick=options.quick))
    for line in (msgspec.json.encode(row).decode() for row in found) if options.json else _tables(bench, found):
        print(line)


def main(bench: Bench, arguments: Sequence[str] | None = None) -> None:
    """The command line of a bench."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{bench.name}", description=sys.modules["__main__"].__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--quick", action="store_true", help="less work in each measurement")
    parser.add_argument("--rounds", type=positive_number, default=5, metavar="N", help="how often each is measured (5)")
    parser.add_argument("--case", choices=list(dict.fromkeys(lane.case for lane in bench.lanes)), help="only this one")
    alone = parser.add_argument_group("one measurement, in this process")
    alone.add_argument("--contender")
    alone.add_argument("--backend")
    alone.add_argument("--place", default="", help="where the stage stands; without, one is set up")
    options = parser.parse_args(arguments)
    if options.contender is None:
        _run_all(bench, options)
        return
    lane = Lane(options.case, options.contender, options.backend)
    if lane not in bench.lanes:
        parser.error(f"there is no {lane}")
    _measure_here(bench, lane, options.place, quick=options.quick)


def positive_number(text: str) -> int:
    if (number := int(text)) < 1:
        raise ValueError(text)
    return number
