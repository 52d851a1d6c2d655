"""A stream of bytes over a unix socket, on whichever backend runs.

Reading is one await. Writing never waits and never tears a line: what the kernel does not take at
once is kept, in order, and :meth:`Carrier.flush` sends it on. Paths too long for ``sun_path`` are
reached through their folder's descriptor.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Final, Protocol, Self

import anyio
from anyio import to_thread

__all__ = ["ByteCarrier", "Carrier", "connect_now", "connect_unix", "listen_unix"]

CHUNK: Final = 262_144
SUN_PATH: Final = 100
KEEP_LIMIT: Final = 16 * 1024 * 1024


class ByteCarrier(Protocol):
    """What a session needs of its stream; tests have one without a socket."""

    async def receive(self) -> bytes: ...

    def write(self, data: bytes) -> None: ...

    async def flush(self) -> None: ...


class Carrier:
    """A connected stream socket. One task reads, one flushes; anyone writes."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._kept = bytearray()
        self._more = anyio.Event()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Closes the socket; who waits on it gets ClosedResourceError."""
        if self._sock.fileno() >= 0:
            anyio.notify_closing(self._sock)
            self._sock.close()

    async def receive(self) -> bytes:
        """The next bytes, b"" at the end of the stream; raises ConnectionError when it broke."""
        while True:
            try:
                return self._sock.recv(CHUNK)
            except BlockingIOError:
                await anyio.wait_readable(self._sock)

    def write(self, data: bytes) -> None:
        """Sends ``data``, or keeps what the kernel does not take now.

        Raises BufferError when the peer has not read for so long that 16 MiB wait, ConnectionError
        when the stream broke.
        """
        if len(self._kept) + len(data) > KEEP_LIMIT:
            raise BufferError(f"over {KEEP_LIMIT} bytes wait for a peer that does not read")
        sent = 0 if self._kept else self._send_now(data)
        if sent < len(data):
            self._kept += data[sent:]
            self._more.set()

    @property
    def waiting(self) -> int:
        """How many bytes the kernel has not taken yet."""
        return len(self._kept)

    async def flush(self) -> None:
        """Sends what is kept, whenever there is some, until cancelled or the stream breaks."""
        while True:
            await self._more.wait()
            await anyio.wait_writable(self._sock)
            del self._kept[: self._send_now(self._kept)]
            if not self._kept:
                self._more = anyio.Event()

    def _send_now(self, data: bytes | bytearray) -> int:
        try:
            return self._sock.send(data)
        except BlockingIOError:
            return 0


async def connect_unix(path: str) -> Carrier:
    """A stream to the unix socket at ``path``; raises OSError (not there, refused, backlog full)."""
    return Carrier(await to_thread.run_sync(connect_now, path))


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


def listen_unix(path: str) -> socket.socket:
    """A listening socket at ``path``, mode 0600, in place of any that was there. Blocks: for threads."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        with _reachable(path) as short:
            with suppress(FileNotFoundError):
                os.unlink(short)
            os.fchmod(sock.fileno(), 0o600)  # the mode that bind gives the file
            sock.bind(short)
        sock.listen(8)
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
