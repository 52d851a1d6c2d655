"""What a domain is to be: the values that ``define``, ``create`` and ``run`` take.

They are frozen, and refuse at construction what cannot be meant. Text is taken for the member of an enum, and a list for a
tuple. Sizes are bytes. Names and
defaults are those of libvirt's domain XML (https://libvirt.org/formatdomain.html).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Final
from uuid import UUID

from msgspec import Struct
from msgspec.structs import force_setattr

from aiovirt.errors import InvalidArgument
from aiovirt.model.fields import settle_fields
from aiovirt.model.units import KiB, MiB, TiB

__all__ = [
    "Action",
    "Chardev",
    "DiskBus",
    "DiskDevice",
    "DiskSpec",
    "DomainSpec",
    "OsSpec",
    "SerialSpec",
    "VirtType",
    "by_target",
    "check_name",
]

MAX_NAME_BYTES: Final = 200
MAX_VCPUS: Final = 4096
MAX_INDEX: Final = 2**31 - 1

_TARGET: Final = re.compile("(?:hd|sd|ubd|vd|xvd)([a-z]+)")
_PARTITION: Final = re.compile(_TARGET.pattern + "[0-9]+")
_MACHINE: Final = re.compile("[A-Za-z0-9_][A-Za-z0-9_.-]*")


class VirtType(StrEnum):
    """``<domain type=…>``: kvm (hardware), qemu (TCG, in software), test (in memory)."""

    KVM = "kvm"
    QEMU = "qemu"
    TEST = "test"


class Action(StrEnum):
    """What to do when the guest powers off, reboots or crashes."""

    DESTROY = "destroy"
    RESTART = "restart"
    PRESERVE = "preserve"


class DiskBus(StrEnum):
    """``<target bus=…>``."""

    IDE = "ide"
    VIRTIO = "virtio"


class DiskDevice(StrEnum):
    """``<disk device=…>``."""

    DISK = "disk"
    CDROM = "cdrom"


class Chardev(StrEnum):
    """What stands behind a serial port (``<serial type=…>``)."""

    NULL = "null"
    FILE = "file"
    PTY = "pty"
    UNIX = "unix"


def check_name(name: str) -> None:
    """Raises InvalidArgument unless ``name`` can name a domain (libvirt's rules, and a file's)."""
    if not name or name.isspace():
        raise InvalidArgument("a domain needs a name")
    if "/" in name or name in (".", ".."):
        raise InvalidArgument(f"the name {name!r} may not contain '/' nor be a folder's own")
    if len(name.encode(errors="surrogatepass")) > MAX_NAME_BYTES:
        raise InvalidArgument(f"a domain's name has at most {MAX_NAME_BYTES} bytes")
    if not name.isprintable():
        raise InvalidArgument(f"the name {name!r} has characters that cannot be printed")


def _check_given(**values: str | None) -> None:
    """Raises InvalidArgument for a value that is there and empty."""
    for what, value in values.items():
        if value is not None and not value.strip():
            raise InvalidArgument(f"an empty {what} is none")


def _check_memory(memory: int) -> None:
    if 0 < memory < MiB:
        hint = f"did you mean {memory} * MiB?" if memory < 64 * KiB else f"did you mean {memory // KiB} * MiB?"
        raise InvalidArgument(f"memory is in bytes, and {memory} bytes is under 1 MiB: {hint}")
    if memory <= 0 or memory > 64 * TiB:
        raise InvalidArgument(f"memory of {memory} bytes is not possible")


class OsSpec(Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """How it boots: from its disks in ``boot`` order, or straight into ``kernel``."""

    arch: str = "x86_64"
    machine: str = "pc"
    boot: tuple[str, ...] = ("hd",)
    kernel: str | None = None
    initrd: str | None = None
    cmdline: str | None = None

    def __post_init__(self) -> None:
        settle_fields(self)
        _check_given(arch=self.arch, machine=self.machine, kernel=self.kernel, initrd=self.initrd)
        for what, value in (("an architecture", self.arch), ("a machine", self.machine)):
            if not _MACHINE.fullmatch(value):
                raise InvalidArgument(f"{value!r} is not the name of {what}")
        if not self.boot:
            raise InvalidArgument("a domain needs a device to boot from")
        for device in self.boot:
            if device not in ("hd", "cdrom", "network", "fd"):
                raise InvalidArgument(f"boot device {device!r} is not one of hd, cdrom, network, fd")
        if self.kernel is None and (self.initrd or self.cmdline):
            raise InvalidArgument("an initrd or a kernel command line needs a kernel")


class DiskSpec(Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """One disk: the file ``source`` as the guest's ``target`` (``hda``, ``vda``, …)."""

    source: str
    target: str
    bus: DiskBus = DiskBus.VIRTIO
    device: DiskDevice = DiskDevice.DISK
    format: str = "raw"
    readonly: bool = False

    def __post_init__(self) -> None:
        settle_fields(self)
        if not self.source.startswith("/"):
            raise InvalidArgument(f"the disk's source must be an absolute path, not {self.source!r}")
        if _PARTITION.fullmatch(self.target):
            raise InvalidArgument(f"the disk's target {self.target!r} is that of a partition; a whole disk has none of the digits")
        if not _TARGET.fullmatch(self.target) or self.index > MAX_INDEX:
            raise InvalidArgument(f"the disk's target {self.target!r} is not a device name like vda or hda")
        if self.format not in ("raw", "qcow2"):
            raise InvalidArgument(f"disk format {self.format!r} is not one of raw, qcow2")

    @property
    def index(self) -> int:
        """Which disk of its bus it is, by its target: vda is 0, vdz 25, vdaa 26 (libvirt's virDiskNameToIndex)."""
        found = _TARGET.fullmatch(self.target)
        number = 0
        for letter in found[1] if found else "":
            number = 26 * number + ord(letter) - ord("a") + 1
        return number - 1


