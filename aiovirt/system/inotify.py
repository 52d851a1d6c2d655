"""What happens to the files of a folder: inotify(7), which the standard library does not have."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import anyio

from aiovirt.system import to_thread
from aiovirt.system.fork import not_for_children

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
_IN_UNMOUNT: Final = 0x2000
_IN_IGNORED: Final = 0x8000
_IN_ONLYDIR: Final = 0x0100_0000
_SELF: Final = IN_DELETE_SELF | IN_MOVE_SELF
_GONE: Final = _SELF | _IN_UNMOUNT | _IN_IGNORED
IN_NONBLOCK: Final = os.O_NONBLOCK
IN_CLOEXEC: Final = os.O_CLOEXEC
_HEAD: Final = struct.Struct("iIII")  # wd, mask, cookie, length of the name that follows
_BUFFER: Final = 65_536


class FolderWatch:
    """``with FolderWatch(folder, IN_MODIFY) as watch:`` then ``await watch.names()``.

    ``kinds`` are the bits of what counts. It is the folder of that name: when another one takes its place (it was renamed or
    deleted, or one that it is in was), that is watched from then on. ``make(folder)`` makes it anew where it is gone; without,
    it is waited for, which is reported at once where IN_DELETE_SELF or IN_MOVE_SELF is among ``kinds``. Raises OSError where there is
    no folder, or no inotify to be had. Making it blocks for a moment.
    """

    def __init__(self, folder: Path, kinds: int, make: Callable[[Path], None] | None = None) -> None:
        self._folder = folder
        self._kinds = kinds
        self._make = make
        self._handle = -1
        self._there = self._above = -1  # the watches of the folder, and of the one that it is in
        self._libc = ctypes.CDLL(None, use_errno=True)
        is_there = False
        try:
            is_there = self._look()
        finally:
            if not is_there:
                self.close()
        if not is_there:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder))
        not_for_children(self, FolderWatch.close)

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

        "" is among them when it may be any: the kernel had to leave some out, or it is another folder. Raises OSError.
        """
        while True:
            await anyio.wait_readable(self._handle)
            names, is_other = self._read()
            if is_other and (await to_thread.run_sync(self._look_again) or self._kinds & _SELF):
                return {""}
            if names:
                return names

    # -- the folder, and those it is in ----------------------------------------------------

    def _look_again(self) -> bool:
        """Watches what is there now; whether the folder is."""
        if self._make is not None and not self._folder.is_dir():
            self._make(self._folder)
        return self._look()

    def _look(self) -> bool:
        handle: int = self._libc.inotify_init1(IN_NONBLOCK | IN_CLOEXEC)
        if handle < 0:
            raise self._failure(self._folder)
        self.close()
        self._handle, self._there, self._above = handle, -1, -1
        for folder in reversed(self._folder.parents):
            if not self._watch_above(folder):
                return False
        self._there = self._add(self._folder, self._kinds | _SELF)
        if self._there < 0 and ctypes.get_errno() == errno.ENOENT:
            self._above = self._add(self._folder.parent, _SELF | IN_DELETE | IN_CREATE | IN_MOVED_TO)
            self._there = self._add(self._folder, self._kinds | _SELF)  # it may have come just before
        if self._there < 0 and ctypes.get_errno() != errno.ENOENT:
            raise self._failure(self._folder)
        return self._there >= 0

    def _watch_above(self, folder: Path) -> bool:
        """Whether this one, that it is in, is there; who may not read it does not get its renaming."""
        is_next = folder == self._folder.parent
        self._above = self._add(folder, _SELF | (IN_DELETE if is_next else 0))
        if self._above >= 0 or ctypes.get_errno() == errno.EACCES:
            return True
        if ctypes.get_errno() != errno.ENOENT:
            raise self._failure(folder)
        self._add(folder.parent, _SELF | IN_CREATE | IN_MOVED_TO)
        self._above = self._add(folder, _SELF | (IN_DELETE if is_next else 0))
        return self._above >= 0

    def _add(self, folder: Path, kinds: int) -> int:
        number: int = self._libc.inotify_add_watch(self._handle, os.fsencode(folder), kinds | _IN_ONLYDIR)
        return number

    def _failure(self, folder: Path) -> OSError:
        number = ctypes.get_errno()
        return OSError(number, os.strerror(number), str(folder))

    def _read(self) -> tuple[set[str], bool]:
        """Names, and whether it may be another folder now."""
        names: set[str] = set()
        is_other = False
        for watch, kind, name in _events(os.read(self._handle, _BUFFER)):
            if watch == self._there and not kind & _GONE:
                names.add(name)
            elif watch < 0:
                names.add("")  # some were left out
            elif watch != self._above or kind & _GONE or name == self._folder.name or self._there < 0:
                is_other = True
        return names, is_other


def _events(data: bytes) -> Iterator[tuple[int, int, str]]:
    at = 0
    while at < len(data):
        watch, kind, _, length = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        yield watch, kind, os.fsdecode(data[at : at + length].rstrip(b"\0"))
        at += length
