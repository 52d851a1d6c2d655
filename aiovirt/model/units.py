"""Sizes. In Python every size is an int of bytes; KiB lives in XML, on the command line and in RPC."""

from __future__ import annotations

from typing import Final

__all__ = ["GiB", "KiB", "MiB", "TiB", "format_size"]

KiB: Final = 1024
MiB: Final = 1024 * KiB
GiB: Final = 1024 * MiB
TiB: Final = 1024 * GiB


def format_size(size: int) -> str:
    """``size`` bytes for people, in the largest unit that divides it: ``512 MiB``, ``1 GiB``, ``513 B``."""
    for unit, name in ((TiB, "TiB"), (GiB, "GiB"), (MiB, "MiB"), (KiB, "KiB")):
        if size and size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} B"
