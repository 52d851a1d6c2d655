"""A host's clock that is set: published as an event, and where it was set back a new epoch begins, in which times are right again."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from aiovirt.engine.journal import Journal
from aiovirt.events.bus import Bus
from aiovirt.events.types import ClockJumped
from aiovirt.system import to_thread
from aiovirt.system.again import is_passing, keep_on
from aiovirt.system.clock import ClockWatch
from aiovirt.system.log import get_logger

__all__ = ["jumped", "watch_clock"]

LEAST: Final = 100_000_000
"""Nanoseconds by which a clock has to be set to be published: less is passed over by events of one and the same time."""
log = get_logger("engine")


async def watch_clock(bus: Bus, journal: Journal) -> None:
    """Publishes each time that this host's clock is set, until cancelled, or where the kernel does not report it."""

    async def watch(works: Callable[[], None]) -> None:
        try:
            with await to_thread.run_sync(ClockWatch) as clock:
                works()
                while True:
                    jumped(bus, journal, await clock.jump())
        except OSError as error:
            if is_passing(error):
                raise
            log.warning("changes of the clock are not watched", error=str(error))

    await keep_on(watch, log, lost="changes of the clock are not watched for now", back="changes of the clock are watched again")


def jumped(bus: Bus, journal: Journal, by: int) -> None:
    """The clock was set by so many nanoseconds."""
    if by >= LEAST:
        bus.publish(ClockJumped(by=by))
    elif by <= -LEAST:
        if bus.is_durable:
            journal.begin_epoch(partial(ClockJumped, by=by))
        else:
            bus.begin_epoch()
            bus.publish(ClockJumped(by=by))
