"""An engine whose own log is on a full disk."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.test_cli_attached import PATIENCE, Terminals, user, wait_until

__all__ = ["user"]


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    """A folder in which nothing more has room."""
    folder = tmp_path / "full"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)], check=True)
    with (folder / "filler").open("wb", buffering=0) as filler, pytest.raises(OSError, match="No space"):
        while True:
            filler.write(bytes(4096))
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("stream", ["stdout", "both"])
def test_it_holds_its_host_all_the_same(user: Terminals, full: Path, stream: str) -> None:
    with (full / "log").open("w") as log:
        errors = log if stream == "both" else subprocess.DEVNULL
        with subprocess.Popen(user.command("engine"), stdout=log, stderr=errors, env=user.environment) as engine:
            try:
                wait_until(lambda: user.engine == engine.pid and user.lock.with_name("engine.sock").exists())
                assert user.run("list", "--name").strip() == ""
                assert user.engine == engine.pid
            finally:
                engine.terminate()
            assert engine.wait(PATIENCE) == 0
    assert (full / "log").stat().st_size == 0
