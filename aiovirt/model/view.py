"""What a host is at one cursor: every domain and device, in one frozen reading."""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter
from typing import Any, Final, TypeVar
from uuid import UUID

from msgspec import Struct

from aiovirt.model.machine import Machine
from aiovirt.model.netdev import NETDEVS, Netdev
from aiovirt.model.pci import PCI, PCIDevice
from aiovirt.model.state import DomainState, DomainStatus, MonitorHealth, Reason
from aiovirt.model.table import TableType

__all__ = ["DOMAINS", "DomainView", "HostView"]

K = TypeVar("K")
V = TypeVar("V")


class DomainView(Struct, frozen=True, kw_only=True, gc=False):
    """One domain. ``id`` is its number while active, else None. ``as_of`` is the event that state, reason and monitor are of.

    ``machine`` is what it runs with, once its hypervisor was asked; None while it is not active.
    """

    uuid: UUID
    name: str
    id: int | None
    persistent: bool
    state: DomainState
    reason: Reason
    monitor: MonitorHealth | None
    as_of: str
    machine: Machine | None = None

    @property
    def subject(self) -> str:
        """Its subject in the event stream: ``domain/<uuid>``."""
        return f"domain/{self.uuid}"

    @property
    def is_active(self) -> bool:
        """Whether a process stands behind it."""
        return self.state.is_active

    @property
    def status(self) -> DomainStatus:
        """State, reason, monitor health and ``as_of``, together."""
        return DomainStatus(self.state, self.reason, self.monitor, self.as_of)


DOMAINS: Final[TableType[UUID, DomainView]] = TableType("domains", DomainView, attrgetter("uuid"))
"""The domains of a host, by uuid."""


class HostView(Struct, frozen=True, kw_only=True):
    """Everything as of ``cursor``: ``tables`` has all tables of the state, by their names. Nothing in it ever changes."""

    cursor: str
    tables: Mapping[str, Mapping[Any, Any]]

    def table(self, kind: TableType[K, V]) -> Mapping[K, V]:
        """What stands in that table, by its key; nothing where nothing was ever put there."""
        return self.tables.get(kind.name, {})

    @property
    def domains(self) -> Mapping[UUID, DomainView]:
        """The domains, by uuid."""
        return self.table(DOMAINS)

    @property
    def netdevs(self) -> Mapping[str, Netdev]:
        """The network devices, by id."""
        return self.table(NETDEVS)

    @property
    def pci(self) -> Mapping[str, PCIDevice]:
        """The PCI functions, by address."""
        return self.table(PCI)
