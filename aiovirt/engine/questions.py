"""What an engine answers by itself, whatever its hypervisor is: of its records, and of the devices of the host."""

from __future__ import annotations

from aiovirt.drivers.door import DeviceSource
from aiovirt.engine.domains import render_xml
from aiovirt.engine.records import Records
from aiovirt.errors import OperationInvalid, OrderTimeout
from aiovirt.model import orders
from aiovirt.model.busdevice import BusDevice
from aiovirt.model.details import DeviceDetails
from aiovirt.system import to_thread
from aiovirt.system.deadlines import Deadline

__all__ = ["Questions"]


class Questions:
    """About ``records`` and ``devices``."""

    def __init__(self, records: Records, devices: DeviceSource) -> None:
        self._records = records
        self._devices = devices

    async def xml(self, request: orders.AskXML, _: Deadline) -> str:
        """A domain's XML; raises OperationInvalid where there is none of the kind."""
        entry = self._records.entries.get(request.uuid)
        if entry.live_xml is not None and not request.inactive:
            return entry.live_xml
        spec = entry.config if request.inactive else entry.live or entry.config
        if spec is None:
            why = "its definition cannot be read by this version of aiovirt" if entry.is_unread else "a transient domain has no definition"
            raise OperationInvalid(why, subject=entry.subject)
        return await to_thread.run_sync(render_xml, spec, None if request.inactive else entry.id)

    async def read_phys_port_id(self, request: orders.ReadPhysPortId, _: Deadline) -> str | None:
        """As the device source reads it."""
        return await self._devices.read_phys_port_id(request.name)

    async def refresh(self, request: orders.Refresh, by: Deadline) -> None:
        """Asks about one device now; raises OrderTimeout."""
        with by.scope() as scope:
            await self._devices.refresh(request.subject)
        if scope.cancelled_caught:
            raise OrderTimeout(f"no answer within {request.timeout:g} s", sent=True, subject=request.subject)

    async def details(self, request: orders.AskDetails, _: Deadline) -> DeviceDetails:
        """As the device source reads them."""
        return await self._devices.details(request.subject)

    async def enumerate(self, request: orders.Enumerate, _: Deadline) -> list[BusDevice]:
        """As the device source lists them."""
        return await self._devices.enumerate(request.subsystem)
