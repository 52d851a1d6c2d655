"""The host's state as a fold of its journal.

Whoever reads the same events in the same order holds the same state: the engine itself, and any
process that is attached to it. Nothing here does I/O; nothing else writes this state.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING
from uuid import UUID

from msgspec.structs import replace

from aiovirt.events.types import (
    DomainEvent,
    DomainLifecycle,
    Event,
    MonitorEvent,
    NetdevEvent,
    NetdevRemoved,
)
from aiovirt.model.state import Lifecycle, MonitorHealth
from aiovirt.model.view import DomainView, HostView

if TYPE_CHECKING:
    from aiovirt.model.netdev import Netdev

__all__ = ["HostState"]


class HostState:
    """The present, event by event.

    ``domains`` and ``netdevs`` are plain dicts for reading. :meth:`snapshot` is O(1): it lends the
    dicts out, and the next event that changes one copies it first.
    """

    def __init__(self) -> None:
        self.domains: dict[UUID, DomainView] = {}
        self.netdevs: dict[str, Netdev] = {}
        self._lent_domains = self._lent_netdevs = False

    def apply(self, event: Event) -> None:
        """Folds one event in."""
        if isinstance(event, DomainEvent):
            self._apply_domain(event)
        elif isinstance(event, NetdevEvent):
            self._apply_netdev(event)

    def snapshot(self, cursor: str) -> HostView:
        """Everything as it is now, frozen; ``cursor`` is that of the last event folded in."""
        self._lent_domains = self._lent_netdevs = True
        return HostView(cursor=cursor, domains=MappingProxyType(self.domains), netdevs=MappingProxyType(self.netdevs))

    def _apply_domain(self, event: DomainEvent) -> None:
        if self._lent_domains:
            self.domains, self._lent_domains = dict(self.domains), False
        if isinstance(event, DomainLifecycle):
            self._apply_lifecycle(event)
        elif isinstance(event, MonitorEvent) and (before := self.domains.get(event.uuid)):
            self.domains[event.uuid] = replace(before, monitor=event.health, as_of=event.cursor)

    def _apply_lifecycle(self, event: DomainLifecycle) -> None:
        if (event.kind is Lifecycle.UNDEFINED and not event.state.is_active) or (event.kind is Lifecycle.STOPPED and not event.persistent):
            self.domains.pop(event.uuid, None)
        else:
            self.domains[event.uuid] = _view(event, self.domains.get(event.uuid))

    def _apply_netdev(self, event: NetdevEvent) -> None:
        if self._lent_netdevs:
            self.netdevs, self._lent_netdevs = dict(self.netdevs), False
        if isinstance(event, NetdevRemoved):
            self.netdevs.pop(event.device.id, None)
        else:
            self.netdevs[event.device.id] = event.device


def _view(event: DomainLifecycle, before: DomainView | None) -> DomainView:
    return DomainView(
        uuid=event.uuid,
        name=event.name,
        id=event.id,
        persistent=event.persistent,
        state=event.state,
        reason=event.reason,
        monitor=_health(event, before),
        as_of=event.cursor,
    )


def _health(event: DomainLifecycle, before: DomainView | None) -> MonitorHealth | None:
    if not event.state.is_active:
        return None
    return before.monitor if before and before.monitor else MonitorHealth.CONNECTED
