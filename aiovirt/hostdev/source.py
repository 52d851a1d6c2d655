"""This host's devices as one source: what an engine on Linux watches and asks."""

from __future__ import annotations

from collections.abc import Callable

from anyio.abc import TaskStatus

from aiovirt.events.types import Event
from aiovirt.hostdev.watcher import watch_netdevs
from aiovirt.system.sysfs import Sysfs

__all__ = ["HostDevices"]


class HostDevices:
    """Network devices of this network namespace, live."""

    def __init__(self, publish: Callable[[Event], object], *, sysfs: Sysfs | None = None) -> None:
        self._publish = publish
        self._sysfs = sysfs or Sysfs()

    async def watch(self, *, task_status: TaskStatus[None]) -> None:
        """Publishes the inventory, calls ``task_status.started()``, and follows until cancelled."""
        await watch_netdevs(self._publish, sysfs=self._sysfs, task_status=task_status)

    async def read_phys_port_id(self, name: str) -> str | None:
        """Asks now: None when the driver has none. Raises NoSuchDevice, SystemFailure."""
        return await self._sysfs.read_phys_port_id(name)
