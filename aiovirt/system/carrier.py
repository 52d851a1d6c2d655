"""A stream of bytes over a unix socket.

What comes is handed on as it comes, on the loop's thread. What is sent goes to the kernel at once, or
it is not sent: whoever has more waits until :meth:`Carrier.run` says that there is room. A line the
kernel took part of is kept, and sent on before anything else. Paths too long for ``sun_path`` are
reached through their folder's descriptor.
"""

from __future__ import annotations

import array
import os
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Final, Protocol, Self

from anyio import to_thread

from aiovirt.system.background import shielded
from aiovirt.system.seam import here

__all__ = ["BACKLOG", "ByteCarrier", "Carrier", "connect_now", "connect_unix", "listen_unix"]

CHUNK: Final = 16 * 1024
"""Bytes read at once: what is made of them is over before others on the loop notice."""
SUN_PATH: Final = 100
BACKLOG: Final = 8
"""Clients that may wait to be taken."""
_UCRED: Final = struct.Struct("=iII")  # pid, uid, gid (unix(7), SO_PEERCRED)


class ByteCarrier(Protocol):
    """What a session needs of its stream; tests have one without a socket."""

    async def run(self, heard: Callable[[bytes], None], has_room: Callable[[], None]) -> None:
        """Hands on what comes until the far side ends; raises OSError when the stream broke, and what ``heard`` raises."""

    def write(self, data: bytes, descriptors: Sequence[int] = ()) -> bool:
        """Whether ``data`` is on its way; if not, none of it is, and ``has_room`` is called when it can be."""
        ...

    def close(self) -> None:
        """Ends it: :meth:`run` returns."""


class Carrier:
    """A connected stream socket, as a :class:`ByteCarrier`."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._attention = here().attend(sock.fileno())
        self._rest: bytes | memoryview = b""
        self._has_room: Callable[[], None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
        self._socket.close()

    @property
    def peer(self) -> tuple[int, int]:
        """(pid, uid) of who is on the far side: of a client when it connected, of a server when it began to listen."""
        pid, uid, _ = _UCRED.unpack(self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        return int(pid), int(uid)

    def close(self) -> None:
        """Ends the conversation; leaving the block closes the socket."""
        self._attention.stop()

    async def run(self, heard: Callable[[bytes], None], has_room: Callable[[], None]) -> None:
        """See :class:`ByteCarrier`."""

        def readable() -> None:
            try:
                data = self._socket.recv(CHUNK)
            except (BlockingIOError, InterruptedError):
                return
            if data:
                heard(data)
            else:
                self._attention.stop()

        self._has_room = has_room
        await self._attention.run(readable)

    def write(self, data: bytes, descriptors: Sequence[int] = ()) -> bool:
        """See :class:`ByteCarrier`; raises OSError when the stream broke."""
        if self._rest:
            return False
        try:
            sent = self._socket.sendmsg([data], _rights(descriptors)) if descriptors else self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        if sent < len(data):
            self._rest = memoryview(data)[sent:] if sent else b""
            self._attention.when_writable(self._send_rest)
        return sent > 0

    def _send_rest(self) -> None:
        try:
            self._rest = self._rest and self._rest[self._socket.send(self._rest) :]
        except (BlockingIOError, InterruptedError):
            pass
        except ConnectionError:
            return  # what the far side said last is still to be heard, and then its end
        if self._rest:
            self._attention.when_writable(self._send_rest)
        elif self._has_room is not None:
            self._has_room()


def _rights(descriptors: Sequence[int]) -> list[tuple[int, int, array.array[int]]]:
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]


async def connect_unix(path: str) -> Carrier:
    """A stream to the unix socket at ``path``; raises OSError (not there, refused, backlog full)."""
    connected: list[socket.socket] = []

    async def connect() -> None:
        connected.append(await to_thread.run_sync(connect_now, path))

    try:
        await shielded(connect())  # for as long as a path is looked up: a socket that nobody takes would stay open
    except BaseException:
        for sock in connected:
            sock.close()
        raise
    return Carrier(connected[0])


def connect_now(path: str) -> socket.socket:
    """A non-blocking socket, connected; raises OSError. Looks paths up: for threads."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.setblocking(False)
        with _reachable(path) as short:
            sock.connect(short)
    except BaseException:
        sock.close()
        raise
    return sock


def listen_unix(path: str, *, backlog: int = BACKLOG) -> socket.socket:
    """A listening socket at ``path``, mode 0600, in place of any that was there. Blocks: for threads."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        with _reachable(path) as short:
            folder, name = os.path.split(short)
            new = os.path.join(folder, f".{name}.{os.getpid()}")
            os.fchmod(sock.fileno(), 0o600)  # the mode that bind gives the file
            sock.bind(new)
            sock.listen(backlog)
            os.rename(new, short)  # whoever sees it there is let in
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
