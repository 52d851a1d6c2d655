"""What follows by itself when a guest has powered off, rebooted or crashed: on_poweroff, on_reboot and on_crash, carried out."""

from __future__ import annotations

from typing import Final

import anyio

from aiovirt.drivers.door import Sink
from aiovirt.engine.admission import Admission
from aiovirt.engine.entries import Entry, Following
from aiovirt.engine.records import Records
from aiovirt.model.spec import Action
from aiovirt.model.state import MonitorHealth
from aiovirt.system.again import contained
from aiovirt.system.deadlines import Deadline
from aiovirt.system.log import get_logger

__all__ = ["Followed"]

TIMEOUT: Final = 30.0
log = get_logger("engine")


class Followed:
    """What the definitions of the guests in ``records`` say, carried out through ``admission``."""

    def __init__(self, records: Records, admission: Admission, sink: Sink) -> None:
        self._records = records
        self._admission = admission
        self._sink = sink

    async def run(self) -> None:
        """Carries out what is due, until cancelled. A guest that does not answer keeps no other waiting."""
        async with anyio.create_task_group() as tasks:
            while True:
                tasks.start_soon(self._follow, *await self._records.due.next())

    async def _follow(self, entry: Entry, one: Following) -> None:
        def failed(error: Exception) -> None:
            if one.what.action is Action.RESTART and self._is_due(entry, one):
                self._sink.monitor(entry.uuid, MonitorHealth.DEGRADED, f"could not be restarted: {error}")

        try:
            with one.scope, contained(log, "what follows by a definition was not done", failed, domain=entry.name):
                await self._carry_out(entry, one, Deadline.after(TIMEOUT))
        finally:
            entry.was_followed_by(one)

    async def _carry_out(self, entry: Entry, one: Following, by: Deadline) -> None:
        for order in one.what.about(entry.uuid):
            if self._is_due(entry, one):
                await self._admission.carry_out(entry, order, by)

    def _is_due(self, entry: Entry, one: Following) -> bool:
        return entry.following is one and self._records.state_of(entry.uuid).is_active
