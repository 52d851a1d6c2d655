"""Clocks that nobody can set, and news of the one that can be."""

from __future__ import annotations

import time
from typing import Final

__all__ = ["boottime_ns"]

_BOOTTIME: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boottime_ns() -> int:
    """Nanoseconds since this host was booted, those in which it slept included (CLOCK_BOOTTIME, clock_gettime(2))."""
    return time.clock_gettime_ns(_BOOTTIME)
