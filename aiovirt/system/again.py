"""What a shortage ends is tried again: there is room, memory, a descriptor, a thread or a watch again before long."""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Final

import anyio

from aiovirt.errors import Error, SystemFailure
from aiovirt.system.log import Logger
from aiovirt.system.to_thread import NoThreadError

__all__ = [
    "FIRST_PAUSE",
    "Backoff",
    "SuppressLasting",
    "contained",
    "is_passing",
    "keep_on",
    "log_failure",
    "refusal",
    "refused_by_system",
    "words_of",
]

FIRST_PAUSE: Final = 0.25
LAST_PAUSE: Final = 30.0
"""Seconds between two attempts; each pause is twice the one before."""

_SHORT: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.ENOSPC, errno.EDQUOT})


def is_passing(error: BaseException | None) -> bool:
    """Whether there was none of something that there may be again: of that alone, or behind what it made of the matter."""
    while error is not None:
        if isinstance(error, MemoryError | NoThreadError) or (isinstance(error, OSError) and error.errno in _SHORT):
            return True
        error = error.__cause__
    return False


class SuppressLasting(suppress):
    """As :class:`contextlib.suppress`, of what is no shortage: that says nothing of what was asked, and is raised."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        return not is_passing(error) and super().__exit__(kind, error, trace)


def words_of(error: BaseException) -> str:
    """What it says; its kind, where that is nothing."""
    return str(error) or type(error).__name__


class Backoff:
    """The pauses between attempts, in seconds: each is twice the one before, and none is longer than ``longest``."""

    def __init__(self, first: float = FIRST_PAUSE, longest: float = LAST_PAUSE) -> None:
        self._first = self._pause = first
        self._longest = longest

    @property
    def pause(self) -> float:
        """How long the next one is."""
        return self._pause

    @property
    def is_first(self) -> bool:
        """Whether there was none yet, or none since :meth:`reset`."""
        return self._pause == self._first

    def reset(self) -> None:
        """The next one is the first again."""
        self._pause = self._first

    async def wait(self) -> None:
        """Returns after the next one. It is for what nothing reports: a disk that has room again, a remote that is back."""
        pause, self._pause = self._pause, min(2 * self._pause, self._longest)
        with anyio.move_on_after(pause):
            await anyio.sleep_forever()


async def keep_on(work: Callable[[Callable[[], None]], Awaitable[object]], log: Logger, *, lost: str, back: str) -> None:
    """Does ``work`` until it returns or is cancelled; where it fails, again, after a while that grows.

    ``work`` is given what it calls once it is under way. That it failed is logged once, as ``lost``, until it is under way
    again, which is logged as ``back``. What is no shortage is logged with its traceback.
    """
    backoff, since, is_lost = Backoff(), math.inf, False

    def works() -> None:
        nonlocal since, is_lost
        since = anyio.current_time()
        if is_lost:
            log.warning(back)
            is_lost = False

    while True:
        try:
            await work(works)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is logged, and is no reason to stop
            if not is_lost:
                log_failure(log, lost, error)
                is_lost = True
        else:
            return
        if anyio.current_time() - since > backoff.pause:
            backoff.reset()  # it was under way for some time
        since = math.inf
        await backoff.wait()


class contained:  # noqa: N801 - used as a function: with contained(…)
    """What serves one guest or one client, within a task group of all: what it raises is logged, and ends nobody else.

    ``failed`` is called with it then. A cancellation goes on. There is one for each guest, as long as that runs: it is small.
    """

    __slots__ = ("_domain", "_event", "_failed", "_log")

    def __init__(self, log: Logger, event: str, failed: Callable[[Exception], object] | None = None, *, domain: str = "") -> None:
        self._log = log
        self._event = event
        self._failed = failed
        self._domain = domain

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        if not isinstance(error, Exception):
            return False
        log_failure(self._log, self._event, error, **({"domain": self._domain} if self._domain else {}))
        if self._failed is not None:
            self._failed(error)
        return True


def log_failure(log: Logger, event: str, error: Exception, **keys: object) -> None:
    """With its traceback, where it is no shortage of a call to the system."""
    known = isinstance(error, OSError | Error)
    log.error(event, why=words_of(error), exc_info=None if known else error, **keys)


@contextmanager
def refused_by_system(what: str) -> Iterator[None]:
    """Raises SystemFailure in place of an OSError, or where there is no memory; errors of ours go on."""
    try:
        yield
    except Error:
        raise
    except (OSError, MemoryError) as error:
        raise refusal(what, error) from error


def refusal(what: str, error: OSError | MemoryError) -> SystemFailure:
    """``error`` as one of ours: the system's words for why not ``what``."""
    if isinstance(error, MemoryError):
        return SystemFailure(f"{what}: there is not enough memory")
    name: object = error.filename
    where = f": {os.fsdecode(name)}" if isinstance(name, str | bytes) else ""
    return SystemFailure(f"{what}: {error.strerror or error}{where}")
