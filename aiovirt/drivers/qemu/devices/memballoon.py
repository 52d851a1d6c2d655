"""The memory balloon, of which a guest has one at most."""

from __future__ import annotations

from collections.abc import Iterator

from aiovirt.drivers.qemu.devices import Context
from aiovirt.drivers.qemu.devices.placement import check_on_pci
from aiovirt.drivers.qemu.words import json_of
from aiovirt.model.devices.memballoon import MemBalloon, MemBalloonModel

__all__ = ["arguments", "check"]


def check(balloon: MemBalloon, context: Context) -> Iterator[tuple[str, str]]:
    """What of it QEMU cannot give."""
    if context.number:
        yield "", "a guest has one memory balloon"
    yield from check_on_pci(balloon)


def arguments(balloon: MemBalloon, context: Context) -> Iterator[str]:
    """A ``-device``, unless it says that there is none."""
    if balloon.model is MemBalloonModel.VIRTIO:
        yield from ("-device", json_of(driver="virtio-balloon-pci", id=f"balloon{context.number}"))
