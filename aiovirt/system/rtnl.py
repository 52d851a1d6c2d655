"""What is asked of links: the verbs of pyroute2's ``RTNL_API``, over sockets of our own and in few worker threads.

The kernel carries a request out in the very call that sends it, and may wait there for the lock that all network
configuration takes (RTNL): so none is sent on the loop. What links report by themselves is not read here but in
:mod:`aiovirt.system.netlink`; pyroute2 is loaded by the first who asks.
"""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import cache
from itertools import count
from typing import Any, Final, Protocol, TypeVar, cast

from aiovirt.errors import AccessDenied, SystemFailure
from aiovirt.system.netlink import ROUTE, Conversations, NetlinkChannel
from aiovirt.wire.rtnetlink import errno_of_dump

__all__ = ["Route", "Rtnl"]

T = TypeVar("T")

_DENIED: Final = frozenset({errno.EPERM, errno.EACCES})


class Route(Protocol):
    """Of pyroute2's ``RTNL_API``, what is used here (https://docs.pyroute2.org/iproute_linux.html)."""

    def link(self, command: str, /, **attributes: object) -> Coroutine[Any, Any, Any]:
        """One request about a link: ``"add"``, ``"set"``, ``"del"``, ``"get"``, …"""
        ...

    def link_lookup(self, **attributes: object) -> Coroutine[Any, Any, list[int]]:
        """The numbers of the links that are so."""
        ...


class Rtnl:
    """``await Rtnl().ask(lambda route: route.link("set", index=3, mtu=9000))``."""

    def __init__(self) -> None:
        self._conversations = Conversations()

    async def ask(self, ask: Callable[[Route], Coroutine[Any, Any, T]]) -> T:
        """What the coroutine ``ask(route)`` returns; it runs in a worker thread, and awaits nothing but ``route``.

        Cancelled, it is left to itself: what was sent may still happen. Raises AccessDenied, and SystemFailure with the
        kernel's word where it refuses.
        """
        return await self._conversations.converse(ROUTE, lambda channel: _ask(channel, ask))


def _ask(channel: NetlinkChannel, ask: Callable[[Route], Coroutine[Any, Any, T]]) -> T:
    from pyroute2 import NetlinkError

    try:
        return _finish(ask(_route_class()(channel)))
    except NetlinkError as refusal:
        code, words = cast("tuple[int, str]", refusal.args)
        kind = AccessDenied if code in _DENIED else SystemFailure
        raise kind(f"rtnetlink: {words} ({errno.errorcode.get(code, code)})") from refusal


def _finish(coroutine: Coroutine[Any, Any, T]) -> T:
    """What it returns: all that it awaits blocks instead."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return cast("T", done.value)
    coroutine.close()
    raise RuntimeError("what is asked of links awaits something else")


@cache
def _route_class() -> Callable[[NetlinkChannel], Route]:
    """RTNL_API, and what its requests (pyroute2's NetlinkRequest) need of a socket."""
    from pyroute2.iproute.linux import RTNL_API
    from pyroute2.netlink.rtnl.marshal import MarshalRtnl

    class Socket(RTNL_API):  # type: ignore[misc]  # pyroute2 has no types
        batch = request_proxy = None
        callbacks = ()
        epid = 0
        status: Final = {"nlm_echo": False, "strict_check": False}

        def __init__(self, channel: NetlinkChannel) -> None:
            self._channel = channel
            self.addr_pool = _Numbers()
            self.marshal: Any = MarshalRtnl()
            self.msg_queue = _NoQueue()

        async def setup_endpoint(self) -> None:
            """It is open."""

        def send(self, request: bytes) -> None:
            self._channel.send(request)

        async def get(self, msg_seq: int, **_: object) -> AsyncIterator[Any]:
            """The answer to request ``msg_seq``, up to its end."""
            while True:
                datagram = self._channel.receive()
                for message in self.marshal.parse(datagram):
                    header = message["header"]
                    if header["sequence_number"] != msg_seq:
                        continue
                    if header["error"] is not None:
                        raise header["error"]
                    if _is_end(header["type"], datagram):
                        return
                    yield message

    return cast("Callable[[NetlinkChannel], Route]", Socket)


def _is_end(kind: int, datagram: bytes) -> bool:
    """Whether an answer ends with this message; raises NetlinkError where a dump ends with an errno, at which pyroute2 does not look."""
    from pyroute2 import NetlinkError
    from pyroute2.netlink import NLMSG_DONE, NLMSG_ERROR

    if kind == NLMSG_DONE and (code := errno_of_dump(datagram)):
        raise NetlinkError(code, os.strerror(code))
    return kind in {NLMSG_DONE, NLMSG_ERROR}


class _Numbers:
    """Those of requests: no two are alike."""

    def __init__(self) -> None:
        self._numbers = count(1)

    def alloc(self) -> int:
        return next(self._numbers)

    def free(self, number: int, *, ban: int) -> None: ...


class _NoQueue:
    """Answers are not sorted: one is read to its end before anything else is asked."""

    def ensure_tag(self, number: int) -> None: ...

    def free_tag(self, number: int) -> None: ...
