"""Where sound goes."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from aiovirt.model.devices.device import Device
from aiovirt.model.element import At

__all__ = ["Audio", "AudioType"]


class AudioType(StrEnum):
    """``<audio type=…>``."""

    NONE = "none"


class Audio(Device, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """A backend for sound cards, which they name by its ``id``."""

    tag = "audio"
    id: Annotated[int, At("@id")] = 1
    type: Annotated[AudioType, At("@type")]
