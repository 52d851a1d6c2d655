"""What events there are, and what tables they fold into: all that follows from the classes themselves. Pure."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from aiovirt.events.event import CLASSES
from aiovirt.events.types import Event
from aiovirt.model.table import TableType

__all__ = ["event_families", "event_types", "table_types"]


def event_types() -> dict[str, type[Event]]:
    """topic -> class, for every event that can be published. Raises TypeError where two have the same topic."""
    return dict(_types(len(CLASSES)))


def event_families() -> dict[str, type[Event]]:
    """Name -> class of each family: ``domain``, ``device``, ``netdev`` (which are devices, too) and ``host``."""
    return {kind.family: kind for kind in _by_name() if "family" in vars(kind)}


def table_types() -> dict[str, TableType[Any, Any]]:
    """Name -> kind of each table that some event folds into. Raises TypeError where two have the same name."""
    return dict(_tables(len(CLASSES)))


def _by_name() -> list[type[Event]]:
    return sorted(CLASSES, key=lambda kind: kind.__name__)


@lru_cache(1)
def _types(_count: int) -> dict[str, type[Event]]:
    found: dict[str, type[Event]] = {}
    for kind in _by_name():
        if (topic := kind.__struct_config__.tag) is not None and found.setdefault(str(topic), kind) is not kind:
            raise TypeError(f"{kind.__qualname__} and {found[str(topic)].__qualname__} have the same topic, {topic!r}")
    return found


@lru_cache(1)
def _tables(_count: int) -> dict[str, TableType[Any, Any]]:
    found: dict[str, TableType[Any, Any]] = {}
    for kind in _by_name():
        if (table := kind.table) is not None and found.setdefault(table.name, table) is not table:
            raise TypeError(f"{kind.__qualname__} has another table {table.name!r} than the events before it")
    return found
