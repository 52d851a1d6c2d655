"""Where sound goes: to nowhere, for sound cards that are not there."""

from __future__ import annotations

from collections.abc import Iterator

from aiovirt.drivers.qemu.devices import Context
from aiovirt.drivers.qemu.devices.placement import check_on_pci
from aiovirt.model.devices.audio import Audio

__all__ = ["arguments", "check"]


def check(device: Audio, context: Context) -> Iterator[tuple[str, str]]:
    """What this driver does not have."""
    del context
    if device.id != 1:
        yield "@id", f"an id of {device.id}"
    yield from check_on_pci(device)


def arguments(device: Audio, context: Context) -> Iterator[str]:
    """None: it is there without being asked for."""
    del device, context
    return iter(())
