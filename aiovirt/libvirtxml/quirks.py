"""What of a domain's XML no table says: where one thing depends on another. Each is settled by one function, here."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import count
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeVar, cast

from msgspec.structs import force_setattr, replace

from aiovirt.errors import InvalidArgument, XMLInvalid
from aiovirt.libvirtxml.document import MAX_DEPTH, SPACE, read, text_of
from aiovirt.libvirtxml.reader import Found, Hook, Reader, need
from aiovirt.libvirtxml.writer import Turn
from aiovirt.model.devices.console import Console, ConsoleTarget
from aiovirt.model.devices.device import Device
from aiovirt.model.devices.disk import Disk, DiskBus, DiskDevice, by_target
from aiovirt.model.devices.memballoon import MemBalloon, MemBalloonModel
from aiovirt.model.devices.serial import CharacterDevice, Chardev, Serial
from aiovirt.model.element import Element
from aiovirt.model.spec import DomainSpec, OsSpec

if TYPE_CHECKING:
    from lxml.etree import _Element as Node

__all__ = ["HOOKS", "TURNS"]

T = TypeVar("T", bound=Element)

_BUSES: Final = {"hd": DiskBus.IDE, "vd": DiskBus.VIRTIO}
"""The bus that libvirt takes a disk to be on, by its target, where the XML does not say."""


# -- reading -----------------------------------------------------------------------------------


def _disk(reader: Reader, node: Node, found: Found) -> None:
    if found.get("device") is DiskDevice.CDROM and node.find("source") is None:
        reader.refuse(node, "a drive with nothing in it")
        found["source"] = None
    if "target" not in found:
        need(node, "target/@dev")
    if "bus" not in found:
        if (bus := _BUSES.get(str(found["target"])[:2])) is None:
            need(node, "target/@bus")
        found["bus"] = bus


def _character_device(reader: Reader, node: Node, found: Found) -> None:
    """Of a pty the path is the host's to choose: libvirt writes it, and does not read it."""
    if "type" not in found:
        need(node, "@type")
    kind = found["type"]
    if kind is Chardev.PTY:
        found.pop("path", None)
    if kind is Chardev.UNIX:
        found.setdefault("listen", False)
    for field, attribute, those in _OF_CHARDEV:
        if field in found and kind not in those:
            found.pop(field)
            if kind is not None:
                reader.refuse(source if (source := node.find("source")) is not None else node, f"a {kind} has none", attribute)
    if kind in (Chardev.FILE, Chardev.UNIX) and "path" not in found:
        need(node, "source/@path")


_OF_CHARDEV: Final = (
    ("path", "path", (Chardev.FILE, Chardev.UNIX)),
    ("listen", "mode", (Chardev.UNIX,)),
    ("append", "append", (Chardev.FILE,)),
)


def _os(reader: Reader, node: Node, found: Found) -> None:
    del reader, found
    need(node, "type")


def _domain(reader: Reader, node: Node, found: Found) -> None:
    if "os" not in found:
        need(node, "os")
    if found.get("current_memory") == found.get("memory"):
        found.pop("current_memory", None)
    if devices := found.get("devices"):
        _consoles(reader, node, devices)
        _ports(devices)
        devices[:] = [device for device in devices if device != _NO_BALLOON]
        _sorted_disks(node, devices)


_NO_BALLOON: Final = MemBalloon(model=MemBalloonModel.NONE)
"""A domain has none unless it is said. libvirt would add one, so that there is none is written."""


def _consoles(reader: Reader, node: Node, devices: list[Device | None]) -> None:
    """A console on a serial port is the first port's other name; where it stands alone, it is the first port."""
    serials = [device for device in devices if isinstance(device, Serial)]
    number = -1
    for at, device in enumerate(devices):
        if not isinstance(device, Console):
            continue
        number += 1
        if device.target is not ConsoleTarget.SERIAL:
            devices[at] = replace(device, port=None) if device.port == number else device
            continue
        port = _as_serial(device)
        devices[at] = None
        if not serials:
            serials.append(port)
            devices[at] = port
        elif number or not _is_same(device, serials[0]):
            reader.refuse(node.findall("devices/console")[number], "a console is the first serial port and nothing else")


def _is_same(console: Console, port: Serial) -> bool:
    """Whether the console is the first serial port, by the port's number or as the first console."""
    return _as_serial(console) == replace(_unnumbered(port), port=None) and (console.port or 0) in (0, port.port or 0)


