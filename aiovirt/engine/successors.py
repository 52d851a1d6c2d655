"""The engines that come after one that is gone: connected to one after the other, for who follows a host's events."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

import anyio

from aiovirt.engine.abc import Engine
from aiovirt.errors import Error, HostGone
from aiovirt.events.bus import Bus
from aiovirt.system.background import Background

__all__ = ["Connect", "Connected", "EngineSuccessors", "Reconnection"]


class Connected(Protocol):
    """A connection: a :class:`aiovirt.Host`."""

    @property
    def engine(self) -> Engine:
        """The engine that it is connected to."""
        ...


H_co = TypeVar("H_co", bound=Connected, covariant=True)


class Connect(Protocol[H_co]):
    """Makes the connection to whatever engine holds the host then; one is started where there is none, if that is wanted."""

    def __call__(self, *, start_engine: bool) -> AbstractAsyncContextManager[H_co]: ...


class Reconnection(Generic[H_co]):
    """How one gets from a host whose engine is gone to the engine after it, while the ``connect`` block lasts."""

    def __init__(self, connect: Connect[H_co]) -> None:
        self._connect = connect
        self._scopes: set[anyio.CancelScope] = set()
        self.ended = False

    def connect(self, *, start_engine: bool) -> AbstractAsyncContextManager[H_co]:
        """The connection to the next engine; raises HostGone once the block is left."""
        if self.ended:
            raise HostGone("")
        return self._connect(start_engine=start_engine)

    @contextmanager
    def scope(self) -> Iterator[None]:
        """A block that is cancelled when the ``connect`` block is left."""
        scope = anyio.CancelScope()
        self._scopes.add(scope)
        try:
            with scope:
                yield
        finally:
            self._scopes.discard(scope)

    def end(self) -> None:
        """The ``connect`` block is left: nothing goes on with another engine."""
        self.ended = True
        for scope in self._scopes:
            scope.cancel()


class EngineSuccessors:
    """See :class:`aiovirt.events.follow.Successors`.

    A connection has a task of its own: it is opened while somebody reads, under whatever scopes that one has, and has to
    outlast those.
    """

    def __init__(self, reconnection: Reconnection[Connected], *, start_engine: bool) -> None:
        self._reconnection = reconnection
        self._start_engine = start_engine
        self._background = Background()
        self._link: _Link | None = None

    async def __aenter__(self) -> Self:
        await self._background.__aenter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._background.__aexit__(kind, error, trace)

    async def next(self) -> Bus:
        """The bus of the engine that is there now, or comes next; the one before is let go of."""
        if self._link is None or self._link.is_used:
            if self._link is not None:
                self._link.released.set()
            self._link = _Link()
            self._background.group.start_soon(self._connect, self._link)
        link = self._link
        await link.settled.wait()
        link.is_used = True
        if link.error is not None:
            raise link.error
        assert link.bus is not None
        return link.bus

    async def _connect(self, link: _Link) -> None:
        with self._reconnection.scope():
            await self._hold(link)
        if link.bus is None and link.error is None:
            link.error = HostGone("")
            link.settled.set()

    async def _hold(self, link: _Link) -> None:
        try:
            async with self._reconnection.connect(start_engine=self._start_engine) as host:
                link.bus = host.engine.bus
                link.settled.set()
                await link.released.wait()
        except Error as error:
            if link.settled.is_set():
                raise
            link.error = error
            link.settled.set()


class _Link:
    """One connection: ``settled`` once it is there, or has failed; held until ``released``."""

    bus: Bus | None = None
    error: Error | None = None
    is_used = False

    def __init__(self) -> None:
        self.settled = anyio.Event()
        self.released = anyio.Event()
