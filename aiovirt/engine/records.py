"""What an engine knows of its domains beyond their published state, and how that state is published."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from msgspec.structs import replace

from aiovirt.engine.domains import DOMAIN
from aiovirt.engine.due import Due
from aiovirt.engine.entries import Entry
from aiovirt.engine.objects import Entries
from aiovirt.engine.runfiles import RunFiles
from aiovirt.events.bus import Bus
from aiovirt.events.types import DomainLifecycle
from aiovirt.model import orders
from aiovirt.model.lifecycle import Step
from aiovirt.model.record import RunRecord
from aiovirt.model.state import Detail, DomainState, Lifecycle, Reason

__all__ = ["Records"]

_MAKE: Final = (orders.Define, orders.Create, orders.Start)
"""Orders that are about to make a domain what is there."""


class Records:
    """Those of the host that ``bus`` is of; ``files`` are where their runs are kept, None where nothing is."""

    def __init__(self, bus: Bus, files: RunFiles[RunRecord] | None) -> None:
        self.bus = bus
        save = files.save if files else None
        self.entries = Entries(DOMAIN, lambda uuid, name, config: Entry(uuid, name, config=config, keep=save))
        self.due = Due()
        self._files = files
        self._last_id = 0

    def next_id(self) -> int:
        """A number that no run has had."""
        self._last_id += 1
        return self._last_id

    def has_had(self, number: int) -> None:
        """This number is taken: no run gets it, nor one below."""
        self._last_id = max(self._last_id, number)

    def state_of(self, uuid: UUID) -> DomainState:
        """The state as the journal has it; SHUTOFF for a domain that is only about to be."""
        last = self.bus.folded.domains.last(uuid)
        return last.state if last else DomainState.SHUTOFF

    def publish_step(self, entry: Entry, moved: Step, source_time: int | None = None, cause: str | None = None) -> None:
        """Publishes one lifecycle event."""
        self.bus.publish(
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

    def ended(self, entry: Entry) -> None:
        """Nothing runs of it any more."""
        entry.live, entry.live_xml, entry.run, entry.id = None, None, None, None
        entry.is_absent = entry.is_held = False
        entry.reboot = None
        entry.ended()
        entry.following = None  # its order ends by itself
        self.forget_unless_wanted(entry)
        if self._files:
            self._files.note(entry.uuid, None)

    def forget_unless_wanted(self, entry: Entry) -> None:
        """An entry is there for a definition, a run, or an order that is about to make it one."""
        wanted = entry.is_persistent or self.state_of(entry.uuid).is_active or isinstance(entry.order, _MAKE)
        if not wanted:
            self.entries.drop(entry)

    def defined(self, entry: Entry, *, anew: bool) -> None:
        """See :class:`aiovirt.engine.definitions.Objects`."""
        view = self.bus.folded.domains.get(entry.uuid)
        state, reason = (view.state, view.reason) if view else (DomainState.SHUTOFF, Reason.UNKNOWN)
        self.publish_step(entry, Step(Lifecycle.DEFINED, Detail.UPDATED if anew else Detail.ADDED, state, reason), cause=entry.cause)
        self.note_run(entry)

    def undefined(self, entry: Entry) -> None:
        """See :class:`aiovirt.engine.definitions.Objects`."""
        view = self.bus.folded.domains[entry.uuid]
        self.publish_step(entry, Step(Lifecycle.UNDEFINED, Detail.REMOVED, view.state, view.reason), cause=entry.cause)
        self.note_run(entry)

    def note_run(self, entry: Entry) -> None:
        """The state of its run is kept, as it is now."""
        last = self.bus.folded.domains.last(entry.uuid)
        if entry.run is None or last is None or self._files is None:
            return
        entry.run = replace(entry.run, state=last.state, reason=last.reason, persistent=last.persistent, reboot=entry.reboot)
        self._files.note(entry.uuid, entry.run)

    def is_back(self, uuid: UUID) -> None:
        """All that this guest did while no engine was there is published; what it does from now on happens now."""
        if entry := self.entries.find(uuid):
            entry.is_absent = False
