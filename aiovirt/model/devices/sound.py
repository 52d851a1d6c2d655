"""Sound cards."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

from aiovirt.model.devices.device import Device
from aiovirt.model.element import At

__all__ = ["Codec", "Sound", "SoundModel"]


class SoundModel(StrEnum):
    """``<sound model=…>``."""

    AC97 = "ac97"
    ES1370 = "es1370"
    ICH6 = "ich6"
    ICH9 = "ich9"
    SB16 = "sb16"
    USB = "usb"


class Codec(StrEnum):
    """``<codec type=…>``: what is on an HDA card: line-in and line-out, microphone and speaker, or line-out."""

    DUPLEX = "duplex"
    MICRO = "micro"
    OUTPUT = "output"


class Sound(Device, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """A sound card; ``codecs`` are those of ICH6 and ICH9, where none is one that is duplex. ``audio`` is the id of its backend."""

    tag = "sound"
    model: Annotated[SoundModel, At("@model")]
    codecs: Annotated[Sequence[Codec], At("codec/@type")] = ()
    audio: Annotated[int | None, At("audio/@id")] = None
