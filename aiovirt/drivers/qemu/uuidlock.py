"""No guest runs twice: two QEMUs with one disk would ruin it. All blocks: for threads.

A lock for each uuid is shared by all engines of one user, and is had by the guest's processes as long as any of them lives: so
who has it is the guest, whatever is on its command line. Engines of two users share no lock: there QEMU's own locks on disk
images are what keeps two from writing to one.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO, Final

from aiovirt.errors import OperationFailed, SystemFailure
from aiovirt.model.record import RunRecord
from aiovirt.system import files, process
from aiovirt.system.sockets import is_listened_at

__all__ = ["find_guest", "found_at_monitor", "lock_uuid", "others_of"]

_TRIES: Final = 3


def lock_uuid(path: Path, run: RunRecord) -> BinaryIO:
    """The lock of a guest's uuid, to be had by its process. Raises OperationFailed when another has it, SystemFailure."""
    try:
        for _ in range(_TRIES):
            if (lock := files.lock_for_good(path)) is not None:
                return lock
            if holders := _holders(path):
                raise _runs_already(run, f"process {holders[0]}")
    except OSError as error:
        raise SystemFailure(f"cannot lock {path}: {error.strerror}") from error
    raise _runs_already(run, "another engine's")


def find_guest(path: Path, run: RunRecord) -> process.Process | None:
    """The process of this run: the one that was recorded, else who has the lock while somebody listens at its monitor.

    None when it has ended: then its lock is taken away. Raises OSError when it cannot be looked at.
    """
    if run.process is not None and (found := process.adopt(run.process)) is not None:
        return found
    if files.drop_lock(path) or not is_listened_at(run.monitor):
        return None
    for pid in _holders(path):
        if pid != os.getpid() and (found := process.look_up(pid)) is not None:
            return found
    raise ProcessLookupError("the lock of its uuid is held by a process that cannot be seen")


def found_at_monitor(path: Path, session: int, pid: int) -> process.Process | None:
    """The process ``pid``, which speaks there, where it has the lock, or is of the guest's session; else None. Raises OSError."""
    found = process.look_up(pid)
    if found is None or process.session_of(pid) == session or process.has_open(pid, path):
        return found
    found.close()
    return None


def others_of(path: Path, session: int) -> list[process.Process]:
    """Who still has the lock, of the session in which the guest was started; when nobody has it, it is taken away. Raises OSError."""
    holders: list[int] = []
    for _ in range(_TRIES):  # one that is just ending has the lock for a moment longer than its descriptors
        if holders or files.drop_lock(path):
            break
        holders = _holders(path)
    pids = [pid for pid in holders if process.session_of(pid) == session]
    return [found for pid in pids if (found := process.look_up(pid)) is not None]


def _holders(path: Path) -> list[int]:
    try:
        return process.holders_of(path)
    except FileNotFoundError:
        return []


def _runs_already(run: RunRecord, who: str) -> OperationFailed:
    return OperationFailed(f"it runs already, as {who}", subject=f"domain/{run.uuid}")
