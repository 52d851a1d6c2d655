"""Events: what they are, the bus that numbers them, and the streams that read it.

Users read through ``host.events``; this package has the types to ask for. It does no I/O.
"""

from __future__ import annotations

from aiovirt.events.bus import BusStatistics
from aiovirt.events.codec import decode, encode
from aiovirt.events.feed import Events, Expectation
from aiovirt.events.follow import Follow
from aiovirt.events.reader import StreamStatistics, Subscription
from aiovirt.events.types import *
from aiovirt.events.watch import Resync, Watch
from aiovirt.model.busdevice import BusDevice
from aiovirt.model.state import Detail, Lifecycle, MonitorHealth

__all__ = [
    "BusDevice",
    "BusStatistics",
    "ClockJumped",
    "Detail",
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
    "Events",
    "Expectation",
    "Follow",
    "HostEvent",
    "HostStarted",
    "JournalDegraded",
    "JournalRestored",
    "Lifecycle",
    "MonitorEvent",
    "MonitorHealth",
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
    "Resync",
    "SourceMissing",
    "SourceResynced",
    "StreamStatistics",
    "Subscription",
    "UnknownEvent",
    "Watch",
    "WatcherLost",
    "decode",
    "encode",
]
