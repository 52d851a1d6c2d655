"""How much of each room of aiovirt/ the tests that start little have run, held against tests/coverage.toml.

    python -m coverage json --rcfile=tests/coverage.toml -o REPORT
    python -m tests.lab.floors REPORT

Prints a line for each room: the share of its lines and branches that were run, in per cent, and its floor. The
status is 1 where one is below its floor, or where rooms and floors are not the same ones.
"""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypedDict

__all__ = ["complaints", "floors", "shares"]

FLOORS: Final = Path(__file__).parents[1] / "coverage.toml"
TOP: Final = "aiovirt"
"""The room of what stands in no folder: errors.py and such."""


class Summary(TypedDict):
    """What coverage.py counts in one file."""

    covered_lines: int
    num_statements: int
    covered_branches: int
    num_branches: int


class Measured(TypedDict):
    """One file of a report."""

    summary: Summary


def room_of(path: str) -> str:
    """``aiovirt/cli/verbs/host.py`` -> ``cli``."""
    _, *folders, _ = Path(path).parts
    return folders[0] if folders else TOP


def shares(files: Mapping[str, Measured]) -> dict[str, float]:
    """Room -> per cent of its lines and branches that were run, as coverage.py counts a file of its own."""
    ran: dict[str, int] = {}
    there: dict[str, int] = {}
    for path, measured in files.items():
        room, summary = room_of(path), measured["summary"]
        ran[room] = ran.get(room, 0) + summary["covered_lines"] + summary["covered_branches"]
        there[room] = there.get(room, 0) + summary["num_statements"] + summary["num_branches"]
    return {room: 100 * ran[room] / there[room] for room in sorted(there) if there[room]}


def floors(text: str) -> dict[str, int]:
    """Room -> the per cent that it must not fall below."""
    read: dict[str, int] = tomllib.loads(text)["floors"]
    return read


def complaints(measured: Mapping[str, float], required: Mapping[str, int]) -> list[str]:
    """One line for each room that is below its floor, has none, or is not there."""
    below = [room for room in measured if measured[room] < required.get(room, 0)]
    said = [f"{room}: {measured[room]:.1f} % is run by tests, its floor is {required[room]} %" for room in below]
    said += [f"{room}: has no floor in tests/coverage.toml" for room in measured if room not in required]
    return said + [f"{room}: has a floor, and nothing of it was measured" for room in required if room not in measured]


def main(report: str) -> int:
    """The command line described above."""
    measured, required = shares(json.loads(Path(report).read_text(encoding="utf-8"))["files"]), floors(FLOORS.read_text(encoding="utf-8"))
    for room, share in measured.items():
        print(f"{room:<12}{share:6.1f} %   floor {required.get(room, '-'):>3}")
    said = complaints(measured, required)
    for line in said:
        print(f"E   {line}", file=sys.stderr)
    return 1 if said else 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
