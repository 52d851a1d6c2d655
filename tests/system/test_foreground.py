from __future__ import annotations

import sys
from pathlib import Path

import anyio
import pytest

from aiovirt.errors import SystemFailure
from aiovirt.system.foreground import run_in_foreground

pytestmark = pytest.mark.anyio

SLEEPS = """
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path(sys.argv[1]).write_text("ended"), sys.exit(0)))
pathlib.Path(sys.argv[1]).write_text("runs")
time.sleep(600)
"""


async def until(path: Path, text: str) -> None:
    with anyio.fail_after(60):
        while not path.exists() or path.read_text() != text:
            await anyio.sleep(0.02)


async def test_its_status_is_told() -> None:
    assert await run_in_foreground([sys.executable, "-c", "raise SystemExit(3)"]) == 3


async def test_what_cannot_be_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(SystemFailure, match="No such file"):
        await run_in_foreground([str(tmp_path / "editor")])


async def test_who_gives_up_leaves_no_program_behind(tmp_path: Path) -> None:
    told = tmp_path / "told"
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run_in_foreground, [sys.executable, "-c", SLEEPS, str(told)])
        await until(told, "runs")
        tasks.cancel_scope.cancel()
    await until(told, "ended")
