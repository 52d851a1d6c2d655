"""Unix sockets by their paths. Everything here looks paths up, and blocks for as long: for threads, or where no loop runs.

Paths too long for ``sun_path`` are reached through their folder's descriptor.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from aiovirt.system.fork import not_for_children

__all__ = ["BACKLOG", "connect_now", "is_listened_at", "listen_unix", "peer_of", "receive_signed"]

SUN_PATH: Final = 88
"""Bytes of a path that is used as it is: with what is added to it for a moment it has to fit in 107."""
BACKLOG: Final = 8
"""Clients that may wait to be taken."""
_UCRED: Final = struct.Struct("=iII")  # pid, uid, gid (unix(7), SO_PEERCRED)


def peer_of(sock: socket.socket) -> tuple[int, int]:
    """(pid, uid) of who is on the far side: of a client when it connected, of a server when it began to listen."""
    pid, uid, _ = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return int(pid), int(uid)


def receive_signed(sock: socket.socket, size: int) -> tuple[bytes, tuple[int, int] | None]:
    """What came, with (pid, uid) of the process that wrote it, on a socket that was ``signed``. Raises as recvmsg(2).

    Whoever has made the socket that is listened at, this is who speaks.
    """
    data, extra, _, _ = sock.recvmsg(size, socket.CMSG_SPACE(_UCRED.size))
    for level, kind, value in extra:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
            pid, uid, _ = _UCRED.unpack(value)
            return data, (int(pid), int(uid))
    return data, None


def is_listened_at(path: str) -> bool:
    """Whether there is anybody at the socket at ``path``; raises OSError when that cannot be asked. Blocks: for threads."""
    try:
        connect_now(path).close()
    except BlockingIOError:
        return True  # so many wait there already
    except (FileNotFoundError, ConnectionRefusedError):
        return False
    return True


def connect_now(path: str, *, signed: bool = False) -> socket.socket:
    """A non-blocking socket, connected; raises OSError. Looks paths up: for threads.

    Where it is ``signed``, the kernel says of all that comes who has written it (SO_PASSCRED): see :func:`receive_signed`.
    """
    sock = not_for_children(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC), socket.socket.close)
    try:
        sock.setblocking(False)
        if signed:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        with _reachable(path) as short:
            sock.connect(short)
    except BaseException:
        sock.close()
        raise
    return sock


def listen_unix(path: str, *, backlog: int = BACKLOG) -> socket.socket:
    """A listening socket at ``path``, mode 0600, in place of any that was there. Blocks: for threads."""
    sock = not_for_children(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC), socket.socket.close)
    try:
        with _reachable(path) as short:
            folder, name = os.path.split(short)
            new = os.path.join(folder, f".{name}.{os.getpid()}")
            os.fchmod(sock.fileno(), 0o600)  # the mode that bind gives the file
            sock.bind(new)
            try:
                sock.listen(backlog)
                os.rename(new, short)  # whoever sees it there is let in
            except BaseException:
                os.unlink(new)
                raise
    except BaseException:
        sock.close()
        raise
    return sock


@contextmanager
def _reachable(path: str) -> Iterator[str]:
    """A name of at most ``sun_path`` bytes for ``path``."""
    if len(os.fsencode(path)) <= SUN_PATH:
        yield path
        return
    folder, name = os.path.split(path)
    handle = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{handle}/{name}"
    finally:
        os.close(handle)
