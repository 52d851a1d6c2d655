"""The engine in this process: it holds the domains, steps their states and publishes.

Facts come in from a driver, synchronously; orders come in from a Host and are awaited. An order
is done when its own event is numbered. Each domain takes one changing order at a time; destroy
waits for none.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar
from uuid import UUID

import anyio
from msgspec.structs import replace

from aiovirt.drivers.door import DeviceSource, Driver
from aiovirt.engine.definitions import Definitions, render_xml
from aiovirt.engine.entries import Entries, Entry
from aiovirt.engine.store import Loaded, LoadedRun, Store
from aiovirt.errors import Error, HostGone, InvalidArgument, OperationInvalid, OrderTimeout
from aiovirt.events.bus import Bus
from aiovirt.events.feed import Events
from aiovirt.events.types import (
    DomainChanged,
    DomainEvent,
    DomainLifecycle,
    DomainReboot,
    Event,
    MonitorEvent,
    MonitorLost,
    MonitorResumed,
    MonitorStalled,
)
from aiovirt.model import orders
from aiovirt.model.busdevice import BusDevice
from aiovirt.model.details import DeviceDetails
from aiovirt.model.lifecycle import Fact, Step, belongs, step
from aiovirt.model.machine import Machine
from aiovirt.model.orders import DomainOrder, Request
from aiovirt.model.record import RunRecord
from aiovirt.model.spec import DomainSpec
from aiovirt.model.state import Detail, DomainState, Lifecycle, MonitorHealth, Reason
from aiovirt.model.view import DomainView
from aiovirt.system import to_thread
from aiovirt.system.again import is_passing, refusal
from aiovirt.system.deadlines import Deadline
from aiovirt.system.log import get_logger
from aiovirt.system.reserve import RESERVE

__all__ = ["LocalEngine"]

R = TypeVar("R")
CLOSING_TIMEOUT: Final = 10.0
WHY_LIMIT: Final = 1000
log = get_logger("engine")


class LocalEngine:
    """The holder of one host. ``driver`` and ``devices`` are set once before use; ``store`` is None where nothing is kept."""

    driver: Driver
    devices: DeviceSource

    def __init__(self, uri: str, bus: Bus, store: Store | None) -> None:
        self.uri = uri
        self.bus = bus
        self.entries = Entries()
        self._store = store
        self._events = Events(bus)
        self._last_id = 0
        self.definitions = Definitions(self, store)
        self._closing = False
        self.left_out: list[LoadedRun] = []
        """Guests that could not be held for want of something, and may be found yet."""
        self._calls: set[anyio.CancelScope] = set()
        self._call_ended = anyio.Event()
        self._handlers: dict[type[Request[Any]], Callable[[Any, Deadline], Awaitable[Any]]] = {
            orders.Define: self.definitions.define,
            orders.Create: self._create,
            orders.Undefine: self.definitions.undefine,
            orders.SetAutostart: self.definitions.set_autostart,
            orders.AskAutostart: self.definitions.ask_autostart,
            orders.Start: self._start,
            orders.Suspend: self._suspend,
            orders.Resume: self._resume,
            orders.Shutdown: self._shutdown,
            orders.Reset: self._reset,
            orders.Destroy: self._destroy,
            orders.AskXML: self._ask_xml,
            orders.AskQMP: self._ask_qmp,
            orders.AskLog: self._ask_log,
            orders.ReadPhysPortId: self._read_phys_port_id,
            orders.Refresh: self._refresh,
            orders.AskDetails: self._ask_details,
            orders.Enumerate: self._enumerate,
        }

    @property
    def uuid(self) -> UUID:
        """The host's."""
        return self.bus.host

    async def call(self, request: Request[R]) -> R:
        """Does what is asked; raises errors of :mod:`aiovirt.errors`, HostGone when the engine ends first."""
        if not request.timeout > 0:
            raise InvalidArgument(f"a timeout of {request.timeout:g} s is not possible")
        if self._closing:
            raise HostGone(self.bus.cursor)
        by, scope = Deadline.after(request.timeout), anyio.CancelScope()
        self._calls.add(scope)
        try:
            with scope:
                answer: R = await self._handlers[type(request)](request, by)
                return answer
        except Error:
            raise
        except (OSError, MemoryError) as error:
            raise refusal("it cannot be done now", error) from error
        finally:
            self._calls.discard(scope)
            self._call_ended.set()
        raise HostGone(self.bus.cursor)

    async def close(self) -> None:
        """Takes no more calls, gives up those under way and waits for them, then ends the guests that are its own."""
        self._closing = True
        for scope in self._calls:
            scope.cancel()
        while self._calls:
            self._call_ended = anyio.Event()
            await self._call_ended.wait()
        owned = [entry.uuid for entry in self.entries if entry.run and entry.run.autodestroy]
        async with anyio.create_task_group() as tasks:
            for uuid in owned:
                tasks.start_soon(self.destroy_owned, uuid)

    # -- what was there before ---------------------------------------------------------------

    def seed(self, spec: DomainSpec) -> Entry:
        """A domain that is there from the first day on, and runs (the test driver's): part of the state, told by no event."""
        entry = self.entries.add(Entry(_uuid_of(spec), spec.name, config=spec))
        entry.live, entry.id = spec, self._next_id()
        self.bus.folded.domains[entry.uuid] = DomainView(
            uuid=entry.uuid,
            name=entry.name,
            id=entry.id,
            persistent=True,
            state=DomainState.RUNNING,
            reason=Reason.BOOTED,
            monitor=MonitorHealth.CONNECTED,
            as_of=self.bus.cursor,
            machine=Machine(vcpus=spec.vcpus),
        )
        return entry

    def take_up(self, loaded: Loaded) -> None:
        """Makes the state what was found on disk, and tells where it differs from what the journal had."""
        before = dict(self.bus.folded.domains)
        for spec in loaded.definitions:
            entry = self.entries.add(Entry(_uuid_of(spec), spec.name, config=spec))
            entry.autostart = spec.name in loaded.autostart
            view = before.get(entry.uuid)
            if view is None or not view.persistent or view.name != spec.name:
                self._tell_missed(entry, Lifecycle.DEFINED, Detail.UPDATED if view else Detail.ADDED)
        for found in loaded.runs:
            entry = self._take_up_run(found.run, found.spec)
            entry.live_xml = found.run.xml if found.is_partial else None
            entry.is_unread = entry.config is None and entry.name in loaded.unreadable
        for view in before.values():
            self._let_go(view, loaded)

    def _take_up_run(self, run: RunRecord, spec: DomainSpec) -> Entry:
        """A guest that was left running; it is not heard until the driver speaks with it again."""
        entry = self.entries.find(run.uuid) or self.entries.add(Entry(run.uuid, run.name))
        entry.live, entry.run, entry.id, entry.is_absent = spec, run, run.id, True
        self._last_id = max(self._last_id, run.id)
        view = self.bus.folded.domains.get(run.uuid)
        if view and view.is_active and view.id != run.id:
            self._tell_missed(entry, Lifecycle.STOPPED, Detail.FAILED, DomainState.SHUTOFF)
        if not self.state_of(run.uuid).is_active:
            unfinished = run.state is DomainState.SHUTOFF
            state, reason = (DomainState.PAUSED, Reason.STARTING_UP) if unfinished else (run.state, run.reason)
            self.publish_step(entry, Step(Lifecycle.STARTED, Detail.BOOTED, state, reason))
        self.monitor(run.uuid, MonitorHealth.STALLED, "not heard since the engine before ended")
        return entry

    def _let_go(self, view: DomainView, loaded: Loaded) -> None:
        """What the journal had and the disk has not, or no longer as it was."""
        entry = self.entries.find(view.uuid) or Entry(view.uuid, view.name)
        self._last_id = max(self._last_id, view.id or 0)
        if view.persistent and not entry.is_persistent:
            self._tell_missed(entry, Lifecycle.UNDEFINED, Detail.REMOVED)
        if view.is_active and entry.run is None:
            if str(view.uuid) in loaded.unread_runs:
                entry.id = view.id
                self.entries.add(entry)
                self.monitor(view.uuid, MonitorHealth.DEGRADED, "its run record cannot be read")
            else:
                self._tell_missed(entry, Lifecycle.STOPPED, Detail.FAILED, DomainState.SHUTOFF)

    def _tell_missed(self, entry: Entry, kind: Lifecycle, detail: Detail, state: DomainState | None = None) -> None:
        """Something that was done while no engine was there; the state stays unless told."""
        view = self.bus.folded.domains.get(entry.uuid)
        was, reason = (view.state, view.reason) if view else (DomainState.SHUTOFF, Reason.UNKNOWN)
        before, entry.is_absent = (entry.is_absent, entry.id), True
        entry.id = view.id if view else None
        self.publish_step(entry, Step(kind, detail, state or was, reason if state is None else Reason.UNKNOWN))
        entry.is_absent, entry.id = before

    # -- news (the Sink) ---------------------------------------------------------------------

    def fact(self, uuid: UUID, fact: Fact, *, source_time: int | None = None, by_guest: bool = False) -> None:
        """Steps the table and publishes what it says. See :class:`aiovirt.drivers.door.Sink`."""
        entry = self.entries.find(uuid)
        if entry is None:
            return
        cause = entry.cause if belongs(fact, entry.order) else None
        if fact is Fact.EXITED and entry.is_held:
            entry.is_absent = False  # it was alive when this engine began, so its end is news
        for moved in step(self.state_of(uuid), fact, entry.order):
            self.publish_step(entry, moved, source_time, cause)
        if fact is Fact.RESET:
            self.publish(DomainReboot(uuid=uuid, name=entry.name, by_guest=by_guest, source_time=source_time, cause=cause))
        if fact is Fact.EXITED:
            self._ended(entry)
        else:
            self.note_run(entry)

    def monitor(self, uuid: UUID, health: MonitorHealth, why: str) -> None:
        """Publishes a change of a monitor's health. See :class:`aiovirt.drivers.door.Sink`."""
        view = self.bus.folded.domains.get(uuid)
        if view is not None and view.is_active and view.monitor is not health:
            self.publish(_monitor_event(view, health, why[:WHY_LIMIT]))
        if health is MonitorHealth.DEGRADED:
            self.is_back(uuid)

    def machine(self, uuid: UUID, machine: Machine) -> None:
        """Publishes a change of a running domain's machine. See :class:`aiovirt.drivers.door.Sink`."""
        entry, view = self.entries.find(uuid), self.bus.folded.domains.get(uuid)
        if entry is not None and view is not None and view.is_active and view.machine != machine:
            self.publish(DomainChanged(uuid=uuid, name=view.name, old=view.machine, new=machine, missed=entry.is_absent))

    def publish(self, event: Event) -> Event:
        """Numbers an event. See :class:`aiovirt.drivers.door.Sink`."""
        return self.bus.publish(event)

    def state_of(self, uuid: UUID) -> DomainState:
        """The state as the journal has it; SHUTOFF for a domain that is only about to be."""
        view = self.bus.folded.domains.get(uuid)
        return view.state if view else DomainState.SHUTOFF

    def publish_step(self, entry: Entry, moved: Step, source_time: int | None = None, cause: str | None = None) -> None:
        self.publish(
            DomainLifecycle(
                uuid=entry.uuid,
                name=entry.name,
                kind=moved.kind,
                detail=moved.detail,
                state=moved.state,
                reason=moved.reason,
                id=entry.id if moved.state.is_active else None,
                persistent=entry.is_persistent,
                source_time=source_time,
                cause=cause,
                missed=entry.is_absent and cause is None,
            )
        )

    def _ended(self, entry: Entry) -> None:
        """Nothing runs of it any more."""
        entry.live, entry.live_xml, entry.run, entry.id = None, None, None, None
        entry.is_absent = entry.is_held = False
        entry.ended()
        self.forget_unless_wanted(entry)
        if self._store:
            self._store.note_run(entry.uuid, None)

    def forget_unless_wanted(self, entry: Entry) -> None:
        """An entry is there for a definition, a run, or an order that is about to make it one."""
        wanted = entry.is_persistent or self.state_of(entry.uuid).is_active or isinstance(entry.order, _MAKE)
        if not wanted:
            self.entries.drop(entry)

    def note_run(self, entry: Entry) -> None:
        view = self.bus.folded.domains.get(entry.uuid)
        if entry.run is None or view is None or self._store is None:
            return
        entry.run = replace(entry.run, state=view.state, reason=view.reason, persistent=view.persistent)
        self._store.note_run(entry.uuid, entry.run)

    # -- running -----------------------------------------------------------------------------

    async def _start(self, request: orders.Start, by: Deadline) -> None:
        RESERVE.check("no guest can be started")
        entry = self.entries.get(request.uuid)
        try:
            async with entry.turn(request, by):
                self.entries.check(entry)
                if self.state_of(entry.uuid).is_active:
                    raise OperationInvalid("the domain is already running", subject=entry.subject)
                if entry.config is None:
                    raise OperationInvalid("its definition cannot be read by this version of aiovirt", subject=entry.subject)
                await self._boot(entry, entry.config, request, by)
        finally:
            self.forget_unless_wanted(entry)  # its definition may have been taken away meanwhile

    async def _create(self, request: orders.Create, by: Deadline) -> UUID:
        RESERVE.check("no guest can be started")
        spec = await self.definitions.read(request.xml)
        entry = self.entries.claim_new(spec)
        try:
            async with entry.turn(request, by):
                self.entries.check(entry)
                await self._boot(entry, spec, request, by)
        finally:
            self.forget_unless_wanted(entry)
        return entry.uuid

    async def _boot(self, entry: Entry, spec: DomainSpec, request: orders.Start | orders.Create, by: Deadline) -> None:
        live = self.driver.check(spec)
        entry.live, entry.id = live, self._next_id()
        entry.run = RunRecord(
            uuid=entry.uuid,
            name=entry.name,
            id=entry.id,
            xml=await to_thread.run_sync(render_xml, live, None),
            persistent=entry.config is not None,
            autodestroy=request.autodestroy,
        )

        async def save(run: RunRecord) -> None:
            entry.run = run
            if self._store:
                await self._store.save_run(run)

        try:
            start = self.driver.start(entry.run, live, paused=request.paused, save=save, by=by)
            await self._until(entry, by, start, _STARTED)
        except BaseException:
            if not self.state_of(entry.uuid).is_active:
                self._ended(entry)
            raise

    async def _suspend(self, request: orders.Suspend, by: Deadline) -> None:
        async with self._running(request, by) as entry:
            if self._expect_state(entry, DomainState.RUNNING, DomainState.PAUSED) is DomainState.RUNNING:
                await self._until(entry, by, self.driver.suspend(entry.uuid, by=by), _SUSPENDED)

    async def _resume(self, request: orders.Resume, by: Deadline) -> None:
        async with self._running(request, by) as entry:
            self._expect_state(entry, DomainState.PAUSED, DomainState.SHUTDOWN, DomainState.CRASHED)
            await self._until(entry, by, self.driver.resume(entry.uuid, by=by), _RESUMED)

    async def _shutdown(self, request: orders.Shutdown, by: Deadline) -> None:
        async with self._running(request, by) as entry:
            if self.state_of(entry.uuid) is not DomainState.RUNNING:
                raise OperationInvalid("the domain is not running", subject=entry.subject)
            await self.driver.shutdown(entry.uuid, by=by)

    async def _reset(self, request: orders.Reset, by: Deadline) -> None:
        async with self._running(request, by) as entry:
            await self._until(entry, by, self.driver.reset(entry.uuid, by=by), _RESET)
            try:
                await self.driver.settle(entry.uuid, by=by)  # how it is now is asked
            except OrderTimeout as late:
                raise OrderTimeout("it was reset; how it is now was not seen in time", sent=True, subject=entry.subject) from late

    async def _destroy(self, request: orders.Destroy, by: Deadline) -> None:
        entry = self._active(request)
        entry.ending_by(request)
        try:
            await self._until(entry, by, self.driver.destroy(entry.uuid, by=by), _STOPPED)
        except OperationInvalid:
            entry.ended()  # there was nothing to end: what comes next is not this order's doing
            raise

    async def destroy_owned(self, uuid: UUID) -> None:
        """Ends a guest that lives for its connection alone; one that has ended, or cannot, keeps nobody."""
        try:
            await self._destroy(orders.Destroy(uuid=uuid), Deadline.after(CLOSING_TIMEOUT))
        except Error as error:
            log.info("a guest was not ended", domain=str(uuid), error=str(error))

    async def meet_again(self, runs: Sequence[LoadedRun]) -> list[RunRecord]:
        """Finds guests that were left running; returns those that are there. Nothing about one keeps the others from being found."""
        met: list[RunRecord] = []
        found_of = await self.driver.find([(one.run, one.spec) for one in runs])
        self.left_out = [one for one in runs if isinstance(found := found_of.get(one.run.uuid), Error) and is_passing(found)]
        for uuid, found in found_of.items():
            if isinstance(found, Error):
                self.monitor(uuid, MonitorHealth.DEGRADED, str(found))
                continue
            entry = self.entries.find(uuid)
            if entry is None or not self.state_of(uuid).is_active:
                continue  # it ended while others were looked for
            entry.run, entry.is_held = found, True
            self.note_run(entry)
            met.append(found)
        return met

    def is_back(self, uuid: UUID) -> None:
        """All that this guest did while no engine was there is told; what comes now is news."""
        if entry := self.entries.find(uuid):
            entry.is_absent = False

    # -- questions ---------------------------------------------------------------------------

    async def _ask_xml(self, request: orders.AskXML, _: Deadline) -> str:
        entry = self.entries.get(request.uuid)
        if entry.live_xml is not None and not request.inactive:
            return entry.live_xml
        spec = entry.config if request.inactive else entry.live or entry.config
        if spec is None:
            why = "its definition cannot be read by this version of aiovirt" if entry.is_unread else "a transient domain has no definition"
            raise OperationInvalid(why, subject=entry.subject)
        return await to_thread.run_sync(render_xml, spec, None if request.inactive else entry.id)

    async def _ask_qmp(self, request: orders.AskQMP, by: Deadline) -> bytes:
        entry = self._active(request)
        return await self.driver.qmp(entry.uuid, request.command, request.arguments, by=by)

    async def _ask_log(self, request: orders.AskLog, _: Deadline) -> str:
        return await self.driver.log(self.entries.get(request.uuid).name)

    async def _read_phys_port_id(self, request: orders.ReadPhysPortId, _: Deadline) -> str | None:
        return await self.devices.read_phys_port_id(request.name)

    async def _refresh(self, request: orders.Refresh, by: Deadline) -> None:
        with by.scope() as scope:
            await self.devices.refresh(request.subject)
        if scope.cancelled_caught:
            raise OrderTimeout(f"no answer within {request.timeout:g} s", sent=True, subject=request.subject)

    async def _ask_details(self, request: orders.AskDetails, _: Deadline) -> DeviceDetails:
        return await self.devices.details(request.subject)

    async def _enumerate(self, request: orders.Enumerate, _: Deadline) -> list[BusDevice]:
        return await self.devices.enumerate(request.subsystem)

    # -- inside ------------------------------------------------------------------------------

    def _active(self, request: DomainOrder | orders.AskQMP) -> Entry:
        entry = self.entries.get(request.uuid)
        self._still_active(entry)
        return entry

    def _still_active(self, entry: Entry) -> DomainState:
        state = self.state_of(entry.uuid)
        if not state.is_active:
            raise OperationInvalid("the domain is not running", subject=entry.subject)
        return state

    @asynccontextmanager
    async def _running(self, request: DomainOrder, by: Deadline) -> AsyncIterator[Entry]:
        """The turn of an order that is for running domains; raises OperationInvalid when it does not run, before or by then."""
        entry = self._active(request)
        async with entry.turn(request, by):
            await self.driver.settle(entry.uuid, by=by)
            self.entries.check(entry)
            self._still_active(entry)
            yield entry

    def _expect_state(self, entry: Entry, *possible: DomainState) -> DomainState:
        state = self._still_active(entry)
        if state not in possible:
            already = "already " if state is DomainState.RUNNING else ""
            raise OperationInvalid(f"the domain is {already}{state}", subject=entry.subject)
        return state

    async def _until(self, entry: Entry, by: Deadline, order: Awaitable[None], done: Callable[[DomainEvent], bool]) -> None:
        """Gives ``order`` and waits for the news that it is done, armed before it is given.

        Raises OperationInvalid when the domain ended instead, OrderTimeout(sent=True) when nothing is heard in time.
        """
        async with self._events.subscribe(DomainEvent, subject=entry.subject) as news:
            await order
            with by.scope():
                while not done(event := await news.receive()):
                    if _STOPPED(event):
                        raise OperationInvalid("the domain ended first", subject=entry.subject)
                return
        raise OrderTimeout("its outcome was not seen in time", sent=True, subject=entry.subject)

    def _next_id(self) -> int:
        self._last_id += 1
        return self._last_id


