"""What libvirt writes into a domain by itself, and what makes no difference to a guest of ours.

These tables are the whole of what is read and then forgotten; each row says why it may be. They
speak of x86; of another machine nothing is taken for granted.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiovirt.domainxml.node import Node, Reader

__all__ = ["is_x86", "read_clock", "read_cpu", "read_inert", "read_placement"]

_DEFAULT_CPU: Final = {"x86_64": "qemu64", "i686": "qemu32"}
"""What QEMU gives a PC that does not say which processor it wants."""

_HEX: Final = "(0x)?[0-9a-fA-F]{1,8}"
_OPTIONAL_HEX: Final = f"({_HEX})?"

# Where a device sits is the driver's choice; libvirt writes its own choice into every domain.
_PCI_ADDRESS: Final = {
    "type": "pci",
    "domain": _OPTIONAL_HEX,
    "bus": _OPTIONAL_HEX,
    "slot": _OPTIONAL_HEX,
    "function": _OPTIONAL_HEX,
    "multifunction": "(on|off)?",
}
# libvirt's name for a device of a running guest. One that starts with ua- is the user's own, and is meant.
_ALIAS: Final = {"name": "(?!ua-).+"}


def is_x86(arch: str) -> bool:
    """Whether the tables of this module hold for the architecture."""
    return arch in _DEFAULT_CPU


def read_placement(node: Node, *addresses: Mapping[str, str]) -> None:
    """Takes a device's address (on PCI, or one of ``addresses``) and its alias."""
    node.child("alias", lambda alias: alias.expect(_ALIAS))
    node.child("address", lambda address: address.expect(_PCI_ADDRESS, *addresses))


def _device(*rows: Mapping[str, str]) -> Reader[None]:
    def read(node: Node) -> None:
        node.expect(*rows)
        read_placement(node)

    return read


def _controller(node: Node) -> None:
    node.expect(*_CONTROLLERS)
    node.child("model", lambda model: model.expect({"name": "pcie-root-port"}))
    node.child("target", lambda target: target.expect({"chassis": "[0-9]+", "port": _HEX}))
    read_placement(node)


_CONTROLLERS: Final = (
    # Parts of the machine itself.
    {"type": "pci", "index": "0", "model": "pcie?-root"},
    {"type": "ide", "index": "0"},
    {"type": "sata", "index": "0"},
    # Sockets that libvirt adds to every guest, and that stay empty: no device that is read plugs into them.
    {"type": "usb", "index": "0?", "model": "(none|piix3-uhci|qemu-xhci)?"},
    {"type": "pci", "index": "[1-9][0-9]?", "model": "pcie-root-port"},
)
_EVERYWHERE: Final[Mapping[str, Reader[None]]] = {
    # Ours has none unless it is asked for.
    "memballoon": _device({"model": "none"}),
    # A sound backend that plays to nothing, for sound cards that are not there.
    "audio": _device({"id": "1", "type": "none"}),
}
_X86: Final[Mapping[str, Reader[None]]] = {
    "controller": _controller,
    # Every PC has a PS/2 keyboard and mouse.
    "input": _device({"type": "mouse|keyboard", "bus": "ps2"}),
}


def read_inert(arch: str, node: Node) -> None:
    """Takes from ``<devices>`` what makes no difference; raises ConfigUnsupported for the like that does."""
    for tag, reader in {**_EVERYWHERE, **(_X86 if is_x86(arch) else {})}.items():
        for child in node.take(tag):
            child.read(reader)


def read_clock(node: Node) -> None:
    """Takes ``<clock>``: UTC, as QEMU's own clock is."""
    node.expect({"offset": "(utc)?"})


def read_cpu(arch: str, node: Node) -> None:
    """Takes ``<cpu>`` where it is QEMU's own default, which libvirt writes out."""
    if not is_x86(arch):
        raise node.unsupported()
    node.expect({"mode": "custom", "match": "exact", "check": "(none|partial)?"})
    node.need("model", partial(_cpu_model, _DEFAULT_CPU[arch]))


def _cpu_model(default: str, node: Node) -> str:
    node.expect({"fallback": "(allow|forbid)?"})
    return node.word_of((default,))
