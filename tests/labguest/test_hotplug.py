"""Network devices of real PCI functions that come, go, and change hands."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import aiovirt
from aiovirt.events.types import DriverBound, DriverUnbound, NetdevAdded, NetdevLeft, NetdevRemoved, NetdevReturned
from tests.labguest.heard import listening
from tests.labguest.topology import Topology, ip, labnic_port_id

pytestmark = pytest.mark.anyio
both = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"], indirect=True)


@both
async def test_a_nic_that_is_plugged_in_and_pulled_out(lab: Topology, host: aiovirt.Host) -> None:
    async with listening(host) as heard:
        function = await lab.plug(1)
        (added,) = await heard.some(NetdevAdded, function)
        assert added.device.phys_port_id == labnic_port_id(function)
        (nic,) = await heard.nics(host, function, "labnic")
        assert nic.id == added.device.id
        await lab.settle()
        await lab.unplug(1)
        (removed,) = await heard.some(NetdevRemoved, function)
        assert removed.device.id == added.device.id
        assert function not in {netdev.parent for netdev in host.devices.netdevs()}


async def test_two_ports_of_one_function_have_each_an_id(lab: Topology, host: aiovirt.Host) -> None:
    await lab.ports(2)
    async with listening(host) as heard:
        function = await lab.plug(2)
        nics = await heard.nics(host, function, "labnic", count=2)
        assert [nic.phys_port_id for nic in nics] == [labnic_port_id(function, 0), labnic_port_id(function, 1)]


async def test_a_driver_that_lets_go_and_takes_again(lab: Topology, host: aiovirt.Host) -> None:
    async with listening(host) as heard:
        function = await lab.plug(1)
        await heard.some(NetdevAdded, function)
        await heard.some(DriverBound, function)
        await lab.settle()
        await lab.unbind(function)
        (removed,) = await heard.some(NetdevRemoved, function)
        (unbound,) = await heard.some(DriverUnbound, function)
        assert (unbound.device.bus, unbound.device.driver) == ("pci", None)
        assert heard.events.index(removed) < heard.events.index(unbound)
        await lab.bind(function, "labnic")
        first, second = await heard.some(NetdevAdded, function, count=2)
        assert first.device.id != second.device.id
        assert first.device.phys_port_id == second.device.phys_port_id
        bound = await heard.some(DriverBound, function, count=2)
        assert [event.device.driver for event in bound] == ["labnic", "labnic"]


async def test_an_id_that_changes_is_read_as_it_is_now(lab: Topology, host: aiovirt.Host) -> None:
    async with listening(host) as heard:
        function = await lab.plug(1)
        await heard.some(NetdevAdded, function)
        await lab.settle()
        (netdev,) = [netdev for netdev in host.devices.netdevs() if netdev.parent == function]
        assert await host.devices.read_phys_port_id(netdev.name) == labnic_port_id(function)
        await lab.knob(netdev.name, "port_id", "0badcafe")
        assert await host.devices.read_phys_port_id(netdev.name) == "0badcafe"
        await lab.knob(netdev.name, "port_id", "")
        assert await host.devices.read_phys_port_id(netdev.name) is None


@pytest.fixture
def elsewhere() -> Iterator[str]:
    ip("netns", "add", "elsewhere")
    yield "elsewhere"
    ip("netns", "del", "elsewhere")


async def test_a_nic_that_goes_to_another_namespace_returns_as_the_same(lab: Topology, host: aiovirt.Host, elsewhere: str) -> None:
    async with listening(host) as heard:
        function = await lab.plug(1)
        (added,) = await heard.some(NetdevAdded, function)
        await lab.settle()
        (netdev,) = [netdev for netdev in host.devices.netdevs() if netdev.parent == function]
        ip("link", "set", netdev.name, "netns", elsewhere)
        (left,) = await heard.some(NetdevLeft, function)
        ip("-n", elsewhere, "link", "set", netdev.name, "netns", "1")
        (returned,) = await heard.some(NetdevReturned, function)
        assert added.device.id == left.device.id == returned.device.id
        assert returned.device.phys_port_id == added.device.phys_port_id
        assert heard.of(DriverUnbound, function) == []
