"""What it costs to bring events to readers: CPU time for each delivery, the delay, and the memory of those that wait.

Readers want one type of event. The events are made beforehand; a burst is published when the last
reader has seen the one before, but for the delay, where they are published by the clock. ``bare
deque`` is the floor: no loop and no waiting, only the hand-over.
"""

from __future__ import annotations

import gc
import math
import tracemalloc
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory
from time import perf_counter_ns
from typing import Any, Final, Literal
from uuid import UUID

import anyio
from msgspec import Struct
from msgspec.structs import force_setattr

from aiovirt.engine.opening import open_journal
from aiovirt.engine.segments import Limits
from aiovirt.events import DomainLifecycle, Event, Events, NetdevChanged
from aiovirt.events.bus import Bus
from aiovirt.events.segment import HEADER_SIZE, decode_event, decode_header, walk
from aiovirt.system.loop import new_waker
from benchmarks.event_contenders import HOST, LINES, Line, Ours, made, make_line
from benchmarks.harness import ASYNC, SYNC, Bench, Figures, Lane, Stopwatch, main, run_on

__all__ = ["BENCH"]

NANOSECONDS: Final = 1e9
QUICK: Final = 8  # times less

OURS: Final = "aiovirt"
BATCHES: Final = "aiovirt, in batches"
WAKER: Final = "deque + waker"
FLOOR: Final = "bare deque"
ALONE: Final = "aiovirt, one reader"
ALL_AWAKE: Final = "aiovirt, without it"
MEMORY: Final = "aiovirt, in memory"
DECODED: Final = "decoding alone"

COST: Final = {"cpu": "ns", "wall": "ns", "memory": "MiB"}
DELAY: Final = {"p99": "us", "p50": "us", "cpu": "ns", "memory": "MiB"}
ROOM: Final = {"bytes": "B", "task": "B", "memory": "MiB"}


class Case(Struct, frozen=True):
    """``measure(lane, quick)`` gives what ``units`` names."""

    contenders: tuple[str, ...]
    measure: Callable[[Lane, bool], Figures]
    units: dict[str, str]


# -- deliveries --------------------------------------------------------------------------------


class Shape(Struct, frozen=True):
    """``readers`` want what is published, in so many bursts.

    ``deaf`` ones want another type, or what is about another guest; those ``asleep`` want it too, and never read.
    """

    readers: int
    burst: int
    bursts: int
    deaf: int = 0
    deaf_to: Literal["type", "subject"] = "type"
    asleep: int = 0

    @property
    def wishes(self) -> Iterator[tuple[type[Event], *tuple[str, ...]]]:
        """What each reader wants: a type, and maybe a subject."""
        for number in range(self.deaf):
            yield (NetdevChanged,) if self.deaf_to == "type" else (DomainLifecycle, f"domain/{UUID(int=1000 + number)}")
        yield from [(DomainLifecycle,)] * self.readers


class Tally:
    """Counts deliveries, and waits for the last one that is due."""

    def __init__(self) -> None:
        self.count = self._due = 0
        self._waker = new_waker()

    def seen(self, _: Event) -> None:
        self.count += 1
        if self.count == self._due:
            self._waker.wake()

    def expect(self, more: int) -> None:
        self._due = self.count + more

    async def complete(self) -> None:
        while self.count < self._due:
            await self._waker.wait()


async def deliver(line: Line, shape: Shape, bursts: int) -> Figures:
    """The cost of a delivery, once the readers wait and a first burst went by."""
    tally, watch = Tally(), Stopwatch()
    events = made((bursts + 1) * shape.burst)

    async def burst() -> None:
        tally.expect(shape.burst * shape.readers)
        for event in islice(events, shape.burst):
            line.publish(event)
        await tally.complete()

    async with anyio.create_task_group() as tasks:
        for wanted, *subject in shape.wishes:
            await tasks.start(line.read, wanted, tally.seen, *subject)
        await burst()
        with watch:
            for _ in range(bursts):
                await burst()
        tasks.cancel_scope.cancel()
    return watch.per(bursts * shape.burst * shape.readers, NANOSECONDS)


async def deliver_ours(shape: Shape, bursts: int) -> Figures:
    """The same beside subscriptions that nobody reads from."""
    line = Ours()
    async with AsyncExitStack() as stack:
        for _ in range(shape.asleep):
            await stack.enter_async_context(line.events.subscribe(DomainLifecycle))
        return await deliver(line, shape, bursts)


