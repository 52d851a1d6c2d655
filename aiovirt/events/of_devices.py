"""What happens to this host's devices."""

from __future__ import annotations

from typing import ClassVar

from msgspec import field
from msgspec.structs import replace

from aiovirt.events.event import Event
from aiovirt.events.libvirt_ids import NodeDeviceEventID, named
from aiovirt.events.state import HostState
from aiovirt.events.words import changes, pci_summary, summary
from aiovirt.model.busdevice import BusDevice
from aiovirt.model.netdev import NETDEVS, Netdev
from aiovirt.model.pci import PCI, PCIDevice

__all__ = [
    "DeviceEvent",
    "DeviceInitialized",
    "DriverBound",
    "DriverEvent",
    "DriverUnbound",
    "NetdevAdded",
    "NetdevChanged",
    "NetdevEvent",
    "NetdevLeft",
    "NetdevRemoved",
    "NetdevRenamed",
    "NetdevReturned",
    "PCIAdded",
    "PCIChanged",
    "PCIEvent",
    "PCIRemoved",
]


class DeviceEvent(Event, frozen=True, kw_only=True, gc=False):
    """Something about one device of this host."""

    family: ClassVar[str] = "device"

    @property
    def device(self) -> Netdev | PCIDevice | BusDevice:
        """The device as it is after the event (for a removal: as it was last)."""
        raise AttributeError("device")

    @property
    def subject(self) -> str:
        return self.device.subject

    @classmethod
    def may_concern(cls, wanted: str) -> bool:
        return wanted != "host" and not wanted.startswith("domain/")  # a bus may have any other name

    def key(self) -> object:
        return self.device.subject

    def row(self) -> object:
        return self.device


class NetdevEvent(DeviceEvent, frozen=True, kw_only=True, gc=False):
    """Something about one network device."""

    family: ClassVar[str] = "netdev"
    table = NETDEVS

    @classmethod
    def may_concern(cls, wanted: str) -> bool:
        return wanted.startswith("netdev/")

    @property
    def device(self) -> Netdev:
        raise AttributeError("device")

    def fold(self, state: HostState) -> None:
        device, rows = self.device, state.netdevs.own()
        if self.removes:
            rows.pop(device.id, None)
            return
        if device.id not in rows:
            state.incarnation = max(state.incarnation, _incarnation(device.id))
        rows[device.id] = device

    def weight(self) -> int:
        return 2560


class NetdevAdded(NetdevEvent, frozen=True, kw_only=True, gc=False, tag="netdev.added"):
    """A network device is there: ``device`` is how it is."""

    device: Netdev  # pyright: ignore[reportIncompatibleMethodOverride] - read-only too: the struct is frozen

    libvirt: ClassVar[str] = f"{named(NodeDeviceEventID.LIFECYCLE)}: created"
    trigger: ClassVar[str] = "RTM_NEWLINK of a number that was not known; the first inventory"

    def describe(self) -> tuple[str, str, str]:
        return self.device.name, "added", summary(self.device)


class NetdevRemoved(NetdevEvent, frozen=True, kw_only=True, gc=False, tag="netdev.removed"):
    """A network device is gone; ``device`` is how it was last, without a master: a NetdevChanged before it says that it left that."""

    device: Netdev  # pyright: ignore[reportIncompatibleMethodOverride] - as of NetdevAdded

    libvirt: ClassVar[str] = f"{named(NodeDeviceEventID.LIFECYCLE)}: deleted"
    trigger: ClassVar[str] = "RTM_DELLINK"
    removes = True

    def describe(self) -> tuple[str, str, str]:
        return self.device.name, "removed", ""


class NetdevLeft(NetdevRemoved, frozen=True, kw_only=True, gc=False, tag="netdev.left"):
    """A network device went to another network namespace: for this host it is removed, and it may return.

    ``nsid`` is the kernel's number for that namespace as seen from this one (ip-netns(8)), None
    where it has none; ``new_ifindex`` the device's number there.
    """

    nsid: int | None = None
    new_ifindex: int | None = None

    libvirt: ClassVar[str] = ""
    trigger: ClassVar[str] = "RTM_DELLINK with IFLA_NEW_NETNSID"

    def describe(self) -> tuple[str, str, str]:
        return self.device.name, "left", "for another network namespace"


class NetdevReturned(NetdevAdded, frozen=True, kw_only=True, gc=False, tag="netdev.returned"):
    """A network device that had left for another namespace is back, under its old id."""

    libvirt: ClassVar[str] = ""
    trigger: ClassVar[str] = "RTM_NEWLINK of a device that had left: the same number, address, kind and parent"

    def describe(self) -> tuple[str, str, str]:
        return self.device.name, "returned", summary(self.device)


class NetdevRenamed(NetdevEvent, frozen=True, kw_only=True, gc=False, tag="netdev.renamed"):
    """A network device has another name; nothing else of it changed with it.

    ``old`` is the device before, ``new`` after.
    """

    old: Netdev
    new: Netdev

    libvirt: ClassVar[str] = f"{named(NodeDeviceEventID.LIFECYCLE)}: deleted, then created"
    trigger: ClassVar[str] = "RTM_NEWLINK with another name"

    @property
    def device(self) -> Netdev:
        return self.new

    def describe(self) -> tuple[str, str, str]:
        return self.new.name, "renamed", f"from {self.old.name}"


