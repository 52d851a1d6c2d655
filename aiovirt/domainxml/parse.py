"""A domain's XML -> DomainSpec: the domain's own elements. Its devices are read in ``devices``."""

from __future__ import annotations

import re
from functools import partial
from typing import Any, Final
from uuid import UUID

from msgspec.structs import replace

from aiovirt.domainxml.devices import Devices, read_devices
from aiovirt.domainxml.document import name_of, read
from aiovirt.domainxml.inert import is_x86, read_clock, read_cpu
from aiovirt.domainxml.node import Node, Reader
from aiovirt.model.spec import Action, DomainSpec, OsSpec, VirtType
from aiovirt.model.units import KiB, MiB

__all__ = ["OWN_READERS", "parse", "read_metadata"]

_BLANK: Final = DomainSpec(name="-", memory=MiB)
"""What the model takes where the XML says nothing. One field of it is replaced to have the model
judge that field where it stands, so that its refusal carries the right path and line."""

_UUID = re.compile("[0-9a-fA-F]{8}(-?)(?:[0-9a-fA-F]{4}\\1){3}[0-9a-fA-F]{12}")

_UNITS: Final = {"b": 1, "byte": 1, "bytes": 1} | {
    letter + suffix: base**power
    for power, letter in enumerate("kmgtpe", start=1)
    for suffix, base in (("", 1024), ("ib", 1024), ("b", 1000))
}
"""libvirt's units of memory (virScaleInteger), which are the same in small and in capital letters."""


def parse(xml: str | bytes) -> DomainSpec:
    """The domain that ``xml`` describes. A ``uuid`` or ``type`` that it does not give is None.

    A domain's ``id`` is let pass, as libvirt does. Memory is rounded up to a KiB. ``line`` is where
    an element's start tag ends.

    Raises XMLInvalid (with path and line) for what cannot be meant, ConfigUnsupported (its message
    names path and line) for what aiovirt cannot give, and nothing else.
    """
    root = Node(read(xml))
    if root.element.tag != "domain":
        raise root.invalid(f"a domain's XML is a <domain>, not a <{name_of(root.element)}>")
    return root.read(_domain)


def _domain(node: Node) -> DomainSpec:
    if node.has("id"):
        node.number("id")
    memory = node.need("memory", _memory)
    node.child("currentMemory", partial(_same_memory, memory))
    os = node.need("os", _os)
    node.child("cpu", partial(read_cpu, os.arch))
    node.child("clock", read_clock)
    devices = node.child("devices", partial(read_devices, os.arch)) or Devices()
    return DomainSpec(
        type=node.choice("type", VirtType) if node.has("type") else None,
        name=node.need("name", _name),
        uuid=node.child("uuid", _uuid),
        title=node.child("title", _title),
        description=node.child("description", Node.text),
        metadata=node.child("metadata", read_metadata),
        memory=memory,
        vcpus=node.child("vcpu", _vcpus) or _BLANK.vcpus,
        os=os,
        acpi=node.child("features", partial(_features, os.arch)) or False,
        on_poweroff=node.child("on_poweroff", _action) or _BLANK.on_poweroff,
        on_reboot=node.child("on_reboot", _action) or _BLANK.on_reboot,
        on_crash=node.child("on_crash", _action) or _BLANK.on_crash,
        emulator=devices.emulator,
        disks=devices.disks,
        serials=devices.serials,
    )


def _name(node: Node) -> str:
    return replace(_BLANK, name=node.text()).name


def _title(node: Node) -> str | None:
    return replace(_BLANK, title=node.text()).title


def _uuid(node: Node) -> UUID:
    word = node.word()
    if not _UUID.fullmatch(word):
        raise node.invalid("it is not a UUID (32 hex digits, as 8-4-4-4-12 or without hyphens)")
    return UUID(word)


def read_metadata(node: Node) -> str | None:
    """The XML inside ``<metadata>``; None where there is nothing."""
    return node.inner() or None


def _size(node: Node) -> tuple[int, str]:
    """(bytes, how the XML said it)."""
    unit = node.attribute("unit") or "KiB"
    if unit.lower() not in _UNITS:
        raise node.invalid("it is not a unit of memory like KiB, MiB or GiB", attribute="unit")
    count = node.number()
    return -(-count * _UNITS[unit.lower()] // KiB) * KiB, f"{count} {unit}"


def _memory(node: Node) -> int:
    size, said = _size(node)
    if 0 < size < MiB:
        meant = "MiB" if size < 64 * KiB or "k" in said.lower() else "KiB"
        raise node.invalid(f"{said} comes to {size} bytes, under 1 MiB: did you mean unit='{meant}'?")
    return replace(_BLANK, memory=size).memory


def _same_memory(memory: int, node: Node) -> None:
    size, said = _size(node)
    if size != memory:
        raise node.unsupported(f"{said} differs from the memory of {memory // KiB} KiB")


def _vcpus(node: Node) -> int:
    node.expect({"placement": "(static)?"})
    return replace(_BLANK, vcpus=node.number()).vcpus


def _os(node: Node) -> OsSpec:
    arch, machine = node.need("type", _os_type)
    return OsSpec(
        arch=arch,
        machine=machine,
        kernel=node.child("kernel", Node.filled),
        initrd=node.child("initrd", Node.filled),
        cmdline=node.child("cmdline", Node.text),
        boot=tuple(child.read(_boot) for child in node.take("boot")) or _BLANK.os.boot,
    )


def _os_type(node: Node) -> tuple[str, str]:
    node.word_of(("hvm",))
    return node.attribute("arch") or _BLANK.os.arch, node.attribute("machine") or _BLANK.os.machine


def _boot(node: Node) -> str:
    return OsSpec(boot=(node.required("dev"),)).boot[0]


def _features(arch: str, node: Node) -> bool:
    """Whether there is ACPI. APIC and PAE every x86 machine of QEMU's has."""
    for tag in ("apic", "pae") if is_x86(arch) else ():
        node.flag(tag)
    return node.flag("acpi")


def _action(node: Node) -> Action:
    return node.word_of(Action)


OWN_READERS: Final[dict[str, Reader[Any]]] = {
    "name": _name,
    "uuid": _uuid,
    "title": _title,
    "memory": _memory,
    "on_poweroff": _action,
    "on_reboot": _action,
    "on_crash": _action,
}
"""Elements of a domain's own that can be read each by itself, by the field of DomainSpec that each fills."""
