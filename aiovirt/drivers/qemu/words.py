"""Values as QEMU's command line takes them. Pure."""

from __future__ import annotations

import msgspec

__all__ = ["json_of", "with_commas"]


def with_commas(value: str) -> str:
    """``value`` inside one of QEMU's key=value options, where a comma is doubled."""
    return value.replace(",", ",,")


def json_of(**members: object) -> str:
    """An option that is JSON."""
    return msgspec.json.encode(members).decode()
