"""Network devices of real PCI functions that come, go, and change hands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

import aiovirt
from aiovirt.events.types import (
    DeviceEvent,
    DeviceInitialized,
    DriverBound,
    DriverUnbound,
    NetdevAdded,
    NetdevChanged,
    NetdevLeft,
    NetdevRemoved,
    NetdevRenamed,
    NetdevReturned,
    PCIAdded,
    PCIChanged,
    PCIRemoved,
)
from aiovirt.model.busdevice import BusDevice
from tests.labguest.heard import Heard
from tests.labguest.topology import NETDEVS, PCI, Topology, ip, labnic_port_id
from tests.labguest.truth import agrees

pytestmark = pytest.mark.anyio
both = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"], indirect=True)

SETTLING = (NetdevRenamed, NetdevChanged, PCIChanged)


def kinds(events: list[DeviceEvent]) -> Counter[type[DeviceEvent]]:
    """How often each is there, but for those that a device may have any number of."""
    return Counter(type(event) for event in events if not isinstance(event, SETTLING))


@both
async def test_a_nic_that_is_plugged_in(lab: Topology, host: aiovirt.Host, heard: Heard) -> None:
    function = await lab.plug(1)
    await heard.some(DeviceInitialized, function, count=2)
    await agrees(host, heard, lab)
    story = heard.of(DeviceEvent, function)
    assert kinds(story) == {PCIAdded: 1, DriverBound: 1, NetdevAdded: 1, DeviceInitialized: 2}, "\n".join(map(str, story))
    (found,), (bound,), (added,) = heard.of(PCIAdded, function), heard.of(DriverBound, function), heard.of(NetdevAdded, function)
    initialized = next(event for event in story if isinstance(event, DeviceInitialized) and event.netdev is not None)
    assert story.index(found) == 0
    assert story.index(found) < story.index(bound)
    assert story.index(added) < story.index(initialized)
    assert bound.device == BusDevice(bus="pci", name=function, driver="labnic")
    nic = added.device
    assert (nic.driver, nic.pci, nic.parent, nic.dev_port) == ("labnic", function, function, 0)
    assert (nic.phys_port_id, nic.initialized) == (labnic_port_id(function), False)
    (name,) = [entry.name for entry in (PCI / function / "net").iterdir()]
    last = host.devices.netdev(nic.ifindex)
    assert initialized.netdev is not None
    assert (initialized.netdev.id, initialized.netdev.name, last.name) == (nic.id, name, name)
    assert (last.initialized, last.properties.get("ID_NET_NAME_PATH")) == (True, name)


@both
async def test_a_nic_that_is_pulled_out(lab: Topology, host: aiovirt.Host, heard: Heard) -> None:
    function = await lab.plug(1)
    (nic,) = await heard.nics(host, function)
    await lab.settle()
    begun = len(heard.events)
    await lab.unplug(1)
    await heard.some(PCIRemoved, function)
    story = heard.of(DeviceEvent, function, after=begun)
    assert [type(event) for event in story if not isinstance(event, SETTLING)] == [NetdevRemoved, DriverUnbound, PCIRemoved]
    (removed,), (unbound,) = heard.of(NetdevRemoved, function), heard.of(DriverUnbound, function)
    assert (removed.device.id, removed.device.name) == (nic.id, nic.name)
    assert (unbound.before, unbound.device.driver) == ("labnic", None)
    await agrees(host, heard, lab)
    assert heard.of(DeviceEvent, function, after=begun) == story


async def test_a_driver_that_lets_go_and_takes_again(lab: Topology, host: aiovirt.Host, heard: Heard) -> None:
    function = await lab.plug(1)
    (nic,) = await heard.nics(host, function)
    await lab.settle()
    begun = len(heard.events)
    await lab.unbind(function)
    (removed,), (unbound,) = await heard.some(NetdevRemoved, function), await heard.some(DriverUnbound, function)
    assert removed.device.id == nic.id
    assert heard.events.index(removed) < heard.events.index(unbound)
    assert (unbound.device, unbound.before) == (BusDevice(bus="pci", name=function), "labnic")
    assert host.devices.pci_device(function).driver is None
    await lab.bind(function, "labnic")
    (again,) = await heard.nics(host, function)
    assert again.id != nic.id
    assert (again.driver, again.phys_port_id) == ("labnic", nic.phys_port_id)
    (bound,) = await heard.some(DriverBound, function, after=begun)
    assert (bound.device.driver, bound.before) == ("labnic", None)
    await agrees(host, heard, lab)
    assert kinds(heard.of(DeviceEvent, function, after=begun)) == {
        NetdevRemoved: 1,
        DriverUnbound: 1,
        NetdevAdded: 1,
        DriverBound: 1,
        DeviceInitialized: 1,
    }


@pytest.fixture
def elsewhere() -> Iterator[str]:
    ip("netns", "add", "elsewhere")
    yield "elsewhere"
    ip("netns", "del", "elsewhere", check=False)


async def test_a_nic_whose_namespace_ends_returns_as_the_same(lab: Topology, host: aiovirt.Host, heard: Heard, elsewhere: str) -> None:
    function = await lab.plug(1)
    (nic,) = await heard.nics(host, function)
    await lab.settle()
    begun = len(heard.events)
    ip("link", "set", nic.name, "netns", elsewhere)
    (left,) = await heard.some(NetdevLeft, function)
    assert not (NETDEVS / nic.name).exists()
    assert host.devices.pci_device(function).driver == "labnic"
    assert host.devices.netdevs(of=function) == []
    ip("netns", "del", elsewhere)
    (returned,) = await heard.some(NetdevReturned, function)
    assert nic.id == left.device.id == returned.device.id
    assert (returned.device.driver, returned.device.phys_port_id) == ("labnic", nic.phys_port_id)
    await agrees(host, heard, lab)
    assert set(kinds(heard.of(DeviceEvent, function, after=begun))) <= {NetdevLeft, NetdevReturned, DeviceInitialized}
