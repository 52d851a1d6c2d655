"""Keyboards and mice."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from aiovirt.model.devices.device import Device
from aiovirt.model.element import At

__all__ = ["Input", "InputBus", "InputType"]


class InputType(StrEnum):
    """``<input type=…>``."""

    KEYBOARD = "keyboard"
    MOUSE = "mouse"
    TABLET = "tablet"


class InputBus(StrEnum):
    """``<input bus=…>``."""

    PS2 = "ps2"
    USB = "usb"
    VIRTIO = "virtio"


class Input(Device, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """What a person would type on, or point with."""

    tag = "input"
    type: Annotated[InputType, At("@type")]
    bus: Annotated[InputBus | None, At("@bus")] = None
