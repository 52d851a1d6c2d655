"""A latch: it is set once, and whoever waits for it goes on. It costs next to nothing until somebody waits."""

from __future__ import annotations

import anyio
import anyio.lowlevel

__all__ = ["Latch"]


class Latch:
    """As ``anyio.Event``, which takes 0.9 kB from the start on asyncio, 0.3 on trio; this one takes 50 bytes.

    ``is_set`` is an attribute.
    """

    __slots__ = ("_event", "is_set")

    def __init__(self) -> None:
        self.is_set = False
        self._event: anyio.Event | None = None

    def set(self) -> None:
        """Whoever waits goes on; for good."""
        self.is_set = True
        if self._event is not None:
            self._event.set()

    async def wait(self) -> None:
        """Returns once it is set; at once, but for a turn of the others, when it is already."""
        if self.is_set:
            await anyio.lowlevel.checkpoint()
            return
        if self._event is None:
            self._event = anyio.Event()
        await self._event.wait()
