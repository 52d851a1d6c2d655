"""A lock: one has it at a time, in the order in which they asked. It costs next to nothing until somebody waits."""

from __future__ import annotations

from collections import deque

from aiovirt.system.latch import Latch

__all__ = ["Lock"]


class Lock:
    """As ``anyio.Lock``, which takes 0.8 kB from the start on asyncio, 0.4 on trio; this one takes 50 bytes. Any task may release it."""

    __slots__ = ("_is_had", "_waiting")

    def __init__(self) -> None:
        self._is_had = False
        self._waiting: deque[Latch] | None = None

    def acquire_nowait(self) -> bool:
        """Whether it is had now: nobody had it."""
        if self._is_had:
            return False
        self._is_had = True
        return True

    async def acquire(self) -> None:
        """Returns once it is had; behind those who asked before."""
        if self.acquire_nowait():
            return
        if self._waiting is None:
            self._waiting = deque()
        turn = Latch()
        self._waiting.append(turn)
        try:
            await turn.wait()
        except BaseException:
            if turn.is_set:
                self.release()
            else:
                self._waiting.remove(turn)
            raise

    def release(self) -> None:
        """Who has waited longest has it next."""
        if self._waiting:
            self._waiting.popleft().set()
        else:
            self._is_had, self._waiting = False, None
