"""Network interfaces: a ``-netdev`` that is connected to something, and the card that the guest sees of it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Final

from msgspec.structs import replace

from aiovirt.drivers.qemu.devices import Context
from aiovirt.drivers.qemu.devices.placement import check_on_pci
from aiovirt.drivers.qemu.words import json_of
from aiovirt.model.devices.interface import InterfaceSource, InterfaceType, LinkState, NetworkInterface

__all__ = ["arguments", "check", "fill"]

_DRIVERS: Final = {
    "virtio": "virtio-net-pci",
    "virtio-transitional": "virtio-net-pci-transitional",
    "virtio-non-transitional": "virtio-net-pci-non-transitional",
    "e1000": "e1000",
    "e1000e": "e1000e",
    "ne2k_pci": "ne2k_pci",
    "pcnet": "pcnet",
    "rtl8139": "rtl8139",
    "vmxnet3": "vmxnet3",
}
"""libvirt's models of cards on PCI, and QEMU's names of them."""
_DEFAULT: Final = "rtl8139"
"""What libvirt gives a PC that does not say which card it wants."""
_ADDRESS: Final = re.compile("[A-Za-z0-9.:_-]+")
_OF_QEMU: Final = "52:54:00"
"""How the MAC addresses begin that QEMU and libvirt give."""


def fill(interface: NetworkInterface, context: Context) -> NetworkInterface:
    """Its model and its MAC address, which is the same at each start: it follows from the domain's uuid and the card's number."""
    return replace(interface, model=interface.model or _DEFAULT, mac=interface.mac or _mac_of(context))


def _mac_of(context: Context) -> str:
    whose = f"{context.spec.uuid or context.spec.name} {context.number}"
    digest = hashlib.sha256(whose.encode(errors="surrogatepass")).digest()
    return ":".join((_OF_QEMU, *(f"{byte:02x}" for byte in digest[:3])))


def check(interface: NetworkInterface, context: Context) -> Iterator[tuple[str, str]]:
    """What of it QEMU, or this driver, cannot give."""
    filled = fill(interface, context)
    if filled.model not in _DRIVERS:
        yield "model/@type", f"{filled.model!r:.80} is not one of {', '.join(_DRIVERS)}"
    if any(fill(other, context._replace(number=at)).mac == filled.mac for at, other in enumerate(_before(context))):
        yield "mac/@address", f"two interfaces have the MAC address {filled.mac}"
    for field in ("address", "local_address"):
        address = getattr(interface.source, field, None)
        if address is not None and not _ADDRESS.fullmatch(address):
            yield "source" + ("/local" if field.startswith("local") else "") + "/@address", f"{address!r:.80} is no address"
    if interface.link is LinkState.DOWN:
        yield "link/@state", "a cable can be unplugged only later"
    yield from check_on_pci(interface)


def _before(context: Context) -> tuple[NetworkInterface, ...]:
    return context.spec.of(NetworkInterface)[: context.number]


def arguments(interface: NetworkInterface, context: Context) -> Iterator[str]:
    """A ``-netdev`` and a ``-device``, with the ids that libvirt gives them."""
    host, name = f"hostnet{context.number}", f"net{context.number}"
    yield from ("-netdev", json_of(id=host, **_backend(interface)))
    yield from ("-device", json_of(driver=_DRIVERS[interface.model or _DEFAULT], netdev=host, id=name, mac=interface.mac))


def _backend(interface: NetworkInterface) -> dict[str, object]:
    source = interface.source or InterfaceSource()
    there = f"{source.address or ''}:{source.port}"
    match interface.type:
        case InterfaceType.USER:
            return {"type": "user"}
        case InterfaceType.CLIENT:
            return {"type": "socket", "connect": there}
        case InterfaceType.SERVER:
            return {"type": "socket", "listen": there}
        case InterfaceType.MCAST:
            return {"type": "socket", "mcast": there}
        case InterfaceType.UDP:
            return {"type": "socket", "udp": there, "localaddr": f"{source.local_address}:{source.local_port}"}
