"""Network interfaces of guests (https://libvirt.org/formatdomain.html#network-interfaces)."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Final, Self

from msgspec.structs import force_setattr

from aiovirt.errors import InvalidArgument
from aiovirt.model.devices.device import Device
from aiovirt.model.element import At, Element

__all__ = ["InterfaceSource", "InterfaceType", "LinkState", "NetworkInterface"]

_MAC: Final = re.compile("(?:[0-9a-f]{1,2}:){5}[0-9a-f]{1,2}")
_MULTICAST: Final = 1
MAX_PORT: Final = 65_535


class InterfaceType(StrEnum):
    """``<interface type=…>``: what it is connected to.

    USER is the hypervisor's own network, from which the guest reaches out and nobody reaches in. CLIENT and SERVER are the two ends of
    a TCP connection between two guests, UDP the same in datagrams, MCAST a group of guests.
    """

    USER = "user"
    CLIENT = "client"
    SERVER = "server"
    UDP = "udp"
    MCAST = "mcast"


class LinkState(StrEnum):
    """``<link state=…>``: whether the cable is plugged in."""

    UP = "up"
    DOWN = "down"


class InterfaceSource(Element, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """Where it is connected to: the far side, or the address to listen at; and, for UDP, where datagrams come in."""

    tag = "source"
    address: Annotated[str | None, At("@address", "filled")] = None
    port: Annotated[int | None, At("@port")] = None
    local_address: Annotated[str | None, At("local/@address", "filled")] = None
    local_port: Annotated[int | None, At("local/@port")] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for port in (self.port, self.local_port):
            if port is not None and not 0 < port <= MAX_PORT:
                raise InvalidArgument(f"{port} is no port")


_NEEDS: Final = {
    InterfaceType.CLIENT: ("address", "port"),
    InterfaceType.SERVER: ("port",),
    InterfaceType.UDP: ("address", "port", "local_address", "local_port"),
    InterfaceType.MCAST: ("address", "port"),
}
"""What each type has to say of its source."""


class NetworkInterface(Device, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """A network card. ``mac`` and ``model`` None are the driver's choice; ``model`` is libvirt's name for it, as ``virtio``."""

    tag = "interface"
    type: Annotated[InterfaceType, At("@type")]
    mac: Annotated[str | None, At("mac/@address")] = None
    source: Annotated[InterfaceSource | None, At("source")] = None
    model: Annotated[str | None, At("model/@type", "filled")] = None
    link: Annotated[LinkState | None, At("link/@state")] = None

    @classmethod
    def user(cls, *, model: str | None = "virtio", mac: str | None = None) -> Self:
        """One on the hypervisor's own network: the guest reaches out, and nobody reaches in."""
        return cls(type=InterfaceType.USER, model=model, mac=mac)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mac is not None:
            force_setattr(self, "mac", _checked_mac(self.mac))
        for field in _NEEDS.get(self.type, ()):
            if self.source is None or getattr(self.source, field) is None:
                raise InvalidArgument(f"an interface of type {self.type} needs the {field.replace('_', ' ')} of its source")


def _checked_mac(mac: str) -> str:
    """In small letters, each byte in two digits, as libvirt prints it."""
    if not _MAC.fullmatch(mac.lower()):
        raise InvalidArgument(f"{mac!r:.40} is not a MAC address")
    numbers = [int(part, 16) for part in mac.split(":")]
    if numbers[0] & _MULTICAST:
        raise InvalidArgument(f"the MAC address {mac} is that of a group")
    return ":".join(f"{number:02x}" for number in numbers)
