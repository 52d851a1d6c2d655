"""Panic devices: QEMU says GUEST_PANICKED, and the engine does what ``on_crash`` says. A guest has one of each model at most."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from msgspec.structs import replace

from aiovirt.drivers.qemu.devices import Context
from aiovirt.drivers.qemu.devices.placement import check_on, check_on_pci, check_x86
from aiovirt.drivers.qemu.words import json_of
from aiovirt.model.devices.device import AddressType
from aiovirt.model.devices.panic import Panic, PanicModel

__all__ = ["arguments", "check", "fill"]

_PORT: Final = "0x505"
"""Where QEMU puts the one on ISA, and where guests look for it."""
_DRIVER: Final = {PanicModel.ISA: "pvpanic", PanicModel.PVPANIC: "pvpanic-pci"}


def fill(panic: Panic, context: Context) -> Panic:
    """Its model: ISA, as libvirt has it on a PC."""
    del context
    return panic if panic.model else replace(panic, model=PanicModel.ISA)


def check(panic: Panic, context: Context) -> Iterator[tuple[str, str]]:
    """What of it QEMU, or this driver, cannot give."""
    model = fill(panic, context).model
    others = context.spec.of(Panic)[: context.number]
    if any(fill(other, context).model is model for other in others):
        yield "@model", f"a guest has one panic device of model {model}"
    if model is PanicModel.PVPANIC:
        yield from check_on_pci(panic)
        return
    yield from check_x86(context.spec)
    yield from check_on(panic, AddressType.ISA)
    if panic.address is not None and panic.address.number("iobase") not in (0, int(_PORT, 16)):
        yield "address/@iobase", f"guests look for it at {_PORT}"


def arguments(panic: Panic, context: Context) -> Iterator[str]:
    """A ``-device``."""
    yield from ("-device", json_of(driver=_DRIVER[panic.model or PanicModel.ISA], id=f"panic{context.number}"))
