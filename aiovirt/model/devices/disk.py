"""Disks."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Final

from aiovirt.errors import InvalidArgument
from aiovirt.model.devices.device import Device
from aiovirt.model.element import At, Fixed

__all__ = ["Disk", "DiskBus", "DiskDevice", "by_target", "check_places"]

MAX_INDEX: Final = 2**31 - 1

_TARGET: Final = re.compile("(?:hd|sd|ubd|vd|xvd)([a-z]+)")
_PARTITION: Final = re.compile(_TARGET.pattern + "[0-9]+")


@lru_cache(1024)
def _index_of(target: str) -> int | None:
    found = _TARGET.fullmatch(target)
    if found is None:
        return None
    number = 0
    for letter in found[1]:
        number = 26 * number + ord(letter) - ord("a") + 1
    return number - 1


class DiskBus(StrEnum):
    """``<target bus=…>``."""

    IDE = "ide"
    VIRTIO = "virtio"


class DiskDevice(StrEnum):
    """``<disk device=…>``."""

    DISK = "disk"
    CDROM = "cdrom"


class Disk(Device, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """One disk: the file ``source`` as the guest's ``target`` (``hda``, ``vda``, …)."""

    tag = "disk"
    fixed = {"@type": Fixed(("file",)), "driver/@name": Fixed(("qemu",))}  # noqa: RUF012 - a constant of the class
    device: Annotated[DiskDevice, At("@device")] = DiskDevice.DISK
    format: Annotated[str, At("driver/@type", "image format")] = "raw"
    source: Annotated[str, At("source/@file")]
    target: Annotated[str, At("target/@dev")]
    bus: Annotated[DiskBus, At("target/@bus")] = DiskBus.VIRTIO
    readonly: Annotated[bool, At("readonly")] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.source.startswith("/"):
            raise InvalidArgument(f"the disk's source must be an absolute path, not {self.source!r}")
        if _index_of(self.target) is None and _PARTITION.fullmatch(self.target):
            raise InvalidArgument(f"the disk's target {self.target!r} is that of a partition; a whole disk has none of the digits")
        if self.index < 0 or self.index > MAX_INDEX:
            raise InvalidArgument(f"the disk's target {self.target!r} is not a device name like vda or hda")
        if self.format not in ("raw", "qcow2"):
            raise InvalidArgument(f"disk format {self.format!r} is not one of raw, qcow2")

    @property
    def index(self) -> int:
        """Which disk of its bus it is, by its target: vda is 0, vdz 25, vdaa 26 (libvirt's virDiskNameToIndex)."""
        index = _index_of(self.target)
        return -1 if index is None else index


def by_target(disks: Iterable[Disk], buses: Iterable[str | None]) -> list[Disk]:
    """In libvirt's order (virDomainDiskInsert): buses as they first appear, and by target within each. ``buses`` has one for each disk."""
    placed = list(zip(buses, disks, strict=True))
    rank = {bus: number for number, bus in enumerate(dict.fromkeys(bus for bus, _ in placed))}
    return [disk for _, disk in sorted(placed, key=lambda one: (rank[one[0]], one[1].index))]


def check_places(disks: Iterable[Disk]) -> None:
    """Raises InvalidArgument where two disks have one target, or one place: on IDE the target names the place, whatever it begins with."""
    targets: set[str] = set()
    places: dict[int, str] = {}
    for disk in disks:
        if disk.target in targets:
            raise InvalidArgument(f"two disks have the target {disk.target!r}")
        targets.add(disk.target)
        if disk.bus is DiskBus.IDE and (other := places.setdefault(disk.index, disk.target)) != disk.target:
            raise InvalidArgument(f"two disks have one place on the IDE bus: {other!r} and {disk.target!r}")
