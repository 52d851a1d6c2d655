"""The command line over real guests: one command starts, the next ones find it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiovirt.libvirtxml import render
from tests.real.conftest import Place


@pytest.fixture
def place() -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="aiovirt-") as folder:
        yield Place(Path(folder))


def aiovirt(place: Place, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "aiovirt", "-c", place.uri, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_a_life_in_commands(place: Place) -> None:
    xml = place.folder / "tiny.xml"
    xml.write_text(render(place.spec()))
    words = []
    for command in (
        ("define", str(xml)),
        ("start", "tiny"),
        ("domstate", "tiny"),
        ("suspend", "tiny"),
        ("domstate", "tiny", "--reason"),
        ("list",),
        ("destroy", "tiny"),
        ("list", "--all"),
        ("undefine", "tiny"),
    ):
        done = aiovirt(place, *command)
        assert (done.returncode, done.stderr) == (0, ""), command
        words.append(done.stdout.strip().splitlines()[-1].strip())
    assert words == [
        f"Domain 'tiny' defined from {xml}",
        "Domain 'tiny' started",
        "running",
        "Domain 'tiny' suspended",
        "paused (user)",
        "1    tiny   paused",
        "Domain 'tiny' powered off; the definition stays",
        "-    tiny   shut off",
        "Domain 'tiny' has been undefined",
    ]


def test_what_goes_wrong_is_one_line(place: Place) -> None:
    xml = place.folder / "tiny.xml"
    xml.write_text(render(place.spec()).replace("machine='pc'", "machine='none-such'"))
    failed = aiovirt(place, "create", str(xml))
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr.startswith("error: QEMU exited with status 1: unsupported machine type")
    assert failed.stderr.count("\n") == 1
    assert aiovirt(place, "list", "--all", "--name").stdout == ""


def test_a_host_that_is_held_says_by_whom(place: Place) -> None:
    command = [sys.executable, "-m", "aiovirt", "-c", place.uri, "watch"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        watching.stdout.readline()
        refused = aiovirt(place, "list")
        assert refused.returncode == 1
        assert f"process {watching.pid} keeps this host" in refused.stderr
        watching.send_signal(signal.SIGINT)
        assert watching.wait(60) == 0


def test_ctrl_c_in_the_terminal_reaches_no_guest(place: Place) -> None:
    """A terminal signals its whole foreground group: so does this test."""
    xml = place.folder / "tiny.xml"
    xml.write_text(render(place.spec()))
    assert aiovirt(place, "create", str(xml)).returncode == 0
    command = [sys.executable, "-m", "aiovirt", "-c", place.uri, "watch"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, process_group=0) as watching:
        assert watching.stdout is not None
        while "Ctrl-C" not in watching.stdout.readline():
            pass
        os.killpg(watching.pid, signal.SIGINT)
        assert watching.wait(60) == 0
    assert "running" in aiovirt(place, "domstate", "tiny").stdout
    assert aiovirt(place, "destroy", "tiny").stdout == "Domain 'tiny' powered off; it was transient, and is gone\n"
