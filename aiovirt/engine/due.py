"""What follows by itself and is not begun yet: between the sink, which learns of it, and the task that carries it out."""

from __future__ import annotations

from collections import deque

import anyio

from aiovirt.engine.entries import Entry, Following
from aiovirt.model.policy import FollowUp

__all__ = ["Due"]


class Due:
    """Oldest first; one for each running domain and action."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Entry, Following]] = deque()
        self._more = anyio.Event()

    def add(self, entry: Entry, what: FollowUp, cause: str | None) -> None:
        """Once only while it is under way; another action takes the place of the one before."""
        if entry.following is None or entry.following.what.action is not what.action:
            self._waiting.append((entry, entry.is_followed_by(what, cause)))
            self._more.set()

    async def next(self) -> tuple[Entry, Following]:
        """The next one, once there is one."""
        while not self._waiting:
            self._more = anyio.Event()
            await self._more.wait()
        return self._waiting.popleft()
