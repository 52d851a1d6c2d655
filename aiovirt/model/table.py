"""What a table of a host's state is: its name, what stands in it, and by what that is found. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from msgspec import Struct

__all__ = ["TableType"]

K = TypeVar("K")
V = TypeVar("V")


class TableType(Struct, Generic[K, V], frozen=True, eq=False):
    """A table ``name`` of such values; ``key(value)`` is where one stands. No two tables have the same name.

    ``ends_with_boot`` is whether nothing in it outlives a boot of the host.
    """

    name: str
    value: type[V]
    key: Callable[[V], K]
    ends_with_boot: bool = False
