"""This host's devices as one source: what an engine on Linux watches and asks."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from anyio.abc import TaskStatus

from aiovirt.errors import NoSuchDevice
from aiovirt.events.types import Event
from aiovirt.hostdev.watcher import Watch
from aiovirt.model.busdevice import BusDevice
from aiovirt.model.details import DeviceDetails
from aiovirt.model.netdev import Netdev
from aiovirt.model.pci import PCIDevice
from aiovirt.system.nodedev import DetailsReader
from aiovirt.system.sysfs import Sysfs
from aiovirt.system.udev import list_devices

__all__ = ["HostDevices"]


class HostDevices:
    """Network devices of this network namespace, PCI functions, and drivers of all devices, live.

    ``known``, ``known_pci``, ``incarnation``, ``begins`` and ``netns`` are how the first inventory goes on from an earlier
    one: see :class:`Watch`.
    """

    def __init__(  # noqa: PLR0913 - as of Watch
        self,
        publish: Callable[[Event], object],
        *,
        known: Iterable[Netdev] = (),
        known_pci: Iterable[PCIDevice] = (),
        incarnation: int = 0,
        begins: str | None = None,
        netns: int = 0,
        sysfs: Sysfs | None = None,
    ) -> None:
        self._sysfs = sysfs or Sysfs()
        self._details = DetailsReader()
        self._watch = Watch(
            publish,
            known=known,
            known_pci=known_pci,
            incarnation=incarnation,
            begins=begins,
            netns=netns,
            sysfs=self._sysfs,
        )

    async def watch(self, *, task_status: TaskStatus[None]) -> None:
        """Publishes the inventory, calls ``task_status.started()``, and follows until cancelled."""
        await self._watch.run(task_status=task_status)

    async def read_phys_port_id(self, name: str) -> str | None:
        """Asks now: None when the driver has none. Raises NoSuchDevice, SystemFailure."""
        name = self._watch.name_of(name)
        value = await self._sysfs.read_phys_port_id(name)
        self._watch.doubt(name, value)
        return value

    async def refresh(self, subject: str) -> None:
        """Asks about one device now, and publishes in what it differs. Raises SystemFailure; NoSuchDevice for an unknown name."""
        await self._watch.refresh(subject)

    async def enumerate(self, subsystem: str) -> list[BusDevice]:
        """Every device of a subsystem, by name. Raises SystemFailure."""
        return sorted(await list_devices(subsystem), key=lambda device: device.name)

    async def details(self, subject: str) -> DeviceDetails:
        """What the inventory does not keep of it. Raises NoSuchDevice, SystemFailure."""
        device = self._watch.find(subject)
        if device is None:
            raise NoSuchDevice(f"there is no device {subject}", subject=subject)
        return await self._details.read(device)
