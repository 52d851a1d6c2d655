"""The folders of a host while an engine holds it: one that is deleted or replaced takes nothing from it.

The locks are taken anew in folders that are other ones now; a runtime folder that is gone is made anew, with what belongs there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import anyio

from aiovirt.engine.paths import Folders
from aiovirt.errors import Error
from aiovirt.system import to_thread
from aiovirt.system.again import keep_on
from aiovirt.system.files import FileLock, make_private
from aiovirt.system.inotify import IN_DELETE, IN_MOVED_FROM, FolderWatch
from aiovirt.system.log import get_logger

__all__ = ["keep_place"]

log = get_logger("engine")


async def keep_place(folders: Folders, locks: Sequence[FileLock], renew_socket: Callable[[], Awaitable[None]]) -> None:
    """Until cancelled. ``locks`` are those of :attr:`Folders.locks`; ``renew_socket()`` makes the socket anew where it is gone."""
    runtime, *others = locks

    async def renew_runtime() -> None:
        await to_thread.run_sync(runtime.renew)
        await renew_socket()

    async def nothing_more() -> None:
        """The monitors' sockets are their guests'."""

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_keep, folders.runtime, make_private, renew_runtime)
        tasks.start_soon(_keep, folders.sockets, make_private, nothing_more)
        for folder, lock in zip((folders.state, folders.config), others, strict=True):
            tasks.start_soon(_keep, folder, None, _renewing(lock))


def _renewing(lock: FileLock) -> Callable[[], Awaitable[None]]:
    async def renew() -> None:
        await to_thread.run_sync(lock.renew)

    return renew


async def _keep(folder: Path, make: Callable[[Path], None] | None, renew: Callable[[], Awaitable[None]]) -> None:
    is_again = False

    async def keep(works: Callable[[], None]) -> None:
        nonlocal is_again
        was_lost, is_again = is_again, True
        if was_lost and make is not None:
            await to_thread.run_sync(make, folder)
        with await to_thread.run_sync(FolderWatch, folder, IN_DELETE | IN_MOVED_FROM, make) as watch:
            if was_lost:
                await _try(renew, folder, set())  # what was deleted while nobody looked
            works()
            while True:
                if "" in (names := await watch.names()):
                    log.warning("a folder of this host was replaced", folder=str(folder))
                await _try(renew, folder, names)

    await keep_on(
        keep,
        log.bind(folder=str(folder)),
        lost="what is deleted from a folder of this host is missed for now",
        back="what is deleted from a folder of this host is noticed again",
    )


async def _try(renew: Callable[[], Awaitable[None]], folder: Path, names: set[str]) -> None:
    try:
        await renew()
    except (OSError, Error) as error:
        log.error("what was deleted cannot be made anew", folder=str(folder), names=sorted(names), error=str(error))
