"""A folder that is watched, and another one that takes its place: inotify(7) as it is."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from aiovirt.system.files import make_private
from aiovirt.system.inotify import IN_CLOSE_WRITE, IN_DELETE, IN_DELETE_SELF, IN_MOVE_SELF, FolderWatch

pytestmark = pytest.mark.anyio

PATIENCE = 60


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "above/folder"
    made.mkdir(parents=True)
    return made


async def file_is_seen(watch: FolderWatch, folder: Path, name: str) -> None:
    await to_thread.run_sync((folder / name).write_text, "x")
    with anyio.fail_after(PATIENCE):
        assert await watch.names() == {name}


async def is_another(watch: FolderWatch) -> None:
    with anyio.fail_after(PATIENCE):
        assert await watch.names() == {""}


def renamed(folder: Path) -> None:
    folder.rename(folder.with_name("old"))
    folder.mkdir()


def swapped(folder: Path) -> None:
    """As who restores does it: one that is ready takes its place."""
    new = folder.with_name("new")
    new.mkdir()
    folder.rename(folder.with_name("old"))
    new.rename(folder)


def deleted(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def deleted_with_a_file_open(folder: Path) -> None:
    with (folder / "open").open("w"):
        shutil.rmtree(folder)
        folder.mkdir()


def above_renamed(folder: Path) -> None:
    folder.parent.rename(folder.parent.with_name("old"))
    folder.mkdir(parents=True)


def above_deleted(folder: Path) -> None:
    shutil.rmtree(folder.parent)
    folder.mkdir(parents=True)


@pytest.mark.parametrize("replace", [renamed, swapped, deleted, deleted_with_a_file_open, above_renamed, above_deleted])
async def test_another_folder_in_its_place_is_watched(folder: Path, replace: Callable[[Path], None]) -> None:
    with FolderWatch(folder, IN_CLOSE_WRITE) as watch:
        await file_is_seen(watch, folder, "before")
        await to_thread.run_sync(replace, folder)
        with anyio.fail_after(PATIENCE):
            while await watch.names() != {""}:
                pass
        await file_is_seen(watch, folder, "after")


@pytest.mark.parametrize("level", [0, 1])
async def test_one_that_is_gone_is_waited_for(folder: Path, level: int) -> None:
    gone = [folder, folder.parent][level]
    with FolderWatch(folder, IN_CLOSE_WRITE) as watch:
        gone.rename(gone.with_name("old"))
        with anyio.move_on_after(0.1) as quiet:
            await watch.names()
        assert quiet.cancelled_caught
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(is_another, watch)
            await anyio.wait_all_tasks_blocked()
            gone.with_name("old").rename(gone)
        await file_is_seen(watch, folder, "after")


async def test_who_asks_for_it_is_told_at_once_that_it_is_gone(folder: Path) -> None:
    with FolderWatch(folder, IN_CLOSE_WRITE | IN_DELETE_SELF | IN_MOVE_SELF) as watch:
        for _ in range(2):
            folder.rename(folder.with_name("old"))
            await is_another(watch)
            folder.with_name("old").rename(folder)
            await is_another(watch)
        await file_is_seen(watch, folder, "after")


async def test_one_that_is_gone_is_made_anew(folder: Path) -> None:
    with FolderWatch(folder, IN_DELETE, make_private) as watch:
        for _ in range(3):
            await to_thread.run_sync(shutil.rmtree, folder.parent)
            await is_another(watch)
            assert folder.is_dir()


async def test_what_happens_beside_it_wakes_nobody(folder: Path) -> None:
    with FolderWatch(folder, IN_CLOSE_WRITE) as watch:
        other = folder.with_name("other")
        other.mkdir()
        (folder.parent / "file").write_text("x")
        (folder.parent / "file").unlink()
        other.rename(folder.with_name("another"))
        with anyio.move_on_after(0.1) as quiet:
            await watch.names()
        assert quiet.cancelled_caught


def test_what_is_not_there_cannot_be_watched(folder: Path) -> None:
    with pytest.raises(FileNotFoundError):
        FolderWatch(folder / "none", IN_CLOSE_WRITE)
