"""``Follow``: the log of a host, from one of its engines to the next."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Protocol, Self, TypeVar

import anyio
import anyio.lowlevel
from anyio.abc import ObjectReceiveStream

from aiovirt.errors import HostGone
from aiovirt.events.bus import Bus
from aiovirt.events.filters import Filter
from aiovirt.events.reader import StreamStatistics, Subscription, Where
from aiovirt.events.types import Event

__all__ = ["Follow", "NewSuccessors", "Successors"]

T = TypeVar("T")
E_co = TypeVar("E_co", bound=Event, covariant=True)


class Successors(Protocol):
    """Finds the engines that hold a host one after the other. A block: leaving it lets go of the last one."""

    async def __aenter__(self) -> object: ...

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...

    async def next(self) -> Bus:
        """The bus of the engine that is there now, or comes next, in place of the one before.

        Cancelled, it goes on looking, and the next call has what was found. Raises HostGone where no other can come, and
        what connecting raises.
        """
        ...


class NewSuccessors(Protocol):
    """Makes them for one stream; with ``start_engine`` an engine is started where there is none."""

    def __call__(self, *, start_engine: bool) -> Successors: ...


class Follow(ObjectReceiveStream[E_co]):
    """The log, as a :class:`Subscription` has it, that goes on with the host's next engine when this one ends.

    It begins behind the cursor where it was, so nothing is there twice and nothing is missing; what the next engine does not have
    any more is an EventGap. Between two engines it waits, however long that takes.
    """

    def __init__(self, bus: Bus, wanted: Filter, where: Where | None, after: str | None, successors: Successors | None) -> None:
        self.filter = wanted
        self._bus = bus
        self._where = where
        self._after = after
        self._successors = successors
        self._stack = AsyncExitStack()
        self._stream: Subscription[E_co] | None = None
        self._delivered = 0  # by the streams before this one
        self._looking: anyio.CancelScope | None = None  # of who waits for the next engine
        self._ended: Exception | None = RuntimeError("enter the stream first: async with … as events")

    # -- life ------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Begins to read: after the cursor given, else after the newest event. Raises EventGap.

        Where the engine is gone already it begins with the next one.
        """
        async with AsyncExitStack() as stack:
            if self._successors is not None:
                await stack.enter_async_context(self._successors)
            if self._after is None:
                self._after = self._bus.cursor
            if self._successors is None or not self._bus.closed:
                await self._begin()
            self._stack = stack.pop_all()
        self._ended = None
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended = self._ended or anyio.ClosedResourceError()
        if self._stream is not None:
            await self._stream.__aexit__(kind, error, trace)
        await self._stack.__aexit__(kind, error, trace)

    async def aclose(self) -> None:
        """Ends the stream: who reads on gets ClosedResourceError. The engine is let go of when the block is left."""
        self._ended = self._ended or anyio.ClosedResourceError()
        if self._looking is not None:
            self._looking.cancel()
        if self._stream is not None:
            await self._stream.aclose()
        await anyio.lowlevel.checkpoint()

    # -- reading ---------------------------------------------------------------------------

    async def receive(self) -> E_co:
        """The next event, of this engine or of one that comes after it.

        Raises EventGap when events were lost to this reader, HostGone where no other engine can come, what connecting
        to the next one raises (to read on tries again), whatever ``where`` raised, ClosedResourceError after ``aclose``,
        BusyResourceError when another task is already reading.
        """
        return await self._read(lambda stream: stream.receive())

    async def receive_batch(self) -> tuple[E_co, ...]:
        """The next events, in order: at least one, and some of what is there behind it. Raises as :meth:`receive`."""
        return await self._read(lambda stream: stream.receive_batch())

    def receive_nowait(self) -> E_co:
        """The next event, if memory has it; raises WouldBlock when there is none yet, else as :meth:`receive`."""
        if self._stream is None:
            raise self._ended or anyio.WouldBlock
        try:
            return self._stream.receive_nowait()
        except HostGone:
            if self._successors is None:
                raise
            raise anyio.WouldBlock from None  # who waits is taken to the next engine

    @property
    def cursor(self) -> str:
        """Seen up to here, filtered events included: what to pass as ``after=`` to go on."""
        cursor = self._stream.cursor if self._stream is not None else self._after
        if cursor is None:
            raise RuntimeError("enter the stream first: async with … as events")
        return cursor

    def statistics(self) -> StreamStatistics:
        """Figures of now; ``behind`` counts what the present engine has."""
        now = self._stream.statistics() if self._stream is not None else StreamStatistics(0, 0)
        return StreamStatistics(now.behind, self._delivered + now.delivered)

    async def _read(self, read: Callable[[Subscription[E_co]], Awaitable[T]]) -> T:
        while True:
            stream = self._stream or await self._go_on()
            try:
                return await read(stream)
            except HostGone as gone:
                if self._successors is None:
                    raise
                self._after, self._stream = gone.cursor, None
                self._delivered += stream.statistics().delivered
            await stream.aclose()

    async def _go_on(self) -> Subscription[E_co]:
        """The stream of the next engine, once there is one."""
        if self._looking is not None:
            raise anyio.BusyResourceError("reading from")
        if self._ended is None:
            self._looking = anyio.CancelScope()
            try:
                with self._looking:
                    await self._begin_with_the_next()
            finally:
                self._looking = None
        if self._ended is not None:
            raise self._ended
        assert self._stream is not None
        return self._stream

    async def _begin_with_the_next(self) -> None:
        assert self._after is not None
        if self._bus.closed and self._successors is not None:
            try:
                self._bus = await self._successors.next()
            except HostGone:
                raise HostGone(self._after) from None
        await self._begin()

    async def _begin(self) -> None:
        stream = Subscription[E_co](self._bus, self.filter, self._where, self._after)
        self._stream = await stream.__aenter__()
