"""The loop on trio: a task waits for each descriptor, and who waits is rescheduled."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import trio
from anyio.abc import TaskGroup

__all__ = ["TrioLoop", "TrioReadiness", "TrioWaker"]


class TrioLoop:
    """See :class:`aiovirt.system.loop.Loop`."""

    def __init__(self) -> None:
        self.now = trio.current_time

    def new_waker(self) -> TrioWaker:
        return TrioWaker()

    new_answer = new_waker

    async def readable(self, descriptor: int) -> None:
        await trio.lowlevel.wait_readable(descriptor)

    def readiness_of(self, descriptor: int) -> TrioReadiness:
        return TrioReadiness(descriptor)


class TrioWaker:
    """See :class:`aiovirt.system.loop.Waker`."""

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

    hand_over = wake


class TrioReadiness:
    """See :class:`aiovirt.system.loop.Readiness`."""

    __slots__ = ("_descriptor", "_error", "_stopped", "_tasks", "_then", "_waits")

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._tasks: TaskGroup | None = None
        self._error: BaseException | None = None
        self._stopped = self._waits = False
        self._then: Callable[[], object] | None = None  # to be called when there is room

    async def run(self, readable: Callable[[], object]) -> None:
        try:
            async with anyio.create_task_group() as self._tasks:
                if self._then is not None:
                    self.when_writable(self._then)
                while not self._stopped:
                    await trio.lowlevel.wait_readable(self._descriptor)
                    self._call(readable)
        finally:
            self._tasks = None
        if self._error is not None:
            raise self._error

    def when_writable(self, then: Callable[[], object]) -> None:
        self._then = then
        if self._tasks is not None and not self._stopped and not self._waits:
            self._waits = True
            self._tasks.start_soon(self._write)

    def again(self) -> None:
        """An error ends nothing here."""

    def stop(self) -> None:
        self._stopped = True
        if self._tasks is not None:
            self._tasks.cancel_scope.cancel()

    async def _write(self) -> None:
        await trio.lowlevel.wait_writable(self._descriptor)
        self._waits = False
        then, self._then = self._then, None
        if then is not None:
            self._call(then)

    def _call(self, then: Callable[[], object]) -> None:
        if self._stopped:
            return
        try:
            then()
        except BaseException as error:  # noqa: BLE001 - raised once the group has ended: nobody wants a group of one
            self._error = error
            self.stop()
