"""The project's numeric promises, held against a fresh measurement.

``promises.toml`` has them, each as a ratio to a contender. Five quick rounds are run; a promise is
broken when every one of them exceeds it, for a machine that does something else now and then does
not do it five times out of five.
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
    """``contender`` costs at most ``at_most`` times what ``ratio_to`` costs in the same round."""

    bench: str
    case: str
    contender: str
    backend: str
    metric: str
    ratio_to: str
    at_most: Positive

    @property
    def lane(self) -> Lane:
        return Lane(self.case, self.contender, self.backend)


class _File(Struct, frozen=True, forbid_unknown_fields=True):
    promise: list[Promise]


class Verdict(Struct, frozen=True, kw_only=True):
    """What came out: a ratio for each round, and the medians of both contenders in ``unit``."""

    promise: Promise
    ratios: list[float]
    value: float
    other: float
    unit: str


def kept(promise: Promise, found: Sequence[float]) -> bool:
    """Whether at least one round is within the bound."""
    return any(ratio <= promise.at_most for ratio in found)


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
    if promise.metric not in bench.units:
        return f"{promise.bench} does not measure {promise.metric!r}"
    if bench.partner(promise.lane, promise.ratio_to) in {None, promise.lane}:
        return f"nothing to compare with: {promise.ratio_to!r} in {promise.case!r}"
    return ""


def _compared(bench: Bench, promise: Promise) -> Lane:
    other = bench.partner(promise.lane, promise.ratio_to)
    assert other, "read_promises has looked"
    return other


def judged(bench: Bench, promises: Sequence[Promise], rounds: Sequence[Round]) -> list[Verdict]:
    """What the rounds say of each promise."""
    return [_judged(bench, promise, _compared(bench, promise), rounds) for promise in promises]


def _judged(bench: Bench, promise: Promise, other: Lane, rounds: Sequence[Round]) -> Verdict:
    return Verdict(
        promise=promise,
        ratios=ratios(rounds, promise.lane, other, promise.metric),
        value=median(figures[promise.lane][promise.metric] for figures in rounds),
        other=median(figures[other][promise.metric] for figures in rounds),
        unit=bench.units[promise.metric],
    )


def report(verdicts: Sequence[Verdict]) -> list[str]:
    """The table for people."""
    heads = ["bench", "case", "contender", "backend", "ratio to", "metric", "value", "the other's", "at most", "ratio", "range", ""]
    return aligned([heads, *map(_line, verdicts)], left=6)


def _line(verdict: Verdict) -> list[str]:
    promise, found = verdict.promise, verdict.ratios
    return [
        promise.bench,
        promise.case,
        promise.contender,
        promise.backend,
        promise.ratio_to,
        f"{promise.metric} {verdict.unit}",
        f"{verdict.value:,.1f}",
        f"{verdict.other:,.1f}",
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
    needed = {lane for promise in promises for lane in (promise.lane, _compared(bench, promise))}
    lanes = [lane for lane in bench.lanes if lane in needed]
    return judged(bench, promises, run_rounds(bench, lanes, ROUNDS, quick=True))


def main() -> int:
    """Prints the table; returns 1 when a promise is broken."""
    benches = _benches()
    promises = read_promises(FILE.read_text(encoding="utf-8"), benches)
    asked = {name: [promise for promise in promises if promise.bench == name] for name in benches}
    verdicts = [verdict for name, mine in asked.items() if mine for verdict in _tried(benches[name], mine)]
    print(*report(verdicts), sep="\n")
    return int(not all(kept(verdict.promise, verdict.ratios) for verdict in verdicts))


if __name__ == "__main__":
    sys.exit(main())
