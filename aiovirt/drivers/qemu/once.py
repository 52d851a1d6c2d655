"""No guest runs twice: two QEMUs with one disk would ruin it. All blocks: for threads.

A lock for each uuid is shared by all engines of one user, and is had by the guest's process as long as that lives. Whoever
else has started a QEMU with the same uuid, another user's engine or libvirt, is told by its command line.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO, Final

from aiovirt.errors import OperationFailed, SystemFailure
from aiovirt.model.record import RunRecord
from aiovirt.system import files, process
from aiovirt.system.commandlines import has_word

__all__ = ["lock_once", "refuse_another"]

_ANOTHERS: Final = "another engine's"


def lock_once(folder: Path, run: RunRecord) -> BinaryIO:
    """The lock of a guest's uuid, to be had by its process. Raises OperationFailed when there is a QEMU with it already."""
    try:
        lock = files.lock_for_good(folder / str(run.uuid))
    except OSError as error:
        raise SystemFailure(f"cannot lock {folder / str(run.uuid)}: {error.strerror}") from error
    try:
        refuse_another(run)
    except BaseException:
        if lock is not None:
            lock.close()
        raise
    if lock is None:
        raise _runs_already(run, _ANOTHERS)
    return lock


def refuse_another(run: RunRecord, pid: int = 0) -> None:
    """Raises OperationFailed when there is a QEMU with its uuid beside ``pid`` and what that has started.

    To be asked again once ours has begun and before its vCPUs run: engines of two users share no lock, and of two that begin
    at the same moment one at least sees the other.
    """
    other = process.find_by_words(("-uuid", str(run.uuid)), outside_of=pid)
    if other is not None:
        whose = "libvirt's" if has_word(other.pid, "/libvirt/") else _ANOTHERS
        raise _runs_already(run, f"process {other.pid}, which is {whose}")


def _runs_already(run: RunRecord, who: str) -> OperationFailed:
    return OperationFailed(f"it runs already, as {who}", subject=f"domain/{run.uuid}")
