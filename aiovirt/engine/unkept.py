"""An engine that keeps nothing: it is there for one connection of one process."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING
from uuid import uuid4

from anyio.abc import TaskGroup

from aiovirt.drivers.scheme import LocalScheme, Surroundings
from aiovirt.engine.local import LocalEngine
from aiovirt.engine.records import Records
from aiovirt.engine.sink import EngineSink
from aiovirt.events.bus import Bus
from aiovirt.events.types import HostStarted
from aiovirt.system import to_thread
from aiovirt.system.identity import boot_id, net_namespace

if TYPE_CHECKING:
    from aiovirt.drivers.door import DeviceSource
    from aiovirt.events.event import Event

__all__ = ["make_engine", "new_bus"]


def new_bus() -> Bus:
    """The events of a host that nobody has seen before."""
    from aiovirt.system.loop import new_waker

    return Bus(host=uuid4(), new_waker=new_waker)


async def make_engine(uri: str, scheme: LocalScheme, bus: Bus, tasks: TaskGroup) -> LocalEngine:
    """The engine of ``scheme``'s guests; its devices are not watched yet."""
    records = Records(bus, None)
    sink = EngineSink(records)
    driver = await scheme.driver(Surroundings(sink, tasks, None))
    devices = scheme.devices(bus.publish) if scheme.devices else await _devices_here(bus.publish)
    engine = LocalEngine(uri, records, sink=sink, driver=driver, devices=devices, store=None)
    bus.publish(HostStarted(uri=uri, boot_id=await to_thread.run_sync(boot_id)))
    if scheme.first:
        engine.recovery.seed(scheme.first())
    return engine


async def _devices_here(publish: Callable[[Event], object]) -> DeviceSource:
    from aiovirt.hostdev.source import HostDevices

    return HostDevices(publish, netns=await to_thread.run_sync(net_namespace))
