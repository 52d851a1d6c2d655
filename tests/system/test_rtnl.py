"""Real links, in the network namespace of this process (see tests/lab/sandbox.py)."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from aiovirt.errors import AccessDenied, Error, SystemFailure
from aiovirt.system import rtnl
from aiovirt.system.netlink import NetlinkChannel
from aiovirt.system.rtnl import Route, Rtnl
from tests.lab import sandbox

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True, scope="module")
def inside() -> None:
    sandbox.require()


@pytest.fixture(autouse=True)
def gone() -> Iterator[None]:
    yield
    for name in ("v0", "w0"):
        subprocess.run(["ip", "link", "del", name], check=False, capture_output=True)


def attribute(name: str, what: str) -> str:
    return Path(f"/sys/class/net/{name}/{what}").read_text().strip()


async def pair(route: Route) -> int:
    await route.link("add", ifname="v0", kind="veth", peer={"ifname": "v1"})
    (number,) = await route.link_lookup(ifname="v0")
    return number


async def test_a_link_is_made_changed_and_taken_away() -> None:
    asked = Rtnl()
    number = await asked.ask(pair)
    assert number == socket.if_nametoindex("v0")
    await asked.ask(lambda route: route.link("set", index=number, mtu=1400, address="52:54:00:00:00:07"))
    assert (attribute("v0", "mtu"), attribute("v0", "address")) == ("1400", "52:54:00:00:00:07")
    await asked.ask(lambda route: route.link("set", index=number, ifname="w0"))
    (told,) = await asked.ask(lambda route: route.link("get", index=number))
    assert (told.get("ifname"), told.get("mtu"), told["index"]) == ("w0", 1400, number)
    await asked.ask(lambda route: route.link("del", index=number))
    assert await asked.ask(lambda route: route.link_lookup(ifname="w0")) == []


async def test_all_links_are_listed() -> None:
    async def names(route: Route) -> set[str]:
        return {link.get("ifname") async for link in await route.link("dump")}

    await Rtnl().ask(pair)
    assert await Rtnl().ask(names) == {name for _, name in socket.if_nameindex()}


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"ifname": "v0", "kind": "veth", "peer": {"ifname": "v9"}}, "EEXIST"),
        ({"ifname": "x0", "kind": "no-such-kind"}, "not supported"),
    ],
)
async def test_what_the_kernel_refuses_is_told_in_its_words(attributes: dict[str, object], reason: str) -> None:
    asked = Rtnl()
    number = await asked.ask(pair)
    with pytest.raises(SystemFailure, match=reason):
        await asked.ask(lambda route: route.link("add", **attributes))
    with pytest.raises(SystemFailure, match="ENODEV"):
        await asked.ask(lambda route: route.link("set", index=number + 1000, mtu=1400))
    assert await asked.ask(lambda route: route.link_lookup(ifname="v0")) == [number], "it goes on"


async def test_a_dump_that_the_kernel_refuses_is_no_empty_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """With strict checks it does so in NLMSG_DONE."""
    send = NetlinkChannel.send

    def strictly(self: NetlinkChannel, request: bytes) -> None:
        self._socket.setsockopt(270, 12, 1)  # SOL_NETLINK, NETLINK_GET_STRICT_CHK
        send(self, request[:20] + struct.pack("=i", 1) + request[24:])  # a dump is of no single link

    async def names(route: Route) -> set[str]:
        return {link.get("ifname") async for link in await route.link("dump")}

    assert await Rtnl().ask(names) == {name for _, name in socket.if_nameindex()}
    monkeypatch.setattr(NetlinkChannel, "send", strictly)
    with pytest.raises(SystemFailure, match=r"Invalid argument \(EINVAL\)"):
        await Rtnl().ask(names)


async def test_who_may_not_is_denied(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's own answer, to who has no rights over this namespace."""

    def powerless(self: NetlinkChannel, request: bytes) -> None:
        kept = socket.socket(fileno=os.dup(self._socket.fileno()))  # what is the channel's own, a child has closed at once
        child = os.fork()
        if not child:
            try:
                os.setgroups([])
                os.setresuid(65534, 65534, 65534)
                kept.sendto(request, (0, 0))
                os._exit(0)
            finally:
                os._exit(1)  # whatever it raised, there are no two of this test
        kept.close()
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

    number = await Rtnl().ask(pair)
    monkeypatch.setattr(NetlinkChannel, "send", powerless)
    with pytest.raises(AccessDenied, match="EPERM"):
        await Rtnl().ask(lambda route: route.link("set", index=number, mtu=1400))


async def test_many_ask_at_once_and_the_loop_goes_on() -> None:
    asked, turns = Rtnl(), 0
    number = await asked.ask(pair)

    async def breathe() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    async def change(mtu: int) -> None:
        await asked.ask(lambda route: route.link("set", index=number, mtu=mtu))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(breathe)
        async with anyio.create_task_group() as changes:
            for mtu in range(1300, 1320):
                changes.start_soon(change, mtu)
        tasks.cancel_scope.cancel()
    assert 1300 <= int(attribute("v0", "mtu")) < 1320
    assert turns > 20


async def test_what_awaits_something_else_is_refused() -> None:
    async def sleepy(_: Route) -> None:
        await anyio.lowlevel.checkpoint()

    with pytest.raises((RuntimeError, Error)):
        await Rtnl().ask(sleepy)

    class Once:
        def __await__(self) -> Generator[None, None, None]:
            yield

    async def waits(_: Route) -> None:
        await Once()

    with pytest.raises(RuntimeError, match="awaits something else"):
        await Rtnl().ask(waits)


def test_it_is_loaded_by_who_asks() -> None:
    program = "import sys, aiovirt.system.rtnl; print('pyroute2' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout == "False\n"
    assert rtnl.__all__ == ["Route", "Rtnl"]
