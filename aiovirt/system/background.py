"""A block for background tasks whose body's own exceptions leave as themselves.

A plain task group wraps what its body raises in an ExceptionGroup. Users' bodies run inside
``async with aiovirt.connect(…)``, and must not notice that tasks run beside them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Self, TypeVar, cast

import anyio
from anyio.abc import TaskGroup

__all__ = ["Background", "first_failure", "shielded"]

T = TypeVar("T")


class Background:
    """``async with Background() as tasks:`` tasks that end with the block.

    Leaving cancels them and waits for them; the body's exception goes on unchanged. A task that
    fails ends the block, and its exception leaves as itself, too.
    """

    def __init__(self) -> None:
        self._group: TaskGroup = anyio.create_task_group()

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    @property
    def group(self) -> TaskGroup:
        """The task group, to start tasks in."""
        return self._group

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        # The shield keeps an outer cancellation from being swallowed here: it is raised by the body's
        # own exception, or at the caller's next await.
        self._group.cancel_scope.shield = True
        self._group.cancel_scope.cancel()
        try:
            await self._group.__aexit__(None, None, None)
        except BaseExceptionGroup as failures:
            raise first_failure(failures) from None


async def shielded(work: Coroutine[object, object, T]) -> T:
    """Awaits ``work`` to its end, whatever is cancelled around it: for what must not stop half-way.

    asyncio's own cancellation (``Task.cancel``, which is what Ctrl-C is there) is held off too, and raised
    once the work is done; then its result is lost, so the work itself keeps what has to be found again.
    """
    with anyio.CancelScope(shield=True):
        return await (_to_its_end(work) if _on_asyncio() else work)
    raise AssertionError("a shield swallows nothing")  # pragma: no cover


async def _to_its_end(work: Coroutine[object, object, T]) -> T:
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is None:
        return task.result()
    if not task.cancelled():
        task.exception()  # reported to nobody: the caller was cancelled, and gets that
    raise cancelled


def _on_asyncio() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def first_failure(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first failure that is no group: one task failed, and the rest were cancelled for it."""
    inner = failures.exceptions[0]
    if isinstance(inner, BaseExceptionGroup):
        return first_failure(cast("BaseExceptionGroup[BaseException]", inner))
    return inner