def deliver_bare(shape: Shape, bursts: int) -> Figures:
    """The same through bare deques."""
    count, events = 0, made(bursts * shape.burst)
    boxes = [(wanted, deque[Event]()) for wanted, *_ in shape.wishes]

    def seen(_: Event) -> None:
        nonlocal count
        count += 1

    with Stopwatch() as watch:
        for _ in range(bursts):
            for event in islice(events, shape.burst):
                for wanted, box in boxes:
                    if isinstance(event, wanted):
                        box.append(event)
            for _wanted, box in boxes:
                while box:
                    seen(box.popleft())
    return watch.per(count, NANOSECONDS)


def delivery(shape: Shape, lane: Lane, quick: bool) -> Figures:  # noqa: FBT001 - a Case's measure
    bursts = math.ceil(shape.bursts / (QUICK if quick else 1))
    if lane.contender == FLOOR:
        return deliver_bare(shape, bursts)

    async def program() -> Figures:
        if lane.contender == OURS:
            return await deliver_ours(shape, bursts)
        if lane.contender in {ALONE, ALL_AWAKE}:
            return await deliver_ours(Shape(shape.readers, shape.burst, shape.bursts), bursts)
        return await deliver(make_line(lane.contender, lane.backend), shape, bursts)

    return run_on(lane.backend, program)


# -- delay -------------------------------------------------------------------------------------


class Pace(Struct, frozen=True):
    """``burst`` events every ``every`` seconds, to so many readers."""

    readers: int
    burst: int
    every: float
    ticks: int


async def keep_pace(line: Line, pace: Pace, ticks: int) -> Figures:
    """From where an event is published to where it is seen; the CPU time counts the clock's own."""
    delays: list[int] = []
    events = made((ticks + 1) * pace.burst)

    def seen(event: Event) -> None:
        assert event.source_time
        delays.append(perf_counter_ns() - event.source_time)

    def publish() -> None:
        for event in islice(events, pace.burst):
            force_setattr(event, "source_time", perf_counter_ns())
            line.publish(event)

    async with anyio.create_task_group() as tasks:
        for _ in range(pace.readers):
            await tasks.start(line.read, DomainLifecycle, seen)
        publish()
        await anyio.wait_all_tasks_blocked()
        delays.clear()
        with Stopwatch() as watch:
            start = anyio.current_time()
            for tick in range(ticks):
                await anyio.sleep_until(start + tick * pace.every)
                publish()
            await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert len(delays) == ticks * pace.burst * pace.readers, "each reader has seen each event"
    percentiles = quantiles(delays, n=100)
    return watch.per(len(delays), NANOSECONDS) | {"p50": percentiles[49] / 1000, "p99": percentiles[98] / 1000}


