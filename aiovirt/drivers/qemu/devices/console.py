"""Consoles on virtio. One of type serial is the first serial port, which a domain has in its place."""

from __future__ import annotations

from collections.abc import Iterator

from aiovirt.drivers.qemu.devices import Context
from aiovirt.drivers.qemu.devices.placement import check_on
from aiovirt.drivers.qemu.devices.serial import backend
from aiovirt.drivers.qemu.words import json_of
from aiovirt.model.devices.console import Console, ConsoleTarget
from aiovirt.model.devices.controller import ControllerType
from aiovirt.model.devices.device import AddressType

__all__ = ["arguments", "check", "needs"]


def needs(console: Console) -> tuple[ControllerType, int] | None:
    """A virtio-serial controller, on virtio."""
    return (ControllerType.VIRTIO_SERIAL, 0) if console.target is ConsoleTarget.VIRTIO else None


def check(console: Console, context: Context) -> Iterator[tuple[str, str]]:
    """What of it QEMU, or this driver, cannot give."""
    del context
    if console.port is not None:
        yield "target/@port", f"port={console.port} of a console that has another number"
    if console.target is ConsoleTarget.SERIAL:
        yield "", "a console is the first serial port and nothing else"
    yield from check_on(console, AddressType.VIRTIO_SERIAL)


def arguments(console: Console, context: Context) -> Iterator[str]:
    """A ``-chardev`` and a ``-device``."""
    name = f"console{context.number}"
    yield from ("-chardev", f"{backend(console)},id={name}")
    yield from ("-device", json_of(driver="virtconsole", chardev=name, id=name, bus="virtio-serial0.0"))