class NetdevChanged(NetdevEvent, frozen=True, kw_only=True, gc=False, tag="netdev.changed"):
    """Attributes of a network device changed; the name did not.

    ``old`` is the device before, ``new`` after.
    """

    old: Netdev
    new: Netdev

    trigger: ClassVar[str] = (
        "RTM_NEWLINK with other attributes; a uevent after which they read differently; RTM_DELLINK of a device that has a master"
    )

    @property
    def device(self) -> Netdev:
        return self.new

    @property
    def changes(self) -> dict[str, tuple[object, object]]:
        """attribute -> (old, new), for each that differs."""
        return self.old.changes_to(self.new)

    def describe(self) -> tuple[str, str, str]:
        return self.new.name, "changed", changes(self.changes)


class PCIEvent(DeviceEvent, frozen=True, kw_only=True, gc=False):
    """Something about one PCI function, but for its driver: that is a DriverEvent."""

    family: ClassVar[str] = "pci"
    table = PCI

    @classmethod
    def may_concern(cls, wanted: str) -> bool:
        return wanted.startswith("pci/")

    @property
    def device(self) -> PCIDevice:
        raise AttributeError("device")

    def weight(self) -> int:
        return 1536


class PCIAdded(PCIEvent, frozen=True, kw_only=True, gc=False, tag="pci.added"):
    """A PCI function is there: ``device`` is how it is. A DriverBound follows if a driver takes it."""

    device: PCIDevice  # pyright: ignore[reportIncompatibleMethodOverride] - as of NetdevAdded

    libvirt: ClassVar[str] = f"{named(NodeDeviceEventID.LIFECYCLE)}: created"
    trigger: ClassVar[str] = "the kernel's uevent add; the first inventory"

    def describe(self) -> tuple[str, str, str]:
        return self.device.address, "added", pci_summary(self.device)


class PCIRemoved(PCIEvent, frozen=True, kw_only=True, gc=False, tag="pci.removed"):
    """A PCI function is gone; ``device`` is how it was last."""

    device: PCIDevice  # pyright: ignore[reportIncompatibleMethodOverride] - as of NetdevAdded

    libvirt: ClassVar[str] = f"{named(NodeDeviceEventID.LIFECYCLE)}: deleted"
    trigger: ClassVar[str] = "the kernel's uevent remove"
    removes = True

    def describe(self) -> tuple[str, str, str]:
        return self.device.address, "removed", ""


class PCIChanged(PCIEvent, frozen=True, kw_only=True, gc=False, tag="pci.changed"):
    """Attributes of a PCI function changed: its virtual functions, what may bind it, its group.

    ``old`` is the function before, ``new`` after; both have the driver of now.
    """

    old: PCIDevice
    new: PCIDevice

    libvirt: ClassVar[str] = named(NodeDeviceEventID.UPDATE)
    trigger: ClassVar[str] = "the kernel's uevent change; virtual functions that come and go; any uevent after which it reads differently"

    @property
    def device(self) -> PCIDevice:
        return self.new

    @property
    def changes(self) -> dict[str, tuple[object, object]]:
        """attribute -> (old, new), for each that differs."""
        return self.old.changes_to(self.new)

    def describe(self) -> tuple[str, str, str]:
        return self.new.address, "changed", changes(self.changes)


class DriverEvent(DeviceEvent, frozen=True, kw_only=True, gc=False):
    """A device of a bus (pci, virtio, usb, …) and its driver: ``device`` is both.

    ``before`` is the driver that it had, where that is known: of PCI functions.
    """

    device: BusDevice  # pyright: ignore[reportIncompatibleMethodOverride] - as of NetdevAdded
    before: str | None = None

    table = PCI

    def fold(self, state: HostState) -> None:
        function = state.pci.get(self.device.name) if self.device.bus == "pci" else None
        if function is not None:
            state.pci.put(replace(function, driver=self.device.driver))


class DriverBound(DriverEvent, frozen=True, kw_only=True, gc=False, tag="device.bound"):
    """A driver took a device of a bus."""

    trigger: ClassVar[str] = "the kernel's uevent bind"

    def describe(self) -> tuple[str, str, str]:
        return self.device.name, "bound", f"{self.device.bus} driver {self.device.driver or 'unknown'}"


class DriverUnbound(DriverEvent, frozen=True, kw_only=True, gc=False, tag="device.unbound"):
    """A driver let go of a device of a bus; ``device.driver`` is None."""

    trigger: ClassVar[str] = "the kernel's uevent unbind"

    def describe(self) -> tuple[str, str, str]:
        return self.device.name, "unbound", f"{self.device.bus} " + (f"driver {self.before}" if self.before else "device")


class DeviceInitialized(DeviceEvent, frozen=True, kw_only=True, gc=False, tag="device.initialized"):
    """udev has finished with a device: its name, its permissions and its links are final.

    ``netdev`` is the device as it is with that, or, of a PCI function, ``bus_device``; the other one is None.
    ``properties`` are the ``ID_*`` that udev gave it (udev(7)).
    """

    netdev: Netdev | None = None
    bus_device: BusDevice | None = None
    properties: dict[str, str] = field(default_factory=dict[str, str])

    trigger: ClassVar[str] = "udev's own message, when its rules have run; its database, for what was there before"
    table = NETDEVS

    def fold(self, state: HostState) -> None:
        if self.netdev is not None and self.netdev.id in state.netdevs:
            state.netdevs.put(self.netdev)

    def weight(self) -> int:
        return 2048

    def __post_init__(self) -> None:
        if (self.netdev is None) is (self.bus_device is None):
            raise ValueError("one device is initialized: either `netdev` or `bus_device`")

    @property
    def device(self) -> Netdev | BusDevice:
        device = self.netdev or self.bus_device
        assert device is not None
        return device

    def describe(self) -> tuple[str, str, str]:
        return self.device.name, "initialized", "  ".join(f"{name} {value}" for name, value in self.properties.items())


def _incarnation(identity: str) -> int:
    number = identity.rpartition(".")[2]
    return int(number) if number.isdecimal() else 0
