"""What a host is at one cursor: every domain and device, in one frozen reading."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from msgspec import Struct

from aiovirt.model.machine import Machine
from aiovirt.model.netdev import Netdev
from aiovirt.model.pci import PCIDevice
from aiovirt.model.state import DomainState, DomainStatus, MonitorHealth, Reason

__all__ = ["DomainView", "HostView"]


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


class HostView(Struct, frozen=True, kw_only=True):
    """Everything as of ``cursor``: ``domains`` by uuid, ``netdevs`` by id, ``pci`` by address. Nothing in it ever changes."""

    cursor: str
    domains: Mapping[UUID, DomainView]
    netdevs: Mapping[str, Netdev]
    pci: Mapping[str, PCIDevice]
