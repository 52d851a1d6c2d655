"""The host's state as a fold of its journal.

Whoever reads the same events in the same order holds the same state: the engine itself, and any
process that is attached to it. Nothing here does I/O; nothing else writes this state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

from msgspec import Raw, Struct
from msgspec.structs import replace

from aiovirt.events.filters import kinds_of
from aiovirt.events.types import (
    DeviceInitialized,
    DomainChanged,
    DomainLifecycle,
    DriverEvent,
    Event,
    HostStarted,
    MonitorEvent,
    NetdevEvent,
    NetdevRemoved,
    PCIEvent,
    PCIRemoved,
    SourceResynced,
)
from aiovirt.model.machine import Machine
from aiovirt.model.netdev import Netdev
from aiovirt.model.pci import PCIDevice
from aiovirt.model.state import DomainState, Lifecycle, MonitorHealth
from aiovirt.model.view import DomainView, HostView

__all__ = ["FOLDS", "Domains", "HostState", "Memo", "changes_nothing"]


class Memo(Struct, frozen=True, kw_only=True):
    """A state, put down to be taken up again: ``cursor`` is that of the last event in it.

    ``newer`` has the tables that only a later version knows, as they came: they stand beside the others where it is written.
    Events up to ``newer_as_of`` are in those, and later ones are not.
    """

    cursor: str
    boot_id: str
    incarnation: int
    domains: tuple[DomainView, ...]
    netdevs: tuple[Netdev, ...]
    pci: tuple[PCIDevice, ...] = ()
    resyncs: dict[str, int] = {}
    newer: dict[str, Raw] = {}
    newer_as_of: str = ""


class Domains(MutableMapping[UUID, DomainView]):
    """Domains by uuid, kept by its number: to hash a UUID and to compare two takes longer than all else in a fold.

    The last event of a domain that is well has all that its view has: it stands for the view until somebody looks.
    """

    def __init__(self, by_number: dict[int, DomainView | DomainLifecycle], machines: dict[int, Machine] | None = None) -> None:
        self.by_number = by_number
        self.machines = machines or {}  # of those that are active, as far as they are known

    def __getitem__(self, uuid: UUID) -> DomainView:
        number = uuid.int
        view = self.by_number[number]
        if isinstance(view, DomainLifecycle):
            view = self.by_number[number] = _view(view, _CONNECTED, self.machines.get(number))
        return view

    def __setitem__(self, uuid: UUID, view: DomainView) -> None:
        self.by_number[uuid.int] = view
        if view.machine is not None:
            self.machines[uuid.int] = view.machine

    def __delitem__(self, uuid: UUID) -> None:
        del self.by_number[uuid.int]
        self.machines.pop(uuid.int, None)

    def __iter__(self) -> Iterator[UUID]:
        return (view.uuid for view in self.by_number.values())

    def __len__(self) -> int:
        return len(self.by_number)

    def copy(self) -> Domains:
        """Another with the same in it."""
        return Domains(self.by_number.copy(), self.machines.copy())

    def __repr__(self) -> str:
        return f"Domains({list(self.values())})"


class HostState:
    """The present, event by event.

    ``domains``, ``netdevs`` and ``pci`` are for reading; ``resyncs`` counts, for each source, how often messages of it were
    lost and it was read again, since the engine began; ``incarnation`` is the highest that any
    network device ever had, so that no id is given twice. :meth:`snapshot` is O(1): it lends the
    three out, and the next event that changes one copies it first.
    """

    def __init__(self, memo: Memo | None = None) -> None:
        self.domains = Domains({})
        for view in memo.domains if memo else ():
            self.domains[view.uuid] = view
        self.netdevs: dict[str, Netdev] = {device.id: device for device in memo.netdevs} if memo else {}
        self.pci: dict[str, PCIDevice] = {device.address: device for device in memo.pci} if memo else {}
        self.resyncs = dict(memo.resyncs) if memo else {}
        self.boot_id = memo.boot_id if memo else ""
        self.incarnation = memo.incarnation if memo else 0
        self._newer = dict(memo.newer) if memo else {}
        self._newer_as_of = memo.newer_as_of if memo else ""
        self._unwell: dict[int, MonitorHealth] = {}  # by uuid, of those that are active and not CONNECTED
        for view in self.domains.values():
            if view.monitor and view.monitor is not _CONNECTED:
                self._unwell[view.uuid.int] = view.monitor
        self._lent_domains = self._lent_netdevs = self._lent_pci = False

    def apply(self, event: Event) -> None:
        """Folds one event in."""
        FOLDS[type(event)](self, event)

    def snapshot(self, cursor: str) -> HostView:
        """Everything as it is now, frozen; ``cursor`` is that of the last event folded in."""
        self._lent_domains = self._lent_netdevs = self._lent_pci = True
        return HostView(
            cursor=cursor,
            domains=MappingProxyType(self.domains),
            netdevs=MappingProxyType(self.netdevs),
            pci=MappingProxyType(self.pci),
        )

    def memo(self, cursor: str) -> Memo:
        """The same to be put down."""
        return Memo(
            cursor=cursor,
            boot_id=self.boot_id,
            incarnation=self.incarnation,
            domains=tuple(self.domains.values()),
            netdevs=tuple(self.netdevs.values()),
            pci=tuple(self.pci.values()),
            resyncs=dict(self.resyncs),
            newer=self._newer,
            newer_as_of=self._newer_as_of,
        )

    def renumber(self, before: str, event: Event) -> None:
        """The event that was ``before``, and that nobody has seen, has another cursor now."""
        if isinstance(event, DomainLifecycle | MonitorEvent):
            view = self.domains.get(event.uuid)
            if view is not None and view.as_of == before:
                self._own_domains()
                self.domains[event.uuid] = replace(view, as_of=event.cursor)

    def _own_domains(self) -> None:
        """Before they change: what was lent out stays as it is."""
        if self._lent_domains:
            self.domains, self._lent_domains = self.domains.copy(), False

    def _apply_start(self, event: HostStarted) -> None:
        """What an engine begins with: the state of before, but of another boot no device, or nothing."""
        if not event.resumed:
            self.domains, self._lent_domains = Domains({}), False
            self._unwell.clear()
            self._newer, self._newer_as_of = {}, ""
        if not event.resumed or event.boot_id != self.boot_id or not event.boot_id:
            self.netdevs, self._lent_netdevs = {}, False
            self.pci, self._lent_pci = {}, False
        self.boot_id = event.boot_id
        self.resyncs = {}

    def _apply_resynced(self, event: SourceResynced) -> None:
        self.resyncs[event.source] = self.resyncs.get(event.source, 0) + 1

    def _apply_monitor(self, event: MonitorEvent) -> None:
        if before := self.domains.get(event.uuid):
            self._own_domains()
            self.domains[event.uuid] = replace(before, monitor=event.health, as_of=event.cursor)
            self._unwell[event.uuid.int] = event.health
            if event.health is _CONNECTED:
                del self._unwell[event.uuid.int]

    def _apply_changed(self, event: DomainChanged) -> None:
        if before := self.domains.get(event.uuid):
            self._own_domains()
            self.domains[event.uuid] = replace(before, machine=event.new)

    def _apply_lifecycle(self, event: DomainLifecycle) -> None:
        if self._lent_domains:
            self._own_domains()
        uuid = event.uuid.int
        if event.state is not _SHUTOFF:
            if self._unwell and (monitor := self._unwell.get(uuid)):
                self.domains.by_number[uuid] = _view(event, monitor, self.domains.machines.get(uuid))
            else:
                self.domains.by_number[uuid] = event
            return
        self._unwell.pop(uuid, None)
        self.domains.machines.pop(uuid, None)
        if not event.persistent or event.kind is _UNDEFINED:
            self.domains.by_number.pop(uuid, None)
        else:
            self.domains.by_number[uuid] = _view(event, None, None)

    def _apply_netdev(self, event: NetdevEvent) -> None:
        self._own_netdevs()
        device = event.device
        if device.id not in self.netdevs:
            self.incarnation = max(self.incarnation, _incarnation(device.id))
        self.netdevs[device.id] = device

    def _apply_netdev_removed(self, event: NetdevRemoved) -> None:
        self._own_netdevs()
        self.netdevs.pop(event.device.id, None)

    def _apply_initialized(self, event: DeviceInitialized) -> None:
        if event.netdev is not None and event.netdev.id in self.netdevs:
            self._own_netdevs()
            self.netdevs[event.netdev.id] = event.netdev

    def _own_netdevs(self) -> None:
        if self._lent_netdevs:
            self.netdevs, self._lent_netdevs = dict(self.netdevs), False

    def _apply_pci(self, event: PCIEvent) -> None:
        self._own_pci()
        if isinstance(event, PCIRemoved):
            self.pci.pop(event.device.address, None)
        else:
            self.pci[event.device.address] = event.device

    def _apply_driver(self, event: DriverEvent) -> None:
        before = self.pci.get(event.device.name) if event.device.bus == "pci" else None
        if before is not None:
            self._own_pci()
            self.pci[before.address] = replace(before, driver=event.device.driver)

    def _own_pci(self) -> None:
        if self._lent_pci:
            self.pci, self._lent_pci = dict(self.pci), False


def _incarnation(identity: str) -> int:
    number = identity.rpartition(".")[2]
    return int(number) if number.isdecimal() else 0


def _view(event: DomainLifecycle, monitor: MonitorHealth | None, machine: Machine | None) -> DomainView:
    return DomainView(
        uuid=event.uuid,
        name=event.name,
        id=event.id,
        persistent=event.persistent,
        state=event.state,
        reason=event.reason,
        monitor=monitor,
        as_of=event.cursor,
        machine=machine,
    )


# Looked up for every event: by its very type, and enum members by a name of this module.
_SHUTOFF: Final = DomainState.SHUTOFF
_UNDEFINED: Final = Lifecycle.UNDEFINED
_CONNECTED: Final = MonitorHealth.CONNECTED
Fold = Callable[[HostState, Any], None]


def _nothing(_state: HostState, _event: Event) -> None:
    """What an event does that changes no state."""


def changes_nothing(fold: Fold) -> bool:
    """Whether events that are folded like that may be left out."""
    return fold is _nothing


class _Folds(dict[type[Event], Fold]):
    def __missing__(self, kind: type[Event]) -> Fold:
        """One that changes nothing."""
        return self.setdefault(kind, _nothing)


FOLDS: Final = _Folds(
    {
        kind: fold
        for base, fold in (
            (DomainLifecycle, HostState._apply_lifecycle),  # noqa: SLF001 - its own
            (DomainChanged, HostState._apply_changed),  # noqa: SLF001
            (NetdevEvent, HostState._apply_netdev),  # noqa: SLF001
            (NetdevRemoved, HostState._apply_netdev_removed),  # noqa: SLF001 - and not as others of its family
            (DeviceInitialized, HostState._apply_initialized),  # noqa: SLF001
            (PCIEvent, HostState._apply_pci),  # noqa: SLF001
            (DriverEvent, HostState._apply_driver),  # noqa: SLF001
            (MonitorEvent, HostState._apply_monitor),  # noqa: SLF001
            (HostStarted, HostState._apply_start),  # noqa: SLF001
            (SourceResynced, HostState._apply_resynced),  # noqa: SLF001
        )
        for kind in kinds_of((base,))
    }
)
"""What an event does to a state, by its very type: what :meth:`HostState.apply` does, for who cannot wait for a call more."""
