"""Guests' logs are bounded, and monitors tried again, also after there was no watch to be had."""

from __future__ import annotations

import errno
import shutil
import stat
from collections.abc import Callable, Container
from pathlib import Path

import anyio
import pytest

from aiovirt.drivers.qemu import logs
from aiovirt.system.inotify import FolderWatch

pytestmark = pytest.mark.anyio


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of the errors that making a watch gives next."""
    errors: list[int] = []

    def watch(folder: Path, kinds: int, make: Callable[[Path], None] | None = None) -> FolderWatch:
        if errors:
            raise OSError(errors.pop(), "none left")
        return FolderWatch(folder, kinds, make)

    monkeypatch.setattr(logs, "FolderWatch", watch)
    return errors


async def bounded(log: Path) -> None:
    with anyio.fail_after(60):
        while (await anyio.Path(log).stat()).st_size > logs.LOG_LIMIT:
            await anyio.sleep(0.01)


async def test_logs_that_grew_while_there_was_no_watch_are_bounded_then(
    tmp_path: Path, short: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    short += [errno.EMFILE, errno.ENOSPC]
    log, other = tmp_path / "web.log", tmp_path / "db.log"
    for path in (log, other):
        path.write_bytes(b"x" * (logs.LOG_LIMIT + 1))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(logs.bound_logs, tmp_path)
        await bounded(log)
        await bounded(other)
        log.write_bytes(b"x" * (logs.LOG_LIMIT + 1))
        await bounded(log)
        tasks.cancel_scope.cancel()
    assert not short
    assert caplog.text.count("not bounded for now") == 1
    assert caplog.text.count("bounded again") == 1


async def test_a_log_that_cannot_be_cut_keeps_no_other_from_being_bounded(tmp_path: Path) -> None:
    (tmp_path / "a.log").symlink_to("/dev/null")  # O_NOFOLLOW refuses it
    log = tmp_path / "web.log"
    log.write_bytes(b"x" * (logs.LOG_LIMIT + 1))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(logs.bound_logs, tmp_path)
        await bounded(log)
        tasks.cancel_scope.cancel()


async def is_there(folder: Path) -> None:
    with anyio.fail_after(60):
        while not await anyio.Path(folder).is_dir():
            await anyio.sleep(0.01)


async def test_a_folder_of_logs_that_was_deleted_is_made_anew_and_its_logs_are_bounded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "state/log"
    folder.mkdir(parents=True)
    log = folder / "web.log"
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(logs.bound_logs, folder)
        log.write_bytes(b"x" * (logs.LOG_LIMIT + 1))
        await bounded(log)
        shutil.rmtree(folder)
        await is_there(folder)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        log.write_bytes(b"x" * (logs.LOG_LIMIT + 1))
        await bounded(log)
        assert caplog.text.count("it is made anew") == 1
        shutil.rmtree(folder.parent)
        folder.parent.mkdir()  # whoever took that away puts it back
        await is_there(folder)
        log.write_bytes(b"x" * (logs.LOG_LIMIT + 1))
        await bounded(log)
        tasks.cancel_scope.cancel()


async def test_all_monitors_are_tried_once_there_is_a_watch_again(tmp_path: Path, short: list[int]) -> None:
    short += [errno.ENOSPC]
    tried: list[Container[str]] = []
    has_tried = anyio.Event()

    def try_again(names: Container[str]) -> None:
        tried.append(names)
        has_tried.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(logs.watch_monitors, tmp_path, try_again)
        with anyio.fail_after(60):
            await has_tried.wait()
        assert "" in tried[0]
        tasks.cancel_scope.cancel()
