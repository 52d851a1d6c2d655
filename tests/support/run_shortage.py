"""Leads engines through all shortages, and prints what is wrong as a table.

    python -m tests.support.run_shortage [--backend B] [--kind K] [--phase P] [--throughout] [--nth N] [--words] [PLACE…]

Within a sandbox of tests.lab. First it looks which calls there are; then every kind is short throughout every phase, and then, unless
``--throughout`` is given, once at each place that was seen there (without memory, where without
descriptors it was not already). With ``--words``, all that was told stands below. The status is 1 when anything is wrong.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator

import anyio

from tests.lab import sandbox
from tests.support.shortage import Kind, Mode
from tests.support.shortage_scenario import BACKENDS, PHASES, Case, Life, live
from tests.support.starved import Told

__all__ = ["main"]


def main(words: list[str]) -> int:
    """The command line described above."""
    parser = argparse.ArgumentParser(prog="run_shortage")
    parser.add_argument("--backend", choices=BACKENDS, action="append")
    parser.add_argument("--kind", choices=list(Kind), type=Kind, action="append")
    parser.add_argument("--phase", choices=PHASES, action="append")
    parser.add_argument("--throughout", action="store_true")
    parser.add_argument("--nth", type=int, default=1)
    parser.add_argument("--words", action="store_true")
    parser.add_argument("place", nargs="*")
    wanted = parser.parse_args(words)
    sandbox.require()
    failures = 0
    print("| case | struck first | what is wrong |\n|---|---|---|", flush=True)
    for backend in wanted.backend or BACKENDS:
        baseline = anyio.run(live, Case(backend))
        if baseline.complaints:
            print(f"| none-{backend} | | {_cell(baseline.complaints)} |")
            return 1
        for case in _cases(backend, baseline.told, wanted):
            life = anyio.run(live, case, baseline.told)
            failures += _report(case, life)
            if wanted.words:
                print(life.words, flush=True)
    return failures > 0


def _report(case: Case, life: Life) -> bool:
    struck = next(iter(life.failed), "nothing")
    print(f"| {case} | {struck} | {_cell(life.complaints) or 'ok'} |", flush=True)
    return bool(life.complaints)


def _cell(complaints: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(complaints)).replace("|", "/").replace("\n", " ")


def _cases(backend: str, told: Told, wanted: argparse.Namespace) -> Iterator[Case]:
    """Of all calls that were counted, those that are wanted."""
    kinds, phases = wanted.kind or list(Kind), wanted.phase or PHASES
    for kind in kinds:
        for phase in phases:
            places = _places(told, kind, phase)
            if places and not wanted.place:
                yield Case(backend, phase, kind)
            if wanted.throughout:
                continue
            others = _places(told, Kind.EMFILE, phase) if kind is Kind.ENOMEM else ()  # one OSError is as the other
            for place in places:
                if place not in others and (not wanted.place or any(part in place for part in wanted.place)):
                    yield Case(backend, phase, kind, Mode.ONCE, place, wanted.nth)


def _places(told: Told, kind: Kind, phase: str) -> list[str]:
    return sorted(place for of, when, place, _ in told.calls if (of, when) == (kind, phase))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
