"""A waker on trio: its task is rescheduled."""

from __future__ import annotations

from collections.abc import Awaitable

import trio

__all__ = ["TrioWaker"]


class TrioWaker:
    """See :class:`aiovirt.system.waker.Waker`."""

    __slots__ = ("_task",)

    def __init__(self) -> None:
        self._task: trio.lowlevel.Task | None = None

    def wait(self) -> Awaitable[object]:
        self._task = trio.lowlevel.current_task()
        return trio.lowlevel.wait_task_rescheduled(self._abort)  # noqa: ASYNC105 - its caller awaits it at once

    def _abort(self, _: object) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED

    def wake(self) -> None:
        if self._task is not None:
            trio.lowlevel.reschedule(self._task)
            self._task = None
