"""What is looked after for all guests at once: that their logs stay within their limit, and that lost monitors are tried again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container
from pathlib import Path
from typing import Final

from aiovirt.system import files, to_thread
from aiovirt.system.again import keep_on
from aiovirt.system.inotify import IN_CREATE, IN_MODIFY, IN_MOVED_TO, FolderWatch
from aiovirt.system.log import get_logger

__all__ = ["LOG_LIMIT", "bound_logs", "watch_monitors"]

LOG_LIMIT: Final = 1024 * 1024
EVERY: Final = frozenset({""})
"""What a watch says, too, when the kernel had to leave names out."""

logger = get_logger("qemu")


async def bound_logs(folder: Path) -> None:
    """Keeps every guest's log within its limit, whatever the guest makes QEMU say, until cancelled.

    The folder is ours: where somebody has taken it away it is made anew, so that the next guest has a log.
    """

    async def bound(works: Callable[[], None]) -> None:
        await to_thread.run_sync(_make_anew, folder)
        with await to_thread.run_sync(FolderWatch, folder, IN_MODIFY, _make_anew) as writes:
            await to_thread.run_sync(_shrink, folder, EVERY)  # what was written while nobody looked
            works()
            while True:
                await to_thread.run_sync(_shrink, folder, await writes.names())

    await keep_on(bound, logger, lost="guests' logs are not bounded for now", back="guests' logs are bounded again")


async def watch_monitors(folder: Path, try_again: Callable[[Container[str]], object]) -> None:
    """Calls ``try_again(names)`` when sockets come to where guests' monitors were, until cancelled; with "" it may be any."""

    async def watch(works: Callable[[], None]) -> None:
        with await to_thread.run_sync(FolderWatch, folder, IN_CREATE | IN_MOVED_TO) as comers:
            try_again(EVERY)
            works()
            while True:
                try_again(await comers.names())

    await keep_on(
        watch, logger, lost="guests that cannot be spoken to are tried again on demand only", back="guests' monitors are watched for again"
    )


def _make_anew(folder: Path) -> None:
    """Where it is gone; where the one that it belongs in is gone, too, that is waited for."""
    if folder.is_dir() or not folder.parent.is_dir():
        return
    files.make_private(folder)
    logger.warning("the folder of the guests' logs was gone; it is made anew", folder=str(folder))


def _shrink(folder: Path, names: Collection[str]) -> None:
    paths = files.ending_in(".log", folder) if "" in names else (folder / name for name in names if name.endswith(".log"))
    failure: OSError | None = None
    for path in paths:
        try:
            files.shrink(path, LOG_LIMIT)
        except OSError as error:
            failure = error  # the others' turn comes first
    if failure is not None:
        raise failure
