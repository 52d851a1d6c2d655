"""Real sockets; the network namespace is this process's own (see tests/lab/sandbox.py)."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
from collections.abc import Iterator

import anyio
import pytest

from aiovirt.errors import SystemFailure, Unsupported
from aiovirt.system import netlink
from aiovirt.system.netlink import NetlinkChannel, NetlinkSocket, Overrun
from aiovirt.wire import rtnetlink
from aiovirt.wire.rtnetlink import End, LinkMessage
from tests.lab import sandbox

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True, scope="module")
def inside() -> None:
    sandbox.require()


@pytest.fixture(autouse=True)
def mtu_of_lo() -> Iterator[None]:
    yield
    set_mtu(65536)


def set_mtu(mtu: int) -> None:
    subprocess.run(["ip", "link", "set", "lo", "mtu", str(mtu)], check=True)


async def next_mtu(links: NetlinkSocket) -> int:
    while (datagram := links.receive_nowait()) is None:
        await links.wait_readable()
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
            await links.wait_readable()
            assert await next_mtu(links) == 1500


async def test_a_hole_wakes_who_waits() -> None:
    heard: list[str] = []

    async def listen(links: NetlinkSocket) -> None:
        while True:
            await links.wait_readable()
            try:
                heard.append("message" if links.receive_nowait() else "nothing")
            except Overrun as hole:
                heard.append(hole.reason)
                return

    async with NetlinkSocket(netlink.ROUTE, netlink.RTNLGRP_LINK, receive_buffer=4096) as links:
        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(listen, links)
                await anyio.wait_all_tasks_blocked()
                for mtu in range(1500, 1520):
                    set_mtu(mtu)
    assert heard[-1] == "ENOBUFS"


async def test_only_the_kernel_is_heard() -> None:
    async with NetlinkSocket(netlink.KOBJECT_UEVENT, netlink.UEVENT_KERNEL) as uevents:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, netlink.KOBJECT_UEVENT) as forger:
            forger.sendto(b"add@/forged\0ACTION=add\0", (0, netlink.UEVENT_KERNEL))
        await anyio.Path("/sys/class/net/lo/uevent").write_text("change")
        await uevents.wait_readable()
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

    link, end = await netlink.converse(netlink.ROUTE, talk)
    assert isinstance(link, LinkMessage)
    assert (link.name, end) == ("lo", End(0))


async def test_a_conversation_that_the_system_refuses() -> None:
    def talk(_: NetlinkChannel) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    with pytest.raises(SystemFailure, match="not permitted"):
        await netlink.converse(netlink.ROUTE, talk)
    with pytest.raises(SystemFailure, match="protocol 31"):
        await netlink.converse(31, talk)


async def test_closing_wakes_who_waits() -> None:
    async with anyio.create_task_group() as tasks:
        async with NetlinkSocket(netlink.ROUTE, netlink.RTNLGRP_LINK) as links:

            async def wait() -> None:
                with pytest.raises(anyio.ClosedResourceError):
                    await links.wait_readable()

            tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
        with pytest.raises(anyio.ClosedResourceError):
            links.receive_nowait()


async def test_where_there_is_no_netlink(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "AF_NETLINK")
    with pytest.raises(Unsupported, match="Linux"):
        async with NetlinkSocket(netlink.ROUTE, netlink.RTNLGRP_LINK):
            pass
