"""A class is all that a new event takes, and all that a new table takes: nothing lists either of them."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from aiovirt.events.registry import event_types, table_types
from aiovirt.events.unknown import UnknownEvent
from tests.crash.engines import HUGE, engine, read_after, turn_over
from tests.events import samples

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

BOOT = "boot"

EVERYWHERE = {
    "resumed": True,
    "pools": {"images": 2},
    "elsewhere": {"images": 2},
    "events": ["pool.defined", "pool.defined", "pool.defined", "pool.undefined"],
    "wanted": True,
    "outside": True,
    "topics": ["pool.defined", "pool.undefined"],
    "table": True,
    "by type": True,
    "documented": True,
}


def tomorrow(folder: Path, what: str) -> str:
    """In a process of its own: here its events stay unknown."""
    command = [sys.executable, "-m", "tests.support.tomorrow", str(folder), what]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def test_it_is_folded_kept_restored_filtered_encoded_and_documented(tmp_path: Path) -> None:
    tomorrow(tmp_path, "write")
    assert json.loads(tomorrow(tmp_path, "read")) == EVERYWHERE  # as the journal has it
    assert json.loads(tomorrow(tmp_path, "read")) == EVERYWHERE  # as the state beside the journal has it


async def test_its_table_outlives_an_engine_that_does_not_know_it(tmp_path: Path) -> None:
    assert "pools" not in table_types()
    assert "pool.defined" not in event_types()
    tomorrow(tmp_path, "write")
    for number in range(2):
        async with engine(tmp_path, BOOT, HUGE) as (bus, opened):
            assert opened.journal
            assert len([event for event in await read_after(bus) if isinstance(event, UnknownEvent)]) == 4
            bus.publish(samples.started(number))
            await turn_over(opened.journal, bus)
    assert json.loads(tomorrow(tmp_path, "read")) == EVERYWHERE


async def test_one_that_cannot_be_brought_up_to_date_is_not_taken_for_the_present(tmp_path: Path) -> None:
    tomorrow(tmp_path, "write")
    async with engine(tmp_path, BOOT, HUGE) as (bus, opened):
        assert opened.journal
        opened.journal._limits = type(HUGE)(segment=2000, bytes=1000, share=1)
        for number in range(100):
            bus.publish(samples.started(number % 3))
            await turn_over(opened.journal, bus)
    assert json.loads(tomorrow(tmp_path, "read"))["resumed"] is False
