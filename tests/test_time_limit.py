"""A test that hangs ends the run, on each backend, and says where it hung."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OPTIONS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"]["ini_options"]
HANGING = """
import time
import anyio
import pytest

pytestmark = pytest.mark.anyio

@pytest.fixture(params=["asyncio", ("asyncio", {"use_uvloop": True}), "trio"], ids=["asyncio", "uvloop", "trio"])
def anyio_backend(request):
    return request.param

async def test_waits_for_ever():
    await anyio.sleep_forever()

def test_blocks():
    time.sleep(1000)
"""


@pytest.mark.parametrize("name", [*(f"test_waits_for_ever[{backend}]" for backend in ("asyncio", "uvloop", "trio")), "test_blocks"])
def test_a_test_that_hangs_ends_the_run(tmp_path: Path, name: str) -> None:
    (tmp_path / "test_hanging.py").write_text(HANGING)
    options = ["-p", "no:cacheprovider", "--rootdir", str(tmp_path), "-o", "timeout=1", "-o", f"timeout_method={OPTIONS['timeout_method']}"]
    command = [sys.executable, "-m", "pytest", *options, f"test_hanging.py::{name}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=100, cwd=tmp_path)
    assert done.returncode == 1
    assert "Timeout" in done.stdout
    assert "Stack of MainThread" in done.stdout


def test_each_test_has_a_limit() -> None:
    assert 0 < float(OPTIONS["timeout"]) <= 600
