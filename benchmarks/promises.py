"""The project's numeric promises, held against a fresh measurement.

``promises.toml`` has them, each as a ratio to a contender; only what is counted, and not timed, may
be promised as it is. Five quick rounds are run; a promise is broken when every one of them exceeds
it, for a machine that does something else now and then does not do it five times out of five.
"""

from __future__ import annotations

import importlib
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from benchmarks.harness import Bench, Lane, Round, aligned, ratios, run_rounds

__all__ = ["Promise", "Verdict", "judged", "kept", "read_promises", "report"]

FILE: Final = Path(__file__).with_name("promises.toml")
ROUNDS: Final = 5

Positive = Annotated[float, Meta(gt=0)]


class Promise(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``contender`` costs at most ``at_most`` times what ``ratio_to`` costs in the same round.

    Without a ``ratio_to`` it costs at most ``at_most`` of the metric's own unit.
    """

    bench: str
    case: str
    contender: str
    backend: str
    metric: str
    at_most: Positive
    ratio_to: str | None = None

    @property
    def lane(self) -> Lane:
        return Lane(self.case, self.contender, self.backend)


class _File(Struct, frozen=True, forbid_unknown_fields=True):
    promise: list[Promise]


class Verdict(Struct, frozen=True, kw_only=True):
    """What came out: what the bound is held against, for each round, and the medians of the contenders in ``unit``."""

    promise: Promise
    found: list[float]
    value: float
    other: float | None
    unit: str


def kept(promise: Promise, found: Sequence[float]) -> bool:
    """Whether at least one round is within the bound."""
    return any(one <= promise.at_most for one in found)


def read_promises(text: str, benches: Mapping[str, Bench]) -> list[Promise]:
    """The promises in ``text``; raises ValueError for what is no promise, or promises what no bench measures."""
    try:
        promises = msgspec.convert(tomllib.loads(text), type=_File).promise
    except (msgspec.ValidationError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"promises.toml: {error}") from error
    for number, promise in enumerate(promises, 1):
        if wrong := _unknown(promise, benches.get(promise.bench)):
            raise ValueError(f"promises.toml: promise {number}: {wrong}")
    return promises


def _unknown(promise: Promise, bench: Bench | None) -> str:
    if bench is None:
        return f"there is no {promise.bench!r}"
    if promise.lane not in bench.lanes:
        return f"{promise.bench} has no {promise.lane}"
    if promise.metric not in bench.units_of(promise.case):
        return f"{promise.bench} does not measure {promise.metric!r} in {promise.case!r}"
    if promise.ratio_to is not None and bench.partner(promise.lane, promise.ratio_to) in {None, promise.lane}:
        return f"nothing to compare with: {promise.ratio_to!r} in {promise.case!r}"
    return ""


def _compared(bench: Bench, promise: Promise) -> Lane | None:
    if promise.ratio_to is None:
        return None
    other = bench.partner(promise.lane, promise.ratio_to)
    assert other, "read_promises has looked"
    return other


def judged(bench: Bench, promises: Sequence[Promise], rounds: Sequence[Round]) -> list[Verdict]:
    """What the rounds say of each promise."""
    return [_judged(bench, promise, _compared(bench, promise), rounds) for promise in promises]


def _judged(bench: Bench, promise: Promise, other: Lane | None, rounds: Sequence[Round]) -> Verdict:
    values = [figures[promise.lane][promise.metric] for figures in rounds]
    return Verdict(
        promise=promise,
        found=ratios(rounds, promise.lane, other, promise.metric) if other else values,
        value=median(values),
        other=median(figures[other][promise.metric] for figures in rounds) if other else None,
        unit=bench.units_of(promise.case)[promise.metric],
    )


def report(verdicts: Sequence[Verdict]) -> list[str]:
    """The table for people."""
    heads = ["bench", "case", "contender", "backend", "ratio to", "metric", "value", "the other's", "at most", "found", "range", ""]
    return aligned([heads, *map(_line, verdicts)], left=6)


def _line(verdict: Verdict) -> list[str]:
    promise, found = verdict.promise, verdict.found
    return [
        promise.bench,
        promise.case,
        promise.contender,
        promise.backend,
        promise.ratio_to or "",
        f"{promise.metric} {verdict.unit}",
        f"{verdict.value:,.1f}",
        "" if verdict.other is None else f"{verdict.other:,.1f}",
        f"{promise.at_most:.2f}",
        f"{median(found):.2f}",
        f"{min(found):.2f}-{max(found):.2f}",
        "kept" if kept(promise, found) else "BROKEN",
    ]


# -- running -----------------------------------------------------------------------------------


def _benches() -> dict[str, Bench]:
    names = sorted(path.stem for path in FILE.parent.glob("bench_*.py"))
    return {name: importlib.import_module(f"benchmarks.{name}").BENCH for name in names}


def _tried(bench: Bench, promises: Sequence[Promise]) -> list[Verdict]:
    needed = {lane for promise in promises for lane in (promise.lane, _compared(bench, promise)) if lane}
    lanes = [lane for lane in bench.lanes if lane in needed]
    return judged(bench, promises, run_rounds(bench, lanes, ROUNDS, quick=True))


def main() -> int:
    """Prints the table; returns 1 when a promise is broken."""
    benches = _benches()
    promises = read_promises(FILE.read_text(encoding="utf-8"), benches)
    asked = {name: [promise for promise in promises if promise.bench == name] for name in benches}
    verdicts = [verdict for name, mine in asked.items() if mine for verdict in _tried(benches[name], mine)]
    print(*report(verdicts), sep="\n")
    return int(not all(kept(verdict.promise, verdict.found) for verdict in verdicts))


if __name__ == "__main__":
    sys.exit(main())
