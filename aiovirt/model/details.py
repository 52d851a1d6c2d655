"""What a host device has beside its inventory: read when asked for, never kept."""

from __future__ import annotations

from msgspec import Struct

from aiovirt.model.busdevice import BusDevice

__all__ = ["DeviceDetails", "PCIExpress", "PCILink"]


class PCILink(Struct, frozen=True, kw_only=True, gc=False):
    """A PCI Express link, as its registers number it: ``speed`` is 1 for 2.5 GT/s, 2 for 5, and so on; ``width`` counts lanes."""

    speed: int
    width: int


class PCIExpress(Struct, frozen=True, kw_only=True, gc=False):
    """A function on PCI Express: what its link could be, on which ``port``, and what it is.

    ``capable`` and ``status`` are None where it has no link: inside a root complex.
    """

    port: int = 0
    capable: PCILink | None = None
    status: PCILink | None = None


class DeviceDetails(Struct, frozen=True, kw_only=True, gc=False):
    """What libvirt's nodedev XML says of a device that is in no event.

    ``path`` is its folder in sysfs, None where it has none. ``parent`` is the nearest device above it on a bus that libvirt
    lists, None where that is the computer itself.

    Of a network device: ``features`` are its offloads by libvirt's names, in libvirt's order, ``wireless`` whether it is
    an 802.11 one. ``speed`` is in Mbit/s, -1 where its driver knows none, None where it could not be asked.

    Of a PCI function: ``vendor_name`` and ``device_name`` as in the system's pci.ids, None without. ``header_type`` is the
    layout of its configuration space (0: an endpoint, 1: a PCI bridge, 2: a CardBus bridge), ``express`` None where it is
    not on PCI Express or its configuration may not be read.
    """

    path: str | None = None
    parent: BusDevice | None = None
    features: tuple[str, ...] = ()
    wireless: bool = False
    speed: int | None = None
    vendor_name: str | None = None
    device_name: str | None = None
    header_type: int = 0
    express: PCIExpress | None = None
