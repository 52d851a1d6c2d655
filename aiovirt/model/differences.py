"""In what two values of one kind differ."""

from __future__ import annotations

from itertools import compress
from operator import is_not

from msgspec import Struct
from msgspec.structs import astuple

__all__ = ["differences"]


def differences(old: Struct, new: Struct) -> dict[str, tuple[object, object]]:
    """attribute -> (old, new) for each attribute in which ``new``, of the same type, is unequal."""
    before, after = astuple(old), astuple(new)
    others = compress(zip(old.__struct_fields__, before, after, strict=True), map(is_not, before, after))
    return {name: (was, now) for name, was, now in others if was != now}
