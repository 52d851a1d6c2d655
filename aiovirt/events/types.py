"""Every event that the stream can carry: typed, frozen, numbered. They are all had from here."""

from __future__ import annotations

from typing import TypeVar

from aiovirt.events.event import Event
from aiovirt.events.of_devices import (
    DeviceEvent,
    DeviceInitialized,
    DriverBound,
    DriverEvent,
    DriverUnbound,
    NetdevAdded,
    NetdevChanged,
    NetdevEvent,
    NetdevLeft,
    NetdevRemoved,
    NetdevRenamed,
    NetdevReturned,
    PCIAdded,
    PCIChanged,
    PCIEvent,
    PCIRemoved,
)
from aiovirt.events.of_domains import (
    DomainChanged,
    DomainEvent,
    DomainLifecycle,
    DomainQMP,
    DomainReboot,
    MonitorEvent,
    MonitorLost,
    MonitorResumed,
    MonitorStalled,
)
from aiovirt.events.of_host import (
    ClockJumped,
    HostEvent,
    HostStarted,
    JournalDegraded,
    JournalRestored,
    SourceMissing,
    SourceResynced,
    WatcherLost,
)
from aiovirt.events.unknown import UnknownEvent

__all__ = [
    "ClockJumped",
    "DeviceEvent",
    "DeviceInitialized",
    "DomainChanged",
    "DomainEvent",
    "DomainLifecycle",
    "DomainQMP",
    "DomainReboot",
    "DriverBound",
    "DriverEvent",
    "DriverUnbound",
    "Event",
    "HostEvent",
    "HostStarted",
    "JournalDegraded",
    "JournalRestored",
    "MonitorEvent",
    "MonitorLost",
    "MonitorResumed",
    "MonitorStalled",
    "NetdevAdded",
    "NetdevChanged",
    "NetdevEvent",
    "NetdevLeft",
    "NetdevRemoved",
    "NetdevRenamed",
    "NetdevReturned",
    "PCIAdded",
    "PCIChanged",
    "PCIEvent",
    "PCIRemoved",
    "SourceMissing",
    "SourceResynced",
    "UnknownEvent",
    "WatcherLost",
]

E_co = TypeVar("E_co", bound=Event, covariant=True)
