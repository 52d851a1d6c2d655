"""The devices of ``test:///default``: a network card of two ports that exist nowhere but here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import anyio
import anyio.lowlevel
from anyio.abc import TaskStatus
from msgspec.structs import replace

from aiovirt.errors import InvalidArgument, NoSuchDevice, SystemFailure
from aiovirt.events.types import Event
from aiovirt.hostdev.functions import Functions
from aiovirt.hostdev.inventory import NetdevTable
from aiovirt.model.busdevice import BusDevice
from aiovirt.model.details import DeviceDetails
from aiovirt.model.netdev import Netdev, OperState, Unreadable
from aiovirt.model.pci import SRIOV, PCIDevice

__all__ = ["TestDevices"]

UP = 0x1043  # IFF_UP, IFF_BROADCAST, IFF_RUNNING, IFF_MULTICAST


CARD: Final = tuple(
    PCIDevice(
        address=f"0000:01:00.{function}",
        pci_class=0x020000,
        vendor=0x8086,
        device=0x10C9,
        driver="test",
        numa_node=0,
        sriov=SRIOV(total=7, current=0),
    )
    for function in range(2)
)
"""An Intel 82576: a port a function."""


class TestDevices:
    """An inventory that changes when it is told to."""

    __test__ = False

    def __init__(self, publish: Callable[[Event], object]) -> None:
        self._publish = publish
        self._table = NetdevTable()
        self._functions = Functions()
        self._last_ifindex = 1

    async def watch(self, *, task_status: TaskStatus[None]) -> None:
        """The first inventory; there is no source that could change it."""
        self._show(CARD)
        for port in range(2):
            self.add(
                Netdev(
                    ifindex=self.next_ifindex(),
                    name=f"ens1f{port}",
                    mac=f"52:54:00:00:00:0{port}",
                    mtu=1500,
                    flags=UP,
                    operstate=OperState.UP,
                    carrier=True,
                    parent=CARD[port].address,
                    driver="test",
                    pci=CARD[port].address,
                    phys_port_id=f"52540000000{port}",
                )
            )
        task_status.started()
        await anyio.lowlevel.checkpoint()

    async def read_phys_port_id(self, name: str) -> str | None:
        """As last told; raises NoSuchDevice, SystemFailure where it was made unreadable."""
        await anyio.lowlevel.checkpoint()
        match self.find(name).phys_port_id:
            case Unreadable(why=why):
                raise SystemFailure(f"cannot read phys_port_id of {name}: {why}")
            case value:
                return value

    async def refresh(self, subject: str) -> None:
        """There is nothing to ask."""
        await anyio.lowlevel.checkpoint()

    async def details(self, subject: str) -> DeviceDetails:
        """There is nothing beside the inventory."""
        await anyio.lowlevel.checkpoint()
        return DeviceDetails()

    async def enumerate(self, subsystem: str) -> list[BusDevice]:
        """Those of the PCI bus; it has no other."""
        await anyio.lowlevel.checkpoint()
        return [BusDevice(bus="pci", name=card.address, driver=card.driver) for card in self._functions if subsystem == "pci"]

    def next_ifindex(self) -> int:
        """A number that no device has had."""
        self._last_ifindex += 1
        return self._last_ifindex

    def find(self, name: str) -> Netdev:
        """The device of that name; raises NoSuchDevice."""
        for device in self._table:
            if device.name == name:
                return device
        raise NoSuchDevice(f"no network device has the name {name!r}")

    def add(self, reading: Netdev) -> Netdev:
        """A device appears; raises InvalidArgument when its name is taken."""
        if any(device.name == reading.name for device in self._table):
            raise InvalidArgument(f"there is a network device {reading.name!r} already")
        self._tell(self._table.observe(reading))
        return self.find(reading.name)

    def set_vfs(self, address: str, count: int) -> PCIDevice:
        """A physical function has so many virtual ones from now on; raises NoSuchDevice, InvalidArgument where it cannot."""
        pf = self._functions.get(address)
        if pf is None:
            raise NoSuchDevice(f"no PCI function has the address {address!r}")
        total = pf.sriov.total if pf.sriov else 0
        if not 0 <= count <= total:
            raise InvalidArgument(f"PCI function {address} can have 0 to {total} virtual functions, not {count}")
        vfs = tuple(_virtual_address(address, index) for index in range(count))
        others = [known for known in self._functions if address not in (known.physfn, known.address)]
        changed = replace(pf, vfs=vfs, sriov=SRIOV(total=total, current=count))
        virtual = PCIDevice(address="", pci_class=pf.pci_class, vendor=pf.vendor, device=0x10CA, physfn=address)
        made = [replace(virtual, address=vf, vf_index=index) for index, vf in enumerate(vfs)]
        self._show([*others, changed, *made])
        return changed

    def change(self, name: str, /, **attributes: object) -> Netdev:
        """Attributes of a device change, its name among them."""
        ifindex = self.find(name).ifindex
        reading = self._table.get(ifindex)
        assert reading is not None
        self._tell(self._table.observe(replace(reading, **attributes)))
        changed = self._table.get(ifindex)
        assert changed is not None
        return changed

    def remove(self, name: str) -> None:
        """A device disappears."""
        self._tell(self._table.remove(self.find(name).ifindex))

    def _show(self, functions: Iterable[PCIDevice]) -> None:
        """These PCI functions are there, and no others."""
        read = {function.address: function for function in functions}
        self._functions.take_dirty()
        self._tell(self._functions.resynced(read, read))

    def _tell(self, events: Iterable[Event]) -> None:
        for event in events:
            self._publish(event)


def _virtual_address(address: str, index: int) -> str:
    """As an 82576 numbers them: from 10.0 on, each port every other one."""
    number = 2 * index + int(address[-1])
    return f"{address.rpartition(':')[0]}:1{number // 8:x}.{number % 8}"
