"""What is set for virtual functions, and who has them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

import aiovirt
from aiovirt.events.types import DeviceEvent, DriverBound, DriverUnbound, NetdevChanged, NetdevRemoved
from aiovirt.model.netdev import VF, Netdev
from aiovirt.model.ports import KnownBy
from tests.labguest.heard import Heard
from tests.labguest.topology import IGB, Qmp, Topology, ip
from tests.labguest.truth import agrees

pytestmark = pytest.mark.anyio

MAC = "52:54:00:00:00:5f"


@pytest.fixture(scope="module")
async def functions(qmp: Qmp) -> AsyncIterator[list[str]]:
    """Two virtual functions of the igb, for all of this module."""
    topology = Topology(qmp)
    made = await topology.make_vfs(topology.function(IGB), 2)
    await topology.settle()
    yield made
    topology.restore()


@pytest.fixture
def pf(lab: Topology, host: aiovirt.Host, functions: list[str]) -> Netdev:
    (found,) = host.devices.netdevs(of=lab.function(IGB))
    assert [vf.index for vf in found.vfs] == list(range(len(functions)))
    return found


async def test_what_is_set_for_a_virtual_function_is_told(lab: Topology, host: aiovirt.Host, heard: Heard, pf: Netdev) -> None:
    ip("link", "set", pf.name, "up")
    await heard.until(lambda: host.devices.netdev(pf.name).carrier)

    def first() -> VF:
        return host.devices.netdev(pf.name).vfs[0]

    second = pf.vfs[1]
    for words, holds in (
        (f"mac {MAC}", lambda: first().mac == MAC),
        ("vlan 7 qos 3", lambda: (first().vlan, first().vlan_qos, first().vlan_proto) == (7, 3, "802.1Q")),
        ("spoofchk off", lambda: first().spoofchk is False),
        ("trust on", lambda: first().trust is True),
        ("rate 100", lambda: first().max_tx_rate == 100),
    ):
        begun = len(heard.events)
        ip("link", "set", pf.name, "vf", "0", *words.split())
        await heard.until(holds)
        assert [event for event in heard.of(NetdevChanged, pf.id, after=begun) if "vfs" in event.changes], words
    assert host.devices.netdev(pf.name).vfs[1] == second
    settings = host.devices.vfs(pf)[0].settings
    assert settings == first()
    ip("link", "set", pf.name, "vf", "0", "vlan", "0")
    ip("link", "set", pf.name, "vf", "0", "rate", "0")
    await heard.until(lambda: (first().vlan, first().max_tx_rate) == (0, 0))
    await agrees(host, heard, lab)


async def test_an_address_that_its_owner_gives_a_virtual_function_is_what_its_pf_has(
    lab: Topology, host: aiovirt.Host, heard: Heard, functions: list[str], pf: Netdev
) -> None:
    """The kernel tells of the virtual function's network device alone."""
    ip("link", "set", pf.name, "up")
    ip("link", "set", pf.name, "vf", "0", "trust", "on")
    (nic,) = await heard.nics(host, functions[0])
    ip("link", "set", nic.name, "up")
    await heard.until(lambda: host.devices.netdev(nic.name).carrier and host.devices.netdev(pf.name).vfs[0].trust)
    await lab.settle()
    await host.devices.refresh(pf)
    own = MAC.replace("5f", "7e")
    ip("link", "set", nic.name, "address", own)
    await heard.until(lambda: host.devices.netdev(pf.name).vfs[0].mac == own)
    settings = host.devices.vfs(pf)[0].settings
    assert settings is not None
    assert settings.mac == host.devices.netdev(nic.name).mac == own
    await agrees(host, heard, lab)


async def test_what_is_set_while_the_link_is_down_is_seen_when_asked(host: aiovirt.Host, heard: Heard, pf: Netdev) -> None:
    ip("link", "set", pf.name, "down")
    await heard.until(lambda: not host.devices.netdev(pf.name).is_up)
    await host.devices.refresh(pf)
    begun = len(heard.events)
    mac = MAC.replace("5f", "60") if host.devices.netdev(pf.name).vfs[1].mac != MAC.replace("5f", "60") else MAC
    ip("link", "set", pf.name, "vf", "1", "mac", mac)
    assert (await host.devices.refresh(pf)).vfs[1].mac == mac
    (changed,) = await heard.some(NetdevChanged, pf.id, after=begun)
    assert changed.changes.keys() == {"vfs"}


async def test_a_virtual_function_that_vfio_has(lab: Topology, host: aiovirt.Host, heard: Heard, functions: list[str], pf: Netdev) -> None:
    function = functions[1]
    (nic,) = await heard.nics(host, function)
    await lab.override(function, "vfio-pci")
    (unbound,), (bound,) = await heard.some(DriverUnbound, function), await heard.some(DriverBound, function)
    assert (unbound.before, bound.before, bound.device.driver) == ("igbvf", None, "vfio-pci")
    (removed,) = heard.of(NetdevRemoved, function)
    assert removed.device.id == nic.id
    assert heard.events.index(removed) < heard.events.index(unbound) < heard.events.index(bound)
    await heard.until(lambda: host.devices.pci_device(function).driver_override == "vfio-pci")
    assert host.devices.pci_device(function).driver == "vfio-pci"
    await agrees(host, heard, lab)
    on_port = {vf.index: vf for vf in host.devices.port(pf).vfs}
    assert (on_port[1].pci.driver, on_port[1].netdevs, on_port[1].known_by) == ("vfio-pci", (), KnownBy.ONLY_NETDEV)

    begun = len(heard.events)
    await lab.override(function, "")
    (again,) = await heard.nics(host, function)
    assert again.id != nic.id
    await agrees(host, heard, lab)
    refreshed = await host.devices.refresh(host.devices.pci_device(function))
    assert (refreshed.driver, refreshed.driver_override) == ("igbvf", None)
    drivers = [event for event in heard.of(DeviceEvent, function, after=begun) if isinstance(event, DriverBound | DriverUnbound)]
    assert [(event.before, event.device.driver) for event in drivers] == [("vfio-pci", None), (None, "igbvf")]


async def test_a_driver_override_is_seen_when_asked(lab: Topology, host: aiovirt.Host, heard: Heard, functions: list[str]) -> None:
    function = host.devices.pci_device(functions[0])
    await lab.reserve(function.address, "vfio-pci")
    refreshed = await host.devices.refresh(function)
    assert (refreshed.driver, refreshed.driver_override) == ("igbvf", "vfio-pci")
    assert host.devices.pci_device(function) == refreshed
    await lab.reserve(function.address, "")
    assert await host.devices.refresh(function) == function
    await agrees(host, heard, lab)
