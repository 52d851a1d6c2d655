"""A clock that nobody can set, and word of the one that can be: timerfd_create(2), which the standard library has from 3.13 on."""

from __future__ import annotations

import ctypes
import errno
import os
import time
from types import TracebackType
from typing import Final, Self

import anyio

__all__ = ["ClockWatch", "boottime_ns"]

_BOOTTIME: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_ABSTIME: Final = 1
_CANCEL_ON_SET: Final = 2
_NEVER: Final = 2**40
"""Seconds since 1970: a time that does not come."""


def boottime_ns() -> int:
    """Nanoseconds since this host was booted, those in which it slept included (CLOCK_BOOTTIME, clock_gettime(2))."""
    return time.clock_gettime_ns(_BOOTTIME)


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Timer(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


class ClockWatch:
    """``with ClockWatch() as watch:`` then ``await watch.jump()``. Raises OSError where the kernel has no such timer."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._handle: int = self._libc.timerfd_create(time.CLOCK_REALTIME, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._handle < 0:
            raise _failed()
        self._ahead = _ahead()
        try:
            self._arm()
        except BaseException:
            os.close(self._handle)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        os.close(self._handle)

    async def jump(self) -> int:
        """Waits until somebody sets CLOCK_REALTIME; returns by how many nanoseconds. To slow or speed it up is not to set it."""
        while True:
            await anyio.wait_readable(self._handle)
            try:
                os.read(self._handle, 8)
            except BlockingIOError:
                continue
            except OSError as error:
                if error.errno != errno.ECANCELED:
                    raise
                self._arm()
                ahead = _ahead()
                by, self._ahead = ahead - self._ahead, ahead
                return by

    def _arm(self) -> None:
        timer = _Timer(_Timespec(0, 0), _Timespec(_NEVER, 0))
        if self._libc.timerfd_settime(self._handle, _ABSTIME | _CANCEL_ON_SET, ctypes.byref(timer), None) < 0:
            raise _failed()


def _ahead() -> int:
    """How far CLOCK_REALTIME is ahead of the clock that nobody can set."""
    return time.time_ns() - boottime_ns()


def _failed() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), "timerfd")
