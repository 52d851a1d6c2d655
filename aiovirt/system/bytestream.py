"""A stream of bytes over a unix socket.

What comes is handed on as it comes, on the loop's thread. What is sent goes to the kernel at once, or
it is not sent: whoever has more waits until :meth:`UnixStream.run` says that there is room. A line the
kernel took part of is kept, and sent on before anything else.
"""

from __future__ import annotations

import array
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Final, Protocol, Self

from aiovirt.system import to_thread
from aiovirt.system.background import shielded
from aiovirt.system.loop import current_loop
from aiovirt.system.sockets import connect_now, peer_of, receive_signed

__all__ = ["ByteStream", "UnixStream", "connect_unix"]

CHUNK: Final = 16 * 1024
"""Bytes read at once: what is made of them is over before others on the loop notice."""


class ByteStream(Protocol):
    """What a session needs of its stream; tests have one without a socket."""

    async def run(self, data_received: Callable[[bytes], None], resume_writing: Callable[[], None]) -> None:
        """Hands on what comes until the far side ends; raises OSError when the stream broke, and what ``data_received`` raises."""

    def write(self, data: bytes, descriptors: Sequence[int] = ()) -> bool:
        """Whether ``data`` is on its way; if not, none of it is, and ``resume_writing`` is called when it can be."""
        ...

    def close(self) -> None:
        """Ends it: :meth:`run` returns."""


class UnixStream:
    """A connected stream socket, as a :class:`ByteStream`."""

    speaker: tuple[int, int] | None = None
    """(pid, uid) of the process that has written what came first, on a connection that is ``signed``."""

    def __init__(self, sock: socket.socket, *, signed: bool = False) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._receive = self._receive_first if signed else sock.recv
        self._readiness = current_loop().readiness_of(sock.fileno())
        self._rest: bytes | memoryview = b""
        self._resume_writing: Callable[[], None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
        self._socket.close()

    @property
    def peer(self) -> tuple[int, int]:
        """(pid, uid) of the far side: see :func:`aiovirt.system.sockets.peer_of`."""
        return peer_of(self._socket)

    def close(self) -> None:
        """Ends the conversation, for the far side, too; leaving the block closes the socket."""
        self._readiness.stop()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    async def run(self, data_received: Callable[[bytes], None], resume_writing: Callable[[], None]) -> None:
        """See :class:`ByteStream`."""

        def readable() -> None:
            try:
                data = self._receive(CHUNK)
            except (BlockingIOError, InterruptedError):
                return
            if data:
                data_received(data)
            else:
                self._readiness.stop()

        self._resume_writing = resume_writing
        await self._readiness.run(readable)

    def _receive_first(self, size: int) -> bytes:
        data, self.speaker = receive_signed(self._socket, size)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 0)
        self._receive = self._socket.recv
        return data

    def write(self, data: bytes, descriptors: Sequence[int] = ()) -> bool:
        """See :class:`ByteStream`; raises OSError when the stream broke."""
        if self._rest:
            return False
        try:
            sent = self._socket.sendmsg([data], _rights(descriptors)) if descriptors else self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        if sent < len(data):
            self._rest = memoryview(data)[sent:] if sent else b""
            self._readiness.when_writable(self._send_rest)
        return sent > 0

    def _send_rest(self) -> None:
        try:
            self._rest = self._rest and self._rest[self._socket.send(self._rest) :]
        except (BlockingIOError, InterruptedError):
            pass
        except ConnectionError:
            return  # what the far side said last is still to be received, and then its end
        if self._rest:
            self._readiness.when_writable(self._send_rest)
        elif self._resume_writing is not None:
            self._resume_writing()


def _rights(descriptors: Sequence[int]) -> list[tuple[int, int, array.array[int]]]:
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]


async def connect_unix(path: str, *, signed: bool = False) -> UnixStream:
    """A stream to the unix socket at ``path``; raises OSError (not there, refused, backlog full). ``signed``: it knows its speaker."""
    connected: list[socket.socket] = []

    async def connect() -> None:
        connected.append(await to_thread.run_sync(partial(connect_now, path, signed=signed)))

    try:
        await shielded(connect())  # for as long as a path is looked up: a socket that nobody takes would stay open
    except BaseException:
        for sock in connected:
            sock.close()
        raise
    return UnixStream(connected[0], signed=signed)
