"""Deadlines: what one is, and one heap with one timer for all who have some.

Who has many deadlines itself (a session with its commands) sets the first only, and looks again then.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable

import anyio
from msgspec import Struct

from aiovirt.system.log import get_logger
from aiovirt.system.loop import current_loop

__all__ = ["Deadline", "Deadlines", "Timer"]

log = get_logger("system")


class Deadline(Struct, eq=False):
    """When something that is asked is too late: ``at`` on the loop's clock, which was ``timeout`` seconds after it was asked.

    The same one goes down to whoever waits last, so that what each of them has waited for is counted once, and so that
    :meth:`cancel` ends the wait of each without a scope around it all.
    """

    at: float
    timeout: float
    _waiting: set[Callable[[], object]] | None = None

    @classmethod
    def after(cls, timeout: float) -> Deadline:
        """So many seconds from now."""
        return cls(current_loop().now() + timeout, timeout)

    @property
    def left(self) -> float:
        """Seconds that are left, below zero once it has passed."""
        return self.at - current_loop().now()

    def scope(self) -> anyio.CancelScope:
        """A scope that is cancelled then, as that of ``anyio.move_on_after``."""
        scope = anyio.CancelScope(deadline=self.at)
        self.when_cancelled(scope.cancel)
        return scope

    @property
    def is_cancelled(self) -> bool:
        """Whether :meth:`cancel` was called."""
        return self.at == -math.inf

    def cancel(self) -> None:
        """It has passed, now: for who waits by it, and for who will."""
        self.at = -math.inf
        waiting, self._waiting = self._waiting, None
        for then in waiting or ():
            then()

    def when_cancelled(self, then: Callable[[], object]) -> None:
        """Calls ``then`` once when it is cancelled, however often that was asked for, and whether or not it is waited for still."""
        if self._waiting is None:
            self._waiting = {then}
        else:
            self._waiting.add(then)


class Timer:
    """When ``due`` is to be called; :meth:`cancel` if it is not to be any more."""

    __slots__ = ("_due", "when")

    def __init__(self, when: float, due: Callable[[], None]) -> None:
        self.when = when
        self._due: Callable[[], None] | None = due

    def cancel(self) -> None:
        """Nothing is called, and nothing kept alive."""
        self._due = None

    def pass_by(self) -> None:
        """Its time has come."""
        if self._due is not None:
            self._due()


class Deadlines:
    """The heap. Deadlines pass while :meth:`run` runs; those set before wait for it."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._count = itertools.count()
        self._timer: anyio.CancelScope | None = None
        self._now = current_loop().now

    def at(self, when: float, due: Callable[[], None]) -> Timer:
        """Calls ``due`` on the loop's thread at ``when``, on the clock of :meth:`aiovirt.system.loop.Loop.now`."""
        timer = Timer(when, due)
        heapq.heappush(self._heap, (when, next(self._count), timer))
        if self._timer is not None and when < self._timer.deadline:
            self._timer.deadline = when
        return timer

    async def run(self) -> None:
        """Lets deadlines pass, until cancelled."""
        try:
            while True:
                with anyio.CancelScope(deadline=self._heap[0][0] if self._heap else math.inf) as self._timer:
                    await anyio.sleep_forever()
                self._pass_by()
        finally:
            self._timer = None

    def _pass_by(self) -> None:
        now = self._now()
        while self._heap and self._heap[0][0] <= now:
            try:
                heapq.heappop(self._heap)[2].pass_by()
            except Exception as error:
                log.error("what was due could not be done", exc_info=error)
