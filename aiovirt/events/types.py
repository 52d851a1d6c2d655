"""Every event that the stream can carry: typed, frozen, numbered.

An event is made by what learned of it, without a number; the bus stamps ``cursor``, ``time`` and
``host`` when it publishes. Nothing here does I/O or knows who reads.
"""

from __future__ import annotations

from typing import ClassVar, TypeVar
from uuid import UUID

from msgspec import Struct

from aiovirt.events.words import changes, clock, portrait
from aiovirt.model.netdev import Netdev
from aiovirt.model.state import Detail, DomainState, Lifecycle, MonitorHealth, Reason

__all__ = [
    "DeviceEvent",
    "DomainEvent",
    "DomainLifecycle",
    "DomainReboot",
    "Event",
    "HostEvent",
    "HostStarted",
    "MonitorEvent",
    "MonitorLost",
    "MonitorResumed",
    "MonitorStalled",
    "NetdevAdded",
    "NetdevChanged",
    "NetdevEvent",
    "NetdevRemoved",
    "NetdevRenamed",
    "SourceResynced",
    "WatcherLost",
]

NIL = UUID(int=0)

E_co = TypeVar("E_co", bound="Event", covariant=True)


class Event(Struct, frozen=True, kw_only=True, gc=False):
    """What all events have.

    ``cursor`` is ``EPOCH:SEQ``: text order is event order. ``time`` is nanoseconds since 1970 UTC,
    never decreasing within an epoch; ``source_time`` is the time the source gave (QEMU's), or None.
    ``host`` is this host's UUID; ``cause`` the id of the order that led to it, or None.
    """

    cursor: str = ""
    time: int = 0
    source_time: int | None = None
    host: UUID = NIL
    cause: str | None = None

    family: ClassVar[str] = "event"

    @property
    def subject(self) -> str:
        """What it is about: ``domain/<uuid>``, ``netdev/<id>`` or ``host``."""
        return "host"

    @property
    def topic(self) -> str:
        """Its kind, as in the outside form: ``domain.lifecycle``, ``netdev.changed``, …"""
        return str(self.__struct_config__.tag)

    def describe(self) -> tuple[str, str, str]:
        """(whom, what happened, details), the three parts of its line for people."""
        return self.subject, self.topic, ""

    def __str__(self) -> str:
        who, what, detail = self.describe()
        return f"{clock(self.time)}  {who}  {what}" + (f"  {detail}" if detail else "")


# -- domains -----------------------------------------------------------------------------------


class DomainEvent(Event, frozen=True, kw_only=True, gc=False):
    """Something about one domain."""

    uuid: UUID
    name: str

    family: ClassVar[str] = "domain"

    @property
    def subject(self) -> str:
        return f"domain/{self.uuid}"


class DomainLifecycle(DomainEvent, frozen=True, kw_only=True, gc=False, tag="domain.lifecycle"):
    """libvirt's ``VIR_DOMAIN_EVENT_ID_LIFECYCLE`` (0), with the state it led to.

    ``id`` is the domain's number while it is active, as in libvirt; None while it is not.
    """

    kind: Lifecycle
    detail: Detail
    state: DomainState
    reason: Reason
    id: int | None = None
    persistent: bool = True

    def describe(self) -> tuple[str, str, str]:
        return self.name, str(self.kind), str(self.detail)


class DomainReboot(DomainEvent, frozen=True, kw_only=True, gc=False, tag="domain.reboot"):
    """libvirt's ``VIR_DOMAIN_EVENT_ID_REBOOT`` (1): the guest's machine was reset.

    ``by_guest`` is whether the guest asked for it itself.
    """

    by_guest: bool = False

    def describe(self) -> tuple[str, str, str]:
        return self.name, "reboot", "by the guest" if self.by_guest else "by the host"


class MonitorEvent(DomainEvent, frozen=True, kw_only=True, gc=False):
    """How well a domain's monitor is heard has changed; the guest itself may be in the best health."""

    why: str = ""

    health: ClassVar[MonitorHealth] = MonitorHealth.CONNECTED

    def describe(self) -> tuple[str, str, str]:
        return self.name, f"monitor {self.health}", self.why


