"""A room of which less is run by tests than its floor says is named, as is one without a floor."""

from __future__ import annotations

from pathlib import Path

import pytest

import aiovirt
from tests.lab.floors import FLOORS, TOP, Measured, complaints, floors, shares


def counted(ran: tuple[int, int], there: tuple[int, int]) -> Measured:
    """(lines, branches) of one file."""
    return {"summary": {"covered_lines": ran[0], "covered_branches": ran[1], "num_statements": there[0], "num_branches": there[1]}}


FILES = {
    "aiovirt/errors.py": counted((9, 0), (10, 0)),
    "aiovirt/cli/main.py": counted((40, 10), (50, 20)),
    "aiovirt/cli/verbs/host.py": counted((30, 0), (30, 0)),
    "aiovirt/cli/verbs/__init__.py": counted((0, 0), (0, 0)),
}


def test_a_room_is_all_that_its_folder_has_lines_and_branches_alike() -> None:
    assert shares(FILES) == {TOP: 90.0, "cli": 80.0}


@pytest.mark.parametrize(
    ("required", "said"),
    [
        ({TOP: 90, "cli": 80}, []),
        ({TOP: 90, "cli": 81}, ["cli: 80.0 % is run by tests, its floor is 81 %"]),
        ({TOP: 91, "cli": 80}, ["aiovirt: 90.0 % is run by tests, its floor is 91 %"]),
        ({TOP: 90}, ["cli: has no floor in tests/coverage.toml"]),
        ({TOP: 90, "cli": 80, "wire": 1}, ["wire: has a floor, and nothing of it was measured"]),
    ],
)
def test_what_is_below_its_floor_is_named(required: dict[str, int], said: list[str]) -> None:
    assert complaints(shares(FILES), required) == said


def test_each_room_has_a_floor() -> None:
    rooms = {path.name for path in Path(aiovirt.__file__).parent.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert floors(FLOORS.read_text(encoding="utf-8")).keys() == rooms | {TOP}
