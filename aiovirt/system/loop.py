"""The loop that runs, whichever it is: the few things that asyncio, uvloop and trio each do best in their own way.

One way to wait (:class:`Waker`), one to learn that a descriptor is ready (:class:`Readiness`), one clock. All that
moves bytes stands on these three, so nothing else needs to know which loop it is on. asyncio and
uvloop keep a reader registered and resolve plain futures (:mod:`aiovirt.system.loop_asyncio`); trio has a
task that waits for the descriptor, and reschedules (:mod:`aiovirt.system.loop_trio`).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Protocol

__all__ = ["Answer", "Loop", "Readiness", "Waker", "current_loop", "new_waker"]


class Waker(Protocol):
    """One task waits, anyone on the loop's thread wakes it."""

    def wait(self) -> Awaitable[object]:
        """To be awaited at once, by one task: returns once woken. A wake that came before this call does not count."""
        ...

    def wake(self) -> None:
        """Wakes who waits; harmless when nobody does."""


class Answer(Waker, Protocol):
    """A waker for what is sure to come: where the loop allows it, who waits goes on in the very turn in which that came."""

    def hand_over(self) -> None:
        """Wakes who waits, who may run before this returns: to be called last, when nothing is half done."""


class Readiness(Protocol):
    """Whether one descriptor can be read or written. It stays its owner's to close, after :meth:`run` has ended."""

    async def run(self, readable: Callable[[], object]) -> None:
        """Calls ``readable`` on the loop's thread whenever there is something to read, until stopped or cancelled.

        It is called again while something is left, others having a turn in between. What it raises is raised here.
        """

    def when_writable(self, then: Callable[[], object]) -> None:
        """Calls ``then`` once, when the descriptor takes more and :meth:`run` runs; the last one asked for is called."""

    def again(self) -> None:
        """Somebody took an error off the descriptor: :meth:`run` that ended with the error may be called again."""

    def stop(self) -> None:
        """:meth:`run` returns, and nothing more is called."""


class Loop(Protocol):
    """The loop that runs here."""

    def now(self) -> float:
        """Seconds on the clock of its deadlines."""
        ...

    def new_waker(self) -> Waker:
        """A way for one task to wait, for about half of an Event."""
        ...

    def new_answer(self) -> Answer:
        """The same for what somebody else says: for less still."""
        ...

    async def readable(self, descriptor: int) -> None:
        """Returns when there is something to read; for one task at a time, which ends before the descriptor is closed."""

    def readiness_of(self, descriptor: int) -> Readiness:
        """That of a descriptor that does not block."""
        ...


def current_loop() -> Loop:
    """The one that runs in this thread."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return _on_trio()
    if _last.asyncio_loop is not loop:
        from aiovirt.system.loop_asyncio import AsyncioLoop

        _last.asyncio_loop, _last.loop = loop, AsyncioLoop(loop)
    return _last.loop


@cache
def _on_trio() -> Loop:
    from aiovirt.system.loop_trio import TrioLoop

    return TrioLoop()


class _Last(threading.local):
    """asyncio's loop that was last seen to run in a thread, and ours for it: all that stands on it have the same."""

    asyncio_loop: asyncio.AbstractEventLoop | None = None
    loop: Loop


_last = _Last()


def new_waker() -> Waker:
    """A waker for the loop that runs here."""
    return current_loop().new_waker()
