"""Serial ports of a PC: a character device, and the port in front of it."""

from __future__ import annotations

from collections.abc import Iterator

from aiovirt.drivers.qemu.devices import Context
from aiovirt.drivers.qemu.devices.placement import check_on_pci
from aiovirt.drivers.qemu.words import json_of, with_commas
from aiovirt.model.devices.serial import CharacterDevice, Chardev, Serial

__all__ = ["arguments", "backend", "check"]


def check(port: Serial, context: Context) -> Iterator[tuple[str, str]]:
    """What of it QEMU, or this driver, cannot give."""
    if port.port is not None and port.port != context.number:
        yield "target", f"port={port.port} of the port that is number {context.number}"
    yield from check_on_pci(port)


def arguments(port: Serial, context: Context) -> Iterator[str]:
    """A ``-chardev`` and a ``-device``."""
    name = f"serial{context.number}"
    yield from ("-chardev", f"{backend(port)},id={name}")
    yield from ("-device", json_of(driver="isa-serial", chardev=name, index=context.number))


def backend(port: CharacterDevice) -> str:
    """The ``-chardev`` without its id."""
    path = with_commas(port.path or "")
    match port.type:
        case Chardev.FILE:
            return f"file,path={path},append={'on' if port.append else 'off'}"
        case Chardev.UNIX if port.listen:
            return f"socket,path={path},server=on,wait=off"
        case Chardev.UNIX:
            return f"socket,path={path},server=off"
        case other:
            return str(other)
