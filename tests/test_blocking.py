from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import anyio.to_thread
import pytest

import aiovirt

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.blocking import BlockingCalls

pytestmark = pytest.mark.anyio

PACKAGE = Path(aiovirt.__file__).parent


def as_if_in(file: Path, statement: str, **names: object) -> Callable[[], None]:
    """A function of one statement, whose frames say that its code is in ``file``."""
    scope = {"os": os, "shutil": shutil, "socket": socket, "subprocess": subprocess, "sys": sys, "time": time, **names}
    exec(compile(f"def made_up():\n    {statement}", str(file), "exec"), scope)
    return scope["made_up"]  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("statement", "event"),
    [
        ("open(path).close()", "open"),
        ("path.read_bytes()", "open"),
        ("os.listdir('/')", "os.listdir"),
        ("os.rename(path, path)", "os.rename"),
        ("time.sleep(0)", "time.sleep"),
        ("subprocess.run([sys.executable, '-S', '-c', ''])", "subprocess.Popen"),
        ("socket.getaddrinfo('localhost', 1)", "socket.getaddrinfo"),
        ("shutil.rmtree(path, ignore_errors=True)", "shutil.rmtree"),
    ],
)
async def test_a_call_that_blocks_is_caught(blocking_calls: BlockingCalls, tmp_path: Path, statement: str, event: str) -> None:
    path = tmp_path / "file"
    path.touch()
    as_if_in(PACKAGE / "made_up.py", statement, path=path)()
    seen = blocking_calls.take()
    assert any(line.startswith(f"{event}(") and f"in made_up ({PACKAGE / 'made_up.py'}:2)" in line for line in seen), seen


async def test_a_socket_that_waits_is_caught_and_one_that_does_not_is_fine(blocking_calls: BlockingCalls, tmp_path: Path) -> None:
    address = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen()
        for timeout, caught in ((None, 1), (5, 1), (0, 0)):
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(timeout)
                as_if_in(PACKAGE / "made_up.py", "client.connect(address)", client=client, address=address)()
            assert len(blocking_calls.take()) == caught


async def test_in_a_worker_thread_it_may_block(blocking_calls: BlockingCalls, tmp_path: Path) -> None:
    await anyio.to_thread.run_sync(as_if_in(PACKAGE / "made_up.py", "open(path, 'w').close()", path=tmp_path / "file"))
    assert blocking_calls.take() == []


def test_where_no_loop_runs_it_may_block(blocking_calls: BlockingCalls, tmp_path: Path) -> None:
    as_if_in(PACKAGE / "made_up.py", "open(path, 'w').close()", path=tmp_path / "file")()
    assert blocking_calls.take() == []


@pytest.mark.parametrize("file", [PACKAGE / "testing" / "made_up.py", Path(__file__).parent / "made_up.py"])
async def test_tests_and_the_test_kit_may_block(blocking_calls: BlockingCalls, tmp_path: Path, file: Path) -> None:
    as_if_in(file, "open(path, 'w').close()", path=tmp_path / "file")()
    assert blocking_calls.take() == []


async def test_a_late_import_is_no_blocking_call(blocking_calls: BlockingCalls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "imported_late_by_a_test.py").write_text("VALUE = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    as_if_in(PACKAGE / "made_up.py", "import imported_late_by_a_test")()
    assert blocking_calls.take() == []


async def test_a_descriptor_that_is_open_already_is_no_blocking_call(blocking_calls: BlockingCalls) -> None:
    near, far = socket.socketpair()
    with near, far:
        as_if_in(PACKAGE / "made_up.py", "open(fd, 'wb', closefd=False).close()", fd=near.fileno())()
    assert blocking_calls.take() == []


GUILTY_AND_INNOCENT = """
import pytest
from tests.test_blocking import PACKAGE, as_if_in

@pytest.mark.anyio
async def test_guilty():
    as_if_in(PACKAGE / "made_up.py", "os.listdir('/')")()

def test_innocent():
    pass
"""


def test_a_test_during_which_a_call_blocked_fails(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text("from tests.conftest import *\n")
    (tmp_path / "test_both.py").write_text(GUILTY_AND_INNOCENT)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path)]
    done = subprocess.run(command, cwd=PACKAGE.parent, text=True, capture_output=True, check=False)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    report, _, _ = done.stdout.partition("short test summary info")  # which says it again where CI is set
    assert report.count("os.listdir('/',) in made_up") == 3
    assert "4 passed, 3 errors" in done.stdout
