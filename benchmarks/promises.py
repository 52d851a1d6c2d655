"""The project's numeric promises, held against a fresh measurement.

``promises.toml`` has them, each as a ratio to a contender; only what is counted, and not timed, may
be promised as it is. Up to five quick rounds are run; a promise is broken when every one of them exceeds
it, for a machine that does something else now and then does not do it five times out of five. So one round
within its bound says all of it: a case is measured again only while one of its promises was not kept yet.

    python -m benchmarks.promises [--rounds N] [--bench BENCH]

Each line is printed when it is known. With ``--rounds`` at least so many rounds are run, for their range.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from benchmarks.harness import Bench, Lane, Round, positive_number, ratios, rounds_of

__all__ = ["Promise", "Table", "Verdict", "judged", "kept", "read_promises", "settled"]

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


HEADS: Final = ("bench", "case", "contender", "backend", "ratio to", "metric", "value", "the other's", "at most", "found", "range", "")
WIDTHS: Final = (11, 11, 8, 5, 11, 6)
"""Of the columns with figures: wide enough for any."""
LEFT: Final = 6
"""Columns that begin at their left edge."""


class Table:
    """Lines for people, each by itself as it is known: how wide its words are follows from the promises."""

    def __init__(self, promises: Sequence[Promise]) -> None:
        lines = [HEADS[:LEFT], *((*_words(one), f"{one.metric} times") for one in promises)]
        self._widths = (*(max(map(len, column)) for column in zip(*lines, strict=True)), *WIDTHS)

    def heads(self) -> str:
        return self._aligned(HEADS)

    def line(self, verdict: Verdict) -> str:
        return self._aligned(_line(verdict))

    def _aligned(self, line: Sequence[str]) -> str:
        columns = zip(line, self._widths, strict=True)
        return "  ".join(text.ljust(w) if n < LEFT else text.rjust(w) for n, (text, w) in enumerate(columns)).rstrip()


def _words(promise: Promise) -> tuple[str, ...]:
    return promise.bench, promise.case, promise.contender, promise.backend, promise.ratio_to or ""


def _line(verdict: Verdict) -> list[str]:
    promise, found = verdict.promise, verdict.found
    return [
        *_words(promise),
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


def settled(bench: Bench, promises: Sequence[Promise], rounds: Iterable[Round], least: int) -> list[Verdict]:
    """What the rounds say, as many of them as are needed for that, and ``least``."""
    seen: list[Round] = []
    verdicts: list[Verdict] = []
    for one in rounds:
        seen.append(one)
        verdicts = judged(bench, promises, seen)
        if len(seen) >= least and all(kept(verdict.promise, verdict.found) for verdict in verdicts):
            break
    return verdicts


def _tried(bench: Bench, promises: Sequence[Promise], least: int) -> list[Verdict]:
    """Of promises of one case."""
    needed = {lane for promise in promises for lane in (promise.lane, _compared(bench, promise)) if lane}
    lanes = [lane for lane in bench.lanes if lane in needed]
    with closing(rounds_of(bench, lanes, max(ROUNDS, least), quick=True)) as rounds:
        return settled(bench, promises, rounds, least)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; returns 1 when a promise is broken."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.promises")
    parser.add_argument("--rounds", type=positive_number, default=1, metavar="N", help="rounds at least (1)")
    parser.add_argument("--bench", help="only this one's")
    options = parser.parse_args(arguments)
    benches = _benches()
    promises = [one for one in read_promises(FILE.read_text(encoding="utf-8"), benches) if options.bench in {None, one.bench}]
    table, broken = Table(promises), False
    print(table.heads())
    for name, case in dict.fromkeys((one.bench, one.case) for one in promises):
        mine = [one for one in promises if (one.bench, one.case) == (name, case)]
        for verdict in _tried(benches[name], mine, options.rounds):
            print(table.line(verdict), flush=True)
            broken = broken or not kept(verdict.promise, verdict.found)
    return int(broken)


if __name__ == "__main__":
    sys.exit(main())