def _lifecycle(*kinds: Lifecycle) -> Callable[[DomainEvent], bool]:
    return lambda event: isinstance(event, DomainLifecycle) and event.kind in kinds


_MAKE: Final = (orders.Define, orders.Create, orders.Start)
"""Orders that are about to make a domain what is there."""
_STARTED: Final = _lifecycle(Lifecycle.STARTED)
_SUSPENDED: Final = _lifecycle(Lifecycle.SUSPENDED)
_RESUMED: Final = _lifecycle(Lifecycle.RESUMED, Lifecycle.PMSUSPENDED)
"""One that was stopped in its sleep sleeps on."""
_STOPPED: Final = _lifecycle(Lifecycle.STOPPED)


def _RESET(event: DomainEvent) -> bool:  # noqa: N802 - one of the above
    """Where the definition makes a power-off of a reboot, that is how it ends."""
    return isinstance(event, DomainReboot) or _STOPPED(event)


def _monitor_event(view: DomainView, health: MonitorHealth, why: str) -> MonitorEvent:
    about: dict[str, Any] = {"uuid": view.uuid, "name": view.name, "why": why}
    match health:
        case MonitorHealth.CONNECTED:
            return MonitorResumed(**about)
        case MonitorHealth.STALLED:
            return MonitorStalled(**about)
        case _:
            return MonitorLost(**about, degraded=health is MonitorHealth.DEGRADED)


def _uuid_of(spec: DomainSpec) -> UUID:
    if spec.uuid is None:
        raise InvalidArgument(f"the definition of {spec.name} has no uuid")
    return spec.uuid
