"""What reports to the host that the guest's kernel has panicked."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from aiovirt.model.devices.device import Device
from aiovirt.model.element import At

__all__ = ["Panic", "PanicModel"]


class PanicModel(StrEnum):
    """``<panic model=…>``: pvpanic, on ISA or on PCI."""

    ISA = "isa"
    PVPANIC = "pvpanic"


class Panic(Device, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """A panic device: with it ``on_crash`` says what happens then. ``model`` None is the driver's choice."""

    tag = "panic"
    model: Annotated[PanicModel | None, At("@model")] = None
