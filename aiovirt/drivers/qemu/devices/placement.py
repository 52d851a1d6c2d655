"""Where a device is plugged in: that is the driver's choice. libvirt writes its own choice into every domain, which is let pass."""

from __future__ import annotations

from collections.abc import Iterator

from aiovirt.model.devices.device import AddressType, Device
from aiovirt.model.spec import DomainSpec

__all__ = ["X86", "check_on", "check_on_pci", "check_x86", "is_i440fx", "is_q35", "is_x86"]

X86 = {"x86_64": "qemu64", "i686": "qemu32"}
"""The architectures of PCs, with what QEMU gives one that does not say which processor it wants."""


def is_x86(spec: DomainSpec) -> bool:
    """Whether it is a PC; of another machine nothing is taken for granted."""
    return spec.os.arch in X86


def is_q35(spec: DomainSpec) -> bool:
    """Whether it is a PC with PCI Express."""
    return is_x86(spec) and (spec.os.machine == "q35" or spec.os.machine.startswith("pc-q35-"))


def is_i440fx(spec: DomainSpec) -> bool:
    """Whether it is a PC with conventional PCI."""
    return is_x86(spec) and (spec.os.machine == "pc" or spec.os.machine.startswith("pc-i440fx-"))


def check_x86(spec: DomainSpec) -> Iterator[tuple[str, str]]:
    """For what every PC has, and another machine may not have."""
    if not is_x86(spec):
        yield "", f"a machine of {spec.os.arch} may have none"


def check_on(device: Device, bus: AddressType) -> Iterator[tuple[str, str]]:
    """For a device whose address, if it says one, is on ``bus``."""
    if device.address is not None and device.address.type is not bus:
        yield "address", f"an address of type {device.address.type!r} on another bus"


def check_on_pci(device: Device) -> Iterator[tuple[str, str]]:
    """For a device whose address, if it says one, is on PCI."""
    return check_on(device, AddressType.PCI)
