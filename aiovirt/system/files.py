"""Files and locks of our own: private, whole or not there, on disk before anybody relies on them.

Everything here blocks; callers on the loop go through :mod:`aiovirt.system.to_thread`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import os
import stat
from pathlib import Path
from typing import BinaryIO

from aiovirt.errors import AccessDenied, HostHeld, SystemFailure
from aiovirt.system.fork import not_for_children, whole

__all__ = [
    "FileLock",
    "drop_lock",
    "ending_in",
    "is_folder",
    "is_taken_away",
    "lock_for_good",
    "make_private",
    "move_away",
    "open_regular",
    "read_bounded",
    "remove",
    "rotate",
    "shrink",
    "sync_folder",
    "write_over",
    "write_whole",
]


def make_private(folder: Path) -> None:
    """Makes ``folder``, and the parents that are not there, with mode 0700 whatever the umask.

    Raises AccessDenied, also when others may write in a folder that is there; SystemFailure.
    """
    try:
        _make(folder)
        found = folder.stat()
    except PermissionError as error:
        raise AccessDenied(f"cannot make the folder {folder}: {error.strerror}") from error
    except OSError as error:
        raise SystemFailure(f"cannot make the folder {folder}: {error.strerror}") from error
    if found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise AccessDenied(f"the folder {folder} is not only ours: its owner or its mode would let others in")


def _make(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        if not folder.is_dir():
            raise
    except FileNotFoundError:
        if folder.parent == folder:
            raise
        _make(folder.parent)  # Path.mkdir would make it as wide as the umask lets it
        _make(folder)


def write_whole(path: Path, data: bytes) -> None:
    """Puts ``data`` at ``path``, mode 0600: after a crash there is the old file or the new one, whole."""
    new = path.with_name(f".{path.name}.new")
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with open(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.rename(new, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            new.unlink()
        raise
    sync_folder(path.parent)


def write_over(path: Path, data: bytes) -> None:
    """Puts ``data`` at the beginning of a file, mode 0600, as it is: for what is always of one length, and on no disk."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.pwrite(handle, data, 0)
    finally:
        os.close(handle)


def is_folder(path: Path, inode: int) -> bool:
    """Whether the folder of this inode is at ``path``."""
    try:
        return path.stat().st_ino == inode
    except (FileNotFoundError, NotADirectoryError):
        return False


def move_away(folder: Path, suffix: str = "replaced") -> Path:
    """Gives a folder a name that is free beside its own; returns that. Raises OSError."""
    names = (f"{folder.name}.{suffix}" + (f".{number}" if number else "") for number in itertools.count())
    away = next(path for path in map(folder.with_name, names) if not path.exists())
    folder.rename(away)
    return away


