"""This host's devices as one source: what an engine on Linux watches and asks."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from anyio.abc import TaskStatus

from aiovirt.events.types import Event
from aiovirt.hostdev.watcher import watch_netdevs
from aiovirt.model.netdev import Netdev
from aiovirt.system.sysfs import Sysfs

__all__ = ["HostDevices"]


class HostDevices:
    """Network devices of this network namespace, and drivers of all devices, live.

    ``known``, ``incarnation`` and ``begins`` are how the first inventory goes on from an earlier one: see
    :func:`watch_netdevs`.
    """

    def __init__(
        self,
        publish: Callable[[Event], object],
        *,
        known: Iterable[Netdev] = (),
        incarnation: int = 0,
        begins: str | None = None,
        sysfs: Sysfs | None = None,
    ) -> None:
        self._publish = publish
        self._known = tuple(known)
        self._incarnation = incarnation
        self._begins = begins
        self._sysfs = sysfs or Sysfs()

    async def watch(self, *, task_status: TaskStatus[None]) -> None:
        """Publishes the inventory, calls ``task_status.started()``, and follows until cancelled."""
        await watch_netdevs(
            self._publish,
            known=self._known,
            incarnation=self._incarnation,
            begins=self._begins,
            sysfs=self._sysfs,
            task_status=task_status,
        )

    async def read_phys_port_id(self, name: str) -> str | None:
        """Asks now: None when the driver has none. Raises NoSuchDevice, SystemFailure."""
        return await self._sysfs.read_phys_port_id(name)
