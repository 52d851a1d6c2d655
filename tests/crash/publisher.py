"""``python -m tests.crash.publisher FOLDER SEED``: an engine that publishes until it is killed.

It says each event that one of its readers has seen, ``CURSOR NAME`` on a line of its own, at once.
"""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path
from uuid import UUID

import anyio
from anyio.lowlevel import checkpoint

from aiovirt.engine import journal as journals
from aiovirt.engine.opening import open_journal
from aiovirt.engine.segments import Limits
from aiovirt.events.bus import Bus
from aiovirt.events.feed import Events
from aiovirt.events.types import DomainEvent, DomainLifecycle
from aiovirt.model.state import Detail, DomainState, Lifecycle, Reason

__all__ = ["BOOT", "HOST", "LIMITS"]

HOST = UUID("00000000-0000-4000-8000-000000000001")
BOOT = "boot"
LIMITS = Limits(segment=3000, bytes=50_000_000)


async def publish(bus: Bus, seed: str) -> None:
    """Bursts of all sizes: of one event, of a segment, of many."""
    dice = random.Random(seed)  # noqa: S311 - dice, not secrets
    number = 0
    while True:
        for _ in range(dice.choice([1, 3, 15, 40])):
            number += 1
            bus.publish(
                DomainLifecycle(
                    uuid=UUID(int=dice.randrange(1, 4)),
                    name=f"{seed}-{number}",
                    kind=Lifecycle.STARTED,
                    detail=Detail.BOOTED,
                    state=DomainState.RUNNING,
                    reason=Reason.BOOTED,
                )
            )
        for _ in range(dice.randrange(5)):
            await checkpoint()


async def say(bus: Bus, after: str) -> None:
    async with Events(bus).subscribe(after=after) as stream:
        async for event in stream:
            name = event.name if isinstance(event, DomainEvent) else "-"
            os.write(1, f"{event.cursor} {name}\n".encode())


async def main(folder: Path, seed: str) -> None:
    """Does not end."""
    journals.SYNC_EVERY = 0.002  # type: ignore[misc]  # pyright: ignore - more rotations to be killed in
    opened = await open_journal(folder, host=HOST, boot_id=BOOT, uri="test:///", limits=LIMITS)
    assert opened.journal
    bus = Bus(
        host=HOST, chain=opened.chain, head=opened.head, state=opened.state, last_time=opened.time, journal=opened.journal, capacity=128
    )
    after = bus.cursor
    bus.publish(opened.started)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(opened.journal.keep, bus)
        tasks.start_soon(say, bus, after)
        tasks.start_soon(publish, bus, seed)


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1]), sys.argv[2])
