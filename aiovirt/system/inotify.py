"""What happens to the files of a folder: inotify(7), which the standard library does not have."""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import anyio

__all__ = [
    "IN_CLOSE_WRITE",
    "IN_CREATE",
    "IN_DELETE",
    "IN_DELETE_SELF",
    "IN_MODIFY",
    "IN_MOVED_FROM",
    "IN_MOVED_TO",
    "IN_MOVE_SELF",
    "FolderWatch",
]

IN_MODIFY: Final = 0x2
IN_CLOSE_WRITE: Final = 0x8
IN_MOVED_FROM: Final = 0x40
IN_MOVED_TO: Final = 0x80
IN_CREATE: Final = 0x100
IN_DELETE: Final = 0x200
IN_DELETE_SELF: Final = 0x400
IN_MOVE_SELF: Final = 0x800
IN_NONBLOCK: Final = os.O_NONBLOCK
IN_CLOEXEC: Final = os.O_CLOEXEC
_HEAD: Final = struct.Struct("iIII")  # wd, mask, cookie, length of the name that follows
_BUFFER: Final = 65_536


class FolderWatch:
    """``with FolderWatch(folder, IN_MODIFY) as watch:`` then ``await watch.names()``.

    ``kinds`` are the bits of what counts. Raises OSError where there is no inotify to be had. Making it blocks for a moment.
    """

    def __init__(self, folder: Path, kinds: int) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._handle: int = libc.inotify_init1(IN_NONBLOCK | IN_CLOEXEC)
        if self._handle < 0 or libc.inotify_add_watch(self._handle, os.fsencode(folder), kinds) < 0:
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
        """The names of files to which it happened since it was last asked; waits until there is one.

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