class MonitorLost(MonitorEvent, frozen=True, kw_only=True, gc=False, tag="domain.monitor.lost"):
    """The monitor's connection ended, or cannot be had, while the process lives."""

    degraded: bool = False

    @property
    def health(self) -> MonitorHealth:  # type: ignore[override]
        return MonitorHealth.DEGRADED if self.degraded else MonitorHealth.LOST


class MonitorStalled(MonitorEvent, frozen=True, kw_only=True, gc=False, tag="domain.monitor.stalled"):
    """A deadline passed in which the monitor said nothing at all."""

    health: ClassVar[MonitorHealth] = MonitorHealth.STALLED


class MonitorResumed(MonitorEvent, frozen=True, kw_only=True, gc=False, tag="domain.monitor.resumed"):
    """The monitor is heard (again)."""


# -- devices -----------------------------------------------------------------------------------


class DeviceEvent(Event, frozen=True, kw_only=True, gc=False):
    """Something about one device of this host."""

    family: ClassVar[str] = "device"

    @property
    def device(self) -> Netdev:
        """The device as it is after the event (for a removal: as it was last)."""
        raise AttributeError("device")

    @property
    def subject(self) -> str:
        return self.device.subject


class NetdevEvent(DeviceEvent, frozen=True, kw_only=True, gc=False):
    """Something about one network device."""

    family: ClassVar[str] = "netdev"


class NetdevAdded(NetdevEvent, frozen=True, kw_only=True, gc=False, tag="netdev.added"):
    """A network device is there."""

    device: Netdev  # pyright: ignore[reportIncompatibleMethodOverride] - read-only too: the struct is frozen

    def describe(self) -> tuple[str, str, str]:
        return self.device.name, "added", portrait(self.device)


class NetdevRemoved(NetdevEvent, frozen=True, kw_only=True, gc=False, tag="netdev.removed"):
    """A network device is gone; ``device`` is how it was last."""

    device: Netdev  # pyright: ignore[reportIncompatibleMethodOverride] - as of NetdevAdded

    def describe(self) -> tuple[str, str, str]:
        return self.device.name, "removed", ""


class NetdevRenamed(NetdevEvent, frozen=True, kw_only=True, gc=False, tag="netdev.renamed"):
    """A network device has another name; nothing else of it changed with it."""

    old: Netdev
    new: Netdev

    @property
    def device(self) -> Netdev:
        return self.new

    def describe(self) -> tuple[str, str, str]:
        return self.new.name, "renamed", f"from {self.old.name}"


class NetdevChanged(NetdevEvent, frozen=True, kw_only=True, gc=False, tag="netdev.changed"):
    """Attributes of a network device changed; the name did not."""

    old: Netdev
    new: Netdev

    @property
    def device(self) -> Netdev:
        return self.new

    @property
    def changes(self) -> dict[str, tuple[object, object]]:
        """attribute -> (old, new), for each that differs."""
        return self.old.changes_to(self.new)

    def describe(self) -> tuple[str, str, str]:
        return self.new.name, "changed", changes(self.changes)


# -- the host itself ---------------------------------------------------------------------------


class HostEvent(Event, frozen=True, kw_only=True, gc=False):
    """Something about this host's engine and its sources."""

    family: ClassVar[str] = "host"


class HostStarted(HostEvent, frozen=True, kw_only=True, gc=False, tag="host.started"):
    """An engine began to hold this host."""

    uri: str = ""
    boot_id: str = ""

    def describe(self) -> tuple[str, str, str]:
        return "host", "started", self.uri


class WatcherLost(HostEvent, frozen=True, kw_only=True, gc=False, tag="host.watcher.lost"):
    """A source of device events ended for good; what it told is no longer kept fresh."""

    source: str
    why: str

    def describe(self) -> tuple[str, str, str]:
        return self.source, "watcher lost", self.why


class SourceResynced(HostEvent, frozen=True, kw_only=True, gc=False, tag="host.source.resynced"):
    """A source had a hole and was read again from the start.

    The differences found were published just before. ``lost`` counts messages known to be gone,
    or is None where it cannot be known.
    """

    source: str
    reason: str
    lost: int | None = None

    def describe(self) -> tuple[str, str, str]:
        return self.source, "resynced", self.reason
