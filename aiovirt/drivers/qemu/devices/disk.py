"""Disks: a node for the file, a node for its format, and the device that the guest sees."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from aiovirt.drivers.qemu.devices import Context
from aiovirt.drivers.qemu.devices.placement import check_on_pci
from aiovirt.drivers.qemu.words import json_of
from aiovirt.model.devices.device import Address, AddressType
from aiovirt.model.devices.disk import Disk, DiskBus, DiskDevice
from aiovirt.model.spec import DomainSpec

__all__ = ["arguments", "check"]

_IDE_UNITS: Final = 4


def check(disk: Disk, context: Context) -> Iterator[tuple[str, str]]:
    """What of it QEMU cannot give."""
    del context
    if disk.bus is DiskBus.IDE and disk.index >= _IDE_UNITS:
        yield "target", f"the IDE bus has the targets hda to hdd, not {disk.target!r}"
    elif disk.bus is DiskBus.IDE and disk.device is DiskDevice.DISK and disk.readonly:
        yield "readonly", f"QEMU has no read-only IDE disk ({disk.target}); use virtio"
    if disk.bus is DiskBus.VIRTIO and disk.device is DiskDevice.CDROM:
        yield "target", f"a CD-ROM ({disk.target}) cannot be on the virtio bus; use ide"
    if disk.bus is DiskBus.IDE and disk.address is not None and not _is_its_own(disk.address, disk):
        yield "address", f"the target {disk.target!r} says another place on the IDE bus"
    elif disk.bus is DiskBus.VIRTIO:
        yield from check_on_pci(disk)


def _is_its_own(address: Address, disk: Disk) -> bool:
    """Whether it is the address that follows from the target's name; one on PCI says nothing of the bus."""
    if address.type is AddressType.PCI:
        return True
    place = (address.number("controller"), address.number("bus"), address.number("target"), address.number("unit"))
    return address.type is AddressType.DRIVE and place == (0, disk.index // 2, 0, disk.index % 2)


def arguments(disk: Disk, context: Context) -> Iterator[str]:
    """Two ``-blockdev`` and a ``-device``."""
    storage, node = f"disk{context.number}-storage", f"disk{context.number}-format"
    readonly = disk.readonly or disk.device is DiskDevice.CDROM
    yield from ("-blockdev", json_of(driver="file", filename=disk.source, **{"node-name": storage, "read-only": readonly}))
    yield from ("-blockdev", json_of(driver=disk.format, file=storage, **{"node-name": node, "read-only": readonly}))
    order = _boot_order(context.spec)
    boot = {"bootindex": order[disk.target]} if disk.target in order else {}
    yield from ("-device", json_of(**_device(disk), drive=node, id=f"disk-{disk.target}", **boot))


def _device(disk: Disk) -> dict[str, str | int]:
    if disk.bus is DiskBus.VIRTIO:
        return {"driver": "virtio-blk-pci"}
    driver = "ide-cd" if disk.device is DiskDevice.CDROM else "ide-hd"
    return {"driver": driver, "bus": f"ide.{disk.index // 2}", "unit": disk.index % 2}


def _boot_order(spec: DomainSpec) -> dict[str, int]:
    """target -> bootindex: for each boot device, the first disk of its kind (libvirt's rule)."""
    wanted = {"hd": DiskDevice.DISK, "cdrom": DiskDevice.CDROM}
    order: dict[str, int] = {}
    for device in spec.os.boot:
        first = next((disk.target for disk in spec.disks if disk.device is wanted.get(device)), None)
        if first is not None:
            order.setdefault(first, len(order) + 1)
    return order
