"""A file that only grows, but for its head: what a journal is written into.

:meth:`write` goes to the page cache and is for the loop's thread: it survives the end of this process,
whatever ends it. All else here waits for a disk, and is for worker threads.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Self

from aiovirt.errors import SystemFailure
from aiovirt.system.files import sync_folder
from aiovirt.system.fork import not_for_children

__all__ = ["Appender"]


class Appender:
    """An open file of ours, mode 0600; ``size`` is where it ends, ``inode`` and ``folder_inode`` what distinguishes it from a copy."""

    def __init__(self, path: Path, handle: int, size: int) -> None:
        self.path = path
        self.size = size
        self.inode = os.fstat(handle).st_ino
        self.folder_inode = path.parent.stat().st_ino
        self._handle = handle
        not_for_children(self, Appender.close)

    @classmethod
    def create(cls, path: Path) -> Self:
        """A new file, empty, that is there for good. Blocks. Raises OSError, and then there is none."""
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            sync_folder(path.parent)
        except BaseException:
            os.close(handle)
            path.unlink(missing_ok=True)
            raise
        return cls(path, handle, 0)

    @classmethod
    def open(cls, path: Path, size: int) -> Self:
        """A file that is there, to go on at ``size``; see :meth:`cut`. Blocks. Raises OSError."""
        return cls(path, os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW), size)

    def cut(self) -> None:
        """Takes away what the file has beyond ``size``. Blocks. Raises OSError."""
        os.ftruncate(self._handle, self.size)

    def write(self, data: bytes) -> None:
        """Puts ``data`` at the end, all of it; raises SystemFailure, and then part of it may be there."""
        try:
            while data:
                written = os.pwrite(self._handle, data, self.size)
                self.size += written
                data = data[written:]  # to be left with nothing takes no copy
        except OSError as error:
            raise SystemFailure(f"{self.path}: {error.strerror}") from error

    def write_head(self, data: bytes) -> None:
        """Puts ``data`` at the beginning, over what is there, and all that was written on disk. Blocks. Raises OSError."""
        os.fdatasync(self._handle)
        if os.pwrite(self._handle, data, 0) != len(data):
            raise OSError(f"{self.path}: its head was written in part")
        self.size = max(self.size, len(data))
        os.fdatasync(self._handle)

    def sync(self) -> None:
        """Returns when all that was written before is on disk. Blocks. Raises OSError."""
        os.fdatasync(self._handle)

    def is_at_its_path(self) -> bool:
        """Whether whoever opens ``path`` has this very file. Blocks. Raises OSError, but not where there is none."""
        try:
            found = self.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        mine = os.fstat(self._handle)
        return (found.st_dev, found.st_ino) == (mine.st_dev, mine.st_ino)

    def discard(self) -> None:
        """Lets go of a file that has nothing yet, and takes it away: before an empty one nothing is believed. Blocks. Raises OSError."""
        self.close()
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Lets go of the file."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
