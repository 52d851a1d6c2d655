"""Watchdogs."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from aiovirt.model.devices.device import Device
from aiovirt.model.element import At

__all__ = ["Watchdog", "WatchdogAction", "WatchdogModel"]


class WatchdogModel(StrEnum):
    """``<watchdog model=…>``."""

    I6300ESB = "i6300esb"
    IB700 = "ib700"


class WatchdogAction(StrEnum):
    """What happens when the guest lets it run out (``<watchdog action=…>``)."""

    RESET = "reset"
    SHUTDOWN = "shutdown"
    POWEROFF = "poweroff"
    PAUSE = "pause"
    NONE = "none"
    INJECT_NMI = "inject-nmi"


class Watchdog(Device, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """A timer that acts when the guest, which once set it, does not set it again in time."""

    tag = "watchdog"
    model: Annotated[WatchdogModel, At("@model")]
    action: Annotated[WatchdogAction, At("@action")] = WatchdogAction.RESET
