"""examples/demo.py, as make demo runs it: over real guests, and a real network device."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from aiovirt.events import decode
from examples import demo as example


def demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, example.__file__, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)


def test_the_demo_shows_guests_and_a_device_on_both_backends() -> None:
    shown = demo()
    assert (shown.returncode, shown.stderr) == (0, "")
    first, second = shown.stdout.split("== on trio ==")
    assert first.startswith("== on asyncio ==")
    for part in (first, second):
        for words in (
            "started  booted",
            "added",
            "renamed  from demo0",
            "mtu 1500 -> 9000",
            "carrier on -> off",
            "removed",
            "stopped  shutdown",
        ):
            assert words in part
        last = part.strip().splitlines()[-1]
        assert "2 netdev added" in last
        assert last.endswith("contiguous, nothing missing.")
        assert all("phys_port_id unsupported" in line for line in part.splitlines() if "  added  " in line)
    assert "\x1b[" not in shown.stdout


def test_the_demo_without_namespaces_says_so_and_shows_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A PATH with QEMU and nothing else: there is no unshare to be had."""
    (tmp_path / "qemu-system-x86_64").symlink_to(shutil.which("qemu-system-x86_64") or "")
    monkeypatch.setenv("PATH", str(tmp_path))
    shown = demo()
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.startswith("No network namespace here (unshare: No such file or directory): ")
    assert shown.stdout.count("stopped  shutdown") == 4
    assert "demo0" not in shown.stdout


def test_the_demo_as_json_is_events_only() -> None:
    shown = demo("--json")
    assert shown.returncode == 0
    cursors = [decode(line).cursor for line in shown.stdout.splitlines()]
    assert len(cursors) > 30
    assert len({json.loads(line)["id"].split(":")[0] for line in shown.stdout.splitlines()}) == 2
    assert cursors == sorted(cursors)
