"""What a file or a link of sysfs says. All block, and raise OSError: for threads."""

from __future__ import annotations

import os
from typing import Final

__all__ = ["link_target", "read_bytes", "read_text"]

_PAGE: Final = 4096  # the most that sysfs gives of an attribute (Documentation/filesystems/sysfs.rst)


def read_bytes(path: str, *, folder: int | None = None, most: int = _PAGE) -> bytes:
    """A file's first bytes; ``folder`` is a descriptor of what a relative path begins at."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
    try:
        return os.read(handle, most)
    finally:
        os.close(handle)


def read_text(path: str, *, folder: int | None = None) -> str:
    r"""An attribute without its newline; bytes that are no UTF-8 are escaped (``\xff``)."""
    return read_bytes(path, folder=folder).decode(errors="backslashreplace").removesuffix("\n")


def link_target(path: str, *, folder: int | None = None) -> str | None:
    """The last part of what a link points to, or None where there is no such link."""
    try:
        return os.readlink(path, dir_fd=folder).rpartition("/")[2]
    except FileNotFoundError:
        return None
