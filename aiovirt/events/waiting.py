"""How a reader waits, as a door: the engine fills in its loop's own way, the default runs on any."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

import anyio

__all__ = ["EventWaker", "NewWaker", "Waker"]


class Waker(Protocol):
    """One task waits, anyone on the loop's thread wakes it."""

    def wait(self) -> Awaitable[object]:
        """To be awaited at once, by one task: returns once woken. A wake that came before this call does not count."""
        ...

    def wake(self) -> None:
        """Wakes who waits; harmless when nobody does."""


NewWaker = Callable[[], Waker]


class EventWaker:
    """A waker made of anyio's Event."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event: anyio.Event | None = None

    def wait(self) -> Awaitable[object]:
        self._event = anyio.Event()
        return self._event.wait()

    def wake(self) -> None:
        if self._event is not None:
            self._event.set()
