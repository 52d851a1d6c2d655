"""From a DomainSpec to QEMU's argv. Pure; every value is quoted for the option it goes into."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from uuid import UUID

import msgspec

from aiovirt.drivers.qemu.emulator import Emulator
from aiovirt.errors import ConfigUnsupported
from aiovirt.model.spec import Action, Chardev, DiskBus, DiskDevice, DiskSpec, DomainSpec, SerialSpec, VirtType
from aiovirt.model.units import KiB

__all__ = ["MONITOR", "check", "command_line"]

MONITOR: Final = "monitor"
"""The id that QEMU knows the chardev of our session by."""

_ACCELERATOR: Final = {VirtType.KVM: "kvm", VirtType.QEMU: "tcg"}
_SANDBOX: Final = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
_IDE_UNITS: Final = 4


def check(spec: DomainSpec) -> None:
    """Raises ConfigUnsupported for what this driver cannot give."""
    if spec.type not in _ACCELERATOR:
        raise ConfigUnsupported(f"a domain of type {str(spec.type)!r} is not run by QEMU")
    if spec.on_reboot is Action.PRESERVE:
        raise ConfigUnsupported("on_reboot 'preserve' is not possible with QEMU")
    if spec.on_poweroff is Action.RESTART and spec.on_reboot is Action.DESTROY:
        raise ConfigUnsupported("on_poweroff 'restart' is not possible with on_reboot 'destroy': a restart is a reboot")
    for disk in spec.disks:
        if disk.bus is DiskBus.IDE and disk.index >= _IDE_UNITS:
            raise ConfigUnsupported(f"the IDE bus has the targets hda to hdd, not {disk.target!r}")
        if disk.bus is DiskBus.IDE and disk.device is DiskDevice.DISK and disk.readonly:
            raise ConfigUnsupported(f"QEMU has no read-only IDE disk ({disk.target}); use virtio")
        if disk.bus is DiskBus.VIRTIO and disk.device is DiskDevice.CDROM:
            raise ConfigUnsupported(f"a CD-ROM ({disk.target}) cannot be on the virtio bus; use ide")


def command_line(spec: DomainSpec, uuid: UUID, *, emulator: Emulator, monitor_fd: int) -> list[str]:
    """The argv that runs ``spec``: stopped until told to go, and still there after the guest powers off.

    ``monitor_fd`` is a listening unix socket that QEMU inherits.
    """
    return [emulator.path, *_base(spec, uuid, emulator), *_monitor(monitor_fd), *_boot(spec), *_disks(spec), *_serials(spec)]


def _base(spec: DomainSpec, uuid: UUID, emulator: Emulator) -> Iterator[str]:
    kind = spec.type or VirtType.QEMU
    machine = f"{_comma(spec.os.machine)},accel={_ACCELERATOR[kind]}" + ("" if spec.acpi else ",acpi=off")
    threads = "" if emulator.names_its_threads else ",debug-threads=on"
    yield from ("-name", f"guest={_comma(spec.name)}{threads}")
    yield from ("-uuid", str(uuid))
    yield from ("-S", "-no-shutdown", "-no-user-config", "-nodefaults")
    yield from ("-display", "none", "-msg", "timestamp=on", "-sandbox", _SANDBOX)
    yield from ("-machine", machine)
    yield from ("-m", f"size={-(-spec.memory // KiB)}k", "-smp", str(spec.vcpus), "-rtc", "base=utc")
    if spec.on_reboot is Action.DESTROY:
        yield "-no-reboot"


def _monitor(fd: int) -> Iterator[str]:
    yield from ("-chardev", f"socket,id={MONITOR},fd={fd},server=on,wait=off")
    yield from ("-qmp", f"chardev:{MONITOR}")  # which 11.1 takes as 7.2 does; it calls -mon deprecated


def _boot(spec: DomainSpec) -> Iterator[str]:
    yield from ("-boot", "menu=off,strict=on")
    if spec.os.kernel is not None:
        yield from ("-kernel", spec.os.kernel)
    if spec.os.initrd is not None:
        yield from ("-initrd", spec.os.initrd)
    if spec.os.cmdline is not None:
        yield from ("-append", spec.os.cmdline)


def _disks(spec: DomainSpec) -> Iterator[str]:
    order = _boot_order(spec)
    for number, disk in enumerate(spec.disks):
        storage, node = f"disk{number}-storage", f"disk{number}-format"
        readonly = disk.readonly or disk.device is DiskDevice.CDROM
        yield from ("-blockdev", _json(driver="file", filename=disk.source, **{"node-name": storage, "read-only": readonly}))
        yield from ("-blockdev", _json(driver=disk.format, file=storage, **{"node-name": node, "read-only": readonly}))
        boot = {"bootindex": order[disk.target]} if disk.target in order else {}
        yield from ("-device", _json(**_disk_device(disk), drive=node, id=f"disk-{disk.target}", **boot))


def _disk_device(disk: DiskSpec) -> dict[str, str | int]:
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


def _serials(spec: DomainSpec) -> Iterator[str]:
    for number, serial in enumerate(spec.serials):
        yield from ("-chardev", f"{_backend(serial)},id=serial{number}")
        yield from ("-device", _json(driver="isa-serial", chardev=f"serial{number}", index=number))


def _backend(serial: SerialSpec) -> str:
    path = _comma(serial.path or "")
    match serial.type:
        case Chardev.FILE:
            return f"file,path={path},append={'on' if serial.append else 'off'}"
        case Chardev.UNIX if serial.listen:
            return f"socket,path={path},server=on,wait=off"
        case Chardev.UNIX:
            return f"socket,path={path},server=off"
        case other:
            return str(other)


def _comma(value: str) -> str:
    """``value`` inside one of QEMU's key=value options, where a comma is doubled."""
    return value.replace(",", ",,")


def _json(**members: object) -> str:
    return msgspec.json.encode(members).decode()
