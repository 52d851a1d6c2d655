"""Random number generators: an object that has the numbers, and the device in front of it."""

from __future__ import annotations

from collections.abc import Iterator

from aiovirt.drivers.qemu.devices import Context
from aiovirt.drivers.qemu.devices.placement import check_on_pci
from aiovirt.drivers.qemu.words import json_of
from aiovirt.model.devices.rng import Rng, RngBackend

__all__ = ["arguments", "check"]


def check(rng: Rng, context: Context) -> Iterator[tuple[str, str]]:
    """What of it QEMU cannot give."""
    del context
    yield from check_on_pci(rng)


def arguments(rng: Rng, context: Context) -> Iterator[str]:
    """An ``-object`` and a ``-device``."""
    name = f"rng{context.number}"
    source = {"filename": rng.path or "/dev/urandom"} if rng.backend is RngBackend.RANDOM else {}
    yield from ("-object", json_of(**{"qom-type": f"rng-{rng.backend}"}, id=f"obj{name}", **source))
    rate = {"max-bytes": rng.bytes, "period": rng.period or 1000} if rng.bytes is not None else {}
    yield from ("-device", json_of(driver="virtio-rng-pci", rng=f"obj{name}", id=name, **rate))
