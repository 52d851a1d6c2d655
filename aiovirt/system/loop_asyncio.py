"""The loop on asyncio and uvloop: readers stay registered, and who waits waits on a plain future."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Awaitable, Callable, Generator
from contextvars import Context
from functools import partial

__all__ = ["AsyncioAnswer", "AsyncioLoop", "AsyncioReadiness", "AsyncioWaker", "LibuvReadiness"]


class AsyncioLoop:
    """See :class:`aiovirt.system.loop.Loop`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.now = loop.time
        self.new_answer = partial(AsyncioAnswer, loop)

    def new_waker(self) -> AsyncioWaker:
        return AsyncioWaker(self._loop)

    async def readable(self, descriptor: int) -> None:
        ready: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_reader(descriptor, _set, ready)
        try:
            await ready
        finally:
            self._loop.remove_reader(descriptor)

    def readiness_of(self, descriptor: int) -> AsyncioReadiness:
        polls_itself = isinstance(self._loop, asyncio.SelectorEventLoop)
        return (AsyncioReadiness if polls_itself else LibuvReadiness)(self._loop, descriptor)


class AsyncioWaker:
    """See :class:`aiovirt.system.loop.Waker`."""

    __slots__ = ("_future", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._future: asyncio.Future[None] | None = None

    def wait(self) -> Awaitable[object]:
        future: asyncio.Future[None] = asyncio.Future(loop=self._loop)
        self._future = future
        return future

    def wake(self) -> None:
        future = self._future
        if future is not None and not future.done():
            future.set_result(None)


class AsyncioAnswer:
    """See :class:`aiovirt.system.loop.Answer`. It is a future in asyncio's own protocol for those (``_asyncio_future_blocking``).

    A plain future has the loop call its task in the next turn, after another look at all descriptors; this one calls it
    in the turn in which the answer was read.
    """

    __slots__ = ("_asyncio_future_blocking", "_call", "_context", "_loop", "_why")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._call: Callable[[AsyncioAnswer], object] | None = None  # what makes the task go on
        self._context: Context | None = None
        self._why: asyncio.CancelledError | None = None  # the task was cancelled

    def wait(self) -> Awaitable[object]:
        return self

    def __await__(self) -> Generator[AsyncioAnswer, None, None]:
        self._asyncio_future_blocking = True
        yield self

    def wake(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            self._loop.call_soon(call, self, context=self._context)

    def hand_over(self) -> None:
        call, context = self._call, self._context
        if call is None:
            return
        if context is None or asyncio.current_task(self._loop) is not None:  # one task within another cannot be
            self.wake()
            return
        self._call = None
        try:
            context.run(call, self)
        except BaseException as error:  # noqa: BLE001 - SystemExit, KeyboardInterrupt: for the loop, and not for whose data it was
            self._loop.call_soon(_raise, error)

    # -- what a task asks of a future ------------------------------------------------------

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def done(self) -> bool:
        return self._call is None

    def add_done_callback(self, call: Callable[[AsyncioAnswer], object], *, context: Context) -> None:
        self._call, self._context = call, context

    def cancel(self, msg: object = None) -> bool:
        if self._call is None:
            return False
        self._why = asyncio.CancelledError() if msg is None else asyncio.CancelledError(msg)
        self.wake()
        return True

    def result(self) -> None:
        if self._why is not None:
            raise self._why


def _set(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


def _raise(error: BaseException) -> None:
    raise error


class AsyncioReadiness:
    """See :class:`aiovirt.system.loop.Readiness`."""

    __slots__ = ("_descriptor", "_ended", "_loop", "_runs", "_then")

    def __init__(self, loop: asyncio.AbstractEventLoop, descriptor: int) -> None:
        self._loop = loop
        self._descriptor = descriptor
        self._ended: asyncio.Future[None] = loop.create_future()
        self._runs = False
        self._then: Callable[[], object] | None = None  # to be called when there is room

    async def run(self, readable: Callable[[], object]) -> None:
        if self._ended.done():
            return
        self._runs = True
        self._attend(readable)
        if self._then is not None:
            self.when_writable(self._then)
        try:
            await self._ended
        finally:
            self._forget()

    def when_writable(self, then: Callable[[], object]) -> None:
        self._then = then
        if self._runs:
            self._loop.add_writer(self._descriptor, self._write)

    def again(self) -> None:
        """An error ends nothing here."""

    def stop(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)
            self._forget()

    def _attend(self, readable: Callable[[], object]) -> None:
        self._loop.add_reader(self._descriptor, self._call, readable)

    def _write(self) -> None:
        self._loop.remove_writer(self._descriptor)
        then, self._then = self._then, None
        if then is not None:
            self._call(then)

    def _call(self, then: Callable[[], object]) -> None:
        if self._ended.done():
            return
        try:
            then()
        except BaseException as error:  # noqa: BLE001 - a loop only logs what its callbacks raise; run() raises it
            if not self._ended.done():
                self._ended.set_exception(error)
                self._forget()

    def _forget(self) -> None:
        if self._runs:
            self._runs = False
            self._loop.remove_reader(self._descriptor)
            self._loop.remove_writer(self._descriptor)


class LibuvReadiness(AsyncioReadiness):
    """libuv calls once and never again for a descriptor in error (POLLERR), whatever is left or comes to be read there."""

    __slots__ = ("_errors", "_readable")

    def __init__(self, loop: asyncio.AbstractEventLoop, descriptor: int) -> None:
        super().__init__(loop, descriptor)
        self._errors = select.poll()
        self._errors.register(descriptor, 0)  # errors are reported whatever is asked for
        self._readable: Callable[[], object] | None = None

    async def run(self, readable: Callable[[], object]) -> None:
        self._readable = readable
        await super().run(readable)

    def again(self) -> None:
        if self._runs and self._readable is not None:
            self._loop.remove_reader(self._descriptor)
            self._attend(self._readable)

    def _attend(self, readable: Callable[[], object]) -> None:
        self._loop.add_reader(self._descriptor, self._read, readable)

    def _read(self, readable: Callable[[], object]) -> None:
        self._call(readable)
        if self._runs and (seen := self._errors.poll(0)) and seen[0][1] & select.POLLERR:
            self._loop.call_soon(self._read, readable)
