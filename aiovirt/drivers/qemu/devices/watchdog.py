"""Watchdogs: QEMU has one action for all of a guest."""

from __future__ import annotations

from collections.abc import Iterator

from aiovirt.drivers.qemu.devices import Context
from aiovirt.drivers.qemu.devices.placement import check_on_pci, check_x86
from aiovirt.drivers.qemu.words import json_of
from aiovirt.model.devices.watchdog import Watchdog, WatchdogModel

__all__ = ["arguments", "check"]


def check(watchdog: Watchdog, context: Context) -> Iterator[tuple[str, str]]:
    """What of it QEMU cannot give."""
    first = context.spec.of(Watchdog)[0]
    if watchdog.action is not first.action:
        yield "@action", f"the first watchdog's action is {first.action}, and QEMU has one for all"
    if watchdog.model is WatchdogModel.IB700:
        yield from check_x86(context.spec)
        if watchdog.address is not None:
            yield "address", "an ib700 has one place"
    else:
        yield from check_on_pci(watchdog)


def arguments(watchdog: Watchdog, context: Context) -> Iterator[str]:
    """A ``-device``, and of the first one an ``-action``."""
    yield from ("-device", json_of(driver=str(watchdog.model), id=f"watchdog{context.number}"))
    if context.number == 0:
        yield from ("-action", f"watchdog={watchdog.action}")
