"""Keyboards, mice and tablets: every PC has a keyboard and a mouse on PS/2, the others are devices of their own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from msgspec.structs import replace

from aiovirt.drivers.qemu.devices import Context
from aiovirt.drivers.qemu.devices.placement import check_on, check_on_pci, check_x86, is_x86
from aiovirt.drivers.qemu.words import json_of
from aiovirt.model.devices.controller import Controller, ControllerType
from aiovirt.model.devices.device import AddressType
from aiovirt.model.devices.input import Input, InputBus, InputType

__all__ = ["arguments", "check", "fill", "needs"]

_ON_USB: Final = {InputType.KEYBOARD: "usb-kbd", InputType.MOUSE: "usb-mouse", InputType.TABLET: "usb-tablet"}
_ON_VIRTIO: Final = {kind: f"virtio-{kind}-pci" for kind in InputType}


def fill(device: Input, context: Context) -> Input:
    """Its bus: that of a PC's keyboard and mouse is PS/2."""
    is_built_in = is_x86(context.spec) and device.type is not InputType.TABLET
    return device if device.bus else replace(device, bus=InputBus.PS2 if is_built_in else InputBus.USB)


def needs(device: Input) -> tuple[ControllerType, int] | None:
    """A USB controller, on USB."""
    return (ControllerType.USB, 0) if device.bus is InputBus.USB else None


def check(device: Input, context: Context) -> Iterator[tuple[str, str]]:
    """What of it QEMU cannot give."""
    match fill(device, context).bus:
        case InputBus.USB:
            yield from check_on(device, AddressType.USB)
            if any(each.type is ControllerType.USB and each.model == "none" for each in context.spec.of(Controller)):
                yield "@bus", "the domain is to have no USB"
        case InputBus.VIRTIO:
            yield from check_on_pci(device)
        case _:
            yield from check_x86(context.spec)
            yield from check_on_pci(device)
            if device.type is InputType.TABLET:
                yield "@bus", "there are no tablets on PS/2"


def arguments(device: Input, context: Context) -> Iterator[str]:
    """A ``-device``, save for what a PC has anyway."""
    name = f"input{context.number}"
    match device.bus:
        case InputBus.USB:
            yield from ("-device", json_of(driver=_ON_USB[device.type], id=name, bus="usb.0"))
        case InputBus.VIRTIO:
            yield from ("-device", json_of(driver=_ON_VIRTIO[device.type], id=name))
        case _:
            pass
