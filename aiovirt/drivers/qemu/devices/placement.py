"""Where a device is plugged in: that is the driver's choice. libvirt writes its own choice into every domain, which is let pass."""

from __future__ import annotations

from collections.abc import Iterator

from aiovirt.model.devices.device import AddressType, Device
from aiovirt.model.spec import DomainSpec

__all__ = ["X86", "check_on_pci", "check_x86", "is_x86"]

X86 = {"x86_64": "qemu64", "i686": "qemu32"}
"""The architectures of PCs, with what QEMU gives one that does not say which processor it wants."""


def is_x86(spec: DomainSpec) -> bool:
    """Whether it is a PC; of another machine nothing is taken for granted."""
    return spec.os.arch in X86


def check_x86(spec: DomainSpec) -> Iterator[tuple[str, str]]:
    """For what every PC has, and another machine may not have."""
    if not is_x86(spec):
        yield "", f"a machine of {spec.os.arch} may have none"


def check_on_pci(device: Device) -> Iterator[tuple[str, str]]:
    """For a device whose address, if it says one, is on PCI."""
    if device.address is not None and device.address.type is not AddressType.PCI:
        yield "address", f"an address of type {device.address.type!r} on another bus"