def remove(path: Path) -> None:
    """Takes ``path`` away for good; harmless when it is not there."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
        sync_folder(path.parent)


def ending_in(suffix: str, folder: Path) -> list[Path]:
    """What is in ``folder`` with such a name, in the order of names; nothing where that is gone. Raises OSError.

    From Python 3.13 on, :meth:`pathlib.Path.glob` finds nothing where it fails, whatever the reason.
    """
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [folder / name for name in sorted(names) if name.endswith(suffix)]


def is_taken_away(path: Path) -> bool:
    """Whether its folder is there and has no such file: by one look into one folder, whichever is there now."""
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        os.stat(path.name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return True
    finally:
        os.close(folder)
    return False


def read_bounded(path: Path, limit: int) -> bytes:
    """The file's bytes; raises SystemFailure when there are more than ``limit`` or it is none, OSError as usual."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise SystemFailure(f"{path} is not a file")
    with open(handle, "rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise SystemFailure(f"{path} is larger than {limit} bytes")
    return data


def open_regular(path: Path) -> BinaryIO:
    """A file, to read; raises OSError, also for what is none (a pipe would wait for ever)."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "it is not a file", os.fspath(path))
    return open(handle, "rb")


def rotate(path: Path, limit: int) -> int:
    """Moves ``path`` aside to ``<path>.1`` when it has over ``limit`` bytes; returns how many it has now."""
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return 0
    if size <= limit:
        return size
    path.replace(path.with_name(path.name + ".1"))
    return 0


def shrink(path: Path, limit: int) -> None:
    """Cuts a file that others append to (O_APPEND) when it has over ``limit`` bytes; the last half of that is in ``<path>.1``."""
    with contextlib.suppress(FileNotFoundError):
        handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        with open(handle, "rb+") as file:
            size = os.fstat(handle).st_size
            if size > limit:
                file.seek(size - limit // 2)
                write_whole(path.with_name(path.name + ".1"), file.read(limit // 2))
                file.truncate(0)


def sync_folder(folder: Path) -> None:
    """Returns when what is in ``folder``, and under which names, is on disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def lock_for_good(path: Path) -> BinaryIO | None:
    """An open file with an flock(2) that goes on for as long as any process has this very file open; None when one has already.

    A child that is forked has it not open. Raises OSError.
    """
    with whole:
        file = _lock_for_good(path)
        return file and not_for_children(file, _close)


def _close(file: BinaryIO) -> None:
    file.close()


def _lock_for_good(path: Path) -> BinaryIO | None:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(path, handle):
                return open(handle, "rb+", buffering=0)
        except BlockingIOError:
            os.close(handle)
            return None
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # it was taken away in between: who comes now locks another


def drop_lock(path: Path) -> bool:
    """Takes the file of :func:`lock_for_good` away, unless somebody has the lock. Returns whether nobody has. Raises OSError.

    It is locked when it is taken away, and who opens it looks whether it is still there once it is theirs: so no two have what
    is one lock.
    """
    with whole:
        return _drop_lock(path)


def _drop_lock(path: Path) -> bool:
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_at(path, handle):
            path.unlink()
    except BlockingIOError:
        return False
    finally:
        os.close(handle)
    return True


def _is_at(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False


class FileLock:
    """An flock(2) that dies with its holder; the file stays, and says who holds it.

    It is open for writing where it is held, and only there: IN_CLOSE_WRITE (inotify(7)) says that it was released.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle = -1
        not_for_children(self, FileLock._let_go)

    def acquire(self) -> None:
        """Raises HostHeld, with the holder's pid where it is known, when another has it; SystemFailure."""
        self.look()
        with whole:
            self._handle = self._lock(os.O_RDWR)
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, f"{os.getpid()}\n".encode(), 0)

    def look(self) -> None:
        """Raises as :meth:`acquire`, and takes nothing. In its moment nobody acquires it: who tries sees a holder without a pid."""
        with whole:
            os.close(self._lock(os.O_RDONLY))

    def _lock(self, access: int) -> int:
        try:
            handle = os.open(self._path, access | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise SystemFailure(f"cannot lock {self._path}: {error.strerror}") from error
        try:
            fcntl.flock(handle, (fcntl.LOCK_SH if access == os.O_RDONLY else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(handle, 32).decode(errors="replace").strip()
            os.close(handle)
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise SystemFailure(f"cannot lock {self._path}: {error.strerror}") from error
            pid = int(holder) if holder.isdecimal() else None
            by = f"process {pid}" if pid else "another process"
            raise HostHeld(f"this host is held by {by} (lock {self._path})", pid=pid) from None
        return handle

    def renew(self) -> None:
        """Takes the lock of the file that is at its path now, where that is another one, or none. Raises as :meth:`acquire`."""
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.stat(self._path), os.fstat(self._handle)):
                return
        new = FileLock(self._path)
        new.acquire()
        os.close(self._handle)
        self._handle = new._handle

    def release(self) -> None:
        """Lets go."""
        if self._handle >= 0:
            os.ftruncate(self._handle, 0)
        self._let_go()

    def _let_go(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
