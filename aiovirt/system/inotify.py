"""Which files of a folder were written to: inotify(7), which the standard library does not have."""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import anyio

__all__ = ["Writes"]

IN_MODIFY: Final = 0x2
IN_NONBLOCK: Final = os.O_NONBLOCK
IN_CLOEXEC: Final = os.O_CLOEXEC
_HEAD: Final = struct.Struct("iIII")  # wd, mask, cookie, length of the name that follows
_BUFFER: Final = 65_536


class Writes:
    """``with Writes(folder) as writes:`` then ``await writes.names()``. Raises OSError where there is no inotify to be had."""

    def __init__(self, folder: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._handle: int = libc.inotify_init1(IN_NONBLOCK | IN_CLOEXEC)
        if self._handle < 0 or libc.inotify_add_watch(self._handle, os.fsencode(folder), IN_MODIFY) < 0:
            number = ctypes.get_errno()
            self.close()
            raise OSError(number, os.strerror(number), str(folder))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Stops looking."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    async def names(self) -> set[str]:
        """The names written to since it was last asked; waits until there is one.

        "" is among them when the kernel had to leave some out: then it may be any.
        """
        while True:
            await anyio.wait_readable(self._handle)
            if names := _names(os.read(self._handle, _BUFFER)):
                return names


def _names(data: bytes) -> set[str]:
    names: set[str] = set()
    at = 0
    while at < len(data):
        _, _, _, length = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        names.add(os.fsdecode(data[at : at + length].rstrip(b"\0")))
        at += length
    return names
