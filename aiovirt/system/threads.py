"""Worker threads for calls that the kernel may hold: few of them, and none waits for one that was left behind.

A call that waits for a lock of the kernel's cannot be taken back. Whoever gives it up goes on, and its thread stays until the
kernel lets it go; there are never more than so many of those.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from math import inf
from typing import Final

from anyio import CapacityLimiter, get_cancelled_exc_class, move_on_after

from aiovirt.system import to_thread

__all__ = ["BoundedThreads"]

_THREADS: Final = 2


class _Call:
    """Whether somebody waits for it, and whether it has ended."""

    wanted = True
    ended = False


class BoundedThreads:
    """At most two threads at once, those left behind included. ``deadline`` is in seconds, None for none.

    ``returned`` counts the calls that were left behind and have ended since.
    """

    def __init__(self, deadline: float | None) -> None:
        self._deadline = deadline
        self._limiter = CapacityLimiter(_THREADS)
        self._changed = threading.Condition()
        self._free = _THREADS  # a limiter forgets what was left behind; this does not
        self.returned = 0

    async def run(self, work: Callable[[], object]) -> bool:
        """Whether ``work`` ended in time; raises what it raised. Cancelled, or too late, it is left behind."""
        with move_on_after(inf if self._deadline is None else self._deadline):
            return await self._run(work)
        return False

    async def wait_for_return(self, since: int) -> None:
        """Returns when a call that was left behind has ended, ``returned`` having been ``since`` before it was made."""
        waits = _Call()
        try:
            await to_thread.run_sync(self._await_return, since, waits, limiter=CapacityLimiter(1), abandon_on_cancel=True)
        finally:
            self._leave(waits)

    async def _run(self, work: Callable[[], object]) -> bool:
        call = _Call()
        try:
            return await to_thread.run_sync(self._in_turn, work, call, limiter=self._limiter, abandon_on_cancel=True)
        except get_cancelled_exc_class():
            self._leave(call)
            raise

    @property
    def is_full(self) -> bool:
        """Whether all of its threads are taken."""
        return not self._free

    def _leave(self, call: _Call) -> None:
        with self._changed:
            call.wanted = False
            self.returned += call.ended
            self._changed.notify_all()

    def _in_turn(self, work: Callable[[], object], call: _Call) -> bool:
        """In the thread: waits for those that were left behind, for as long as somebody wants this."""
        with self._changed:
            self._changed.wait_for(lambda: self._free or not call.wanted)
            if not call.wanted:
                return False
            self._free -= 1
        try:
            work()
        finally:
            with self._changed:
                self._free += 1
                call.ended = True
                self.returned += not call.wanted
                self._changed.notify_all()
        return True

    def _await_return(self, since: int, waits: _Call) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self.returned > since or not waits.wanted)
