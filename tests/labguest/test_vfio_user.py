"""Virtual functions that are taken away while a program has one: the kernel waits for it, and nobody else does."""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

import aiovirt
from aiovirt.events.types import DriverBound, NetdevAdded, NetdevRemoved, PCIRemoved
from aiovirt.model.pci import SRIOV
from tests.labguest.heard import Heard
from tests.labguest.topology import IGB, PCI, Topology, ip
from tests.labguest.truth import agrees

pytestmark = pytest.mark.anyio

# linux/vfio.h
SET_IOMMU, SET_CONTAINER, GET_DEVICE_FD = 0x3B66, 0x3B68, 0x3B6A
TYPE1V2_IOMMU = 3


@contextmanager
def using(function: str) -> Iterator[None]:
    """A program that has the function through VFIO, and that does not listen when it is asked to let go of it."""
    subprocess.run(["modprobe", "vfio_iommu_type1"], check=True)
    group = (PCI / function / "iommu_group").resolve().name
    with ExitStack() as stack:

        def opened(path: Path) -> int:
            handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            stack.callback(os.close, handle)
            return handle

        container, members = opened(Path("/dev/vfio/vfio")), opened(Path("/dev/vfio", group))
        fcntl.ioctl(members, SET_CONTAINER, container.to_bytes(4, "little"))
        fcntl.ioctl(container, SET_IOMMU, TYPE1V2_IOMMU)
        device = fcntl.ioctl(members, GET_DEVICE_FD, bytearray(function.encode() + b"\0"), True)
        stack.callback(os.close, device)
        yield


async def test_a_removal_that_waits_holds_up_no_other_news(lab: Topology, host: aiovirt.Host, heard: Heard) -> None:
    physical = lab.function(IGB)
    first, second = await lab.make_vfs(physical, 2)
    await heard.nics(host, first)
    await heard.nics(host, second)
    await lab.override(second, "vfio-pci")
    await heard.until(lambda: any(event.device.driver == "vfio-pci" for event in heard.of(DriverBound, second)))
    async with anyio.create_task_group() as tasks:
        with using(second):
            tasks.start_soon(lab.no_vfs, physical)
            await heard.some(PCIRemoved, first)
            # From here on the write waits for who has the second, and has the lock of the physical function as long.
            try:
                await to_thread.run_sync(partial(ip, "link", "add", "news0", "type", "dummy"))
                await heard.some(NetdevAdded, "news0")
                refreshed = await host.devices.refresh(host.devices.pci_device(physical))  # without what needs the lock
                assert (refreshed.driver, refreshed.vfs) == ("igb", ())
                assert host.devices.pci_device(second).driver == "vfio-pci"
                assert heard.of(PCIRemoved, second) == []
            finally:
                await to_thread.run_sync(partial(ip, "link", "del", "news0"))
            await heard.some(NetdevRemoved, "news0")
    await heard.some(PCIRemoved, second)
    await heard.until(lambda: host.devices.pci_device(physical).vfs == ())
    await agrees(host, heard, lab)


async def test_those_that_are_left_keep_their_numbers(lab: Topology, host: aiovirt.Host, heard: Heard) -> None:
    physical = lab.function(IGB)
    first, held, *left = await lab.make_vfs(physical, 4)
    await heard.until(lambda: host.devices.pci_device(physical).sriov == SRIOV(total=7, current=4))
    (pf,) = host.devices.netdevs(of=physical)
    await heard.until(lambda: len(host.devices.netdev(pf.name).vfs) == 4)
    await lab.override(held, "vfio-pci")
    await heard.until(lambda: any(event.device.driver == "vfio-pci" for event in heard.of(DriverBound, held)))
    async with anyio.create_task_group() as tasks:
        with using(held):
            tasks.start_soon(lab.no_vfs, physical)
            await heard.some(PCIRemoved, first)
            # Now the kernel waits for who has the second: the links of both are gone, those of the others are not.
            refreshed = await host.devices.refresh(host.devices.pci_device(physical))
            assert (refreshed.vfs, refreshed.sriov) == ((None, None, *left), SRIOV(total=7, current=4))
            vfs = host.devices.vfs(physical)
            assert [(vf.index, vf.pci.address) for vf in vfs] == [(2, left[0]), (3, left[1])]
            settings = [vf.settings.index for vf in host.devices.vfs(pf.name) if vf.settings is not None]
            assert settings in ([2, 3], [])  # none once the driver has given up all of them
            lone = await host.devices.refresh(host.devices.pci_device(held))
            assert (lone.physfn, lone.vf_index) == (physical, 1)
    await heard.some(PCIRemoved, held)
    await heard.until(lambda: host.devices.pci_device(physical).sriov == SRIOV(total=7, current=0))
    assert host.devices.pci_device(physical).vfs == ()
    await agrees(host, heard, lab)
