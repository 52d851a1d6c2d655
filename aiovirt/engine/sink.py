"""Where drivers report: what they say steps the table of states, and becomes events."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from aiovirt.engine.records import Records
from aiovirt.events.types import DomainChanged, DomainReboot, Event, MonitorEvent, MonitorLost, MonitorResumed, MonitorStalled
from aiovirt.model.lifecycle import Fact, step
from aiovirt.model.machine import Machine
from aiovirt.model.policy import follow_up
from aiovirt.model.state import MonitorHealth
from aiovirt.model.view import DomainView

__all__ = ["EngineSink"]

WHY_LIMIT: Final = 1000


class EngineSink:
    """See :class:`aiovirt.drivers.door.Sink`. The one of an engine that keeps ``records``."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._bus = records.bus

    def fact(self, uuid: UUID, fact: Fact, *, source_time: int | None = None, by_guest: bool = False, rebooting: bool = False) -> None:
        """Steps the table and publishes what it says. See :class:`aiovirt.drivers.door.Sink`."""
        entry = self._records.entries.find(uuid)
        if entry is None:
            return
        cause = entry.cause_of(fact)
        rebooting = rebooting or (entry.reboot is not None and fact is Fact.GUEST_POWEROFF)
        if fact is Fact.EXITED and entry.is_held:
            entry.is_absent = False  # it was alive when this engine began, so its end is an event
        state, under_way = self._records.state_of(uuid), entry.order or (entry.following.what if entry.following else None)
        for moved in step(state, fact, under_way):
            self._records.publish_step(entry, moved, source_time, cause)
        if fact is Fact.RESET:
            self.publish(DomainReboot(uuid=uuid, name=entry.name, by_guest=by_guest, source_time=source_time, cause=cause))
            entry.reboot = None
        if fact is Fact.EXITED:
            self._records.ended(entry)
        else:
            self._records.note_run(entry)
            if entry.live is not None and (next_up := follow_up(entry.live, state, fact, rebooting=rebooting)) is not None:
                self._records.due.add(entry, next_up, cause)

    def monitor(self, uuid: UUID, health: MonitorHealth, why: str) -> None:
        """Publishes a change of a monitor's health. See :class:`aiovirt.drivers.door.Sink`."""
        view = self._bus.folded.domains.get(uuid)
        if view is not None and view.is_active and view.monitor is not health:
            self.publish(_monitor_event(view, health, why[:WHY_LIMIT]))
        if health is MonitorHealth.DEGRADED:
            self._records.is_back(uuid)

    def machine(self, uuid: UUID, machine: Machine) -> None:
        """Publishes a change of a running domain's machine. See :class:`aiovirt.drivers.door.Sink`."""
        entry, view = self._records.entries.find(uuid), self._bus.folded.domains.get(uuid)
        if entry is not None and view is not None and view.is_active and view.machine != machine:
            self.publish(DomainChanged(uuid=uuid, name=view.name, old=view.machine, new=machine, missed=entry.is_absent))

    def publish(self, event: Event) -> Event:
        """Numbers an event. See :class:`aiovirt.drivers.door.Sink`."""
        return self._bus.publish(event)


def _monitor_event(view: DomainView, health: MonitorHealth, why: str) -> MonitorEvent:
    about: dict[str, Any] = {"uuid": view.uuid, "name": view.name, "why": why}
    match health:
        case MonitorHealth.CONNECTED:
            return MonitorResumed(**about)
        case MonitorHealth.STALLED:
            return MonitorStalled(**about)
        case _:
            return MonitorLost(**about, degraded=health is MonitorHealth.DEGRADED)
