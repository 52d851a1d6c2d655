"""examples/resume.py in this process. tests/real/test_resume.py kills it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

import aiovirt
from aiovirt.events import decode
from examples import resume

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]
NEVER = "01M81ZVW3XKGW4EMTQQQ6K1X6K:0000000000000001"


@pytest.fixture
async def host(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[aiovirt.Host]:
    """A host that stays while its reader is started again and again."""
    async with aiovirt.connect("test:///default") as connected:

        @asynccontextmanager
        async def connect(uri: str) -> AsyncIterator[aiovirt.Host]:
            assert uri == "the uri"
            yield connected

        monkeypatch.setattr(aiovirt, "connect", connect)
        yield connected


@asynccontextmanager
async def following(file: Path) -> AsyncIterator[None]:
    """The reader at work; at the block's end it has read all there is."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(resume.follow, file, "the uri")
        await anyio.sleep(1)
        yield
        await anyio.sleep(1)
        tasks.cancel_scope.cancel()


def printed(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [decode(line).cursor for line in capsys.readouterr().out.splitlines()]


async def change(host: aiovirt.Host) -> list[str]:
    """Makes two events; returns their cursors."""
    await host.domain("test").suspend()
    first = host.events.cursor
    await host.domain("test").resume()
    return [first, host.events.cursor]


async def test_it_goes_on_where_it_was(host: aiovirt.Host, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "cursor"
    async with following(file):
        assert file.read_text().strip() == host.events.cursor  # the first start counts, whether something happens or not
    expected = await change(host)
    async with following(file):
        expected += await change(host)
    assert resume.load(file) == host.events.cursor
    async with following(file):
        expected += await change(host)
    assert printed(capsys) == expected


async def test_what_was_not_noted_is_handled_again(
    host: aiovirt.Host, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "cursor"
    resume.store(file, host.events.cursor)
    one, two = await change(host)

    def killed(file: Path, cursor: str) -> None:
        if cursor == one:
            raise InterruptedError
        real(file, cursor)

    real = resume.store
    with monkeypatch.context() as patched, pytest.raises(InterruptedError):
        patched.setattr(resume, "store", killed)
        await resume.follow(file, "the uri")
    async with following(file):
        pass
    assert printed(capsys) == [one, one, two]


async def test_a_gap_is_told_and_passed(host: aiovirt.Host, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "cursor"
    resume.store(file, NEVER)
    with pytest.raises(aiovirt.EventGap) as gap:
        async with host.events.subscribe(after=NEVER):
            pass
    async with following(file):
        pass
    said = capsys.readouterr()
    assert said.err == f"missed: {gap.value}; going on after {gap.value.resume}\n"
    assert decode(said.out.splitlines()[0]).cursor == gap.value.first_available
    assert resume.load(file) == host.events.cursor


def test_a_cursor_that_cannot_be_stored_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "cursor"
    assert resume.load(file) is None
    resume.store(file, "one")

    def full(handle: int) -> None:
        assert os.fstat(handle).st_size == len("two\n")  # it is written when it is asked to last
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        resume.store(file, "two")
    assert resume.load(file) == "one"


def test_what_goes_wrong_is_one_line(tmp_path: Path) -> None:
    def run(*arguments: str) -> tuple[int, str]:
        command = [sys.executable, resume.__file__, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.stdout == ""
        return done.returncode, done.stderr

    file = tmp_path / "cursor"
    assert run() == (1, "usage: python examples/resume.py CURSOR_FILE [URI]\n")
    assert run(str(file), "foo:///x")[1].startswith("error: ")
    file.write_text("nonsense")
    assert run(str(file), "test:///default") == (1, "error: 'nonsense' is not a cursor (EPOCH:SEQ, as an event carries it)\n")
