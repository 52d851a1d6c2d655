"""Where sound goes: to nowhere."""

from __future__ import annotations

from collections.abc import Iterator

from aiovirt.drivers.qemu.devices import Context
from aiovirt.drivers.qemu.devices.placement import check_on_pci
from aiovirt.drivers.qemu.words import json_of
from aiovirt.model.devices.audio import Audio
from aiovirt.model.devices.sound import Sound

__all__ = ["arguments", "check"]


def check(device: Audio, context: Context) -> Iterator[tuple[str, str]]:
    """What this driver does not have."""
    del context
    if device.id != 1:
        yield "@id", f"an id of {device.id}"
    yield from check_on_pci(device)


def arguments(device: Audio, context: Context) -> Iterator[str]:
    """An ``-audiodev``, where there is a sound card to use it."""
    if context.spec.of(Sound):
        yield from ("-audiodev", json_of(id=f"audio{device.id}", driver=device.type))
