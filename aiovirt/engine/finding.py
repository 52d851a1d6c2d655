"""Who holds a host: this process takes it, attaches to the one that has it, or starts one that does.

A holder has the lock of the runtime folder, and soon a socket there. So whoever finds the lock taken and nobody at the socket
waits for inotify events of the folder: a socket that comes, or a lock that is let go of. Who wants to be the holder asks the one there is
to hand over.
"""

from __future__ import annotations

import math
import os
import sys
from contextlib import AsyncExitStack, closing
from functools import partial
from pathlib import Path
from typing import Final

import anyio

from aiovirt.engine.attached import AttachedEngine
from aiovirt.engine.glance import silent
from aiovirt.engine.paths import Claim, Folders, Role
from aiovirt.engine.uri import Address
from aiovirt.errors import AccessDenied, ConnectionLost, HostGone, HostHeld, NoConnect, SystemFailure, Unsupported
from aiovirt.system import to_thread
from aiovirt.system.background import Background, shielded
from aiovirt.system.bytestream import UnixStream, connect_unix
from aiovirt.system.files import FileLock, make_private
from aiovirt.system.inotify import IN_CLOSE_WRITE, IN_CREATE, IN_MOVED_TO, FolderWatch
from aiovirt.system.process import spawn

__all__ = ["IDLE", "find_engine"]

PATIENCE: Final = 10.0
"""Seconds for which a holder that does not answer, as it just begins or ends, is waited for."""
HANDING_OVER: Final = 45.0
"""The same for one that has said it hands the host over: it finishes what it was asked before."""
FIRST_LOOK: Final = 0.02
LAST_LOOK: Final = 0.5
IDLE: Final = 120
"""Seconds without clients and guests after which an engine that was started here leaves."""


async def find_engine(
    address: Address, folders: Folders, stack: AsyncExitStack, role: Role, claim: Claim | None = None
) -> AttachedEngine | list[FileLock]:
    """Attached to whoever holds the host, as long as ``stack`` lasts; its locks when this process holds it as long.

    Raises HostHeld when it is held otherwise than ``role`` wants, or in some of its folders, NoConnect, AccessDenied,
    SystemFailure.
    """
    await to_thread.run_sync(_prepare, folders)
    insists, started = role is Role.HOLDER or address.path == "/embed", False
    claim = claim or Claim()
    held: HostHeld | None = None
    asked: int | None = None
    with closing(_Waiting(folders, math.inf if role is Role.NEXT or claim.wait else PATIENCE)) as waiting:
        while True:
            if not insists and (attached := await _attach(address, folders, stack, waiting.until)) is not None:
                return attached
            if role in {Role.ANY, Role.HOLDER} or insists:
                found = await _lock(folders, stack)
                if isinstance(found, list):
                    return found
                held = found
                if insists and held.pid not in {None, asked}:
                    asked = held.pid
                    await _ask_for_it(address, folders, claim, held)
                    waiting.until = max(waiting.until, anyio.current_time() + HANDING_OVER)
            elif role is Role.ATTACHED and not started and (held := await to_thread.run_sync(_look, folders)) is None:
                await shielded(_start(address, folders))
                started = True
            if not await waiting.wait():
                raise held or NoConnect(f"no engine could be started for {address.uri}: see {folders.engine_log}")


class _Waiting:
    """Waits for what happens in the runtime folder, up to a point in time.

    A lock is reported just before it is free, and a queue that has room again not at all: so it is looked again after a
    while in any case, later each time.
    """

    def __init__(self, folders: Folders, patience: float) -> None:
        self.until = anyio.current_time() + patience
        self._folder = folders.runtime
        self._pause = FIRST_LOOK
        self._watch: list[FolderWatch] = []

    def close(self) -> None:
        """No more is waited for."""
        while self._watch:
            self._watch.pop().close()

    async def wait(self) -> bool:
        """Returns when something may have changed, or False when it is too late for that."""
        if not self._watch:  # most who come find somebody, or nobody, at once
            await shielded(to_thread.run_sync(self._begin))
            return True
        with anyio.CancelScope(deadline=min(self.until, anyio.current_time() + self._pause)) as quiet:
            await self._watch[0].names()
        self._pause = min(2 * self._pause, LAST_LOOK) if quiet.cancelled_caught else FIRST_LOOK
        return anyio.current_time() < self.until

    def _begin(self) -> None:
        try:
            self._watch.append(FolderWatch(self._folder, IN_CLOSE_WRITE | IN_CREATE | IN_MOVED_TO))
        except OSError as error:
            raise SystemFailure(f"cannot wait for the engine of {self._folder}: {error.strerror}") from error


def _prepare(folders: Folders) -> None:
    for folder in folders.all():
        make_private(folder)


