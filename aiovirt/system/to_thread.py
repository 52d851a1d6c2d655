"""Calls in worker threads, as :mod:`anyio.to_thread` makes them; a thread that cannot start is an OSError, like other shortages."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

from anyio import CapacityLimiter, to_thread

from aiovirt.system.log import get_logger

__all__ = ["NoThreadError", "run_anyhow", "run_sync"]

log = get_logger("system")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")
_REFUSED = "can't start new thread"
"""What threading says (RuntimeError) of pthread_create(3)'s EAGAIN."""


class NoThreadError(OSError):
    """This user has as many threads as it may, or there is no memory for one more."""

    def __init__(self) -> None:
        super().__init__(errno.EAGAIN, _REFUSED)


async def run_sync(work: Callable[[*Ts], T], *arguments: *Ts, abandon_on_cancel: bool = False, limiter: CapacityLimiter | None = None) -> T:
    """See :func:`anyio.to_thread.run_sync`. Raises NoThreadError where that has no thread."""
    try:
        return await to_thread.run_sync(work, *arguments, abandon_on_cancel=abandon_on_cancel, limiter=limiter)
    except RuntimeError as error:
        if str(error) != _REFUSED:
            raise
        raise NoThreadError from error


async def run_anyhow(work: Callable[[*Ts], T], *arguments: *Ts) -> T:
    """In a thread, or here where there is none: for what closes, which is short, and may not be left undone."""
    try:
        return await run_sync(work, *arguments)
    except NoThreadError as error:
        log.warning("it is done without a thread", why=str(error))
        return work(*arguments)
