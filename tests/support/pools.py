"""An event of tomorrow: all that has to be written for it, and for the table that it fills."""

from __future__ import annotations

from operator import attrgetter
from typing import ClassVar, Final

from msgspec import Struct

from aiovirt.events import Event
from aiovirt.model.table import TableType

__all__ = ["POOLS", "Pool", "PoolDefined", "PoolEvent", "PoolUndefined"]


class Pool(Struct, frozen=True):
    """A storage pool; ``size`` is in bytes."""

    name: str
    size: int


POOLS: Final[TableType[str, Pool]] = TableType("pools", Pool, attrgetter("name"))


class PoolEvent(Event, frozen=True, kw_only=True, gc=False):
    """Something about one storage pool: ``pool`` is how it is."""

    pool: Pool

    family: ClassVar[str] = "pool"
    table = POOLS

    @property
    def subject(self) -> str:
        return f"pool/{self.pool.name}"

    def row(self) -> object:
        return self.pool


class PoolDefined(PoolEvent, frozen=True, kw_only=True, gc=False, tag="pool.defined"):
    """A storage pool has a definition."""

    trigger: ClassVar[str] = "an order"


class PoolUndefined(PoolEvent, frozen=True, kw_only=True, gc=False, tag="pool.undefined"):
    """A storage pool has none any more."""

    trigger: ClassVar[str] = "an order"
    removes = True
