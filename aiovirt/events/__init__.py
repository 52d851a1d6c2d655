"""Events: what they are, the bus that numbers them, and the streams that read it.

Users read through ``host.events``; this package has the types to ask for. It does no I/O.
"""

from __future__ import annotations

from aiovirt.events.bus import BusStatistics
from aiovirt.events.codec import decode, encode
from aiovirt.events.feed import Events, Expectation
from aiovirt.events.reader import Resync, StreamStatistics, Subscription, Watch
from aiovirt.events.types import (
    DeviceEvent,
    DomainEvent,
    DomainLifecycle,
    DomainReboot,
    Event,
    HostEvent,
    HostStarted,
    MonitorEvent,
    MonitorLost,
    MonitorResumed,
    MonitorStalled,
    NetdevAdded,
    NetdevChanged,
    NetdevEvent,
    NetdevRemoved,
    NetdevRenamed,
    SourceResynced,
    WatcherLost,
)
from aiovirt.model.state import Detail, Lifecycle, MonitorHealth

__all__ = [
    "BusStatistics",
    "Detail",
    "DeviceEvent",
    "DomainEvent",
    "DomainLifecycle",
    "DomainReboot",
    "Event",
    "Events",
    "Expectation",
    "HostEvent",
    "HostStarted",
    "Lifecycle",
    "MonitorEvent",
    "MonitorHealth",
    "MonitorLost",
    "MonitorResumed",
    "MonitorStalled",
    "NetdevAdded",
    "NetdevChanged",
    "NetdevEvent",
    "NetdevRemoved",
    "NetdevRenamed",
    "Resync",
    "SourceResynced",
    "StreamStatistics",
    "Subscription",
    "Watch",
    "WatcherLost",
    "decode",
    "encode",
]
