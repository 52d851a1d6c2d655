"""The memory balloon, which there is none of."""

from __future__ import annotations

from collections.abc import Iterator

from aiovirt.drivers.qemu.devices import Context
from aiovirt.drivers.qemu.devices.placement import check_on_pci
from aiovirt.model.devices.memballoon import MemBalloon

__all__ = ["arguments", "check"]


def check(device: MemBalloon, context: Context) -> Iterator[tuple[str, str]]:
    """What this driver does not have."""
    del context
    yield from check_on_pci(device)


def arguments(device: MemBalloon, context: Context) -> Iterator[str]:
    """None: it is there without being asked for."""
    del device, context
    return iter(())
