"""What a domain is to be: the values that ``define``, ``create`` and ``run`` take.

They are frozen, and refuse at construction what cannot be meant. Text is taken for the member of an enum, and a list for a
tuple. Sizes are bytes. Names and defaults are those of libvirt's domain XML (https://libvirt.org/formatdomain.html). Devices
are in :mod:`aiovirt.model.devices`.
"""

from __future__ import annotations

import builtins
import re
from collections.abc import Iterable, Sequence
from enum import StrEnum
from functools import partial
from typing import Annotated, Final, TypeVar
from uuid import UUID

from msgspec.structs import force_setattr

from aiovirt.errors import InvalidArgument
from aiovirt.model.clock import Clock
from aiovirt.model.cpu import Cpu
from aiovirt.model.devices.device import Device
from aiovirt.model.devices.disk import Disk, by_target, check_places
from aiovirt.model.devices.serial import Serial
from aiovirt.model.element import At, Element, Fixed, kept_within
from aiovirt.model.openenum import OpenEnum
from aiovirt.model.power import PowerManagement
from aiovirt.model.units import KiB, MiB, TiB

__all__ = ["Action", "DomainSpec", "OsSpec", "VirtType", "check_name"]

D = TypeVar("D", bound=Device)

MAX_NAME_BYTES: Final = 200
MAX_VCPUS: Final = 4096

_WORD: Final = re.compile("[A-Za-z0-9_][A-Za-z0-9_.-]*")


class VirtType(OpenEnum):
    """``<domain type=…>``: kvm (hardware), qemu (TCG, in software), test (in memory), and those of hypervisors that are not here.

    It is the driver that says which it runs: one outside of aiovirt may have a type of its own.
    """

    KVM = "kvm"
    QEMU = "qemu"
    TEST = "test"
    BHYVE = "bhyve"
    HVF = "hvf"
    HYPERV = "hyperv"
    LXC = "lxc"
    VBOX = "vbox"
    VMWARE = "vmware"
    VZ = "vz"
    XEN = "xen"


class Action(StrEnum):
    """What to do when the guest powers off, reboots or crashes."""

    DESTROY = "destroy"
    RESTART = "restart"
    PRESERVE = "preserve"


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


def _check_given(value: str | None) -> None:
    """Raises InvalidArgument for a value that is there and empty."""
    if value is not None and not value.strip():
        raise InvalidArgument("what is given here must not be empty")


def _check_vcpus(vcpus: int) -> None:
    if not 1 <= vcpus <= MAX_VCPUS:
        raise InvalidArgument(f"{vcpus} vcpus: must be 1 to {MAX_VCPUS}")


def _check_title(title: str | None) -> None:
    if title is not None and "\n" in title:
        raise InvalidArgument("a title is one line")


def _check_boot(boot: tuple[str, ...]) -> None:
    if not boot:
        raise InvalidArgument("a domain needs a device to boot from")
    for device in boot:
        if device not in ("hd", "cdrom", "network", "fd"):
            raise InvalidArgument(f"boot device {device!r} is not one of hd, cdrom, network, fd")


def _check_word(value: str, what: str) -> None:
    if not _WORD.fullmatch(value):
        raise InvalidArgument(f"{value!r} is not the name of {what}")


def _check_memory(memory: int) -> None:
    if 0 < memory < MiB:
        hint = f"did you mean {memory} * MiB?" if memory < 64 * KiB else f"did you mean {memory // KiB} * MiB?"
        raise InvalidArgument(f"memory is in bytes, and {memory} bytes is under 1 MiB: {hint}")
    if memory <= 0 or memory > 64 * TiB:
        raise InvalidArgument(f"memory of {memory} bytes is not possible")


