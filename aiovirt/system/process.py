"""Processes that outlive us: started in a session of their own, held by pidfd, never by pid alone.

A process is (boot id, pid, start time), and ours when it has our uid too. Its pidfd is opened before the start time is read, so
the two belong together or the process is not the one that was meant. What is on a command line proves nothing: anybody may write it.
"""

from __future__ import annotations

import contextlib
import errno
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
from aiovirt.system.fork import not_for_children
from aiovirt.system.identity import boot_id
from aiovirt.system.loop import current_loop
from aiovirt.system.proc import stat_of, uid_of

__all__ = ["ExitStatus", "HasFileno", "Process", "adopt", "has_open", "holders_of", "look_up", "session_of", "spawn"]

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
        not_for_children(self, Process._let_go)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.identity.pid

    async def wait(self) -> ExitStatus:
        """Returns when it has ended; one task at a time."""
        await current_loop().readable(self._pidfd)
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
        self._let_go()

    def _let_go(self) -> None:
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


async def spawn(
    argv: Sequence[str],
    *,
    log: Path,
    keep: Sequence[HasFileno] = (),
    environment: Mapping[str, str] | None = None,
    more: Mapping[str, str] | None = None,
) -> Process:
    """Starts ``argv`` in a session of its own, so that no terminal's Ctrl-C reaches it.

    Its standard input is empty, its output is appended to the file ``log``, what it makes is
    nobody else's to use (umask 077); of our descriptors it gets only ``keep``, under the same numbers,
    and of our environment little, unless it is given one; ``more`` are variables beside that. Raises OSError when it cannot be started.
    """
    variables = {**(environment or _environment()), **(more or {})}
    return await to_thread.run_sync(_spawn, tuple(argv), log, tuple(kept.fileno() for kept in keep), variables)


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
    pidfd = -1
    try:
        pidfd = os.pidfd_open(child.pid)
        return Process(_identity(child.pid), pidfd)
    except BaseException:
        os.kill(child.pid, signal.SIGKILL)
        os.waitpid(child.pid, 0)
        if pidfd >= 0:
            os.close(pidfd)
        raise


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    return {"PATH": os.defpath, "LC_ALL": "C"} | kept


def adopt(identity: ProcessId) -> Process | None:
    """The process that was ``identity``, or None when it has ended, or runs in another boot. Blocks: for threads.

    Raises OSError when it cannot be looked at, PermissionError when it has become another user's.
    """
    return look_up(identity.pid, identity) if identity.boot_id == boot_id() else None


def look_up(pid: int, identity: ProcessId | None = None) -> Process | None:
    """The process that has this pid now, and is ``identity`` where that is given; None when there is none. Blocks: for threads.

    Raises OSError when it cannot be looked at, PermissionError when it is another user's.
    """
    try:
        pidfd = os.pidfd_open(pid)
    except (ProcessLookupError, FileNotFoundError, OverflowError):
        return None
    except OSError as error:
        if error.errno == errno.EINVAL:  # the number is that of a thread by now
            return None
        raise
    try:
        found = _identity(pid)
        if (identity is None or found == identity) and not _has_ended(pidfd):
            _insist_on_ours(pid)
            return Process(found, pidfd)
    except (FileNotFoundError, ProcessLookupError):
        pass  # it has ended in between
    except BaseException:
        os.close(pidfd)
        raise
    os.close(pidfd)
    return None


def holders_of(path: Path) -> list[int]:
    """The processes of our uid that have this very file open, leaders of their sessions first. Blocks, for longer the more processes run.

    The kernel says so (proc(5), fd), not they. Ours is among them when it has it open. Raises OSError when that cannot be looked at.
    """
    wanted = path.stat()
    found = [int(name) for name in os.listdir("/proc") if name.isdecimal() and _has_open(int(name), path, wanted)]
    return sorted(found, key=lambda pid: (session_of(pid) != pid, pid))


def has_open(pid: int, path: Path) -> bool:
    """Whether this process is of our uid and has this very file open. Blocks. Raises OSError when that cannot be looked at."""
    try:
        return _has_open(pid, path, path.stat())
    except FileNotFoundError:
        return False


def _has_open(pid: int, path: Path, wanted: os.stat_result) -> bool:
    try:
        return any(_is_file(link, path, wanted) for link in Path(f"/proc/{pid}/fd").iterdir()) and uid_of(pid) == os.geteuid()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False  # it has ended, or is another user's


def _is_file(link: Path, path: Path, wanted: os.stat_result) -> bool:
    """Whether this descriptor of somebody's is that file; not so where it was just closed."""
    try:
        # A stat(2) of whatever somebody has open might wait for ever: only of what has the name.
        return path.name in os.readlink(link) and os.path.samestat(link.stat(), wanted)
    except FileNotFoundError:
        return False


def session_of(pid: int) -> int:
    """The session that it is in (setsid(2)), 0 when it has ended."""
    try:
        return os.getsid(pid)
    except OSError:
        return 0


def _insist_on_ours(pid: int) -> None:
    if uid_of(pid) != os.geteuid():
        raise PermissionError(errno.EPERM, f"process {pid} is another user's")


def _has_ended(pidfd: int) -> bool:
    """Whether it is only waiting to be reaped."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def _identity(pid: int) -> ProcessId:
    return ProcessId(boot_id(), pid, int(stat_of(pid)[_START_TIME]))
