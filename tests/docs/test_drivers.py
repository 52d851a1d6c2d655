"""docs/drivers.md is what its generator makes of the orders and the drivers as they are now."""

from __future__ import annotations

import pytest

from aiovirt.model.orders import REQUESTS
from docs import generate_drivers

TEXT = generate_drivers.FILE.read_text()


def test_it_is_up_to_date() -> None:
    assert generate_drivers.render() == TEXT, "make docs"


@pytest.mark.parametrize("name", REQUESTS)
def test_it_has_each_order_once(name: str) -> None:
    (row,) = [line for line in TEXT.splitlines() if line.startswith(f"| `{name}` ")]
    assert row.count(" | ") == 6


def test_it_says_why_what_is_not_there_is_not() -> None:
    refused = [
        (kind.__name__, driver)
        for kind in REQUESTS.values()
        for driver, table in generate_drivers.DRIVERS.items()
        if not kind.rule.by_engine and table.refusal(kind)
    ]
    assert [f"\n{name}, {driver}: " in TEXT for name, driver in refused] == [True] * len(refused)
    assert ("AskQMP", "test") in refused
