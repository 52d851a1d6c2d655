"""The memory balloon."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from aiovirt.model.devices.device import Device
from aiovirt.model.element import At

__all__ = ["MemBalloon", "MemBalloonModel"]


class MemBalloonModel(StrEnum):
    """``<memballoon model=…>``."""

    NONE = "none"
    VIRTIO = "virtio"


class MemBalloon(Device, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """What takes memory from the guest and gives it back; NONE says that there is none."""

    tag = "memballoon"
    model: Annotated[MemBalloonModel, At("@model")]
