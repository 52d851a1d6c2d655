"""Processes that outlive us: started in a session of their own, held by pidfd, never by pid alone.

A process is (boot id, pid, start time). Its pidfd is opened before the start time is read, so the
two belong together or the process is not the one that was meant.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self

import anyio
from msgspec import Struct

from aiovirt.model.record import ProcessId
from aiovirt.system import to_thread
from aiovirt.system.identity import boot_id
from aiovirt.system.proc import stat_of

__all__ = ["ExitStatus", "HasFileno", "Process", "adopt", "find_by_words", "spawn"]

_START_TIME: Final = 19  # of the fields of /proc/PID/stat that follow the command's name


class HasFileno(Protocol):
    """An open file, or a socket."""

    def fileno(self) -> int: ...


class ExitStatus(Struct, frozen=True):
    """How a process ended: ``code`` of a normal exit, ``signal`` of a killed one, neither when it was not our child."""

    code: int | None = None
    signal: int | None = None

    def __str__(self) -> str:
        if self.signal is not None:
            return f"killed by {signal.Signals(self.signal).name}"
        return "ended" if self.code is None else f"exited with status {self.code}"


class Process:
    """A running process, ours or found. Closing it lets it run on."""

    def __init__(self, identity: ProcessId, pidfd: int) -> None:
        self.identity = identity
        self._pidfd = pidfd

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.identity.pid

    async def wait(self) -> ExitStatus:
        """Returns when it has ended; one task at a time."""
        await anyio.wait_readable(self._pidfd)
        try:
            ended = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOHANG)  # noqa: ASYNC222 - WNOHANG
        except ChildProcessError:  # found, not started by us
            return ExitStatus()
        if ended is None:
            return ExitStatus()
        return ExitStatus(code=ended.si_status) if ended.si_code == os.CLD_EXITED else ExitStatus(signal=ended.si_status)

    def send_signal(self, number: signal.Signals) -> None:
        """Sends a signal; harmless when it has ended."""
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def close(self) -> None:
        """Lets go of it."""
        if self._pidfd >= 0:
            anyio.notify_closing(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


async def spawn(argv: Sequence[str], *, log: Path, keep: Sequence[HasFileno] = (), environment: Mapping[str, str] | None = None) -> Process:
    """Starts ``argv`` in a session of its own, so that no terminal's Ctrl-C reaches it.

    Its standard input is empty, its output is appended to the file ``log``, what it makes is
    nobody else's to use (umask 077); of our descriptors it gets only ``keep``, under the same numbers,
    and of our environment little, unless it is given one. Raises OSError when it cannot be started.
    """
    return await to_thread.run_sync(_spawn, tuple(argv), log, tuple(kept.fileno() for kept in keep), environment or _environment())


def _spawn(argv: tuple[str, ...], log: Path, keep: tuple[int, ...], environment: Mapping[str, str]) -> Process:
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        child = subprocess.Popen(  # noqa: S603 - an argv list, no shell
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=keep,
            start_new_session=True,
            umask=0o077,  # its sockets and files are nobody else's, whatever ours is
            env=environment,
            cwd="/",
        )
    finally:
        os.close(output)
    child.returncode = 0  # Popen is only for starting: from here its pidfd holds it, and waits for it
    try:
        pidfd = os.pidfd_open(child.pid)
        return Process(_identity(child.pid), pidfd)
    except BaseException:
        os.kill(child.pid, signal.SIGKILL)
        os.waitpid(child.pid, 0)
        raise


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    return {"PATH": os.defpath, "LC_ALL": "C"} | kept


def adopt(identity: ProcessId) -> Process | None:
    """The process that was ``identity``, or None when it has ended, or runs in another boot. Blocks: for threads."""
    if identity.boot_id != boot_id():
        return None
    try:
        pidfd = os.pidfd_open(identity.pid)
    except (ProcessLookupError, OverflowError):
        return None
    try:
        if _identity(identity.pid) == identity and not _has_ended(pidfd):
            return Process(identity, pidfd)
    except FileNotFoundError:
        pass
    os.close(pidfd)
    return None


def find_by_words(words: tuple[str, ...], *, outside_of: int = 0) -> ProcessId | None:
    """The process that has ``words`` in a row in its command line, or None; not one of the session ``outside_of``. Blocks: for threads."""
    wanted = b"".join(os.fsencode(word) + b"\0" for word in words)
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal() or int(folder.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if b"\0" + wanted in (folder / "cmdline").read_bytes() and not (outside_of and os.getsid(int(folder.name)) == outside_of):
                return _identity(int(folder.name))
    return None


def _has_ended(pidfd: int) -> bool:
    """Whether it is only waiting to be reaped."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def _identity(pid: int) -> ProcessId:
    return ProcessId(boot_id(), pid, int(stat_of(pid)[_START_TIME]))
