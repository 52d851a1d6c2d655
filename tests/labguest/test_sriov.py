"""Virtual functions: those of a NIC with its own driver, and of a function that labnic was given."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator
from functools import partial
from operator import attrgetter

import anyio
import pytest
from anyio import to_thread

import aiovirt
from aiovirt.cli.main import main
from aiovirt.errors import NoSuchDevice
from aiovirt.events.types import (
    DeviceEvent,
    DeviceInitialized,
    DriverBound,
    DriverUnbound,
    NetdevRemoved,
    PCIAdded,
    PCIChanged,
    PCIRemoved,
)
from aiovirt.model.pci import SRIOV
from aiovirt.model.ports import KnownBy
from tests.labguest.heard import Heard
from tests.labguest.topology import IGB, NVME, PCI, Qmp, Topology, labnic_port_id
from tests.labguest.truth import agrees

pytestmark = pytest.mark.anyio

NVME_VFS = 4


async def test_the_virtual_functions_of_a_nic_come(lab: Topology, host: aiovirt.Host, heard: Heard) -> None:
    physical = lab.function(IGB)
    (pf,) = host.devices.netdevs(of=physical)
    before = host.devices.pci_device(physical)
    assert (before.sriov, before.vfs) == (SRIOV(total=7, current=0), ())
    functions = await lab.make_vfs(physical, 2)
    for index, function in enumerate(functions):
        (added,) = await heard.some(PCIAdded, function)
        assert added.device.physfn in {physical, None}  # the kernel says whose it is a moment after it has told of it
        await heard.until(lambda: host.devices.pci_device(function).physfn == physical)  # noqa: B023
        await heard.until(lambda: host.devices.pci_device(function).vf_index == index)  # noqa: B023 - awaited within its round
        assert (await heard.some(DriverBound, function))[0].device.driver == "igbvf"
    await heard.until(lambda: host.devices.pci_device(physical).vfs == tuple(functions))
    await heard.until(lambda: host.devices.pci_device(physical).sriov == SRIOV(total=7, current=2))  # once the write is through
    changed = heard.of(PCIChanged, physical)
    assert changed
    assert (changed[0].old, changed[-1].new) == (before, host.devices.pci_device(physical))
    nics = [nic for function in functions for nic in await heard.nics(host, function)]
    await agrees(host, heard, lab)

    groups = [host.devices.iommu_group(function) for function in functions]
    assert groups == [[host.devices.pci_device(function)] for function in functions]
    vfs = host.devices.vfs(pf)
    assert [(vf.index, vf.pci.address, [nic.id for nic in vf.netdevs], vf.known_by) for vf in vfs] == [
        (index, function, [nics[index].id], KnownBy.ONLY_NETDEV) for index, function in enumerate(functions)
    ]
    assert [vf.settings.mac for vf in vfs if vf.settings is not None] == [vf.mac for vf in host.devices.netdev(pf.name).vfs] != []
    assert [vf.pci for vf in host.devices.vfs(physical)] == [host.devices.pci_device(function) for function in functions]
    for function, nic in zip(functions, nics, strict=True):
        assert host.devices.pf(nic) == host.devices.netdev(pf.name)
        assert host.devices.pf(host.devices.pci_device(function)).address == physical
        assert host.devices.port(nic).vfs == vfs
        assert host.devices.port(nic).pf == host.devices.port(pf).pf == host.devices.netdev(pf.name)

    await lab.no_vfs(physical)
    for function, nic in zip(functions, nics, strict=True):
        (removed,) = await heard.some(NetdevRemoved, function)
        (unbound,) = await heard.some(DriverUnbound, function)
        (gone,) = await heard.some(PCIRemoved, function)
        assert removed.device.id == nic.id
        assert unbound.before == "igbvf"
        assert heard.events.index(removed) < heard.events.index(unbound) < heard.events.index(gone)
    await heard.until(lambda: host.devices.pci_device(physical) == before)
    await agrees(host, heard, lab)
    assert (host.devices.vfs(pf), host.devices.netdev(pf.name).vfs) == ((), ())
    with pytest.raises(NoSuchDevice):
        host.devices.pf(nics[0])


@pytest.fixture(scope="module")
async def card(qmp: Qmp) -> AsyncIterator[tuple[str, list[str]]]:
    """A function with two ports, and with two virtual ones on each, for all of this module."""
    topology = Topology(qmp)
    physical = topology.function(NVME)
    await topology.ports(2)
    await topology.override(physical, "labnic")
    functions = await topology.make_vfs(physical, 2, probe=False)
    for function in functions:
        await topology.override(function, "labnic")
    yield physical, functions
    topology.restore()


async def test_virtual_functions_are_on_the_ports_that_have_their_ids(
    host: aiovirt.Host, heard: Heard, lab: Topology, card: tuple[str, list[str]]
) -> None:
    physical, functions = card
    for function in (physical, *functions):
        await heard.nics(host, function, 2)
    await agrees(host, heard, lab)
    pfs, vfs = host.devices.netdevs(of=physical), [host.devices.netdevs(of=function) for function in functions]
    for number, pf in enumerate(pfs):
        on_it = sorted((pf, *(nics[number] for nics in vfs)), key=attrgetter("ifindex"))
        assert {nic.phys_port_id for nic in on_it} == {labnic_port_id(physical, number)}
        port = host.devices.by_phys_port(labnic_port_id(physical, number))
        assert (port.pf, port.netdevs, port.known_by) == (pf, tuple(on_it), KnownBy.PHYS_PORT_ID)
        assert [(vf.index, vf.netdevs, vf.known_by) for vf in port.vfs] == [
            (index, (nics[number],), KnownBy.PHYS_PORT_ID) for index, nics in enumerate(vfs)
        ]
        assert all(host.devices.port(nic) == port for nic in on_it)
        assert all(host.devices.pf(nics[number]) == pf for nics in vfs)
    assert [(vf.index, vf.netdevs) for vf in host.devices.vfs(host.devices.pci_device(physical))] == [
        (index, tuple(nics)) for index, nics in enumerate(vfs)
    ]


async def test_the_ports_are_drawn(
    lab: Topology, host: aiovirt.Host, heard: Heard, uri: str, card: tuple[str, list[str]], capfd: pytest.CaptureFixture[str]
) -> None:
    physical, functions = card
    pfs = await heard.nics(host, physical, 2)
    vfs = [await heard.nics(host, function, 2) for function in functions]
    await lab.settle()
    words = ["-c", f"{uri}-of-its-own", "nodedev-list", "--ports"]
    assert await anyio.to_thread.run_sync(main, words) == 0
    drawn = capfd.readouterr().out
    for number, pf in enumerate(pfs):
        expected = [
            f"port {labnic_port_id(physical, number)}",
            "  |",
            f"  +- {pf.name}  PF  {physical}  (known by phys_port_id)",
            "      |",
            *(f"      +- VF {n}  {vf}  {vfs[n][number].name}  (known by phys_port_id)" for n, vf in enumerate(functions)),
        ]
        assert "\n".join(expected) in drawn
    xml = await host.devices.xml(host.devices.pci_device(physical))
    assert f"<capability type='virt_functions' maxCount='{NVME_VFS}'>" in xml
    _, _, listed = xml.partition("type='virt_functions'")
    assert listed.partition("</capability>")[0].count("<address ") == len(functions)


async def test_a_virtual_function_that_has_no_nic_is_on_neither_of_two_ports(
    lab: Topology, host: aiovirt.Host, heard: Heard, card: tuple[str, list[str]]
) -> None:
    physical, functions = card
    for function in (physical, *functions):
        await heard.nics(host, function, 2)
    await lab.unbind(functions[0])
    await heard.some(DriverUnbound, functions[0])
    for pf in host.devices.netdevs(of=physical):
        assert [vf.index for vf in host.devices.port(pf).vfs] == [1]
    assert [(vf.index, len(vf.netdevs), vf.known_by) for vf in host.devices.vfs(physical)] == [(0, 0, None), (1, 2, None)]
    await lab.bind(functions[0], "labnic")
    await heard.nics(host, functions[0], 2)


async def test_what_udevadm_triggers_happened_to_nothing(lab: Topology, host: aiovirt.Host, heard: Heard) -> None:
    physical = lab.function(IGB)
    before, netdevs = host.devices.pci_device(physical), host.devices.netdevs(of=physical)
    assert before.driver == "igb"
    for action in ("remove", "unbind", "bind", "move", "add"):
        await to_thread.run_sync(partial(subprocess.run, ["udevadm", "trigger", f"--action={action}", str(PCI / physical)], check=True))
        await lab.settle()  # so the kernel has said it
        assert await host.devices.refresh(before) == before, action
    told = [event for event in heard.of(DeviceEvent, physical) if not isinstance(event, DeviceInitialized)]
    assert told == []
    assert [device.id for device in host.devices.netdevs(of=physical)] == [device.id for device in netdevs]
    await agrees(host, heard, lab)