def _as_serial(console: Console) -> Serial:
    fields = {name: getattr(console, name) for name in CharacterDevice.__struct_fields__ if name not in ("kept", "alias", "address")}
    return _unnumbered(Serial(**fields))


def _unnumbered(port: Serial) -> Serial:
    return replace(port, port=port.port or None, kept=(), alias=None, address=None)


def _ports(devices: list[Device | None]) -> None:
    """A port's number is what it is anyway, where it says its own."""
    number = 0
    for at, device in enumerate(devices):
        if isinstance(device, Serial):
            if device.port == number:
                devices[at] = replace(device, port=None)
            number += 1


def _sorted_disks(node: Node, devices: list[Device | None]) -> None:
    """libvirt sorts disks before it takes a bus for granted."""
    said = [target.get("bus") for target in node.iterfind("devices/disk/target")]
    disks = [device for device in devices if isinstance(device, Disk)]
    if len(said) == len(disks):
        placed = iter(by_target(disks, said))
        devices[:] = [next(placed) if isinstance(device, Disk) else device for device in devices]


HOOKS: Final[Mapping[type[Element], Hook]] = MappingProxyType(
    {Disk: _disk, Serial: _character_device, Console: _character_device, OsSpec: _os, DomainSpec: _domain}
)

# -- writing -----------------------------------------------------------------------------------


def _shown(value: T, **fields: object) -> T:
    """``value`` with other ``fields``, which nobody looks at but the writer."""
    shown = copy.copy(value)
    for name, field in fields.items():
        force_setattr(shown, name, field)
    return shown


def _written_port(port: CharacterDevice) -> CharacterDevice:
    """Only a socket is listened at, or connected to."""
    return port if port.type is Chardev.UNIX else _shown(port, listen=None)


def _written_domain(spec: DomainSpec) -> DomainSpec:
    metadata = spec.metadata
    if metadata:
        metadata = _once_alone(metadata) if len(metadata) < SHORT else _standing_alone(metadata)
    memory = spec.current_memory or spec.memory
    return _shown(spec, current_memory=memory, metadata=metadata, devices=tuple(_written_devices(spec)))


SHORT: Final = 4096


@lru_cache(128)
def _once_alone(metadata: str) -> str | None:
    """The same, made once of each text that is short."""
    return _standing_alone(metadata)


def _standing_alone(metadata: str) -> str | None:
    """In the form in which it is read back."""
    try:
        root = read(f"<metadata>{metadata}</metadata>", depth=MAX_DEPTH - 1)
        if text_of(root).strip(SPACE):
            raise InvalidArgument("the metadata has text that is in no element")
        return Reader().inner(root)
    except XMLInvalid as error:
        raise InvalidArgument(f"the metadata is not XML that a domain can keep: {error}") from error


def _written_devices(spec: DomainSpec) -> list[Device]:
    """The serial ports and consoles with their numbers, and the first port's other name behind the last, before all other consoles."""
    devices = _numbered(spec.devices, Serial, 0)
    ports = [at for at, device in enumerate(devices) if isinstance(device, Serial)]
    if ports:
        first = devices[ports[0]]
        consoles = [at for at, device in enumerate(devices) if isinstance(device, Console)]
        devices = _numbered(devices, Console, 1)
        devices.insert(min([ports[-1] + 1, *consoles]), _as_console(cast("Serial", first)))
    else:
        devices = _numbered(devices, Console, 0)
    return devices if spec.of(MemBalloon) else [*devices, _NO_BALLOON]


def _numbered(devices: Iterable[Device], kind: type[Serial | Console], first: int) -> list[Device]:
    """Those of one kind with the ports that they have anyway, counted from ``first``."""
    numbers = count(first)
    return [_with_port(device, next(numbers)) if isinstance(device, kind) else device for device in devices]


def _with_port(device: Serial | Console, number: int) -> Device:
    return device if device.port is not None else _shown(device, port=number)


def _as_console(port: Serial) -> Console:
    return Console(type=port.type, listen=port.listen, path=port.path, append=port.append, port=port.port)


TURNS: Final[Mapping[type[Element], Turn]] = MappingProxyType({Serial: _written_port, Console: _written_port, DomainSpec: _written_domain})
