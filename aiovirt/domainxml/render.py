"""DomainSpec -> a domain's XML, as libvirt writes it: its order, its quotes, its indentation."""

from __future__ import annotations

from aiovirt.domainxml.document import MAX_BYTES, MAX_DEPTH, read
from aiovirt.domainxml.node import Node
from aiovirt.domainxml.parse import read_metadata
from aiovirt.domainxml.tags import Tag, Xml, leaf, written
from aiovirt.errors import ConfigUnsupported, InvalidArgument, XMLInvalid
from aiovirt.model.spec import Chardev, DiskSpec, DomainSpec, OsSpec, SerialSpec
from aiovirt.model.units import KiB

__all__ = ["render"]


def render(spec: DomainSpec, *, id: int | None = None) -> str:  # noqa: A002 - libvirt's own name for it
    """``spec`` as XML that :func:`parse` and libvirt read back; ``id`` is that of a running domain.

    Memory is rounded up to a KiB. Raises InvalidArgument for what XML cannot say: a character that
    it cannot carry, metadata that is not XML, over 1 MiB of text.
    """
    text = written(_domain(spec, id))
    if len(text.encode()) > MAX_BYTES:
        raise InvalidArgument(f"the domain's XML has more than {MAX_BYTES} bytes")
    return text


# -- elements ----------------------------------------------------------------------------------


def _domain(spec: DomainSpec, id: int | None) -> Tag:  # noqa: A002
    memory = str(-(-spec.memory // KiB))
    content = (
        Tag("name", {}, spec.name),
        *leaf("uuid", str(spec.uuid) if spec.uuid else None),
        *leaf("title", spec.title),
        *leaf("description", spec.description),
        *leaf("metadata", _metadata(spec.metadata)),
        Tag("memory", {"unit": "KiB"}, memory),
        Tag("currentMemory", {"unit": "KiB"}, memory),
        Tag("vcpu", {"placement": "static"}, str(spec.vcpus)),
        _os(spec.os),
        *((Tag("features", {}, (Tag("acpi"),)),) if spec.acpi else ()),
        Tag("clock", {"offset": "utc"}),
        Tag("on_poweroff", {}, spec.on_poweroff),
        Tag("on_reboot", {}, spec.on_reboot),
        Tag("on_crash", {}, spec.on_crash),
        _devices(spec),
    )
    return Tag("domain", {"type": spec.type, "id": None if id is None else str(id)}, content)


def _metadata(xml: str | None) -> str | None:
    """``xml`` in the form in which it is read back, on lines of its own; None where it is blank."""
    try:
        kept = Node(read(f"<metadata>{xml or ''}</metadata>", depth=MAX_DEPTH - 1)).read(read_metadata)
    except (XMLInvalid, ConfigUnsupported) as error:
        raise InvalidArgument(f"the metadata is not XML that a domain can keep: {error}") from error
    return kept and Xml(f"\n    {kept}\n  ")


def _os(os: OsSpec) -> Tag:
    content = (
        Tag("type", {"arch": os.arch, "machine": os.machine}, "hvm"),
        *leaf("kernel", os.kernel),
        *leaf("initrd", os.initrd),
        *leaf("cmdline", os.cmdline),
        *(Tag("boot", {"dev": device}) for device in os.boot),
    )
    return Tag("os", {}, content)


def _devices(spec: DomainSpec) -> Tag:
    content = (
        *leaf("emulator", spec.emulator),
        *map(_disk, spec.disks),
        *(_port("serial", None, index, serial) for index, serial in enumerate(spec.serials)),
        *(_port("console", "serial", 0, serial) for serial in spec.serials[:1]),
        Tag("memballoon", {"model": "none"}),
    )
    return Tag("devices", {}, content)


def _disk(disk: DiskSpec) -> Tag:
    content = (
        Tag("driver", {"name": "qemu", "type": disk.format}),
        Tag("source", {"file": disk.source}),
        Tag("target", {"dev": disk.target, "bus": disk.bus}),
        *((Tag("readonly"),) if disk.readonly else ()),
    )
    return Tag("disk", {"type": "file", "device": disk.device}, content)


def _port(name: str, kind: str | None, index: int, serial: SerialSpec) -> Tag:
    target = Tag("target", {"type": kind, "port": str(index)})
    return Tag(name, {"type": serial.type}, (*_port_source(serial), target))


def _port_source(serial: SerialSpec) -> tuple[Tag, ...]:
    if serial.type is Chardev.UNIX:
        mode = "bind" if serial.listen else "connect"
        return (Tag("source", {"mode": mode, "path": serial.path}),)
    append = "on" if serial.append else None
    return (Tag("source", {"path": serial.path, "append": append}),) if serial.path is not None else ()