def by_target(disks: Iterable[DiskSpec], buses: Iterable[DiskBus | None]) -> tuple[DiskSpec, ...]:
    """In libvirt's order (virDomainDiskInsert): buses as they first appear, and by target within each. ``buses`` has one for each disk."""
    placed = list(zip(buses, disks, strict=True))
    rank = {bus: number for number, bus in enumerate(dict.fromkeys(bus for bus, _ in placed))}
    return tuple(disk for _, disk in sorted(placed, key=lambda one: (rank[one[0]], one[1].index)))


class SerialSpec(Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """One serial port.

    ``path`` is the file (FILE) or socket (UNIX); with UNIX, ``listen`` says whether QEMU makes the
    socket (libvirt's ``mode='bind'``) or connects to one that is there (``mode='connect'``). With FILE, ``append``
    says whether a start adds to the file or begins it anew.
    """

    type: Chardev = Chardev.NULL
    path: str | None = None
    listen: bool = True
    append: bool = False

    def __post_init__(self) -> None:
        settle_fields(self)
        needs = self.type in (Chardev.FILE, Chardev.UNIX)
        if needs and not (self.path and self.path.startswith("/")):
            raise InvalidArgument(f"a serial port of type {self.type} needs an absolute path")
        if not needs and self.path is not None:
            raise InvalidArgument(f"a serial port of type {self.type} takes no path")
        if not self.listen and self.type is not Chardev.UNIX:
            raise InvalidArgument(f"a serial port of type {self.type} connects to nothing")
        if self.append and self.type is not Chardev.FILE:
            raise InvalidArgument(f"a serial port of type {self.type} has no file to add to")


def _check_places(disks: Iterable[DiskSpec]) -> None:
    """Raises InvalidArgument where two disks have one target, or one place: on IDE the target names the place, whatever it begins with."""
    targets: set[str] = set()
    places: dict[int, str] = {}
    for disk in disks:
        if disk.target in targets:
            raise InvalidArgument(f"two disks have the target {disk.target!r}")
        targets.add(disk.target)
        if disk.bus is DiskBus.IDE and (other := places.setdefault(disk.index, disk.target)) != disk.target:
            raise InvalidArgument(f"two disks have one place on the IDE bus: {other!r} and {disk.target!r}")


class DomainSpec(Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """A whole domain. ``memory`` is in bytes: ``512 * MiB``.

    ``type`` None lets the driver choose the best the host has. ``metadata`` is kept as it was
    written. ``emulator`` None lets the driver find it. ``disks`` are kept in libvirt's order, which is that of booting: sorted
    by target within their bus.
    """

    name: str
    memory: int
    vcpus: int = 1
    uuid: UUID | None = None
    type: VirtType | None = None
    title: str | None = None
    description: str | None = None
    metadata: str | None = None
    os: OsSpec = OsSpec()
    acpi: bool = True
    on_poweroff: Action = Action.DESTROY
    on_reboot: Action = Action.RESTART
    on_crash: Action = Action.DESTROY
    emulator: str | None = None
    disks: tuple[DiskSpec, ...] = ()
    serials: tuple[SerialSpec, ...] = ()

    def __post_init__(self) -> None:
        settle_fields(self)
        check_name(self.name)
        _check_memory(self.memory)
        if not 1 <= self.vcpus <= MAX_VCPUS:
            raise InvalidArgument(f"{self.vcpus} vcpus: must be 1 to {MAX_VCPUS}")
        if self.title is not None and "\n" in self.title:
            raise InvalidArgument("a title is one line")
        _check_given(emulator=self.emulator)
        force_setattr(self, "disks", by_target(self.disks, [disk.bus for disk in self.disks]))
        _check_places(self.disks)
