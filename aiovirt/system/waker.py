"""The cheapest way for one task to wait until another one wakes it, on the loop that runs.

asyncio and uvloop: a plain Future. trio: the task is rescheduled (:mod:`aiovirt.system.waker_trio`).
Either costs about half of an Event.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Protocol

__all__ = ["Waker", "new_waker"]


class Waker(Protocol):
    """One task waits, anyone on the loop's thread wakes it."""

    def wait(self) -> Awaitable[object]:
        """To be awaited at once, by one task: returns once woken. A wake that came before this call does not count."""
        ...

    def wake(self) -> None:
        """Wakes who waits; harmless when nobody does."""


def new_waker() -> Waker:
    """A waker for the loop that runs here."""
    try:
        return _AsyncioWaker(asyncio.get_running_loop())
    except RuntimeError:
        from aiovirt.system.waker_trio import TrioWaker

        return TrioWaker()


class _AsyncioWaker:
    __slots__ = ("_future", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._future: asyncio.Future[None] | None = None

    def wait(self) -> Awaitable[object]:
        future: asyncio.Future[None] = asyncio.Future(loop=self._loop)
        self._future = future
        return future

    def wake(self) -> None:
        future = self._future
        if future is not None and not future.done():
            future.set_result(None)