# -- holding -----------------------------------------------------------------------------------


async def _lock(folders: Folders, stack: AsyncExitStack) -> HostHeld | list[FileLock]:
    """Takes every lock of the host, for as long as ``stack`` lasts.

    Returns them, or why not, where another process has that of the runtime folder: it is there to be attached to, or will be, or ends.
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
    return locks


async def _release(locks: list[FileLock]) -> None:
    await shielded(to_thread.run_anyhow(_release_all, locks))


def _release_all(locks: list[FileLock]) -> None:
    """The first one last: it wakes the waiting, as the host is free."""
    for lock in reversed(locks):
        lock.release()


def _look(folders: Folders) -> HostHeld | None:
    """Who holds the host, without taking it."""
    try:
        FileLock(folders.locks[0]).look()
    except HostHeld as held:
        return held
    return None


# -- being handed the host ---------------------------------------------------------------------


async def _ask_for_it(address: Address, folders: Folders, claim: Claim, held: HostHeld) -> None:
    """Asks the holder for the host, and returns where it will be free; raises HostHeld with the reason where nobody waits for that."""
    try:
        async with AsyncExitStack() as stack:
            holder = await _attach(address, folders, stack, anyio.current_time() + PATIENCE, is_successor=True)
            if holder is not None:
                await holder.hand_over(PATIENCE, if_idle=not claim.take_over)
    except HostGone:
        return  # to somebody else, or just so
    except (HostHeld, Unsupported) as stays:
        if not claim.wait:
            raise HostHeld(stays.message, pid=held.pid) from stays


class _Doors(_Waiting):
    """See :class:`aiovirt.engine.attached.Doors`."""

    def __init__(self, folders: Folders) -> None:
        super().__init__(folders, math.inf)
        self._socket = folders.socket
        self._is_first = True

    async def next(self) -> UnixStream:
        """A connection to whoever listens at the socket, behind the one that was given before; its block is the caller's to enter."""
        while True:
            if not self._is_first:
                await self.wait()
            self._is_first = False
            if (stream := await _knock(self._socket)) is not None:
                return stream


# -- attaching ---------------------------------------------------------------------------------


async def _knock(socket: Path) -> UnixStream | None:
    """A connection to who listens at ``socket``; None where there is nobody. Raises AccessDenied, SystemFailure."""
    try:
        stream = await connect_unix(str(socket))
    except (FileNotFoundError, ConnectionRefusedError, BlockingIOError):
        return None
    except OSError as error:
        raise SystemFailure(f"cannot attach at {socket}: {error.strerror or error}") from error
    if stream.peer[1] not in {0, os.geteuid()}:
        async with stream:
            raise AccessDenied(f"another user listens at {socket}")
    return stream


async def _attach(
    address: Address, folders: Folders, stack: AsyncExitStack, patience: float, *, is_successor: bool = False
) -> AttachedEngine | None:
    """The engine at the holder's socket; None where there is nobody. Raises NoConnect where nobody answers until ``patience``.

    Who is to be its successor does not look for another one.
    """
    stream = await _knock(folders.socket)
    if stream is None:
        return None
    async with AsyncExitStack() as inner:
        await inner.enter_async_context(stream)
        pid, _ = stream.peer
        engine = AttachedEngine(address.uri, stream, folders.place, None if is_successor else partial(_Doors, folders))
        tasks = (await inner.enter_async_context(Background())).group
        with anyio.CancelScope(deadline=patience) as waiting:
            try:
                await tasks.start(engine.run)
            except ConnectionLost:
                return None
        if waiting.cancelled_caught:
            raise NoConnect(await to_thread.run_sync(silent, address.uri, pid, folders, PATIENCE))
        stack.push_async_exit(inner.pop_all())
        return engine


async def _start(address: Address, folders: Folders) -> None:
    """Starts an engine that outlives this process; it leaves when nobody needs it."""
    argv = [sys.executable, "-m", "aiovirt", "-c", address.uri, "engine", "--idle", str(IDLE)]
    try:
        process = await spawn(argv, log=folders.engine_log, environment=_environment(folders))
    except OSError as error:
        raise SystemFailure(f"cannot start an engine: {error.strerror}") from error
    process.close()


def _environment(folders: Folders) -> dict[str, str]:
    """Ours, with the host's folders, however we know them, and without what our own service manager passed us for ourselves."""
    ours = {name: value for name, value in os.environ.items() if name not in {"NOTIFY_SOCKET", "LISTEN_PID", "LISTEN_FDS"}}
    places = {"CONFIG": folders.config, "STATE": folders.state, "RUNTIME": folders.runtime}
    return ours | {f"AIOVIRT_{name}_DIR": str(place) for name, place in places.items()}
