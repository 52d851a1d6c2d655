"""What all devices have in common: the name that they are known by, and where they are plugged in."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from aiovirt.model.element import At, Element

__all__ = ["Address", "AddressType", "Device", "c_number"]


def c_number(text: str | None) -> int:
    """The number as strtol with base 0 reads it (``0x10``, ``020``, ``16``); 0 where it is not said."""
    said = text or "0"
    is_octal = said.startswith("0") and said.isdigit()
    return int(said, 8 if is_octal else 0)


class AddressType(StrEnum):
    """``<address type=…>``: which kind of bus it is on."""

    PCI = "pci"
    DRIVE = "drive"
    USB = "usb"
    VIRTIO_SERIAL = "virtio-serial"
    ISA = "isa"


class Address(Element, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """A device's place on its bus. Numbers are texts, as they were spelled (``0x02``); :meth:`number` reads them."""

    tag = "address"
    type: Annotated[AddressType, At("@type")]
    domain: Annotated[str | None, At("@domain", "C number")] = None
    controller: Annotated[str | None, At("@controller", "C number")] = None
    bus: Annotated[str | None, At("@bus", "C number")] = None
    target: Annotated[str | None, At("@target", "C number")] = None
    unit: Annotated[str | None, At("@unit", "C number")] = None
    slot: Annotated[str | None, At("@slot", "C number")] = None
    function: Annotated[str | None, At("@function", "C number")] = None
    port: Annotated[str | None, At("@port")] = None
    multifunction: Annotated[bool | None, At("@multifunction", "on/off")] = None
    iobase: Annotated[str | None, At("@iobase", "C number")] = None

    def number(self, field: str) -> int:
        """The field as :func:`c_number` reads it."""
        return c_number(getattr(self, field))


class Device(Element, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """A device. ``alias`` is what it is called in events; ``address`` where it is plugged in, if that is said."""

    closing = ("alias", "address")
    alias: Annotated[str | None, At("alias/@name")] = None
    address: Annotated[Address | None, At("address")] = None
