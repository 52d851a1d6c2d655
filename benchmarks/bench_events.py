"""What it costs to bring an event to a reader: CPU time for each delivery.

Readers want one type of event. Each contender looks at the type, hands the event on, and wakes a
reader that waits; the next burst is published when the last reader has seen this one. The events
are made beforehand. ``bare deque`` is the floor: no loop and no waiting, only the hand-over.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final, Protocol
from uuid import UUID

import anyio
from anyio.abc import TaskStatus
from msgspec import Struct

from aiovirt.events import Detail, DomainLifecycle, Event, Lifecycle, NetdevChanged
from aiovirt.events.bus import Bus
from aiovirt.events.feed import Events
from aiovirt.model.state import DomainState, Reason
from benchmarks.harness import ASYNC, SYNC, Bench, Figures, Lane, Stopwatch, main, run_on

__all__ = ["BENCH"]

Seen = Callable[[Event], None]
Wanted = type[Event]

HOST: Final = UUID(int=1)
NANOSECONDS: Final = 1e9


class Shape(Struct, frozen=True):
    """``readers`` want what is published, ``deaf`` ones want something else."""

    readers: int
    burst: int
    deaf: int = 0
    bursts: int = 1000

    @property
    def wishes(self) -> list[Wanted]:
        """What each reader wants."""
        deaf: list[Wanted] = [NetdevChanged] * self.deaf
        return [*deaf, *[DomainLifecycle] * self.readers]


CASES: Final = {
    "10 readers, burst 16": Shape(readers=10, burst=16),
    "10 readers, burst 1": Shape(readers=10, burst=1, bursts=8000),
    "100 readers, burst 16": Shape(readers=100, burst=16, bursts=160),
    "1000 readers, 999 match nothing": Shape(readers=1, deaf=999, burst=16, bursts=160),
}
QUICK: Final = 8  # times less
ALONE: Final = "aiovirt, one reader"


# -- contenders --------------------------------------------------------------------------------


class Line(Protocol):
    """A way for events to reach readers. ``read`` calls ``seen`` for each that is wanted, until cancelled."""

    def publish(self, event: Event, /) -> object: ...

    async def read(self, wanted: Wanted, seen: Seen, *, task_status: TaskStatus[None]) -> None: ...


class Ours:
    """The bus and a subscription for each reader."""

    def __init__(self) -> None:
        self._bus = Bus(host=HOST)
        self._events = Events(self._bus)
        self.publish = self._bus.publish

    async def read(self, wanted: Wanted, seen: Seen, *, task_status: TaskStatus[None]) -> None:
        async with self._events.subscribe(wanted) as events:
            task_status.started()
            async for event in events:
                seen(event)


class MemoryStreams:
    """An anyio memory stream for each reader."""

    def __init__(self) -> None:
        self._readers: list[tuple[Wanted, Callable[[Event], None]]] = []

    def publish(self, event: Event, /) -> None:
        for wanted, send in self._readers:
            if isinstance(event, wanted):
                send(event)

    async def read(self, wanted: Wanted, seen: Seen, *, task_status: TaskStatus[None]) -> None:
        send, receive = anyio.create_memory_object_stream[Event](math.inf)
        self._readers.append((wanted, send.send_nowait))
        async with send, receive:
            task_status.started()
            async for event in receive:
                seen(event)


class Mailbox:
    """A deque, and what its reader waits on."""

    def __init__(self) -> None:
        self.events: deque[Event] = deque()
        self.woken: anyio.Event | None = None

    def put(self, event: Event) -> None:
        self.events.append(event)
        if self.woken:
            self.woken.set()
            self.woken = None


class Mailboxes:
    """A mailbox for each reader: the least that a loop can do."""

    def __init__(self) -> None:
        self._readers: list[tuple[Wanted, Mailbox]] = []

    def publish(self, event: Event, /) -> None:
        for wanted, box in self._readers:
            if isinstance(event, wanted):
                box.put(event)

    async def read(self, wanted: Wanted, seen: Seen, *, task_status: TaskStatus[None]) -> None:
        box = Mailbox()
        self._readers.append((wanted, box))
        task_status.started()
        while True:
            while box.events:
                seen(box.events.popleft())
            woken = box.woken = anyio.Event()
            await woken.wait()


LINES: Final[dict[str, Callable[[], Line]]] = {
    "aiovirt": Ours,
    "memory stream": MemoryStreams,
    "deque + event": Mailboxes,
    ALONE: Ours,
}
FLOOR: Final = "bare deque"


# -- measuring ---------------------------------------------------------------------------------


class Tally:
    """Counts deliveries, and says when the last one that is due has come."""

    def __init__(self) -> None:
        self.count = self._due = 0
        self._complete = anyio.Event()

    def seen(self, _: Event) -> None:
        self.count += 1
        if self.count == self._due:
            self._complete.set()

    def expect(self, more: int) -> anyio.Event:
        """Set when ``more`` have been delivered."""
        self._due, self._complete = self.count + more, anyio.Event()
        return self._complete


def made(count: int) -> Iterator[Event]:
    """Events that were never published."""
    events = [
        DomainLifecycle(
            uuid=HOST,
            name="guest",
            kind=Lifecycle.STARTED,
            detail=Detail.BOOTED,
            state=DomainState.RUNNING,
            reason=Reason.BOOTED,
            id=1,
        )
        for _ in range(count)
    ]
    return iter(events)


async def drive(line: Line, shape: Shape, bursts: int) -> Figures:
    """The cost of ``bursts``, once the readers wait and a first burst went by."""
    tally, watch = Tally(), Stopwatch()
    events = made((bursts + 1) * shape.burst)

    async def burst() -> None:
        complete = tally.expect(shape.burst * shape.readers)
        for event in islice(events, shape.burst):
            line.publish(event)
        await complete.wait()

    async with anyio.create_task_group() as tasks:
        for wanted in shape.wishes:
            await tasks.start(line.read, wanted, tally.seen)
        await burst()
        with watch:
            for _ in range(bursts):
                await burst()
        tasks.cancel_scope.cancel()
    return watch.per(bursts * shape.burst * shape.readers, NANOSECONDS)


def drive_floor(shape: Shape, bursts: int) -> Figures:
    """The same through bare deques."""
    tally = Tally()
    boxes = [(wanted, deque[Event]()) for wanted in shape.wishes]
    events = made(bursts * shape.burst)
    with Stopwatch() as watch:
        for _ in range(bursts):
            for event in islice(events, shape.burst):
                for wanted, box in boxes:
                    if isinstance(event, wanted):
                        box.append(event)
            for _wanted, box in boxes:
                while box:
                    tally.seen(box.popleft())
    return watch.per(tally.count, NANOSECONDS)


def measure(lane: Lane, quick: bool, _: str) -> Figures:  # noqa: FBT001 - a Bench's measure
    shape = CASES[lane.case]
    bursts = shape.bursts // QUICK if quick else shape.bursts
    if lane.contender == FLOOR:
        return drive_floor(shape, bursts)
    if lane.contender == ALONE:
        shape = Shape(readers=shape.readers, burst=shape.burst)

    async def program() -> Figures:
        return await drive(LINES[lane.contender](), shape, bursts)

    return run_on(lane.backend, program)


def lanes() -> Iterator[Lane]:
    for case, shape in CASES.items():
        for contender in LINES:
            if shape.deaf or contender != ALONE:
                yield from (Lane(case, contender, backend) for backend in ASYNC)
        yield from (Lane(case, FLOOR, backend) for backend in SYNC)


BENCH: Final = Bench(
    name="bench_events",
    lanes=tuple(lanes()),
    baselines=("memory stream", "deque + event", FLOOR, ALONE),
    units={"cpu": "ns", "wall": "ns", "memory": "MiB"},
    measure=measure,
)

if __name__ == "__main__":
    main(BENCH)
