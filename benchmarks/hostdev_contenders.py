"""Who watches links: aiovirt, a bare socket, pyudev, pyroute2's NDB and libvirt's nodedev driver. Nothing is measured here."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from functools import partial
from tempfile import TemporaryDirectory
from typing import Any, Final
from uuid import UUID

import anyio
import pyudev
from anyio.abc import TaskStatus
from msgspec import Struct
from pyroute2 import NDB
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

import aiovirt
from aiovirt.events import Events, NetdevEvent
from aiovirt.events.bus import Bus
from aiovirt.hostdev.watcher import Watch
from aiovirt.model.netdev import Netdev
from aiovirt.system.loop import new_waker
from aiovirt.system.netlink import RECEIVE_BUFFER
from benchmarks.hostdev_walk import LARGEST, dump, listener, walk
from benchmarks.qmp_libvirt import libvirt_module, nodedev_daemon

__all__ = ["BARE", "KERNELS", "LIBVIRT", "LISTERS", "NDB_NAME", "OPENED", "OURS", "READERS", "SMALL", "UDEVS", "WATCH", "Opened", "follow"]

OURS: Final = "aiovirt"
WATCH: Final = "aiovirt, the watch alone"
SMALL: Final = "aiovirt, the watch alone, 4 KiB of buffer"
BARE: Final = "bare socket"
KERNELS: Final = "pyudev, the kernel's"
UDEVS: Final = "pyudev, udev's"
NDB_NAME: Final = "NDB"
LIBVIRT: Final = "libvirtd"

Ready = Callable[[], object]
See = Callable[[str, int], bool]
"""Takes a link's name and MTU as just heard; says whether that was the last that is waited for."""


# -- aiovirt -----------------------------------------------------------------------------------


class Opened(Struct, frozen=True):
    """Where events come from, and what is known of the links."""

    events: Events
    netdevs: Callable[[], Iterable[Netdev]]


@asynccontextmanager
async def connected() -> AsyncIterator[Opened]:
    """The whole engine, with its journal on disk."""
    with TemporaryDirectory(prefix="aiovirt-") as folder:
        async with aiovirt.connect(f"qemu:///embed?root={folder}") as host:
            yield Opened(host.events, host.devices.netdevs)


@asynccontextmanager
async def watched(receive_buffer: int = RECEIVE_BUFFER) -> AsyncIterator[Opened]:
    """The watch, on a bus in memory."""
    bus = Bus(host=UUID(int=1), new_waker=new_waker)

    async def run(*, task_status: TaskStatus[None]) -> None:
        await Watch(bus.publish, receive_buffer=receive_buffer).run(task_status=task_status)

    async with anyio.create_task_group() as tasks:
        await tasks.start(run)
        yield Opened(Events(bus), bus.state.netdevs.values)
        tasks.cancel_scope.cancel()


OPENED: Final[dict[str, Callable[[], AbstractAsyncContextManager[Opened]]]] = {
    OURS: connected,
    WATCH: watched,
    SMALL: partial(watched, receive_buffer=4096),
}


async def follow(opened: Opened, ready: Ready, see: See) -> None:
    """Until the last that is waited for was seen."""
    async with opened.events.subscribe(NetdevEvent) as events:
        ready()
        async for event in events:
            if see(event.device.name, event.device.mtu):
                return


# -- the others, each in this thread -----------------------------------------------------------


def bare(ready: Ready, see: See) -> None:
    with listener() as opened:
        ready()
        while True:
            for link in walk(opened.recv(LARGEST)):
                if link is not None and see(link["name"], link["mtu"]):
                    return


def by_pyudev(source: str, ready: Ready, see: See) -> None:
    monitor = pyudev.Monitor.from_netlink(pyudev.Context(), source)
    monitor.filter_by("net")
    monitor.set_receive_buffer_size(RECEIVE_BUFFER)
    monitor.start()
    ready()
    while not see(monitor.poll().sys_name, 0):
        pass


def by_ndb(ready: Ready, see: See) -> None:
    """NDB calls its handlers in its own thread, after those that keep its database."""
    over = threading.Event()

    async def heard(_sources: object, _target: object, message: Any) -> None:  # noqa: ANN401 - without types
        if see(message.get_attr("IFLA_IFNAME"), message.get_attr("IFLA_MTU")):
            over.set()

    with NDB(log="off") as ndb:
        ndb.task_manager.register_handler(ifinfmsg, heard)
        ready()
        over.wait()


def by_libvirt(ready: Ready, see: See) -> None:
    """It is told of device nodes that come and go: a link that was renamed is a new one."""
    libvirt = libvirt_module("libvirt")
    libvirt.virEventRegisterDefaultImpl()
    over = False

    def heard(_connection: object, device: Any, event: int, _detail: int, _opaque: object) -> None:  # noqa: ANN401 - without types
        nonlocal over
        if event == libvirt.VIR_NODE_DEVICE_EVENT_CREATED:
            over = see(device.name().split("_")[1], 0) or over

    with nodedev_daemon() as address, closing(libvirt.open(address)) as connection:
        connection.nodeDeviceEventRegisterAny(None, libvirt.VIR_NODE_DEVICE_EVENT_ID_LIFECYCLE, heard, None)
        ready()
        while not over:
            libvirt.virEventRunDefaultImpl()


READERS: Final[dict[str, Callable[[Ready, See], None]]] = {
    BARE: bare,
    KERNELS: partial(by_pyudev, "kernel"),
    UDEVS: partial(by_pyudev, "udev"),
    NDB_NAME: by_ndb,
    LIBVIRT: by_libvirt,
}


# -- how many there are ------------------------------------------------------------------------


def counted_by_pyudev() -> int:
    """Each with what an inventory needs of it, which is a file of sysfs each."""
    wanted = ("address", "mtu", "flags", "operstate", "ifindex", "iflink")
    return len([[device.attributes.get(name) for name in wanted] for device in pyudev.Context().list_devices(subsystem="net")])


def counted_by_ndb() -> int:
    with NDB(log="off") as ndb:
        return len(list(ndb.interfaces.dump()))


def counted_by_libvirt() -> int:
    """From where the daemon starts."""
    libvirt = libvirt_module("libvirt")
    with nodedev_daemon() as address, closing(libvirt.open(address)) as connection:
        return len(connection.listAllDevices(libvirt.VIR_CONNECT_LIST_NODE_DEVICES_CAP_NET))


LISTERS: Final[dict[str, Callable[[], int]]] = {
    BARE: lambda: len(dump()),
    UDEVS: counted_by_pyudev,
    NDB_NAME: counted_by_ndb,
    LIBVIRT: counted_by_libvirt,
}
