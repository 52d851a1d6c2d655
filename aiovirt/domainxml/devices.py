"""What ``<devices>`` holds that a DomainSpec knows: the emulator, disks and serial ports."""

from __future__ import annotations

import re
from functools import partial
from typing import Final, NamedTuple

from aiovirt.domainxml.inert import read_inert, read_placement
from aiovirt.domainxml.node import Node
from aiovirt.model.spec import Chardev, DiskBus, DiskDevice, DiskSpec, DomainSpec, SerialSpec, by_target
from aiovirt.model.units import MiB

__all__ = ["Devices", "read_devices"]

_BUSES: Final = {"hd": DiskBus.IDE, "vd": DiskBus.VIRTIO}
"""The bus that libvirt takes a disk to be on, by its target, where the XML does not say."""

_IDE_TARGET = re.compile("hd[a-d]")


class Devices(NamedTuple):
    """The devices of a domain, as the fields of DomainSpec."""

    emulator: str | None = None
    disks: tuple[DiskSpec, ...] = ()
    serials: tuple[SerialSpec, ...] = ()


def read_devices(arch: str, node: Node) -> Devices:
    """Reads ``<devices>`` of a domain for ``arch``."""
    read_inert(arch, node)
    emulator = node.child("emulator", Node.filled)
    read = [child.read(_disk) for child in node.take("disk")]
    disks = by_target([disk for disk, _ in read], [bus for _, bus in read])
    serials = _serials(node)
    DomainSpec(name="-", memory=MiB, disks=disks)
    return Devices(emulator, disks, serials)


# -- disks -------------------------------------------------------------------------------------


def _disk(node: Node) -> tuple[DiskSpec, DiskBus | None]:
    """The disk, and its bus where the XML says it: libvirt sorts disks before it takes a bus for granted."""
    node.choice("type", ("file",), "file")
    device = node.choice("device", DiskDevice, DiskDevice.DISK)
    target, bus, is_said = node.need("target", _target)
    read_placement(node, *_drive_addresses(bus, target))
    disk = DiskSpec(
        source=_source(node, device),
        target=target,
        bus=bus,
        device=device,
        format=node.child("driver", _format) or "raw",
        readonly=node.flag("readonly"),
    )
    return disk, bus if is_said else None


def _target(node: Node) -> tuple[str, DiskBus, bool]:
    """(target, bus, whether the bus is said)."""
    target, is_said = node.required("dev"), node.has("bus")
    return target, node.choice("bus", DiskBus, _BUSES.get(target[:2])), is_said


def _source(node: Node, device: DiskDevice) -> str:
    if device is DiskDevice.CDROM and node.element.find("source") is None:
        raise node.unsupported("a drive with nothing in it")
    return node.need("source", lambda source: source.required("file"))


def _format(node: Node) -> str:
    node.choice("name", ("qemu",), "qemu")
    return node.choice("type", ("raw", "qcow2"), "raw")


def _drive_addresses(bus: DiskBus, target: str) -> list[dict[str, str]]:
    """The one address on IDE that says nothing new: the one that follows from the target's name."""
    if bus is not DiskBus.IDE or not _IDE_TARGET.fullmatch(target):
        return []
    channel, unit = divmod("abcd".index(target[2]), 2)
    return [{"type": "drive", "controller": "0", "bus": str(channel), "target": "0", "unit": str(unit)}]


# -- serial ports ------------------------------------------------------------------------------


def _serials(node: Node) -> tuple[SerialSpec, ...]:
    """The serial ports.

    ``<console>`` is the first one's other name; where it stands alone, it is the first one (both as in libvirt).
    """
    serials = [child.read(partial(_port, index, "isa-serial")) for index, child in enumerate(node.take("serial"))]
    for index, child in enumerate(node.take("console")):
        console = child.read(partial(_port, index, "serial"))
        if not serials:
            serials.append(console)
        elif index or console != serials[0]:
            raise child.unsupported("a console is the first serial port and nothing else")
    return tuple(serials)


def _port(index: int, kind: str, node: Node) -> SerialSpec:
    """The ``index``th ``<serial>`` or ``<console>``, whose target is of ``kind``."""
    chardev = node.choice("type", Chardev)
    if chardev is Chardev.PTY:
        node.attribute("tty")
    node.child("target", partial(_port_target, index, kind))
    read_placement(node)
    path, listen, append = node.child("source", partial(_port_source, chardev)) or (None, True, False)
    return SerialSpec(type=chardev, path=path, listen=listen, append=append)


def _port_target(index: int, kind: str, node: Node) -> None:
    node.expect({"type": f"({kind})?", "port": f"({index})?"})
    node.child("model", lambda model: model.expect({"name": kind}))


def _port_source(chardev: Chardev, node: Node) -> tuple[str | None, bool, bool]:
    """(path, listen, append). The path of a pty is the host's to choose: libvirt writes it, and reads it not."""
    if chardev is Chardev.PTY:
        node.attribute("path")
    if chardev not in (Chardev.FILE, Chardev.UNIX):
        return None, True, False
    append = chardev is Chardev.FILE and node.choice("append", ("on", "off"), "off") == "on"
    listen = chardev is not Chardev.UNIX or node.choice("mode", ("bind", "connect"), "connect") == "bind"
    return node.required("path"), listen, append
