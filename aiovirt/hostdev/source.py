"""This host's devices as one source: what an engine on Linux watches and asks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from anyio.abc import TaskStatus

from aiovirt.errors import NoSuchDevice, SystemFailure, Unsupported
from aiovirt.events.types import Event, SourceResynced, WatcherLost
from aiovirt.hostdev.watcher import LINKS, SourceLostError, Watch
from aiovirt.model.busdevice import BusDevice
from aiovirt.model.details import DeviceDetails
from aiovirt.model.netdev import Netdev
from aiovirt.model.pci import PCIDevice
from aiovirt.system.again import keep_on, words_of
from aiovirt.system.log import get_logger
from aiovirt.system.nodedev import DetailsReader
from aiovirt.system.sysfs import Sysfs
from aiovirt.system.udev import list_devices

__all__ = ["HostDevices"]

_WAS_LOST: Final = "it was lost"
log = get_logger("hostdev")


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
        self._publish = publish
        self._lost: str | None = None  # the source that failed, from then until all is read again
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
        """Publishes the inventory, calls ``task_status.started()``, and follows until cancelled.

        When a source fails, WatcherLost is published; then all is opened and read again, until it can be, and what differs
        is published, and SourceResynced. The first time it says that it has started in either case.
        """
        said = False

        def started() -> None:
            nonlocal said
            if not said:
                said = True
                task_status.started()

        await keep_on(partial(self._follow, started), log, lost="devices are not watched for now", back="devices are watched again")

    async def _follow(self, started: Callable[[], None], works: Callable[[], None]) -> None:
        if self._lost is not None:
            self._watch = self._watch.successor(_WAS_LOST)

        def begun() -> None:
            if self._lost not in (None, LINKS):  # of that one the watch tells itself
                self._publish(SourceResynced(source=self._lost, reason=_WAS_LOST))
            self._lost = None
            works()
            started()

        try:
            await self._watch.follow(begun)
        except SourceLostError as lost:
            self._tell_lost(lost.source, lost.why)
            started()
            if not isinstance(lost.__cause__, Unsupported):
                raise SystemFailure(f"{lost.source}: {lost.why}") from lost
        except Exception as error:
            self._tell_lost(LINKS, words_of(error))
            started()
            raise

    def _tell_lost(self, source: str, why: str) -> None:
        if self._lost is None:
            self._lost = source
            self._publish(WatcherLost(source=source, why=why))

    async def read_phys_port_id(self, name: str) -> str | None:
        """Asks now: None when the driver has none. Raises NoSuchDevice, SystemFailure."""
        name = self._watch.name_of(name)
        value = await self._sysfs.read_phys_port_id(name)
        self._watch.recheck(name, value)
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
