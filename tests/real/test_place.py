"""The folders of a host are deleted or replaced while its engine runs: it notices, and takes what is there then."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

import aiovirt
from aiovirt import DomainState, Host
from aiovirt.engine import place as places
from aiovirt.engine.attached import AttachedEngine
from aiovirt.errors import HostHeld
from aiovirt.events import DomainLifecycle, Lifecycle
from aiovirt.libvirtxml import parse, render
from aiovirt.model.state import MonitorHealth
from aiovirt.model.units import MiB
from aiovirt.system.files import make_private
from aiovirt.system.inotify import FolderWatch
from tests.real.conftest import PATIENCE, Place

pytestmark = pytest.mark.anyio

RUNTIME = "engine/runtime"


async def until_there(path: Path) -> None:
    with anyio.fail_after(PATIENCE):
        while not await anyio.Path(path).exists():
            await anyio.lowlevel.checkpoint()


async def until_held(place: Place, which: str) -> None:
    """The folder has a lock that is the engine's; then one with other folders, but for this one, is refused."""
    folder = place.folder / "engine" / which
    lock = anyio.Path(folder / "engine.lock")
    with anyio.fail_after(PATIENCE):
        while not await lock.exists() or await lock.read_text() != f"{os.getpid()}\n":
            await anyio.lowlevel.checkpoint()
    folders = {f"{name}_dir": place.folder / f"other/{name}" for name in ("config", "state", "runtime")} | {f"{which}_dir": folder}
    with pytest.raises(HostHeld) as held:
        async with aiovirt.connect(place.uri, **folders):
            pass
    assert held.value.pid == os.getpid()


def take_away(gone: Path) -> None:
    """As rm -r does it: what is in a folder first, and it is told when that comes again meanwhile."""
    if gone.is_dir():
        shutil.rmtree(gone, ignore_errors=True)
    else:
        gone.unlink()


def replace(folder: Path) -> None:
    """As one who restores a copy does it."""
    shutil.copytree(folder, folder.with_name("copy"), ignore=shutil.ignore_patterns("engine.lock"))
    folder.rename(folder.with_name("old"))
    folder.with_name("copy").rename(folder)


@pytest.mark.parametrize("what", ["runtime", "runtime/engine.sock", "runtime/qemu"])
async def test_a_runtime_folder_that_is_deleted_is_made_anew_and_guests_stay_connected(place: Place, host: Host, what: str) -> None:
    domain = await host.define(place.spec())
    await domain.start()
    async with place.attach() as before:
        gone = place.folder / "engine" / what
        await to_thread.run_sync(take_away, gone)
        await until_there(place.folder / RUNTIME / "engine.sock")
        await until_there(place.folder / RUNTIME / "qemu")
        assert (place.folder / RUNTIME).stat().st_mode & 0o777 == 0o700
        await before.domain("tiny").suspend()
        assert domain.state is DomainState.PAUSED
        assert domain.status.monitor is MonitorHealth.CONNECTED
        await until_held(place, "runtime")
        async with place.attach() as after:
            assert isinstance(after.engine, AttachedEngine)
            other = await after.create(place.spec("other"))
            await other.destroy()
    await domain.destroy()


@pytest.mark.parametrize("which", ["state", "config"])
async def test_a_folder_that_was_replaced_is_held_as_the_one_before(place: Place, host: Host, which: str) -> None:
    await host.define(place.spec())
    folder = place.folder / "engine" / which

    await to_thread.run_sync(replace, folder)
    await until_held(place, which)


@pytest.mark.parametrize("which", ["config", "config/qemu"])
async def test_definitions_in_a_folder_that_was_replaced_are_seen(place: Place, host: Host, which: str) -> None:
    domain = await host.define(place.spec())
    folder = place.folder / "engine" / which
    file = place.folder / "engine/config/qemu/tiny.xml"
    cursor = host.events.cursor

    async with host.events.subscribe(DomainLifecycle, after=cursor) as news:
        for memory in (40, 41):
            if memory == 40:
                await to_thread.run_sync(replace, folder)
            text = render(parse(await anyio.Path(file).read_text())).replace(str((await domain.spec()).memory // 1024), str(memory * 1024))
            await anyio.Path(file).write_text(text)
            with anyio.fail_after(PATIENCE):
                while (await domain.spec()).memory != memory * MiB:
                    assert (await news.receive()).kind is Lifecycle.DEFINED


async def test_logs_in_a_folder_that_was_replaced_are_bounded(place: Place, host: Host) -> None:
    domain = await host.define(place.spec())
    await domain.start()
    folder = place.folder / "engine/state/log"

    def replace_loudly() -> None:
        new = folder.with_name("new")
        new.mkdir(mode=0o700)
        (new / "tiny.log").write_bytes(bytes(2 * MiB))
        folder.rename(folder.with_name("old"))
        new.rename(folder)  # which the engine may have made anew by now, empty

    await to_thread.run_sync(replace_loudly)
    with anyio.fail_after(PATIENCE):
        while (folder / "tiny.log").stat().st_size > MiB:
            with (folder / "tiny.log").open("ab") as file:
                file.write(b"x")
            await anyio.sleep(0.01)
    await domain.destroy()


async def test_what_was_deleted_while_there_was_no_watch_is_made_anew_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder, renewed, short = tmp_path / "runtime", anyio.Event(), [errno.EMFILE, errno.ENOSPC]

    def watch(path: Path, kinds: int, make: Callable[[Path], None]) -> FolderWatch:
        if short:
            raise OSError(short.pop(), "made up")
        return FolderWatch(path, kinds, make)

    async def renew() -> None:
        await anyio.lowlevel.checkpoint()
        assert await anyio.Path(folder).is_dir()
        renewed.set()

    monkeypatch.setattr(places, "FolderWatch", watch)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(places._keep, folder, make_private, renew)
        with anyio.fail_after(PATIENCE):
            await renewed.wait()
        tasks.cancel_scope.cancel()
    assert caplog.text.count("is missed for now") == 1
