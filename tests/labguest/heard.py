"""Waiting for what a host's stream tells."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import anyio

import aiovirt
from aiovirt.events.types import DriverEvent, Event, NetdevEvent, SourceResynced
from aiovirt.model.netdev import Netdev
from tests.labguest.topology import PATIENCE

__all__ = ["Heard", "listening"]

E = TypeVar("E", bound=Event)


class Heard:
    """All events since it began that tell of devices, in their order; ``device`` may be a function's address."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._news = anyio.Event()

    def take(self, event: Event) -> None:
        self.events.append(event)
        self._news.set()
        self._news = anyio.Event()

    def of(self, kind: type[E], device: str | None = None) -> list[E]:
        """Those of this kind, about this function or what hangs from it."""
        return [event for event in self.events if isinstance(event, kind) and (device is None or device in _names(event))]

    async def some(self, kind: type[E], device: str | None = None, *, count: int = 1) -> list[E]:
        """As above, once there are so many."""
        await self.until(lambda: len(self.of(kind, device)) >= count)
        return self.of(kind, device)

    async def nics(self, host: aiovirt.Host, function: str, driver: str, *, count: int = 1) -> list[Netdev]:
        """What hangs from this function, by number, once there is so much of it and the driver is known.

        A nic that udev renames while its driver is read is announced without one, which is told right after.
        """

        def found() -> list[Netdev]:
            return [netdev for netdev in host.devices.netdevs() if (netdev.parent, netdev.driver) == (function, driver)]

        await self.until(lambda: len(found()) == count)
        return found()

    async def until(self, holds: Callable[[], object]) -> None:
        """Asked again after each event."""
        with anyio.fail_after(PATIENCE):
            while not holds():
                await self._news.wait()


def _names(event: Event) -> tuple[str | None, ...]:
    if isinstance(event, NetdevEvent):
        return event.device.name, event.device.parent
    return (event.device.name,) if isinstance(event, DriverEvent) else ()


@asynccontextmanager
async def listening(host: aiovirt.Host) -> AsyncIterator[Heard]:
    """What the host tells of devices within the block."""
    heard = Heard()
    async with host.events.subscribe(NetdevEvent, DriverEvent, SourceResynced) as events, anyio.create_task_group() as tasks:

        async def listen() -> None:
            async for event in events:
                heard.take(event)

        tasks.start_soon(listen)
        yield heard
        tasks.cancel_scope.cancel()