def delay(pace: Pace, lane: Lane, quick: bool) -> Figures:  # noqa: FBT001 - a Case's measure
    async def program() -> Figures:
        return await keep_pace(make_line(lane.contender, lane.backend), pace, pace.ticks // (QUICK if quick else 1))

    return run_on(lane.backend, program)


# -- the journal -------------------------------------------------------------------------------


@asynccontextmanager
async def kept(folder: str) -> AsyncIterator[Bus]:
    """A bus with a journal in ``folder``."""
    opened = await open_journal(Path(folder), host=HOST, boot_id="one", uri="", limits=Limits(bytes=2**30))
    assert opened.journal
    bus = Bus(host=HOST, chain=opened.chain, head=opened.head, journal=opened.journal, new_waker=new_waker)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(opened.journal.keep, bus)
        yield bus
        tasks.cancel_scope.cancel()
    bus.close()
    await opened.journal.close(bus)


def durable(shape: Shape, lane: Lane, quick: bool) -> Figures:  # noqa: FBT001 - a Case's measure
    """The same deliveries, with all that is seen in a file before; its threads' time counts, too."""
    bursts = math.ceil(shape.bursts / (QUICK if quick else 1))

    async def program() -> Figures:
        if lane.contender == MEMORY:
            return await deliver(Ours(), shape, bursts)
        with TemporaryDirectory() as folder:
            async with kept(folder) as bus:
                return await deliver(Ours(bus), shape, bursts)

    return run_on(lane.backend, program)


def resume(count: int, lane: Lane, quick: bool) -> Figures:  # noqa: FBT001 - a Case's measure
    """Reading a journal from its first event on, or only decoding what its files have."""
    many = count // (QUICK if quick else 1)

    async def program() -> Figures:
        with TemporaryDirectory() as folder:
            async with kept(folder) as bus:
                before = bus.cursor
                for event in made(many):
                    bus.publish(event)
            if lane.contender == DECODED:
                return decode_all(Path(folder), many)
            async with kept(folder) as bus, Events(bus).subscribe(after=before) as events:
                with Stopwatch() as watch:
                    for _ in range(many):
                        await events.receive()
            return watch.per(many, NANOSECONDS)

    return run_on(lane.backend, program)


def decode_all(folder: Path, count: int) -> Figures:
    """What the records hold, without looking at their checksums, and without anyone to hand it to."""
    payloads = [
        bytes(entry.payload) for path in sorted(folder.glob("*.journal")) for entry in walk(path.read_bytes(), HEADER_SIZE, first_seq(path))
    ]
    assert len(payloads) == count
    with Stopwatch() as watch:
        for payload in payloads:
            decode_event(payload)
    return watch.per(count, NANOSECONDS)


def first_seq(path: Path) -> int:
    with path.open("rb") as file:
        return decode_header(file.read(HEADER_SIZE)).first


# -- memory ------------------------------------------------------------------------------------


async def wait_only() -> None:
    await new_waker().wait()


async def room_for(count: int, wait: Callable[[], Coroutine[Any, Any, None]]) -> float:
    """Bytes for each of ``count`` tasks that wait.

    Counted by tracemalloc: the process's own size moves in pages and arenas, and keeps what was freed before.
    """
    gc.collect()
    before, _ = tracemalloc.get_traced_memory()
    async with anyio.create_task_group() as tasks:
        for _ in range(count):
            tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
        tasks.cancel_scope.cancel()
    return (after - before) / count


def room(count: int, lane: Lane, quick: bool) -> Figures:  # noqa: FBT001 - a Case's measure
    """``task`` is what a task and the waker that it waits on take, ``bytes`` what a reader takes beside that."""
    many = count // (QUICK if quick else 1)

    async def program() -> Figures:
        line = make_line(lane.contender, lane.backend)
        await room_for(many, wait_only)  # the loop's own tables grow, and stay
        task = await room_for(many, wait_only)
        return {"bytes": await room_for(many, partial(line.read, DomainLifecycle, print)) - task, "task": task}

    tracemalloc.start()
    return run_on(lane.backend, program)


# -- cases -------------------------------------------------------------------------------------

BURSTS: Final = {
    (1, 1): 40_000,
    (1, 16): 6_400,
    (10, 1): 6_400,
    (10, 16): 1_280,
    (100, 1): 640,
    (100, 16): 128,
    (1000, 1): 64,
    (1000, 16): 16,
}
ALIKE: Final = (*LINES, FLOOR)

CASES: Final = {
    **{
        f"{readers} reader{'s' * (readers > 1)}, burst {burst}": Case(ALIKE, partial(delivery, Shape(readers, burst, bursts)), COST)
        for (readers, burst), bursts in BURSTS.items()
    },
    "1000 readers, 999 match no type": Case((OURS, ALONE), partial(delivery, Shape(1, 16, 6_400, deaf=999)), COST),
    "1000 readers, 999 match no subject": Case((OURS, ALONE), partial(delivery, Shape(1, 16, 6_400, deaf=999, deaf_to="subject")), COST),
    "10 readers and one that never reads": Case((OURS, ALL_AWAKE), partial(delivery, Shape(10, 16, 3_200, asleep=1)), COST),
    "10 readers, 10,000 events a second": Case(
        (OURS, BATCHES, WAKER), partial(delay, Pace(readers=10, burst=10, every=0.001, ticks=1000)), DELAY
    ),
    "10 readers, burst 16, a journal on disk": Case((OURS, MEMORY), partial(durable, Shape(10, 16, 1_280)), COST),
    "10 readers, burst 1, a journal on disk": Case((OURS, MEMORY), partial(durable, Shape(10, 1, 6_400)), COST),
    "100,000 events resumed from disk": Case((OURS, DECODED), partial(resume, 100_000), COST),
    "10,000 readers that wait": Case((OURS, "memory stream", WAKER), partial(room, 10_000), ROOM),
}


def measure(lane: Lane, quick: bool, _: str) -> Figures:  # noqa: FBT001 - a Bench's measure
    return CASES[lane.case].measure(lane, quick)


def lanes() -> Iterator[Lane]:
    for name, case in CASES.items():
        for contender in case.contenders:
            yield from (Lane(name, contender, backend) for backend in (SYNC if contender == FLOOR else ASYNC))


BENCH: Final = Bench(
    name="bench_events",
    lanes=tuple(lanes()),
    baselines=("memory stream", "queue", WAKER, FLOOR, ALONE, ALL_AWAKE, MEMORY, DECODED),
    units=COST,
    own_units={name: case.units for name, case in CASES.items()},
    measure=measure,
)

if __name__ == "__main__":
    main(BENCH)
