"""How a domain is started: what it is to run with is made out, and its run is recorded, before the driver has the order."""

from __future__ import annotations

from uuid import UUID

from aiovirt.drivers.door import Driver
from aiovirt.engine.admission import Admission
from aiovirt.engine.definitions import Definitions
from aiovirt.engine.domains import refuse_unknown_devices, render_xml
from aiovirt.engine.entries import Entry
from aiovirt.engine.records import Records
from aiovirt.errors import OperationInvalid
from aiovirt.model import orders
from aiovirt.model.record import RunRecord
from aiovirt.model.spec import DomainSpec
from aiovirt.system import to_thread
from aiovirt.system.deadlines import Deadline
from aiovirt.system.reserve import RESERVE

__all__ = ["Starting"]


class Starting:
    """Starts domains of ``records``, as ``definitions`` have them or as a caller describes them."""

    def __init__(self, records: Records, driver: Driver, admission: Admission, definitions: Definitions[DomainSpec, Entry]) -> None:
        self._records = records
        self._driver = driver
        self._admission = admission
        self._definitions = definitions

    async def start(self, order: orders.Start, by: Deadline) -> None:
        """Boots a defined domain; raises OperationInvalid, and as :meth:`aiovirt.drivers.door.Driver.perform`."""
        RESERVE.check("no guest can be started")
        entry = self._records.entries.get(order.uuid)
        try:
            async with self._admission.turn(entry, order, by):
                if entry.config is None:
                    raise OperationInvalid("its definition cannot be read by this version of aiovirt", subject=entry.subject)
                await self._boot(entry, entry.config, order, by)
        finally:
            self._records.forget_unless_wanted(entry)  # its definition may have been taken away meanwhile

    async def create(self, order: orders.Create, by: Deadline) -> UUID:
        """Boots a transient domain; raises XMLInvalid, ConfigUnsupported, DomainExists, and as :meth:`start`."""
        RESERVE.check("no guest can be started")
        spec = await self._definitions.read(order.xml)
        entry = self._records.entries.claim_new(spec)
        try:
            async with self._admission.turn(entry, order, by):
                await self._boot(entry, spec, order, by)
        finally:
            self._records.forget_unless_wanted(entry)
        return entry.uuid

    async def _boot(self, entry: Entry, spec: DomainSpec, order: orders.Start | orders.Create, by: Deadline) -> None:
        refuse_unknown_devices(spec)
        live = self._driver.check(spec)
        entry.live, entry.id = live, self._records.next_id()
        entry.run = RunRecord(
            uuid=entry.uuid,
            name=entry.name,
            id=entry.id,
            xml=await to_thread.run_sync(render_xml, live, None),
            persistent=entry.config is not None,
            autodestroy=order.autodestroy,
        )
        try:
            await self._admission.carry_out(entry, order, by)
        except BaseException:
            if not self._records.state_of(entry.uuid).is_active:
                self._records.ended(entry)
            raise
