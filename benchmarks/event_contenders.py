"""Ways for events to reach readers: the bus, and what people build in its place. Nothing is measured here.

Each looks at an event's type before it hands the event on, and calls ``seen`` in the reader's own task.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final, Protocol
from uuid import UUID

import anyio
import trio
from anyio.abc import TaskStatus

from aiovirt.events import Detail, DomainLifecycle, Event, Lifecycle
from aiovirt.events.bus import Bus
from aiovirt.events.feed import Events
from aiovirt.model.state import DomainState, Reason
from aiovirt.system.loop import new_waker

__all__ = ["HOST", "LINES", "Line", "Ours", "Seen", "Wanted", "made", "make_line"]

Seen = Callable[[Event], None]
Wanted = type[Event]

HOST: Final = UUID(int=1)
GUESTS: Final = 16


def made(count: int) -> Iterator[Event]:
    """Events that were never published, of a few guests in turn."""
    events = [
        DomainLifecycle(
            uuid=UUID(int=number % GUESTS),
            name="guest",
            kind=Lifecycle.STARTED,
            detail=Detail.BOOTED,
            state=DomainState.RUNNING,
            reason=Reason.BOOTED,
            id=1,
        )
        for number in range(count)
    ]
    return iter(events)


class Line(Protocol):
    """``read`` calls ``seen`` for each event that is wanted, until cancelled; ``publish`` never waits."""

    def publish(self, event: Event, /) -> object: ...

    async def read(self, wanted: Wanted, seen: Seen, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None: ...


class Ours:
    """The bus, and a subscription for each reader."""

    def __init__(self, bus: Bus | None = None) -> None:
        bus = bus or Bus(host=HOST, new_waker=new_waker)
        self.events = Events(bus)
        self.publish = bus.publish

    async def read(
        self, wanted: Wanted, seen: Seen, subject: str | None = None, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        async with self.events.subscribe(wanted, subject=subject) as events:
            task_status.started()
            async for event in events:
                seen(event)


class OursInBatches(Ours):
    """The same, for readers that take all that is there at once."""

    async def read(
        self, wanted: Wanted, seen: Seen, subject: str | None = None, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        async with self.events.subscribe(wanted, subject=subject) as events:
            task_status.started()
            while True:
                for event in await events.receive_batch():
                    seen(event)


class Fanned:
    """What sends to each reader by itself."""

    def __init__(self) -> None:
        self._readers: list[tuple[Wanted, Callable[[Event], None]]] = []

    def publish(self, event: Event, /) -> None:
        for wanted, send in self._readers:
            if isinstance(event, wanted):
                send(event)


class MemoryStreams(Fanned):
    """An anyio memory stream for each reader."""

    async def read(self, wanted: Wanted, seen: Seen, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        send, receive = anyio.create_memory_object_stream[Event](math.inf)
        self._readers.append((wanted, send.send_nowait))
        async with send, receive:
            task_status.started()
            async for event in receive:
                seen(event)


class Queues(Fanned):
    """asyncio's queue for each reader."""

    async def read(self, wanted: Wanted, seen: Seen, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        queue = asyncio.Queue[Event]()
        self._readers.append((wanted, queue.put_nowait))
        task_status.started()
        while True:
            seen(await queue.get())


class Channels(Fanned):
    """trio's memory channel for each reader."""

    async def read(self, wanted: Wanted, seen: Seen, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        send, receive = trio.open_memory_channel[Event](math.inf)
        self._readers.append((wanted, send.send_nowait))
        task_status.started()
        async for event in receive:
            seen(event)


class WokenDeques:
    """A deque for each reader, which waits in its loop's own way while that is empty: the least that a loop can do."""

    def __init__(self) -> None:
        self._readers: list[tuple[Wanted, deque[Event], Callable[[], None]]] = []

    def publish(self, event: Event, /) -> None:
        for wanted, events, wake in self._readers:
            if isinstance(event, wanted):
                if not events:
                    wake()
                events.append(event)

    async def read(self, wanted: Wanted, seen: Seen, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        events, waker = deque[Event](), new_waker()
        self._readers.append((wanted, events, waker.wake))
        task_status.started()
        while True:
            while events:
                seen(events.popleft())
            await waker.wait()


LINES: Final[dict[str, Callable[[], Line]]] = {
    "aiovirt": Ours,
    "aiovirt, in batches": OursInBatches,
    "memory stream": MemoryStreams,
    "queue": Queues,
    "deque + waker": WokenDeques,
}


def make_line(contender: str, backend: str) -> Line:
    """One of :data:`LINES`, each in the form that this backend has."""
    return Channels() if (contender, backend) == ("queue", "trio") else LINES[contender]()
