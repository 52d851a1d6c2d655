"""The host's state as a fold of its journal.

Whoever reads the same events in the same order holds the same state: the engine itself, and any
process that is attached to it. An event says itself what it does to it (:meth:`Event.fold`), and nothing else
writes it. Nothing here does I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

from msgspec import Raw, Struct

from aiovirt.events.table import DomainTable, Table
from aiovirt.model.netdev import NETDEVS
from aiovirt.model.pci import PCI
from aiovirt.model.table import TableType
from aiovirt.model.view import DOMAINS, HostView

__all__ = ["Checkpoint", "Folds", "HostState"]

K = TypeVar("K")
V = TypeVar("V")


class Folds(Protocol):
    """What can be folded into a state: an event."""

    def fold(self, state: HostState) -> None:
        """Does to ``state`` what it says."""
        ...


class Checkpoint(Struct, frozen=True, kw_only=True):
    """A state, put down to be taken up again: ``cursor`` is that of the last event in it.

    ``tables`` has what stands in each table. ``newer`` has the tables that only a later version knows, as they came: they stand
    beside the others where it is written. Events up to ``newer_as_of`` are in those, and later ones are not; nor are they in
    ``behind``, the tables that are known here, and were not to who wrote this.
    """

    cursor: str
    boot_id: str
    incarnation: int
    tables: Mapping[TableType[Any, Any], tuple[Any, ...]] = {}
    resyncs: dict[str, int] = {}
    behind: frozenset[TableType[Any, Any]] = frozenset()
    newer: dict[str, Raw] = {}
    newer_as_of: str = ""


class HostState:
    """The present, event by event.

    ``tables`` has all that there are, by name, and ``domains``, ``netdevs`` and ``pci`` are among them; ``resyncs`` counts, for
    each source, how often messages of it were lost and it was read again, since the engine began; ``incarnation`` is the highest
    that any network device ever had, so that no id is given twice. Tables of ``checkpoint`` that are behind begin empty.
    """

    def __init__(self, checkpoint: Checkpoint | None = None) -> None:
        self.domains = DomainTable()
        self.tables: dict[str, Table[Any, Any]] = {DOMAINS.name: self.domains}
        self.netdevs = self.table(NETDEVS)
        self.pci = self.table(PCI)
        for kind, values in checkpoint.tables.items() if checkpoint else ():
            for value in values if checkpoint and kind not in checkpoint.behind else ():
                self.table(kind).put(value)
        self.resyncs = dict(checkpoint.resyncs) if checkpoint else {}
        self.boot_id = checkpoint.boot_id if checkpoint else ""
        self.incarnation = checkpoint.incarnation if checkpoint else 0
        self._newer = dict(checkpoint.newer) if checkpoint else {}
        self._newer_as_of = checkpoint.newer_as_of if checkpoint else ""

    def table(self, kind: TableType[K, V]) -> Table[K, V]:
        """The table of that kind, which begins empty."""
        table = self.tables.get(kind.name)
        if table is None:
            table = self.tables[kind.name] = Table(kind)
        return table

    def apply(self, event: Folds) -> None:
        """Folds one event in."""
        event.fold(self)

    def begin(self, boot_id: str, *, resumed: bool) -> None:
        """What an engine begins with: the state of before, but of another boot no device, or nothing."""
        is_same_boot = resumed and boot_id == self.boot_id != ""
        for table in self.tables.values():
            if not resumed or (table.kind.ends_with_boot and not is_same_boot):
                table.clear()
        if not resumed:
            self._newer, self._newer_as_of = {}, ""
        self.boot_id = boot_id
        self.resyncs = {}

    def snapshot(self, cursor: str) -> HostView:
        """Everything as it is now, frozen; ``cursor`` is that of the last event folded in. Nothing is copied."""
        return HostView(cursor=cursor, tables={name: table.lend() for name, table in self.tables.items()})

    def checkpoint(self, cursor: str) -> Checkpoint:
        """The same to be put down."""
        return Checkpoint(
            cursor=cursor,
            boot_id=self.boot_id,
            incarnation=self.incarnation,
            tables={table.kind: tuple(table.values()) for table in self.tables.values()},
            resyncs=dict(self.resyncs),
            newer=self._newer,
            newer_as_of=self._newer_as_of,
        )
