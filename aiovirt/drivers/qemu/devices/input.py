"""Keyboards and mice: every PC has one of each, on PS/2."""

from __future__ import annotations

from collections.abc import Iterator

from aiovirt.drivers.qemu.devices import Context
from aiovirt.drivers.qemu.devices.placement import check_on_pci, check_x86
from aiovirt.model.devices.input import Input

__all__ = ["arguments", "check"]


def check(device: Input, context: Context) -> Iterator[tuple[str, str]]:
    """What this driver does not have."""
    yield from check_x86(context.spec)
    yield from check_on_pci(device)


def arguments(device: Input, context: Context) -> Iterator[str]:
    """None: it is there without being asked for."""
    del device, context
    return iter(())
