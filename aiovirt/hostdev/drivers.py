"""Drivers that take and leave the devices of buses, as the kernel's uevents tell it.

Pure, and without memory: one uevent is one event or none. What such a device means to the network devices
that hang from it is in ``links``.
"""

from __future__ import annotations

from typing import Final

from aiovirt.events.types import DriverBound, DriverEvent, DriverUnbound
from aiovirt.model.busdevice import BusDevice
from aiovirt.wire.uevent import Uevent

__all__ = ["driver_event"]

MAX_NAME: Final = 1020
"""Characters: NAME_MAX bytes, each of them escaped. No bus, device or driver is found in sysfs under a longer name."""


def driver_event(uevent: Uevent) -> DriverEvent | None:
    """DriverBound or DriverUnbound, or None for a uevent that tells of neither, or of what no device can be named.

    No driver came or went with one that was sent on request.
    """
    told = _EVENTS.get(uevent.action)
    if told is None or uevent.subsystem == "net" or uevent.is_synthetic:
        return None
    name = uevent.devpath.rpartition("/")[2]
    driver = uevent.env.get("DRIVER") or None if told is DriverBound else None
    if not name or max(map(len, (uevent.subsystem, name, driver or ""))) > MAX_NAME:
        return None
    return told(device=BusDevice(bus=uevent.subsystem, name=name, driver=driver))


_EVENTS: Final[dict[str, type[DriverBound | DriverUnbound]]] = {"bind": DriverBound, "unbind": DriverUnbound}
