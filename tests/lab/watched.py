"""A watch over the devices of this process's network namespace, and what a reader makes of what it tells."""

from __future__ import annotations

import json
import subprocess
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TypeVar

import anyio

from aiovirt.events.state import HostState
from aiovirt.events.types import DeviceInitialized, Event, NetdevAdded, NetdevChanged, NetdevRemoved, NetdevRenamed
from aiovirt.hostdev.watcher import Watch
from aiovirt.model.netdev import Netdev
from aiovirt.system import netlink
from aiovirt.system.sysfs import Sysfs
from tests.lab.links import as_known, as_told_by_ip

__all__ = ["PATIENCE", "Heard", "ip", "only_lo", "run", "watching"]

PATIENCE = 60
E = TypeVar("E", bound=Event)


def run(*command: str) -> None:
    subprocess.run(command, check=True)


def ip(*lines: str) -> None:
    """Carries out lines of ip-link in one process."""
    subprocess.run(["ip", "-batch", "-"], input="".join(f"link {line}\n" for line in lines), text=True, check=True)


@contextmanager
def only_lo() -> Iterator[None]:
    """Leaves a namespace with lo alone. The kernel may be about to take some away: those of a namespace that was deleted."""
    yield
    while rest := _others_than_lo():
        lines = "".join(f"link {line}\n" for line in (*(f"set {name} group 77" for name in rest), "del group 77"))
        subprocess.run(["ip", "-force", "-batch", "-"], input=lines, text=True, check=False)


def _others_than_lo() -> list[str]:
    links = json.loads(subprocess.run(["ip", "-j", "link"], check=True, capture_output=True).stdout)
    return [link["ifname"] for link in links if link["ifname"] != "lo"]


class Heard:
    """What a watch published, folded; each event has to fit those before it."""

    def __init__(self, known: Iterable[Netdev] = ()) -> None:
        self.watch: Watch  # whose word it is
        self.events: list[Event] = []
        self.state = HostState()
        self.state.netdevs.update((netdev.id, netdev) for netdev in known)
        self._news = anyio.Event()

    def publish(self, event: Event) -> None:
        self.events.append(event)
        known = self.state.netdevs
        if isinstance(event, NetdevAdded):
            assert event.device.id not in known
        elif isinstance(event, NetdevRemoved):
            assert known[event.device.id] == event.device
        elif isinstance(event, NetdevRenamed | NetdevChanged):
            assert known[event.old.id] == event.old
        elif isinstance(event, DeviceInitialized) and event.netdev is not None:
            assert event.netdev.initialized
            assert event.netdev.properties == event.properties
            assert set(known[event.netdev.id].changes_to(event.netdev)) <= {"initialized", "properties"}
        self.state.apply(event)
        self._news.set()
        self._news = anyio.Event()

    def of(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    def netdevs(self) -> dict[str, Netdev]:
        return {netdev.name: netdev for netdev in self.state.netdevs.values()}

    def netdev(self, name: str) -> Netdev | None:
        return self.netdevs().get(name)

    def names(self) -> list[str]:
        return sorted(self.netdevs())

    def initializations(self, identity: str) -> list[DeviceInitialized]:
        """Those of the network device with this id."""
        return [event for event in self.of(DeviceInitialized) if event.netdev is not None and event.netdev.id == identity]

    async def until(self, holds: Callable[[], object]) -> None:
        """Asked again after each event."""
        with anyio.fail_after(PATIENCE):
            while not holds():
                await self._news.wait()

    async def until_is(self, name: str, **attributes: object) -> Netdev:
        """The device of this name, once it has these attributes."""

        def found() -> Netdev | None:
            device = self.netdev(name)
            return device if device and all(getattr(device, a) == value for a, value in attributes.items()) else None

        await self.until(found)
        device = found()
        assert device is not None
        return device

    async def until_as_the_kernel(self) -> None:
        """Until the inventory is what ip says; ip is asked again after each event."""
        await self.until(lambda: as_known(self.state.netdevs.values()) == as_told_by_ip())

    async def until_initialized(self, *names: str) -> list[Netdev]:
        """These devices, once udev has finished with them all."""

        def found() -> list[Netdev]:
            there = self.netdevs()
            return [there[name] for name in names if name in there and there[name].initialized]

        await self.until(lambda: len(found()) == len(names))
        return found()


@asynccontextmanager
async def watching(
    *,
    known: Iterable[Netdev] = (),
    incarnation: int = 0,
    begins: str | None = None,
    sysfs: Sysfs | None = None,
    receive_buffer: int = netlink.RECEIVE_BUFFER,
) -> AsyncIterator[Heard]:
    """What is told of this namespace within the block, the first inventory included."""
    known = tuple(known)
    heard = Heard(known)
    async with anyio.create_task_group() as tasks:

        async def watch(*, task_status: anyio.abc.TaskStatus[None]) -> None:
            heard.watch = watch = Watch(
                heard.publish,
                known=known,
                incarnation=incarnation,
                begins=begins,
                sysfs=sysfs,
                receive_buffer=receive_buffer,
            )
            await watch.run(task_status=task_status)

        await tasks.start(watch)
        yield heard
        tasks.cancel_scope.cancel()
