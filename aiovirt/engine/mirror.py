"""The engine of a remote hypervisor: what may have changed is read again, and the difference is published.

Nothing else writes its state. Readings of one domain never go back in time: one that began before another one was published is
dropped, and the domain is read again. Each domain is read in a task of its own, so one that is not answered delays no other one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any, Final, Literal, TypeVar, cast
from uuid import UUID

import anyio
from anyio.abc import TaskGroup, TaskStatus
from msgspec.structs import replace

from aiovirt.drivers.remote import EVERYTHING, Change, DomainReading, Everything, Remote
from aiovirt.engine.admission import ability, check_ability, check_permissions
from aiovirt.engine.differences import differences
from aiovirt.engine.objects import order_id
from aiovirt.errors import ConnectionLost, Error, HostGone, InvalidArgument, OrderTimeout
from aiovirt.events.bus import Bus
from aiovirt.events.types import (
    DomainLifecycle,
    Event,
    HostStarted,
    MonitorLost,
    MonitorResumed,
    MonitorStalled,
    SourceMissing,
    SourceResynced,
)
from aiovirt.model.caller import Caller
from aiovirt.model.orders import AskAbility, Request, Turn
from aiovirt.model.state import Lifecycle, MonitorHealth
from aiovirt.system.again import Backoff
from aiovirt.system.deadlines import Deadline
from aiovirt.system.log import get_logger

__all__ = ["MirrorEngine"]

R = TypeVar("R")
T = TypeVar("T")
_HERE: Final = Caller()
PATIENCE: Final = 30.0
log = get_logger("engine")


class MirrorEngine:
    """See :class:`aiovirt.engine.abc.Engine`. ``connect()`` is a connection to the remote, each time it is lost a new one.

    :meth:`run` has started once everything was read for the first time. Then a lost connection is told by SourceMissing, and by
    MonitorLost of each domain that runs; what differs when it is back is ``missed``, and SourceResynced follows it.
    """

    def __init__(self, uri: str, bus: Bus, connect: Callable[[], AbstractAsyncContextManager[Remote]]) -> None:
        self.uri = uri
        self.bus = bus
        self._connect = connect
        self._remote: Remote | None = None
        self._why = "it is not connected yet"
        self._tasks: TaskGroup
        self._step = 0  # counts the beginnings of readings and what was published of them
        self._published: dict[UUID, int] = {}  # the step at which a reading of it was published
        self._dirty: set[Change] = set()
        self._reading: set[Change] = set()
        self._waiting: dict[Change, set[_Reading]] = {}
        self._ordered: dict[UUID, list[tuple[frozenset[Lifecycle | Literal["reboot"]], str]]] = {}  # orders under way: their ends and ids

    @property
    def uuid(self) -> UUID:
        """The host's."""
        return self.bus.host

    # -- orders ----------------------------------------------------------------------------

    async def call(self, request: Request[R], caller: Caller = _HERE) -> R:
        """Has the remote do it, and returns when what it led to is published.

        Raises what the remote raises, Unsupported and AccessDenied before it is asked, ConnectionLost while there is no connection.
        """
        if not request.timeout > 0:
            raise InvalidArgument(f"a timeout of {request.timeout:g} s is not possible")
        if self.bus.closed:
            raise HostGone(self.bus.cursor)
        if isinstance(request, AskAbility):
            return cast("R", self._ability(request, caller))
        remote = self._admit(type(request), caller)
        by = Deadline.after(request.timeout)
        with by.scope(), self._cause_of(request):
            answer = await remote.perform(request, by)
            if request.rule.turn is not Turn.READ:
                await self.read(_about(request, answer))
            return answer
        raise OrderTimeout(f"{request.rule.verb}: its outcome was not seen within {request.timeout:g} s", sent=True)

    @contextmanager
    def _cause_of(self, request: Request[Any]) -> Iterator[None]:
        """What is published of its domain within the block, and is what such an order leads to, is its doing."""
        uuid = getattr(request, "uuid", None)
        if uuid is None or not request.rule.done:
            yield
            return
        ordered = (request.rule.done, order_id())
        self._ordered.setdefault(uuid, []).append(ordered)
        try:
            yield
        finally:
            self._ordered[uuid].remove(ordered)
            if not self._ordered[uuid]:
                del self._ordered[uuid]

    def _caused(self, event: Event) -> Event:
        if not isinstance(event, DomainLifecycle) or event.missed:
            return event
        cause = next((cause for done, cause in reversed(self._ordered.get(event.uuid, [])) if event.kind in done), None)
        return event if cause is None else replace(event, cause=cause)

    def _ability(self, question: AskAbility, caller: Caller) -> str | None:
        check_permissions(AskAbility, caller)
        return self._why if self._remote is None else ability(question.order, self._remote, by_engine=False)

    def _admit(self, kind: type[Request[Any]], caller: Caller) -> Remote:
        check_permissions(kind, caller)
        if self._remote is None:
            raise ConnectionLost(f"{self.uri}: {self._why}")
        check_ability(kind, self._remote)
        return self._remote

    async def read(self, what: Change) -> None:
        """Returns when a reading that began after this call is published. Raises ConnectionLost when there is no connection for it."""
        reading = _Reading(self._step)
        self._waiting.setdefault(what, set()).add(reading)
        try:
            self.mark(what)
            await reading.done.wait()
        finally:
            self._waiting[what].discard(reading)
            if not self._waiting[what]:
                del self._waiting[what]
        if reading.error is not None:
            raise reading.error

    # -- the connection --------------------------------------------------------------------

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Follows the remote until cancelled. Raises what the first connection and the first reading raise."""
        self.bus.publish(HostStarted(uri=self.uri))
        backoff, is_first = Backoff(), True

        def works() -> None:
            nonlocal is_first
            backoff.reset()
            if is_first:
                is_first = False
                task_status.started()

        while True:
            try:
                async with self._connect() as remote:
                    await self._follow(remote, works, missed=not is_first)
            except* (Error, OSError) as group:
                error = _first_of(group)
                if is_first:
                    raise error from None
                self._lose(str(error))
            await backoff.wait()

    async def _follow(self, remote: Remote, works: Callable[[], None], *, missed: bool) -> None:
        """Until the connection ends. What may change while everything is read for the first time is read again."""
        async with anyio.create_task_group() as tasks:
            listening = anyio.Event()
            tasks.start_soon(self._listen, remote, listening)
            await listening.wait()
            began = self._step
            self._publish_all(await _in_time(remote.domains()), began, missed=missed)
            if missed:
                self.bus.publish(SourceResynced(source=self.uri, reason=self._why))
            self._remote, self._tasks = remote, tasks
            works()
            self._begin()

    async def _listen(self, remote: Remote, listening: anyio.Event) -> None:
        async for change in remote.changes():
            if listening.is_set():
                self.mark(change)
            listening.set()
        raise ConnectionLost("the remote ended the connection")

    def _lose(self, why: str) -> None:
        if self._remote is None:
            log.info("a remote cannot be reached", uri=self.uri, why=why)
            return
        self._remote, self._why = None, why
        self._dirty.clear()
        self._reading.clear()
        self._published.clear()
        for readings in self._waiting.values():
            for reading in readings:
                reading.fail(ConnectionLost(f"{self.uri}: {why}"))
        self.bus.publish(SourceMissing(source=self.uri, why=why))
        for view in [view for view in self.bus.folded.domains.values() if view.is_active]:
            self.bus.publish(MonitorLost(uuid=view.uuid, name=view.name, why=why))

    # -- readings --------------------------------------------------------------------------

    def mark(self, what: Change) -> None:
        """It may be another one now: it is read again, once a reading of it that is under way has ended."""
        self._dirty.add(what)
        self._begin()

    def _begin(self) -> None:
        if self._remote is None:
            return
        for what in self._dirty - self._reading:
            self._dirty.discard(what)
            self._reading.add(what)
            self._tasks.start_soon(self._read, self._remote, what)

    async def _read(self, remote: Remote, what: Change) -> None:
        self._step += 1
        began = self._step
        is_whole, failed = True, None
        if isinstance(what, Everything):
            is_whole = self._publish_all(await _in_time(remote.domains()), began)
        else:
            try:
                is_whole = self._publish(what, await _in_time(remote.domain(what)), began)
            except ConnectionLost:
                raise
            except Error as error:
                failed = error
                self._cannot_read(what, error)
        self._reading.discard(what)
        if not self._reading:
            self._published.clear()  # whatever is read from now on is later
        self._answer(what, began, failed, is_whole=is_whole)
        self._begin()

    def _answer(self, what: Change, began: int, failed: Error | None, *, is_whole: bool) -> None:
        """Wakes those who wait for a reading that began when this one did; of one that was dropped in part there is another one."""
        for reading in self._waiting.get(what, ()):
            if not is_whole:
                self._dirty.add(what)
            elif reading.since < began:
                reading.error = failed
                reading.done.set()

    def _publish_all(self, readings: Mapping[UUID, DomainReading], began: int, *, missed: bool = False) -> bool:
        """Whether all of it is published."""
        uuids = [*(uuid for uuid in self.bus.folded.domains if uuid not in readings), *readings]
        published = [self._publish(uuid, readings.get(uuid), began, missed=missed) for uuid in uuids]
        return all(published)

    def _publish(self, uuid: UUID, new: DomainReading | None, began: int, *, missed: bool = False) -> bool:
        """Whether it is published, and not dropped as it may be older than what is."""
        if self._published.get(uuid, began) > began:
            self._dirty.add(uuid)
            return False
        for event in differences(self.bus.folded.domains.get(uuid), new, missed=missed):
            self.bus.publish(self._caused(event))
        self._step += 1
        self._published[uuid] = self._step
        view = self.bus.folded.domains.get(uuid)
        if view is not None and view.monitor not in {None, MonitorHealth.CONNECTED}:
            self.bus.publish(MonitorResumed(uuid=uuid, name=view.name))
        return True

    def _cannot_read(self, uuid: UUID, error: Error) -> None:
        """How it is now is not known; one that is not answered is read again, any other one when it may have changed."""
        view = self.bus.folded.domains.get(uuid)
        is_late = isinstance(error, OrderTimeout)
        health, event = (MonitorHealth.STALLED, MonitorStalled) if is_late else (MonitorHealth.LOST, MonitorLost)
        if view is not None and view.is_active and view.monitor is not health:
            self.bus.publish(event(uuid=uuid, name=view.name, why=str(error)))
        if is_late:
            self._dirty.add(uuid)


async def _in_time(reading: Awaitable[T]) -> T:
    """Raises OrderTimeout for one that takes too long."""
    with anyio.move_on_after(PATIENCE):
        return await reading
    raise OrderTimeout(f"it was not read within {PATIENCE:g} s", sent=True)


class _Reading:
    """Somebody who waits for one that begins after step ``since``."""

    def __init__(self, since: int) -> None:
        self.since = since
        self.done = anyio.Event()
        self.error: Error | None = None

    def fail(self, error: Error) -> None:
        self.error = error
        self.done.set()


def _about(request: Request[R], answer: R) -> Change:
    uuid = getattr(request, "uuid", answer)
    return uuid if isinstance(uuid, UUID) else EVERYTHING


def _first_of(group: BaseExceptionGroup[Error | OSError]) -> Error | OSError:
    inner = group.exceptions[0]
    return _first_of(inner) if isinstance(inner, BaseExceptionGroup) else inner
