"""What an engine does by itself: it starts what is to be started with the host, and notices definitions that others edit."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import anyio

from aiovirt.engine.definitions import Definitions
from aiovirt.engine.disk import on_disk
from aiovirt.engine.entries import Entry
from aiovirt.engine.kind import Spec
from aiovirt.engine.local import LocalEngine
from aiovirt.engine.objects import ObjectEntry
from aiovirt.engine.store import Store
from aiovirt.errors import Error, SystemFailure
from aiovirt.model import orders
from aiovirt.model.caller import ENGINE
from aiovirt.system import files, to_thread
from aiovirt.system.again import contained, keep_on
from aiovirt.system.inotify import IN_CLOSE_WRITE, IN_DELETE, IN_MOVED_FROM, IN_MOVED_TO, FolderWatch
from aiovirt.system.log import get_logger

__all__ = ["autostart", "follow_edits", "start_all"]

AT_ONCE: Final = 4
"""Objects that are started side by side."""
LIMIT: Final = 4096
"""Bytes; a boot's id has 36."""

S = TypeVar("S", bound=Spec)
E = TypeVar("E", bound=ObjectEntry[Any])
log = get_logger("engine")


async def autostart(engine: LocalEngine, mark: Path, boot_id: str) -> None:
    """Once in each boot, starts the domains that are to be; what fails is reported, one by one, and keeps no other from starting.

    The file ``mark`` has the id of the boot in which that was done last.
    """
    due = [entry for entry in engine.records.entries if entry.autostart]
    try:
        if not await _is_first(mark, boot_id):
            return
    except Error as error:
        log.error("nothing is started with the host", error=str(error))
        return
    await start_all(due, partial(_start, engine))


async def start_all(due: Iterable[E], start: Callable[[E], Awaitable[object]]) -> None:
    """``start(entry)`` for each that is ``due``, a few side by side; what fails is reported, and keeps no other from starting."""
    limit = anyio.CapacityLimiter(AT_ONCE)

    async def start_one(entry: E) -> None:
        async with limit:
            with contained(log.bind(**{entry.kind: entry.name}), f"a {entry.kind} could not be started with the host"):
                await start(entry)

    async with anyio.create_task_group() as tasks:
        for entry in sorted(due, key=lambda entry: entry.name):
            tasks.start_soon(start_one, entry)


async def _is_first(mark: Path, boot_id: str) -> bool:
    """Whether no engine of this host has asked that before, since it was booted; raises SystemFailure."""
    try:
        if await to_thread.run_sync(files.read_bounded, mark, LIMIT) == boot_id.encode():
            return False
    except FileNotFoundError:
        pass
    except OSError as error:
        raise SystemFailure(f"{mark}: {error.strerror}") from error
    await on_disk(files.write_whole, mark, boot_id.encode())
    return True


async def _start(engine: LocalEngine, entry: Entry) -> None:
    if not engine.records.state_of(entry.uuid).is_active:
        await engine.call(orders.Start(uuid=entry.uuid), ENGINE)


async def follow_edits(definitions: Definitions[S, E], store: Store[S]) -> None:
    """Takes in what others write to the folder of the definitions, until cancelled; at first, what they wrote before it is watched."""
    follow = partial(_follow, definitions, store, set(store.left_alone))
    await keep_on(follow, log, lost="definitions that are edited are not seen for now", back="definitions are watched again")


async def _follow(definitions: Definitions[S, E], store: Store[S], looked_at: set[str], works: Callable[[], None]) -> None:
    """``looked_at`` are those that need not be looked at in the beginning; the next time they do."""
    with await to_thread.run_sync(FolderWatch, store.folder, IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE) as watch:
        there = await store.names()
        names = (definitions.names() | there) - looked_at
        looked_at.clear()
        while True:
            for name in sorted(names, key=lambda name: (name in there, name)):  # who was renamed has gone first
                await definitions.edited(name)
            works()
            changed = await watch.names()
            there = await store.names()
            names = {name.removesuffix(".xml") for name in changed if _is_definition(name)}
            if "" in changed:  # the kernel had to leave some out
                names = definitions.names() | there


def _is_definition(name: str) -> bool:
    return name.endswith(".xml") and not name.startswith(".")
