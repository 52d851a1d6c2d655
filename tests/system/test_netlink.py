"""Real sockets; the network namespace is this process's own (see tests/lab/sandbox.py)."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
from collections.abc import Iterator

import anyio
import anyio.lowlevel
import pytest

from aiovirt.errors import SystemFailure, Unsupported
from aiovirt.system import netlink
from aiovirt.system.netlink import NetlinkChannel, NetlinkSocket, Overrun
from aiovirt.wire import rtnetlink
from aiovirt.wire.rtnetlink import End, LinkMessage
from tests.lab import sandbox

pytestmark = pytest.mark.anyio

PATIENCE = 60


@pytest.fixture(autouse=True, scope="module")
def inside() -> None:
    sandbox.require()


@pytest.fixture(autouse=True)
def mtu_of_lo() -> Iterator[None]:
    yield
    set_mtu(65536)


def set_mtu(mtu: int) -> None:
    subprocess.run(["ip", "link", "set", "lo", "mtu", str(mtu)], check=True)


async def until_readable(heard: NetlinkSocket) -> None:
    with anyio.fail_after(PATIENCE), anyio.CancelScope() as scope:
        await heard.run(scope.cancel)


async def next_mtu(links: NetlinkSocket) -> int:
    while (datagram := links.receive_nowait()) is None:
        await until_readable(links)
    (message,) = rtnetlink.decode(datagram)
    assert isinstance(message, LinkMessage)
    return message.mtu


async def test_it_hears_what_the_kernel_says() -> None:
    async with NetlinkSocket(netlink.ROUTE, netlink.RTNLGRP_LINK) as links:
        assert links.receive_nowait() is None
        set_mtu(1501)
        set_mtu(1502)
        assert [await next_mtu(links), await next_mtu(links)] == [1501, 1502]


async def test_after_a_hole_it_goes_on() -> None:
    async with NetlinkSocket(netlink.ROUTE, netlink.RTNLGRP_LINK, receive_buffer=4096) as links:
        for _ in range(2):
            for mtu in range(1500, 1520):
                set_mtu(mtu)
            with pytest.raises(Overrun, match="ENOBUFS") as caught:
                links.receive_nowait()
            assert caught.value.reason == "ENOBUFS"
            assert await next_mtu(links) < 1505  # what is queued is older than the hole
            while links.receive_nowait() is not None:
                pass
            set_mtu(1500)
            await until_readable(links)
            assert await next_mtu(links) == 1500


async def test_what_is_cut_off_is_a_hole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Real messages of links, longer than what is taken of them."""
    monkeypatch.setattr(netlink, "_MAX_DATAGRAM", 256)
    async with NetlinkSocket(netlink.ROUTE, netlink.RTNLGRP_LINK) as links:
        set_mtu(1501)
        with pytest.raises(Overrun) as caught:
            links.receive_nowait()
        assert caught.value.reason == "MSG_TRUNC"
        monkeypatch.undo()
        set_mtu(1502)
        assert await next_mtu(links) == 1502


async def test_it_is_called_for_each_that_waits_and_others_have_turns() -> None:
    async with NetlinkSocket(netlink.ROUTE, netlink.RTNLGRP_LINK) as links:
        told: list[str] = []

        def hear() -> None:
            told.append("heard" if links.receive_nowait() else "nothing")

        async def breathe() -> None:
            while told.count("heard") < 20:
                told.append("another")
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()

        for mtu in range(1500, 1520):
            set_mtu(mtu)
        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(links.run, hear)
                tasks.start_soon(breathe)
        assert "nothing" not in told
        assert told[told.index("heard") : len(told) - told[::-1].index("heard")].count("another") > 5


async def test_what_the_callback_raises_is_raised_as_it_is() -> None:
    async with NetlinkSocket(netlink.ROUTE, netlink.RTNLGRP_LINK) as links:
        set_mtu(1501)

        def hear() -> None:
            raise LookupError

        with anyio.fail_after(PATIENCE), pytest.raises(LookupError):
            await links.run(hear)
        assert await next_mtu(links) == 1501


async def test_a_hole_wakes_who_waits() -> None:
    heard: list[str] = []

    async with NetlinkSocket(netlink.ROUTE, netlink.RTNLGRP_LINK, receive_buffer=4096) as links:

        def hear() -> None:
            try:
                heard.append("message" if links.receive_nowait() else "nothing")
            except Overrun as hole:
                heard.append(hole.reason)
                tasks.cancel_scope.cancel()

        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(links.run, hear)
                await anyio.wait_all_tasks_blocked()
                for mtu in range(1500, 1520):
                    set_mtu(mtu)
    assert heard[-1] == "ENOBUFS"


async def test_only_the_kernel_is_heard() -> None:
    async with NetlinkSocket(netlink.KOBJECT_UEVENT, netlink.UEVENT_KERNEL) as uevents:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, netlink.KOBJECT_UEVENT) as forger:
            forger.sendto(b"add@/forged\0ACTION=add\0", (0, netlink.UEVENT_KERNEL))
        await anyio.Path("/sys/class/net/lo/uevent").write_text("change")
        await until_readable(uevents)
        datagram = uevents.receive_nowait()
        assert datagram is not None
        assert datagram.startswith(b"change@/devices/virtual/net/lo\0")


async def test_a_buffer_is_as_large_as_may_be() -> None:
    limit = int(await anyio.Path("/proc/sys/net/core/rmem_max").read_text())
    async with NetlinkSocket(netlink.ROUTE, netlink.RTNLGRP_LINK, receive_buffer=limit * 4) as links:
        assert links._opened().getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) in (2 * limit, 8 * limit)


async def test_a_conversation() -> None:
    def talk(channel: NetlinkChannel) -> list[LinkMessage | End]:
        channel.send(rtnetlink.get_link(1, 1))
        return rtnetlink.decode(channel.receive()) + rtnetlink.decode(channel.receive())

    link, end = await netlink.Conversations().converse(netlink.ROUTE, talk)
    assert isinstance(link, LinkMessage)
    assert (link.name, end) == ("lo", End(0))


async def test_a_conversation_that_the_system_refuses() -> None:
    def talk(_: NetlinkChannel) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    with pytest.raises(SystemFailure, match="not permitted"):
        await netlink.Conversations().converse(netlink.ROUTE, talk)
    with pytest.raises(SystemFailure, match="protocol 31"):
        await netlink.Conversations().converse(31, talk)


async def test_when_it_is_closed_nobody_hears() -> None:
    heard: list[bytes | None] = []
    async with NetlinkSocket(netlink.ROUTE, netlink.RTNLGRP_LINK) as links, anyio.create_task_group() as tasks:
        tasks.start_soon(links.run, lambda: heard.append(links.receive_nowait()))
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    with pytest.raises(anyio.ClosedResourceError):
        links.receive_nowait()
    with pytest.raises(anyio.ClosedResourceError):
        await links.run(lambda: None)
    async with NetlinkSocket(netlink.ROUTE, netlink.RTNLGRP_LINK) as again:  # it may well have the same number
        set_mtu(1501)
        await until_readable(again)
    assert heard == []


async def test_where_there_is_no_netlink(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "AF_NETLINK")
    with pytest.raises(Unsupported, match="Linux"):
        async with NetlinkSocket(netlink.ROUTE, netlink.RTNLGRP_LINK):
            pass
