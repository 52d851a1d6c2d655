"""The inventory of PCI functions: what uevents and sysfs say goes in, the events that it amounts to come out.

Pure. The kernel's uevents tell that a function came, went, or has another driver, in the order in which that was so; all
else is read from sysfs, when a uevent gives reason to. What was read while a uevent of the same function came in may be
older than that, and is read again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from msgspec import structs

from aiovirt.events.types import DeviceEvent, DeviceInitialized, DriverBound, DriverUnbound, PCIAdded, PCIChanged, PCIRemoved
from aiovirt.model.busdevice import BusDevice
from aiovirt.model.pci import PCI_ADDRESS, PCIDevice
from aiovirt.wire.uevent import Uevent

__all__ = ["Functions", "address_of", "described"]


class Functions:
    """address -> PCI function. ``dirty`` are those to be read again. ``known`` are those that a table before this one had."""

    def __init__(self, known: Iterable[PCIDevice] = ()) -> None:
        self._functions: dict[str, PCIDevice] = {function.address: function for function in known}
        self._touched: set[str] = set()
        self._since: dict[str, int] = {}  # address -> seqnum of the uevent that told of it
        self._initialized: set[str] = set()
        self.dirty: set[str] = set()

    def __iter__(self) -> Iterator[PCIDevice]:
        return iter(self._functions.values())

    def get(self, address: str) -> PCIDevice | None:
        """The function there, or None."""
        return self._functions.get(address)

    # -- uevents -------------------------------------------------------------------------------

    def added(self, function: PCIDevice, seqnum: int) -> list[DeviceEvent]:
        """The kernel found it, says its uevent ``seqnum``; no driver has it yet. One that is known already was found by a look."""
        self._since[function.address] = seqnum
        self._touch(function)
        known = self._functions.get(function.address)
        if known is not None and _traits(known) == _traits(function):
            self.dirty.add(function.address)
            return []
        events = self.removed(function.address)
        self._functions[function.address] = function = structs.replace(function, driver=None)
        return [*events, PCIAdded(device=function)]

    def removed(self, address: str) -> list[DeviceEvent]:
        """It is gone; nothing when it was not there."""
        self._touched.add(address)
        function = self._functions.pop(address, None)
        if function is None:
            return []
        self._touch(function)
        self.dirty.discard(address)
        self._initialized.discard(address)
        return [PCIRemoved(device=function)]

    def bound(self, address: str, driver: str | None) -> list[DeviceEvent]:
        """A driver has it now, or with None no driver any more; nothing when that is known."""
        self.changed(address)
        known = self._functions.get(address)
        if known is None:
            device = BusDevice(bus="pci", name=address, driver=driver)
            return [DriverUnbound(device=device) if driver is None else DriverBound(device=device)]
        return self._drive(known, driver)

    def changed(self, address: str) -> None:
        """Something of it is another way."""
        self._touched.add(address)
        self.dirty.add(address)

    def initialized(self, address: str, seqnum: int, properties: dict[str, str]) -> list[DeviceEvent]:
        """udev has finished with the function that uevent ``seqnum`` was about; told once, while that is still there."""
        known = self._functions.get(address)
        if known is None or address in self._initialized or seqnum < self._since.get(address, 0):
            return []
        self._initialized.add(address)
        device = BusDevice(bus="pci", name=address, driver=known.driver)
        return [DeviceInitialized(bus_device=device, properties=properties)]

    # -- what was read -------------------------------------------------------------------------

    def take_dirty(self) -> set[str]:
        """Those to read now; what :meth:`refreshed` is told next is about them."""
        taken, self.dirty, self._touched = self.dirty, set(), set()
        return taken

    def refreshed(self, read: Mapping[str, PCIDevice]) -> list[DeviceEvent]:
        """What was read of some. That one is not among what was read tells nothing: the kernel says when one goes."""
        events: list[DeviceEvent] = []
        for function in _bridges_first(read.values()):
            if function.address in self._touched or not self._touched.isdisjoint(function.vfs):
                self.dirty.add(function.address)  # a uevent came about it, or one of its virtual functions, while it was read
            else:
                events += self._observe(function)
        return events

    def resynced(self, read: Mapping[str, PCIDevice], listed: Iterable[str]) -> list[DeviceEvent]:
        """What was read of all that are ``listed``, and no others are there."""
        there = set(listed) | self._touched
        gone = [function for function in reversed(_bridges_first(self)) if function.address not in there]
        events = [event for function in gone for event in self.removed(function.address)]
        return events + self.refreshed(read)

    # -- inside --------------------------------------------------------------------------------

    def _observe(self, function: PCIDevice) -> list[DeviceEvent]:
        old = self._functions.get(function.address)
        if old is None:
            self._functions[function.address] = undriven = structs.replace(function, driver=None)
            return [PCIAdded(device=undriven), *self._drive(undriven, function.driver)]
        new = _still_virtual(old, structs.replace(function, driver=old.driver))
        self._functions[function.address] = new
        self.dirty |= {vf for vf in new.vfs if vf is not None and self._was_read_too_early(vf)}
        events: list[DeviceEvent] = [PCIChanged(old=old, new=new)] if new != old else []
        return events + self._drive(new, function.driver)

    def _drive(self, old: PCIDevice, driver: str | None) -> list[DeviceEvent]:
        if old.driver == driver:
            return []
        self._functions[old.address] = structs.replace(old, driver=driver)
        device = BusDevice(bus="pci", name=old.address, driver=driver)
        if driver is None:
            return [DriverUnbound(device=device, before=old.driver)]
        return [DriverBound(device=device, before=old.driver)]

    def _was_read_too_early(self, address: str) -> bool:
        """The kernel tells of a virtual function before it says whose it is, and nothing more of that function afterwards."""
        known = self._functions.get(address)
        return known is not None and known.vf_index is None

    def _touch(self, function: PCIDevice) -> None:
        """It came or went: so its physical function has other virtual ones."""
        self._touched.add(function.address)
        self.dirty |= {other.address for other in self if function.address in other.vfs}
        if function.physfn is not None:
            self.dirty.add(function.physfn)


def _still_virtual(old: PCIDevice, new: PCIDevice) -> PCIDevice:
    """A virtual function that is taken away loses its links first, one by one, and is one for as long as somebody holds it."""
    if old.physfn is None or _traits(old) != _traits(new):
        return new
    index = old.vf_index if new.vf_index is None else new.vf_index
    return structs.replace(new, physfn=new.physfn or old.physfn, vf_index=index)


def _traits(function: PCIDevice) -> tuple[int, ...]:
    """What tells, beside its address, that a function is the one that is known."""
    return function.pci_class, function.vendor, function.device, function.subsystem_vendor, function.subsystem_device


def address_of(uevent: Uevent) -> str | None:
    """The PCI function that a uevent is about, or None where it is about something else."""
    name = uevent.devpath.rpartition("/")[2]
    return name if uevent.subsystem == "pci" and PCI_ADDRESS.fullmatch(name) else None


def described(uevent: Uevent, address: str) -> PCIDevice:
    """What the uevent itself says of a function that cannot be read any more."""
    vendor, device = _ids(uevent.env.get("PCI_ID", ""))
    subsystem_vendor, subsystem_device = _ids(uevent.env.get("PCI_SUBSYS_ID", ""))
    above = uevent.devpath.rsplit("/", 2)[-2] if uevent.devpath.count("/") > 1 else ""
    return PCIDevice(
        address=address,
        parent=above if PCI_ADDRESS.fullmatch(above) else None,
        pci_class=_hex(uevent.env.get("PCI_CLASS", "")),
        vendor=vendor,
        device=device,
        subsystem_vendor=subsystem_vendor,
        subsystem_device=subsystem_device,
    )


def _ids(text: str) -> tuple[int, int]:
    vendor, _, device = text.partition(":")
    return _hex(vendor), _hex(device)


def _hex(text: str) -> int:
    return int(text, 16) if 0 < len(text) <= _MAX_DIGITS and set(text) <= _DIGITS else 0


def _bridges_first(functions: Iterable[PCIDevice]) -> list[PCIDevice]:
    """Bridges before what is behind them, physical functions before their virtual ones; else by address."""
    by_address = {function.address: function for function in functions}
    return sorted(by_address.values(), key=lambda function: (_depth(function, by_address), function.physfn is not None, function.address))


def _depth(function: PCIDevice, by_address: Mapping[str, PCIDevice]) -> int:
    depth = 0
    while depth < _MAX_DEPTH and (above := by_address.get(function.parent or "")) is not None:
        function, depth = above, depth + 1
    return depth


_MAX_DIGITS: Final = 8
_DIGITS: Final = frozenset("0123456789abcdefABCDEF")
_MAX_DEPTH: Final = 256  # buses of a domain
