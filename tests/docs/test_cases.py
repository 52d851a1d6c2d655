"""``tests/cases.md``: each row names tests, and they are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (ROOT / "tests/cases.md").read_text(encoding="utf-8").splitlines()
    if re.match(r"\| \d", line)
]
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def test_the_rows_are_numbered() -> None:
    assert [int(number) for number, _, _ in ROWS] == list(range(1, len(ROWS) + 1))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row[1]))
def test_a_row_names_tests_that_are_there(row: list[str]) -> None:
    names = row[2].split(", ")
    for name in names:
        found = NAMED.fullmatch(name)
        assert found, name
        file, test = found.groups()
        assert f"def {test}(" in (ROOT / file).read_text(encoding="utf-8"), name
