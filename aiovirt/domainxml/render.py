"""DomainSpec -> a domain's XML, as libvirt writes it: its order, its quotes, its indentation."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from aiovirt.domainxml.document import MAX_BYTES, MAX_DEPTH, read
from aiovirt.domainxml.node import Node
from aiovirt.domainxml.parse import read_metadata
from aiovirt.errors import ConfigUnsupported, InvalidArgument, XMLInvalid
from aiovirt.model.spec import Chardev, DiskSpec, DomainSpec, OsSpec, SerialSpec
from aiovirt.model.units import KiB

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["render"]

_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_IN_TEXT: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&apos;", "\r": "&#13;"})
_IN_ATTRIBUTE: Final = _IN_TEXT | str.maketrans({"\n": "&#10;", "\t": "&#9;"})


class _Xml(str):
    """Text that is XML already."""

    __slots__ = ()


class _Tag(NamedTuple):
    """An element to write; attributes that are None are left out."""

    name: str
    attributes: Mapping[str, str | None] = {}
    content: str | tuple[_Tag, ...] = ()


def render(spec: DomainSpec, *, id: int | None = None) -> str:  # noqa: A002 - libvirt's own name for it
    """``spec`` as XML that :func:`parse` and libvirt read back; ``id`` is that of a running domain.

    Memory is rounded up to a KiB. Raises InvalidArgument for what XML cannot say: a character that
    it cannot carry, metadata that is not XML, over 1 MiB of text.
    """
    text = "".join(f"{line}\n" for line in _lines(_domain(spec, id), ""))
    if len(text.encode()) > MAX_BYTES:
        raise InvalidArgument(f"the domain's XML has more than {MAX_BYTES} bytes")
    return text


# -- text --------------------------------------------------------------------------------------


def _lines(tag: _Tag, indent: str) -> Iterator[str]:
    start = indent + "<" + tag.name + "".join(_attributes(tag))
    if tag.content == ():
        yield f"{start}/>"
    elif isinstance(tag.content, str):
        yield f"{start}>{_text(tag.content)}</{tag.name}>"
    else:
        yield f"{start}>"
        for child in tag.content:
            yield from _lines(child, f"{indent}  ")
        yield f"{indent}</{tag.name}>"


def _attributes(tag: _Tag) -> Iterator[str]:
    for name, value in tag.attributes.items():
        if value is not None:
            yield f" {name}='{_carried(value).translate(_IN_ATTRIBUTE)}'"


def _text(text: str) -> str:
    return text if isinstance(text, _Xml) else _carried(text).translate(_IN_TEXT)


def _carried(text: str) -> str:
    if found := _NO_XML.search(text):
        raise InvalidArgument(f"XML cannot carry the character {found[0]!r}")
    return text


# -- elements ----------------------------------------------------------------------------------


def _domain(spec: DomainSpec, id: int | None) -> _Tag:  # noqa: A002
    memory = str(-(-spec.memory // KiB))
    content = (
        _Tag("name", {}, spec.name),
        *_leaf("uuid", str(spec.uuid) if spec.uuid else None),
        *_leaf("title", spec.title),
        *_leaf("description", spec.description),
        *_leaf("metadata", _metadata(spec.metadata)),
        _Tag("memory", {"unit": "KiB"}, memory),
        _Tag("currentMemory", {"unit": "KiB"}, memory),
        _Tag("vcpu", {"placement": "static"}, str(spec.vcpus)),
        _os(spec.os),
        *((_Tag("features", {}, (_Tag("acpi"),)),) if spec.acpi else ()),
        _Tag("clock", {"offset": "utc"}),
        _Tag("on_poweroff", {}, spec.on_poweroff),
        _Tag("on_reboot", {}, spec.on_reboot),
        _Tag("on_crash", {}, spec.on_crash),
        _devices(spec),
    )
    return _Tag("domain", {"type": spec.type, "id": None if id is None else str(id)}, content)


def _leaf(name: str, text: str | None) -> tuple[_Tag, ...]:
    return () if text is None else (_Tag(name, {}, text),)


def _metadata(xml: str | None) -> str | None:
    """``xml`` in the form in which it is read back, on lines of its own; None where it is blank."""
    try:
        kept = Node(read(f"<metadata>{xml or ''}</metadata>", depth=MAX_DEPTH - 1)).read(read_metadata)
    except (XMLInvalid, ConfigUnsupported) as error:
        raise InvalidArgument(f"the metadata is not XML that a domain can keep: {error}") from error
    return kept and _Xml(f"\n    {kept}\n  ")


def _os(os: OsSpec) -> _Tag:
    content = (
        _Tag("type", {"arch": os.arch, "machine": os.machine}, "hvm"),
        *_leaf("kernel", os.kernel),
        *_leaf("initrd", os.initrd),
        *_leaf("cmdline", os.cmdline),
        *(_Tag("boot", {"dev": device}) for device in os.boot),
    )
    return _Tag("os", {}, content)


def _devices(spec: DomainSpec) -> _Tag:
    content = (
        *_leaf("emulator", spec.emulator),
        *map(_disk, spec.disks),
        *(_port("serial", None, index, serial) for index, serial in enumerate(spec.serials)),
        *(_port("console", "serial", 0, serial) for serial in spec.serials[:1]),
        _Tag("memballoon", {"model": "none"}),
    )
    return _Tag("devices", {}, content)


def _disk(disk: DiskSpec) -> _Tag:
    content = (
        _Tag("driver", {"name": "qemu", "type": disk.format}),
        _Tag("source", {"file": disk.source}),
        _Tag("target", {"dev": disk.target, "bus": disk.bus}),
        *((_Tag("readonly"),) if disk.readonly else ()),
    )
    return _Tag("disk", {"type": "file", "device": disk.device}, content)


def _port(name: str, kind: str | None, index: int, serial: SerialSpec) -> _Tag:
    target = _Tag("target", {"type": kind, "port": str(index)})
    return _Tag(name, {"type": serial.type}, (*_port_source(serial), target))


def _port_source(serial: SerialSpec) -> tuple[_Tag, ...]:
    if serial.type is Chardev.UNIX:
        mode = "bind" if serial.listen else "connect"
        return (_Tag("source", {"mode": mode, "path": serial.path}),)
    return (_Tag("source", {"path": serial.path}),) if serial.path is not None else ()
