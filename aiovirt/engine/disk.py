"""File work off the loop: in a thread, to its end, with the descriptors that were laid by for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVarTuple

from aiovirt.errors import SystemFailure
from aiovirt.system import to_thread
from aiovirt.system.again import is_passing
from aiovirt.system.background import shielded
from aiovirt.system.reserve import RESERVE

__all__ = ["on_disk", "raise_passing"]

Ts = TypeVarTuple("Ts")


async def on_disk(work: Callable[[*Ts], None], *arguments: *Ts) -> None:
    """Runs blocking file ``work`` in a thread, to its end; an OSError becomes a SystemFailure."""
    try:
        await shielded(to_thread.run_sync(RESERVE.run, work, *arguments))
    except OSError as error:
        raise SystemFailure(f"{error.filename or 'a file'}: {error.strerror}") from error


def raise_passing(error: Exception) -> None:
    """What cannot be read just now is not unreadable: whoever begins has to begin again."""
    if is_passing(error):
        raise error
