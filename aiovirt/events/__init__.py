"""Events: what they are, the bus that numbers them, and the streams that read it.

Users read through ``host.events``; this package has the types to ask for. It does no I/O.
"""

from __future__ import annotations

from aiovirt.events import of_devices, of_domains, of_host
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
    "Detail",
    "Event",
    "Events",
    "Expectation",
    "Follow",
    "Lifecycle",
    "MonitorHealth",
    "Resync",
    "StreamStatistics",
    "Subscription",
    "UnknownEvent",
    "Watch",
    "decode",
    "encode",
]
__all__ += of_devices.__all__
__all__ += of_domains.__all__
__all__ += of_host.__all__
