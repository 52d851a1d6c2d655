"""The tables that events fold into. What a table lends out never changes: its next change is made in a copy. Pure."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, Mapping, MutableMapping, ValuesView
from copy import copy
from types import MappingProxyType
from typing import Final, Generic, Protocol, TypeVar
from uuid import UUID

from aiovirt.model.machine import Machine
from aiovirt.model.state import DomainState, MonitorHealth, Reason
from aiovirt.model.table import TableType
from aiovirt.model.view import DOMAINS, DomainView

__all__ = ["ByNumber", "DomainTable", "HasView", "Table"]

K = TypeVar("K")
V = TypeVar("V")

_CONNECTED: Final = MonitorHealth.CONNECTED


class Table(MutableMapping[K, V], Generic[K, V]):
    """One table: the values of that kind, each at its key. :meth:`lend` is O(1)."""

    __slots__ = ("is_lent", "kind", "rows")

    rows: MutableMapping[K, V]
    is_lent: bool

    def __init__(self, kind: TableType[K, V]) -> None:
        self.kind = kind
        self.clear()

    def lend(self) -> Mapping[K, V]:
        """All that is in it now, for reading: it stays as it is."""
        self.is_lent = True
        return MappingProxyType(self.rows)

    def own(self) -> MutableMapping[K, V]:
        """All that is in it, to be changed."""
        if self.is_lent:
            self.rows, self.is_lent = copy(self.rows), False
        return self.rows

    def put(self, value: V) -> None:
        """Puts ``value`` in, where it stands."""
        if self.is_lent:
            self.own()
        self.rows[self.kind.key(value)] = value

    def drop(self, value: V) -> None:
        """Takes away what stands where ``value`` does."""
        self.own().pop(self.kind.key(value), None)

    def clear(self) -> None:
        """Begins anew, with nothing in it."""
        self.rows, self.is_lent = {}, False

    def __getitem__(self, key: K) -> V:
        return self.rows[key]

    def __setitem__(self, key: K, value: V) -> None:
        self.own()[key] = value

    def __delitem__(self, key: K) -> None:
        del self.own()[key]

    def __contains__(self, key: object) -> bool:
        return key in self.rows

    def __iter__(self) -> Iterator[K]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def values(self) -> ValuesView[V]:
        return self.rows.values()

    def items(self) -> ItemsView[K, V]:
        return self.rows.items()

    def __repr__(self) -> str:
        return f"Table({self.kind.name}: {list(self.values())})"


# -- domains, which change most ------------------------------------------------------------------


class HasView(Protocol):
    """An event that says all of a domain that its view has: it stands for the view until somebody looks."""

    @property
    def uuid(self) -> UUID: ...

    @property
    def state(self) -> DomainState: ...

    @property
    def reason(self) -> Reason: ...

    @property
    def persistent(self) -> bool: ...

    def view(self, monitor: MonitorHealth | None, machine: Machine | None) -> DomainView:
        """The view, with what the event does not say."""
        ...


class ByNumber(MutableMapping[UUID, DomainView]):
    """Domains by their uuids' numbers: to hash a UUID and to compare two takes longer than all else in a fold.

    The last event of a domain that is well stands for its view: most are replaced by the next one, and nobody has looked.
    """

    __slots__ = ("found", "machines")

    def __init__(self) -> None:
        self.found: dict[int, DomainView | HasView] = {}
        self.machines: dict[int, Machine] = {}  # of those that are active, as far as they are known

    def __getitem__(self, uuid: UUID) -> DomainView:
        number = uuid.int
        view = self.found[number]
        if not isinstance(view, DomainView):
            view = self.found[number] = view.view(_CONNECTED, self.machines.get(number))
        return view

    def __setitem__(self, uuid: UUID, view: DomainView) -> None:
        self.found[uuid.int] = view
        if view.machine is not None:
            self.machines[uuid.int] = view.machine

    def __delitem__(self, uuid: UUID) -> None:
        del self.found[uuid.int]
        self.machines.pop(uuid.int, None)

    def __iter__(self) -> Iterator[UUID]:
        return (view.uuid for view in self.found.values())

    def __len__(self) -> int:
        return len(self.found)

    def __copy__(self) -> ByNumber:
        other = ByNumber()
        other.found, other.machines = self.found.copy(), self.machines.copy()
        return other

    def __repr__(self) -> str:
        return f"ByNumber({list(self.values())})"


class DomainTable(Table[UUID, DomainView]):
    """The domains; ``unwell`` has the monitors, by number, of those that are active and whose monitor is not CONNECTED."""

    __slots__ = ("unwell",)

    rows: ByNumber  # pyright: ignore[reportIncompatibleVariableOverride] - what puts something in knows which table it is

    def __init__(self) -> None:
        super().__init__(DOMAINS)

    def clear(self) -> None:
        self.rows = ByNumber()  # pyright: ignore[reportIncompatibleVariableOverride] - as above
        self.is_lent = False
        self.unwell: dict[int, MonitorHealth] = {}

    def last(self, uuid: UUID) -> DomainView | HasView | None:
        """What is known of one, in whichever of the two forms it is; None for one that is not there."""
        return self.rows.found.get(uuid.int)

    def put(self, value: DomainView) -> None:
        self[value.uuid] = value

    def drop(self, value: DomainView) -> None:
        self.pop(value.uuid, None)

    def __setitem__(self, uuid: UUID, view: DomainView) -> None:
        super().__setitem__(uuid, view)
        if view.monitor is None or view.monitor is _CONNECTED:
            self.unwell.pop(uuid.int, None)
        else:
            self.unwell[uuid.int] = view.monitor

    def __delitem__(self, uuid: UUID) -> None:
        super().__delitem__(uuid)
        self.unwell.pop(uuid.int, None)
