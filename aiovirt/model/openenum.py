"""Enumerations that may grow: a value of a newer version is kept as what it is, and is written again as it was read."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Self

__all__ = ["OpenEnum"]

LONGEST: Final = 64


class OpenEnum(StrEnum):
    """What protobuf calls an open enum: a text that no member has becomes a value of its own, which equals no member.

    Journals, records and attached processes may be of a newer version, whose values must not make all that stands around
    them unreadable.
    """

    @property
    def is_known(self) -> bool:
        """Whether it is one of this version's members."""
        return self.value in type(self)._value2member_map_

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, str) or not 0 < len(value) <= LONGEST or not value.isprintable():
            return None
        other = str.__new__(cls, value)
        other._name_ = other._value_ = value
        return other
