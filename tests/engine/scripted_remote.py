"""A remote hypervisor that does what a test says: its domains, what it tells of them, and when it answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar, cast
from uuid import UUID

import anyio
import anyio.lowlevel
from msgspec.structs import replace

from aiovirt.drivers.remote import EVERYTHING, Change, DomainReading
from aiovirt.errors import ConnectionLost, OperationInvalid
from aiovirt.model.orders import Destroy, Request, Suspend
from aiovirt.model.state import DomainState, Reason
from aiovirt.system.deadlines import Deadline

R = TypeVar("R")


class Script:
    """``held`` are those whose readings are not answered until they are let go; ``performed`` what it was ordered."""

    def __init__(self) -> None:
        self.world: dict[UUID, DomainReading] = {}
        self.held: dict[Change, anyio.Event] = {}
        self.performed: list[Request[Any]] = []
        self.tells = True  # of what it was ordered
        self.late = anyio.Event()  # an order is answered when this is set
        self.late.set()
        self.wrong: dict[UUID, Exception] = {}  # what a reading raises
        self.connections = 0
        self.reachable = True
        self._lost = anyio.Event()
        self._changes: list[Change] = []
        self._news = anyio.Event()

    # -- what happens there ----------------------------------------------------------------

    def put(self, uuid: UUID, *, tell: bool = True, **fields: Any) -> None:  # noqa: ANN401 - those of a reading
        """A domain appears, or is another one."""
        before = self.world.get(uuid) or DomainReading(uuid=uuid, name=f"d{uuid.int}", state=DomainState.SHUTOFF)
        self.world[uuid] = replace(before, **fields)
        if tell:
            self.tell(uuid)

    def run(self, uuid: UUID, *, tell: bool = True) -> None:
        self.put(uuid, state=DomainState.RUNNING, reason=Reason.BOOTED, id=uuid.int, tell=tell)

    def remove(self, uuid: UUID, *, tell: bool = True) -> None:
        del self.world[uuid]
        if tell:
            self.tell(uuid)

    def tell(self, change: Change) -> None:
        self._changes.append(change)
        self._news.set()

    def hold(self, what: Change) -> anyio.Event:
        self.held[what] = anyio.Event()
        return self.held[what]

    def lose(self) -> None:
        """The connection, with what it had not told."""
        self._changes.clear()
        self._lost.set()

    # -- the door --------------------------------------------------------------------------

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Connection]:
        await anyio.lowlevel.checkpoint()
        if not self.reachable:
            raise ConnectionLost("nobody answers")
        self._lost = anyio.Event()
        self.connections += 1
        yield Connection(self)

    async def next_changes(self) -> list[Change]:
        while not self._changes:
            if self._lost.is_set():
                raise ConnectionLost("connection reset by peer")
            self._news = anyio.Event()
            async with anyio.create_task_group() as tasks:
                for event in (self._news, self._lost):
                    tasks.start_soon(_first, event, tasks.cancel_scope)
        changes, self._changes = self._changes, []
        return changes


async def _first(event: anyio.Event, scope: anyio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


class Connection:
    """See :class:`aiovirt.drivers.remote.Remote`. What is read is as it was when the answer was made, before it is held back."""

    name = "scripted"

    def __init__(self, script: Script) -> None:
        self._script = script

    async def domains(self) -> Mapping[UUID, DomainReading]:
        read = dict(self._script.world)
        await self._answer(EVERYTHING)
        return read

    async def domain(self, uuid: UUID) -> DomainReading | None:
        read = self._script.world.get(uuid)
        await self._answer(uuid)
        if uuid in self._script.wrong:
            raise self._script.wrong[uuid]
        return read

    async def _answer(self, what: Change) -> None:
        await anyio.lowlevel.checkpoint()
        if (held := self._script.held.get(what)) is not None:
            await held.wait()

    async def changes(self) -> AsyncIterator[Change]:
        yield EVERYTHING
        while True:
            for change in await self._script.next_changes():
                yield change

    def can(self, order: type[Request[Any]]) -> str | None:
        return None if order in {Suspend, Destroy} else "it is not in the script"

    async def perform(self, order: Request[R], by: Deadline) -> R:  # noqa: ARG002 - the door's
        script = self._script
        script.performed.append(order)
        assert isinstance(order, Suspend | Destroy)
        if not script.world[order.uuid].state.is_active:
            raise OperationInvalid("the domain is not running")
        if isinstance(order, Suspend):
            script.put(order.uuid, state=DomainState.PAUSED, reason=Reason.USER, tell=script.tells)
        else:
            script.put(order.uuid, state=DomainState.SHUTOFF, reason=Reason.DESTROYED, id=None, tell=script.tells)
        await anyio.lowlevel.checkpoint()
        await script.late.wait()
        return cast("R", None)
