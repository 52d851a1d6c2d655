"""The processor that a guest sees."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from aiovirt.model.element import At, Element

__all__ = ["Cpu", "CpuCheck", "CpuFallback", "CpuMatch", "CpuMode"]


class CpuMode(StrEnum):
    """``<cpu mode=…>``."""

    CUSTOM = "custom"


class CpuMatch(StrEnum):
    """``<cpu match=…>``: how exactly the guest's processor has to be the one that is named."""

    EXACT = "exact"


class CpuCheck(StrEnum):
    """``<cpu check=…>``: what is looked at before a start."""

    NONE = "none"
    PARTIAL = "partial"


class CpuFallback(StrEnum):
    """``<model fallback=…>``: whether a lesser one may be taken."""

    ALLOW = "allow"
    FORBID = "forbid"


class Cpu(Element, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """Which processor it has."""

    tag = "cpu"
    mode: Annotated[CpuMode, At("@mode")] = CpuMode.CUSTOM
    match: Annotated[CpuMatch, At("@match")] = CpuMatch.EXACT
    check: Annotated[CpuCheck | None, At("@check")] = None
    fallback: Annotated[CpuFallback | None, At("model/@fallback")] = None
    model: Annotated[str, At("model")]
