"""Who holds a host: this process takes it, attaches to the one that has it, or starts one that does.

A holder has the lock of the runtime folder, and soon a socket there. So whoever finds the lock taken and nobody at the socket
waits for what the folder tells: a socket that comes, or a lock that is let go of.
"""

from __future__ import annotations

import os
import sys
from contextlib import AsyncExitStack
from typing import Final

import anyio
from anyio import to_thread

from aiovirt.engine.attached import AttachedEngine
from aiovirt.engine.paths import Folders, Role
from aiovirt.engine.uri import Address
from aiovirt.errors import AccessDenied, ConnectionLost, HostHeld, NoConnect, SystemFailure
from aiovirt.system.background import Background, shielded
from aiovirt.system.carrier import connect_unix
from aiovirt.system.files import FileLock, make_private
from aiovirt.system.inotify import IN_CLOSE_WRITE, IN_CREATE, IN_MOVED_TO, FolderWatch
from aiovirt.system.process import spawn

__all__ = ["IDLE", "find_engine"]

PATIENCE: Final = 10.0
"""Seconds for which a holder that does not answer, as it just begins or ends, is waited for."""
IDLE: Final = 120
"""Seconds without clients and guests after which an engine that was started here leaves."""


async def find_engine(address: Address, folders: Folders, stack: AsyncExitStack, role: Role) -> AttachedEngine | None:
    """Attached to whoever holds the host, as long as ``stack`` lasts; None when this process holds it as long.

    Raises HostHeld when it is held otherwise than ``role`` wants, or in some of its folders, NoConnect, AccessDenied,
    SystemFailure.
    """
    await to_thread.run_sync(_prepare, folders)
    if role is Role.HOLDER or address.path == "/embed":
        if held := await _lock(folders, stack):
            raise held
        return None
    patience, started, held = anyio.current_time() + PATIENCE, False, None
    with await to_thread.run_sync(FolderWatch, folders.runtime, IN_CLOSE_WRITE | IN_CREATE | IN_MOVED_TO) as changes:
        while True:
            if (attached := await _attach(address, folders, stack, patience)) is not None:
                return attached
            if role is Role.ANY and (held := await _lock(folders, stack)) is None:
                return None
            if role is Role.ATTACHED and not started and (held := await to_thread.run_sync(_look, folders)) is None:
                await _start(address, folders)
                started = True
            with anyio.CancelScope(deadline=patience) as waiting:
                await changes.names()
            if waiting.cancelled_caught:
                raise held or NoConnect(f"no engine could be started for {address.uri}: see {folders.logs}/engine.log")


def _prepare(folders: Folders) -> None:
    for folder in folders.all():
        make_private(folder)


# -- holding -----------------------------------------------------------------------------------


async def _lock(folders: Folders, stack: AsyncExitStack) -> HostHeld | None:
    """Takes every lock of the host, for as long as ``stack`` lasts.

    Returns why not, where another process has that of the runtime folder: it is there to be attached to, or will be, or ends.
    Raises HostHeld where one has another folder only.
    """
    first, *others = locks = [FileLock(path) for path in folders.locks]
    async with AsyncExitStack() as taken:
        taken.push_async_callback(_release, locks)
        try:
            await shielded(to_thread.run_sync(first.acquire))
        except HostHeld as held:
            return held
        for lock in others:
            await shielded(to_thread.run_sync(lock.acquire))
        stack.push_async_exit(taken.pop_all())
    return None


async def _release(locks: list[FileLock]) -> None:
    """The first one last: it tells who waits that the host is free."""
    for lock in reversed(locks):
        await shielded(to_thread.run_sync(lock.release))


def _look(folders: Folders) -> HostHeld | None:
    """Who holds the host, without taking it."""
    try:
        FileLock(folders.locks[0]).look()
    except HostHeld as held:
        return held
    return None


# -- attaching ---------------------------------------------------------------------------------


async def _attach(address: Address, folders: Folders, stack: AsyncExitStack, patience: float) -> AttachedEngine | None:
    """The engine at the holder's socket; None where there is nobody. Raises NoConnect where nobody answers until ``patience``."""
    try:
        carrier = await connect_unix(str(folders.socket))
    except (FileNotFoundError, ConnectionRefusedError, BlockingIOError):
        return None
    except OSError as error:
        raise SystemFailure(f"cannot attach at {folders.socket}: {error.strerror or error}") from error
    async with AsyncExitStack() as inner:
        await inner.enter_async_context(carrier)
        pid, uid = carrier.peer
        if uid not in {0, os.geteuid()}:
            raise AccessDenied(f"another user listens at {folders.socket}")
        engine = AttachedEngine(address.uri, carrier, folders.place)
        tasks = (await inner.enter_async_context(Background())).group
        with anyio.CancelScope(deadline=patience) as waiting:
            try:
                await tasks.start(engine.run)
            except ConnectionLost:
                return None
        if waiting.cancelled_caught:
            raise NoConnect(f"the engine of {address.uri}, process {pid}, does not answer")
        stack.push_async_exit(inner.pop_all())
        return engine


async def _start(address: Address, folders: Folders) -> None:
    """Starts an engine that outlives this process; it leaves when nobody needs it."""
    argv = [sys.executable, "-m", "aiovirt", "-c", address.uri, "engine", "--idle", str(IDLE)]
    try:
        process = await spawn(argv, log=folders.logs / "engine.log", environment=os.environ)
    except OSError as error:
        raise SystemFailure(f"cannot start an engine: {error.strerror}") from error
    process.close()
