"""A domain's XML <-> DomainSpec."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from lxml import etree

from aiovirt.errors import SHOWN, ConfigUnsupported, Error, InvalidArgument, Place, XMLInvalid
from aiovirt.libvirtxml.document import MAX_BYTES, line_of, name_of, path_of, read
from aiovirt.libvirtxml.quirks import HOOKS, TURNS
from aiovirt.libvirtxml.reader import Reader, locate, place_of
from aiovirt.libvirtxml.writer import write
from aiovirt.model.spec import DomainSpec

if TYPE_CHECKING:
    from lxml.etree import _Element

__all__ = ["parse", "parse_partly", "render"]


Check = Callable[[DomainSpec], object]
"""What raises ConfigUnsupported for a domain that a driver cannot give."""


def parse(xml: str | bytes, *, check: Check | None = None, validate: bool = False) -> DomainSpec:
    """The domain that ``xml`` describes. A ``uuid`` or ``type`` that it does not give is None.

    What neither aiovirt nor libvirt knows is kept (:meth:`~aiovirt.model.spec.DomainSpec.unknown`), unless ``validate``.
    ``check`` is asked about the domain, too; what it refuses gets its lines.
    A domain's ``id`` is let pass, as libvirt does. Memory is rounded up to a KiB. ``line`` is where an element's start tag ends.

    Raises XMLInvalid (with path and line) for what cannot be meant, ConfigUnsupported (with all places, and their lines) for
    what aiovirt cannot give, and nothing else.
    """
    root = read(xml)
    if root.tag != "domain":
        raise XMLInvalid(f"a domain's XML is a <domain>, not a <{name_of(root)}>", path=path_of(root), line=line_of(root))
    reader = Reader(HOOKS)
    spec = reader.read(DomainSpec, root)
    if validate and reader.unknown:
        raise XMLInvalid(_unknown(reader.unknown), path=reader.unknown[0].path, line=reader.unknown[0].line)
    places = [*reader.unsupported, *(_refused(spec, check, root, reader.unsupported) if check is not None and spec is not None else [])]
    if places:
        raise ConfigUnsupported.of(places)
    assert isinstance(spec, DomainSpec)
    return spec


def _refused(spec: DomainSpec, check: Check, root: _Element, unsupported: list[Place]) -> list[Place]:
    try:
        check(spec)
    except ConfigUnsupported as error:
        if not error.places and not unsupported:
            raise
        return [_located(place, root) for place in error.places or [Place("/domain", None, error.message)]]
    return []


def _located(place: Place, root: _Element) -> Place:
    """The place with its line, as far as the XML goes there: what is wrong may be what it does not say."""
    node, attribute = locate(root, place.path.removeprefix("/domain").lstrip("/") or ".")
    return place_of(node, attribute if attribute in node.keys() else None, place.why)  # noqa: SIM118 - it is no dict


def _unknown(places: list[Place]) -> str:
    others = ", ".join(map(str, places[1:SHOWN]))
    return "libvirt has nothing of this name" + (f", nor of these: {others}" if others else "")


def parse_partly(xml: str) -> DomainSpec:
    """The domain that ``xml`` describes, without its devices and without whatever else cannot be read.

    It is of a newer version, and no definition to start anything from. Raises XMLInvalid for what is no XML, or has no name or memory.
    """
    root = read(xml)
    own = {tag: [child for child in root if child.tag == tag] for tag in (*_NEEDED, *_OWN)}
    readable = [child for tag in _NEEDED for child in own[tag]]
    spec = _read_these(readable)
    for tag in _OWN:
        try:
            spec = _read_these([*readable, *own[tag]])
        except Error:
            continue  # it is the newer version's, and stays in the text that is kept
        readable += own[tag]
    return spec


_NEEDED: Final = ("name", "memory")
_OWN: Final = ("uuid", "title", "on_poweroff", "on_reboot", "on_crash")


def _read_these(children: list[_Element]) -> DomainSpec:
    root = etree.Element("domain")
    root.extend([copy.deepcopy(child) for child in children])
    reader = Reader()
    spec = reader.read(DomainSpec, root)
    if reader.unsupported:
        raise ConfigUnsupported.of(reader.unsupported)
    assert isinstance(spec, DomainSpec)
    return spec


def render(spec: DomainSpec, *, id: int | None = None) -> str:  # noqa: A002 - libvirt's own name for it
    """``spec`` as XML that :func:`parse` and libvirt read back; ``id`` is that of a running domain.

    Memory is rounded up to a KiB. Raises InvalidArgument for what XML cannot say: a character that
    it cannot carry, metadata that is not XML, over 1 MiB of text.
    """
    text = write(spec, TURNS, **({} if id is None else {"id": str(id)}))
    if len(text.encode()) > MAX_BYTES:
        raise InvalidArgument(f"the domain's XML has more than {MAX_BYTES} bytes")
    return text
