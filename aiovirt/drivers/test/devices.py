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
from aiovirt.model.pci import PCIDevice

__all__ = ["TestDevices"]

UP = 0x1043  # IFF_UP, IFF_BROADCAST, IFF_RUNNING, IFF_MULTICAST


CARD: Final = tuple(
    PCIDevice(address=f"0000:01:00.{function}", pci_class=0x020000, vendor=0x8086, device=0x10C9, driver="test", numa_node=0)
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
        for card in CARD:
            self._tell(self._functions.resynced({card.address: card}, [card.address, *(known.address for known in self._functions)]))
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

    def _tell(self, events: Iterable[Event]) -> None:
        for event in events:
            self._publish(event)
