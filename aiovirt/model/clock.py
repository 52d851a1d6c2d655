"""The clock that a guest begins with."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from aiovirt.model.element import At, Element

__all__ = ["Clock", "ClockOffset"]


class ClockOffset(StrEnum):
    """``<clock offset=…>``."""

    UTC = "utc"


class Clock(Element, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """What time it begins with."""

    tag = "clock"
    offset: Annotated[ClockOffset, At("@offset")] = ClockOffset.UTC
