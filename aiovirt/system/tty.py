"""A terminal that is lent to a guest: raw while it is, and as it was before whatever happens.

What goes through here is the guest's own: a console obeys the escape sequences that a guest writes, as a serial cable would.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import signal
import struct
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import anyio

from aiovirt.errors import AccessDenied, OperationFailed, SystemFailure
from aiovirt.system import to_thread
from aiovirt.system.readiness import polled
from aiovirt.system.sockets import connect_now

__all__ = ["ESCAPE", "Turn", "open_console", "raw", "relay"]

ESCAPE: Final = b"\x1d"
"""^], which leaves."""

CHUNK: Final = 4096
_OVER: Final = frozenset({errno.EIO, errno.ECONNRESET, errno.EPIPE})
"""How a descriptor fails whose far side is gone (EIO: of a pty)."""
_FLOCK: Final = struct.Struct("hhqqi4x")  # fcntl(2)'s struct flock: type, whence, start, length, pid


@contextmanager
def raw(terminal: int) -> Iterator[None]:
    """Within the block each key of ``terminal`` is handed on as it is. Raises SystemFailure where it is no terminal."""
    try:
        before = termios.tcgetattr(terminal)
    except termios.error as error:
        raise SystemFailure(f"a console needs a terminal: {error.args[1]}") from error
    try:
        tty.setraw(terminal, termios.TCSANOW)
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def open_console(path: str) -> int:
    """A non-blocking descriptor of the pty or the unix socket at ``path``. Raises SystemFailure. Blocks: for threads."""
    try:
        if Path(path).is_socket():
            return connect_now(path).detach()
        return os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise SystemFailure(f"cannot open the console {path}: {error.strerror}") from error


async def relay(console: int, keys: int, screen: int) -> None:
    """Hands on what comes from ``keys`` to the console and from there to ``screen``, until ^] or one of them ends."""
    async with anyio.create_task_group() as tasks:

        async def type_keys() -> None:
            with polled(keys, select.EPOLLIN) as poll:
                while part := await _typed(keys, poll):
                    head, is_escape, _ = part.partition(ESCAPE)
                    await _write(console, head)
                    if is_escape:
                        break
            tasks.cancel_scope.cancel()

        tasks.start_soon(type_keys)
        while part := await _read(console):
            await to_thread.run_sync(_write_all, screen, part)
        tasks.cancel_scope.cancel()


async def _typed(keys: int, poll: int | None) -> bytes:
    if poll is not None:
        await anyio.wait_readable(poll)
    try:
        return os.read(keys, CHUNK)
    except OSError as error:
        if error.errno in _OVER:
            return b""  # the terminal is gone
        raise SystemFailure(f"cannot read the terminal: {error.strerror}") from error


async def _read(console: int) -> bytes:
    while True:
        await anyio.wait_readable(console)
        try:
            return os.read(console, CHUNK)
        except BlockingIOError:
            continue
        except OSError as error:
            if error.errno in _OVER:
                return b""
            raise SystemFailure(f"cannot read the console: {error.strerror}") from error


async def _write(console: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(console, data) :]
        except BlockingIOError:
            await anyio.wait_writable(console)
        except OSError as error:
            if error.errno in _OVER:
                return  # that it is over is seen where it is read
            raise SystemFailure(f"cannot write to the console: {error.strerror}") from error


def _write_all(screen: int, data: bytes) -> None:
    try:
        while data:
            data = data[os.write(screen, data) :]
    except OSError as error:
        raise SystemFailure(f"cannot write to standard output: {error.strerror}") from error


class Turn:
    """The right to be the one at a console: a lock on one byte of ``file``, at the place that ``whose`` stands for.

    Two consoles whose places are the same (one in 2**62) would keep each other out. The lock goes with its process; who has
    it is what the kernel says.
    """

    def __init__(self, file: Path, whose: str) -> None:
        self._file, self._whose = file, whose
        self._handle = -1

    async def take(self, *, force: bool) -> None:
        """Raises OperationFailed where another session has it; with ``force`` that one is ended first.

        Raises AccessDenied where it may not be, SystemFailure.
        """
        try:
            self._handle = await to_thread.run_sync(os.open, self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise SystemFailure(f"cannot lock {self._file}: {error.strerror}") from error
        while not self._lock():
            holder = self._holder()
            if holder is None:
                continue  # it has just left
            if not force or holder <= 0:
                by = f"process {holder}" if holder > 0 else "a process of another namespace"
                raise OperationFailed(f"operation failed: Active console session exists for this domain ({by})")
            await self._end(holder)

    def leave(self) -> None:
        """Harmless where it was not taken."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    @property
    def _place(self) -> int:
        import hashlib

        return int.from_bytes(hashlib.sha256(self._whose.encode()).digest()[:8], "big") >> 2

    def _lock(self) -> bool:
        try:
            fcntl.lockf(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, self._place)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return False
            raise SystemFailure(f"cannot lock {self._file}: {error.strerror}") from error
        return True

    def _holder(self) -> int | None:
        """The process that has it, None where none has; 0 where the kernel cannot say which, as it is of another pid namespace."""
        asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, self._place, 1, 0)
        kind, _, _, _, pid = _FLOCK.unpack(fcntl.fcntl(self._handle, fcntl.F_GETLK, asked))
        return None if kind == fcntl.F_UNLCK else int(pid)

    async def _end(self, holder: int) -> None:
        """Ends that process by SIGTERM, upon which it leaves its terminal as it was."""
        try:
            process = os.pidfd_open(holder)
        except ProcessLookupError:
            return
        try:
            if self._holder() == holder:  # now that its number can be no other's
                signal.pidfd_send_signal(process, signal.SIGTERM)
                await anyio.wait_readable(process)
        except PermissionError as error:
            raise AccessDenied(f"process {holder} is at this console, and cannot be ended: {error.strerror}") from error
        finally:
            anyio.notify_closing(process)
            os.close(process)
