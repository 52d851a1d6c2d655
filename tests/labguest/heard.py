"""Waiting for what a host's stream tells."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import anyio

import aiovirt
from aiovirt.events.types import DeviceEvent, Event, SourceResynced
from aiovirt.model.netdev import Netdev
from tests.labguest.topology import PATIENCE

__all__ = ["Heard", "all_after", "listening"]

E = TypeVar("E", bound=Event)


class Heard:
    """All events since it began that tell of devices, in their order."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._news = anyio.Event()

    def take(self, event: Event) -> None:
        self.events.append(event)
        self._news.set()
        self._news = anyio.Event()

    def of(self, kind: type[E], device: str | None = None, *, after: int = 0) -> list[E]:
        """Those of this kind, about this function or what hangs from it, or about the network device of this name or id.

        ``after`` is how many of all events do not count.
        """
        heard = self.events[after:]
        return [event for event in heard if isinstance(event, kind) and (device is None or device in _names(event))]

    async def some(self, kind: type[E], device: str | None = None, *, count: int = 1, after: int = 0) -> list[E]:
        """As above, once there are so many."""
        await self.until(lambda: len(self.of(kind, device, after=after)) >= count)
        return self.of(kind, device, after=after)

    async def nics(self, host: aiovirt.Host, function: str, count: int = 1) -> list[Netdev]:
        """What hangs from this function, by number, once udev has finished with so much of it."""

        def found() -> list[Netdev]:
            return [netdev for netdev in host.devices.netdevs() if netdev.parent == function and netdev.initialized]

        await self.until(lambda: len(found()) == count)
        return found()

    async def until(self, holds: Callable[[], object], *, why: Callable[[], str] = str) -> None:
        """Asked again after each event; ``why`` says what is missing, where it never comes to hold."""
        with anyio.move_on_after(PATIENCE):
            while not holds():
                await self._news.wait()
        assert holds(), "\n".join([f"not within {PATIENCE} s", why(), "heard:", *map(str, self.events)])


def _names(event: Event) -> tuple[str | None, ...]:
    if not isinstance(event, DeviceEvent):
        return ()
    device = event.device
    if isinstance(device, Netdev):
        return device.name, device.parent, device.id
    return (device.subject.partition("/")[2],)


@asynccontextmanager
async def listening(host: aiovirt.Host) -> AsyncIterator[Heard]:
    """What the host tells of devices within the block."""
    heard = Heard()
    async with host.events.subscribe(DeviceEvent, SourceResynced) as events, anyio.create_task_group() as tasks:

        async def listen() -> None:
            async for event in events:
                heard.take(event)

        tasks.start_soon(listen)
        yield heard
        tasks.cancel_scope.cancel()


async def all_after(host: aiovirt.Host, cursor: str) -> list[Event]:
    """What was published since, up to now."""
    until, found = host.events.cursor, list[Event]()
    async with host.events.subscribe(after=cursor) as events:
        while events.cursor < until:
            found.append(await events.receive())
    return found
