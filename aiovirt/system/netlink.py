"""Netlink sockets: one to listen on from the loop, one to converse over in a worker thread.

Bytes only; what they mean is in ``wire/``. A request to the kernel may wait for the lock that all
network configuration takes (RTNL), for seconds and in the very call that sends it: so requests never
run on the loop, and the socket that listens makes none. The module imports everywhere, and works on Linux.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self, TypeVar

import anyio

from aiovirt.errors import Error, SystemFailure, Unsupported
from aiovirt.system.fork import not_for_children
from aiovirt.system.loop import Readiness, current_loop
from aiovirt.system.threads import BoundedThreads

__all__ = [
    "GENERIC",
    "KOBJECT_UEVENT",
    "RECEIVE_BUFFER",
    "ROUTE",
    "RTNLGRP_LINK",
    "UEVENT_KERNEL",
    "Conversations",
    "NetlinkChannel",
    "NetlinkSocket",
    "Overrun",
]

ROUTE: Final = 0
"""NETLINK_ROUTE"""
KOBJECT_UEVENT: Final = 15
"""NETLINK_KOBJECT_UEVENT"""

GENERIC: Final = 16
"""NETLINK_GENERIC"""

RTNLGRP_LINK: Final = 1
"""The group of link messages, as a bit."""
UEVENT_KERNEL: Final = 1
"""The group of the kernel's own uevents, as a bit."""

RECEIVE_BUFFER: Final = 32 << 20
"""Bytes the kernel may queue for a listener, where it is allowed to say so; memory is used only as messages wait."""

_MAX_DATAGRAM: Final = 128 << 10  # the kernel's dumps are at most 32 KiB a piece
_SO_RCVBUFFORCE: Final = 33  # asm-generic/socket.h; Python has no name for it
_MSG_TRUNC: Final = int(socket.MSG_TRUNC)  # as a number: to compute with flags takes fifty times as long
_HOLES: Final = frozenset({errno.ENOBUFS, errno.EMSGSIZE})
_NOTHING: Final = frozenset({errno.EAGAIN, errno.EINTR})

T = TypeVar("T")


class Overrun(SystemFailure):
    """Messages are lost, and nobody knows which; the socket goes on, and what it reported is to be read again.

    ``reason`` is ``ENOBUFS`` (the queue was full), ``EMSGSIZE`` (the kernel could not describe a device)
    or ``MSG_TRUNC`` (a message larger than any should be). Messages from before the hole may still be queued.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"netlink: messages were lost ({reason})")
        self.reason = reason


class NetlinkSocket:
    """``async with NetlinkSocket(protocol, groups) as socket:`` a non-blocking listener on ``groups`` (bits).

    Only the kernel's datagrams are handed out. Raises Unsupported where there is no netlink,
    SystemFailure where the system refuses.
    """

    def __init__(self, protocol: int, groups: int, *, receive_buffer: int = RECEIVE_BUFFER) -> None:
        self._protocol = protocol
        self._groups = groups
        self._receive_buffer = receive_buffer
        self._socket: socket.socket | None = None
        self._readiness: Readiness | None = None

    async def __aenter__(self) -> Self:
        self._socket = _open(self._protocol, self._groups, self._receive_buffer)
        self._socket.setblocking(False)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def run(self, readable: Callable[[], object]) -> None:
        """Calls ``readable`` whenever :meth:`receive_nowait` has something to say, until cancelled; raises what it raises."""
        self._readiness = current_loop().readiness_of(self._opened().fileno())
        await self._readiness.run(readable)

    def receive_nowait(self) -> bytes | None:
        """The next datagram, or None when none waits. Raises Overrun, and SystemFailure when it is over."""
        opened = self._opened()
        while True:
            try:
                datagram, from_kernel = _receive(opened)
            except Overrun:
                if self._readiness is not None:
                    self._readiness.again()
                raise
            except OSError as failure:
                if failure.errno in _NOTHING:
                    return None
                raise SystemFailure(f"netlink: cannot receive: {failure.strerror}") from failure
            if from_kernel:
                return datagram

    def _opened(self) -> socket.socket:
        if self._socket is None:
            raise anyio.ClosedResourceError
        return self._socket


class NetlinkChannel:
    """A blocking socket for requests, as :class:`Conversations` lend it to what runs in a worker thread."""

    def __init__(self, opened: socket.socket) -> None:
        self._socket = opened

    def send(self, request: bytes) -> None:
        """Sends one request to the kernel, which may carry it out, or wait to, before this returns."""
        self._socket.sendto(request, (0, 0))

    def receive(self) -> bytes:
        """The next datagram of the answer. Raises Overrun when part of it is lost."""
        while True:
            datagram, from_kernel = _receive(self._socket)
            if from_kernel:
                return datagram


class Conversations:
    """Requests to the kernel, in few worker threads: one that waits for RTNL cannot be taken back."""

    def __init__(self) -> None:
        self._threads = BoundedThreads(None)

    async def converse(self, protocol: int, talk: Callable[[NetlinkChannel], T]) -> T:
        """What ``talk`` returns, run in a worker thread over a socket of its own; cancelled, it is left to itself.

        Raises Overrun, and SystemFailure where the system refuses.
        """
        answer: list[T] = []
        await self._threads.run(lambda: answer.append(_converse(protocol, talk)))
        return answer[0]


def _converse(protocol: int, talk: Callable[[NetlinkChannel], T]) -> T:
    with _open(protocol, 0, RECEIVE_BUFFER) as opened:
        try:
            return talk(NetlinkChannel(opened))
        except Error:
            raise
        except OSError as failure:
            raise SystemFailure(f"netlink: a request failed: {failure.strerror}") from failure


def _open(protocol: int, groups: int, receive_buffer: int) -> socket.socket:
    family = getattr(socket, "AF_NETLINK", None)
    if family is None:
        raise Unsupported("this system has no netlink: host devices are watched on Linux only")
    try:
        opened = not_for_children(socket.socket(family, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol), socket.socket.close)
        try:
            _enlarge(opened, receive_buffer)
            opened.bind((0, groups))
        except BaseException:
            opened.close()
            raise
    except OSError as failure:
        raise SystemFailure(f"netlink: cannot listen (protocol {protocol}): {failure.strerror}") from failure
    return opened


def _enlarge(opened: socket.socket, size: int) -> None:
    """Past net.core.rmem_max where we may (CAP_NET_ADMIN in the initial user namespace), else up to it."""
    try:
        opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, size)
    except PermissionError:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)


def _receive(opened: socket.socket) -> tuple[bytes, bool]:
    """A datagram, and whether the kernel sent it. Raises Overrun for a hole, else OSError."""
    try:
        datagram, _, flags, (sender, _) = opened.recvmsg(_MAX_DATAGRAM)
    except OSError as failure:
        if failure.errno in _HOLES:
            raise Overrun(errno.errorcode[failure.errno]) from None
        raise
    if flags & _MSG_TRUNC:
        raise Overrun("MSG_TRUNC")
    return datagram, sender == 0