class OsSpec(Element, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """How it boots: from its disks in ``boot`` order, or straight into ``kernel``."""

    tag = "os"
    fixed = {"type": Fixed(("hvm",))}  # noqa: RUF012 - a constant of the class
    arch: Annotated[str, At("type/@arch")] = "x86_64"
    machine: Annotated[str, At("type/@machine")] = "pc"
    kernel: Annotated[str | None, At("kernel", "filled")] = None
    initrd: Annotated[str | None, At("initrd", "filled")] = None
    cmdline: Annotated[str | None, At("cmdline")] = None
    boot: Annotated[tuple[str, ...], At("boot/@dev")] = ("hd",)
    checks = {  # noqa: RUF012 - a constant of the class
        "arch": partial(_check_word, what="an architecture"),
        "machine": partial(_check_word, what="a machine"),
        "boot": _check_boot,
        "kernel": _check_given,
        "initrd": _check_given,
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kernel is None and (self.initrd or self.cmdline):
            raise InvalidArgument("an initrd or a kernel command line needs a kernel")


def _check_devices(devices: Iterable[Device]) -> None:
    check_places(device for device in devices if isinstance(device, Disk))


class DomainSpec(Element, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """A whole domain. ``memory`` is in bytes: ``512 * MiB``.

    ``type`` None lets the driver choose the best the host has. ``metadata`` is kept as it was
    written. ``emulator`` None lets the driver find it. ``cpu`` and ``current_memory`` None are the driver's default and all of
    ``memory``. ``devices`` are a tuple (made of any list) in document order; the disks among them are put in libvirt's order,
    which is that of booting: sorted by target within their bus.
    """

    tag = "domain"
    fixed = {"@id": Fixed(form="number"), "vcpu/@placement": Fixed(("static",))}  # noqa: RUF012 - a constant of the class
    type: Annotated[VirtType | None, At("@type")] = None
    name: Annotated[str, At("name")]
    uuid: Annotated[UUID | None, At("uuid")] = None
    title: Annotated[str | None, At("title")] = None
    description: Annotated[str | None, At("description")] = None
    metadata: Annotated[str | None, At("metadata", "verbatim")] = None
    memory: Annotated[int, At("memory", "size")]
    current_memory: Annotated[int | None, At("currentMemory", "size")] = None
    vcpus: Annotated[int, At("vcpu")] = 1
    os: Annotated[OsSpec, At("os")] = OsSpec()
    acpi: Annotated[bool, At("features/acpi")] = True
    apic: Annotated[bool, At("features/apic")] = False
    pae: Annotated[bool, At("features/pae")] = False
    cpu: Annotated[Cpu | None, At("cpu")] = None
    clock: Annotated[Clock, At("clock")] = Clock()
    on_poweroff: Annotated[Action, At("on_poweroff")] = Action.DESTROY
    on_reboot: Annotated[Action, At("on_reboot")] = Action.RESTART
    on_crash: Annotated[Action, At("on_crash")] = Action.DESTROY
    pm: Annotated[PowerManagement | None, At("pm")] = None
    emulator: Annotated[str | None, At("devices/emulator", "filled")] = None
    devices: Annotated[Sequence[Device], At("devices/*")] = ()
    checks = {  # noqa: RUF012 - a constant of the class
        "name": check_name,
        "memory": _check_memory,
        "vcpus": _check_vcpus,
        "title": _check_title,
        "emulator": _check_given,
        "devices": _check_devices,
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        disks = iter(by_target(self.disks, [disk.bus for disk in self.disks]))
        force_setattr(self, "devices", tuple([next(disks) if isinstance(device, Disk) else device for device in self.devices]))

    def of(self, kind: builtins.type[D]) -> tuple[D, ...]:
        """Its devices of one kind, in their order."""
        return tuple([device for device in self.devices if isinstance(device, kind)])

    @property
    def disks(self) -> tuple[Disk, ...]:
        """Its disks, in the order of booting."""
        return self.of(Disk)

    @property
    def serials(self) -> tuple[Serial, ...]:
        """Its serial ports, in their order."""
        return self.of(Serial)

    def unknown(self) -> tuple[str, ...]:
        """The paths of all that its XML says and neither aiovirt nor libvirt knows: it is kept, and changes nothing."""
        return tuple(kept_within(self, "/domain"))
