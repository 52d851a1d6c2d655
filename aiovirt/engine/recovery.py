"""What an engine makes of what the one before has left: definitions, runs, and guests that still run."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from anyio.abc import TaskGroup

from aiovirt.drivers.door import Driver, Sink
from aiovirt.engine.admission import Admission
from aiovirt.engine.entries import Entry
from aiovirt.engine.records import Records
from aiovirt.engine.runfiles import LoadedRecords
from aiovirt.engine.runs import LoadedRun
from aiovirt.engine.store import Loaded
from aiovirt.errors import Error, SystemFailure
from aiovirt.model.lifecycle import Step
from aiovirt.model.machine import Machine
from aiovirt.model.record import RunRecord
from aiovirt.model.spec import DomainSpec
from aiovirt.model.state import Detail, DomainState, Lifecycle, MonitorHealth, Reason
from aiovirt.model.view import DomainView
from aiovirt.system.again import contained, is_passing, keep_on
from aiovirt.system.log import get_logger

__all__ = ["Recovery"]

log = get_logger("engine")


class Recovery:
    """Of the domains in ``records``, whose guests ``driver`` finds. ``left_out`` could not be held for want of something."""

    def __init__(self, records: Records, sink: Sink, driver: Driver, admission: Admission) -> None:
        self.left_out: list[LoadedRun] = []
        self._records = records
        self._bus = records.bus
        self._sink = sink
        self._driver = driver
        self._admission = admission

    # -- what is on disk -------------------------------------------------------------------

    def seed(self, spec: DomainSpec) -> Entry:
        """A domain that is there from the first day on, and runs (the test driver's): part of the state, published by no event."""
        entry = self._records.entries.restore(spec)
        entry.live, entry.id = spec, self._records.next_id()
        self._bus.folded.domains[entry.uuid] = DomainView(
            uuid=entry.uuid,
            name=entry.name,
            id=entry.id,
            persistent=True,
            state=DomainState.RUNNING,
            reason=Reason.BOOTED,
            monitor=MonitorHealth.CONNECTED,
            as_of=self._bus.cursor,
            machine=Machine(vcpus=spec.vcpus),
        )
        return entry

    def restore(self, loaded: Loaded[DomainSpec], left: LoadedRecords[LoadedRun]) -> None:
        """Makes the state what was found on disk, and publishes where it differs from what the journal had."""
        before = dict(self._bus.folded.domains)
        for spec in loaded.definitions:
            entry = self._records.entries.restore(spec, autostart=spec.name in loaded.autostart)
            view = before.get(entry.uuid)
            if view is None or not view.persistent or view.name != spec.name:
                self._publish_missed(entry, Lifecycle.DEFINED, Detail.UPDATED if view else Detail.ADDED)
        for found in left.runs:
            entry = self._take_up_run(found.run, found.spec)
            entry.live_xml = found.run.xml if found.is_partial else None
            entry.is_unread = entry.config is None and entry.name in loaded.unreadable
        for view in before.values():
            self._reconcile(view, left.unread)

    def _take_up_run(self, run: RunRecord, spec: DomainSpec) -> Entry:
        """A guest that was left running; nothing is known of it until the driver speaks with it again."""
        entry = self._records.entries.find(run.uuid) or self._records.entries.new(run.uuid, run.name)
        entry.live, entry.run, entry.id, entry.is_absent = spec, run, run.id, True
        entry.reboot = run.reboot
        self._records.has_had(run.id)
        view = self._bus.folded.domains.get(run.uuid)
        if view and view.is_active and view.id != run.id:
            self._publish_missed(entry, Lifecycle.STOPPED, Detail.FAILED, DomainState.SHUTOFF)
        if not self._records.state_of(run.uuid).is_active:
            unfinished = run.state is DomainState.SHUTOFF
            state, reason = (DomainState.PAUSED, Reason.STARTING_UP) if unfinished else (run.state, run.reason)
            self._records.publish_step(entry, Step(Lifecycle.STARTED, Detail.BOOTED, state, reason))
        self._sink.monitor(run.uuid, MonitorHealth.STALLED, "no response since the engine before ended")
        return entry

    def _reconcile(self, view: DomainView, unread: frozenset[str]) -> None:
        """What the journal had and the disk has not, or no longer as it was."""
        entry = self._records.entries.find(view.uuid) or Entry(view.uuid, view.name)
        self._records.has_had(view.id or 0)
        if view.persistent and not entry.is_persistent:
            self._publish_missed(entry, Lifecycle.UNDEFINED, Detail.REMOVED)
        if view.is_active and entry.run is None:
            if str(view.uuid) in unread:
                entry.id = view.id
                self._records.entries.add(entry)
                self._sink.monitor(view.uuid, MonitorHealth.DEGRADED, "its run record cannot be read")
            else:
                self._publish_missed(entry, Lifecycle.STOPPED, Detail.FAILED, DomainState.SHUTOFF)

    def _publish_missed(self, entry: Entry, kind: Lifecycle, detail: Detail, state: DomainState | None = None) -> None:
        """Something that was done while no engine was there; the state stays unless said otherwise."""
        view = self._bus.folded.domains.get(entry.uuid)
        was, reason = (view.state, view.reason) if view else (DomainState.SHUTOFF, Reason.UNKNOWN)
        before, entry.is_absent = (entry.is_absent, entry.id), True
        entry.id = view.id if view else None
        self._records.publish_step(entry, Step(kind, detail, state or was, reason if state is None else Reason.UNKNOWN))
        entry.is_absent, entry.id = before

    # -- what runs -------------------------------------------------------------------------

    async def reattach(self, runs: Sequence[LoadedRun]) -> list[RunRecord]:
        """Finds guests that were left running; returns those that are there. Nothing about one keeps the others from being found."""
        met: list[RunRecord] = []
        found_of = await self._driver.find([(one.run, one.spec) for one in runs])
        self.left_out = [one for one in runs if isinstance(found := found_of.get(one.run.uuid), Error) and is_passing(found)]
        for uuid, found in found_of.items():
            if isinstance(found, Error):
                self._sink.monitor(uuid, MonitorHealth.DEGRADED, str(found))
                continue
            entry = self._records.entries.find(uuid)
            if entry is None or not self._records.state_of(uuid).is_active:
                continue  # it ended while others were looked for
            entry.run, entry.is_held = found, True
            self._records.note_run(entry)
            met.append(found)
        return met

    async def go_on(self, run: RunRecord) -> None:
        """A guest that was left running goes on; one that lived for its connection alone ends."""
        with contained(log, "a guest that was found could not be taken on", domain=run.name):
            if run.autodestroy:
                await self._admission.destroy_owned(run.uuid)
            else:
                await self._driver.reconnect(run.uuid)
        self._records.is_back(run.uuid)

    async def find_left_out(self, tasks: TaskGroup) -> None:
        """Looks again for guests that there was too little left to hold."""

        async def find(works: Callable[[], None]) -> None:
            while self.left_out:
                for run in await self.reattach(self.left_out):
                    tasks.start_soon(self.go_on, run)
                if self.left_out:
                    raise SystemFailure(f"{len(self.left_out)} guests cannot be held")
            works()

        await keep_on(find, log, lost="guests that run cannot be held for now", back="all guests that run are held")
