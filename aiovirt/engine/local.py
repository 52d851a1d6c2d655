"""The engine in this process: it holds the domains, carries orders out and publishes.

Its parts are made one after the other, each from those before it: records, the sink that drivers report to, the driver, admission,
what is done with definitions, and recovery.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from uuid import UUID

import anyio

from aiovirt.drivers.door import DeviceSource, Driver
from aiovirt.engine.admission import Admission
from aiovirt.engine.definitions import Definitions
from aiovirt.engine.questions import Questions
from aiovirt.engine.records import Records
from aiovirt.engine.recovery import Recovery
from aiovirt.engine.sink import EngineSink
from aiovirt.engine.starting import Starting
from aiovirt.engine.store import Store
from aiovirt.errors import Error, HostGone, InvalidArgument
from aiovirt.model import orders
from aiovirt.model.caller import Caller
from aiovirt.model.orders import Request
from aiovirt.system.again import refusal
from aiovirt.system.deadlines import Deadline

__all__ = ["LocalEngine"]

R = TypeVar("R")
_HERE = Caller()


class LocalEngine:
    """The holder of one host. ``store`` is None where nothing is kept."""

    def __init__(  # noqa: PLR0913 - its parts
        self, uri: str, records: Records, *, sink: EngineSink, driver: Driver, devices: DeviceSource, store: Store | None
    ) -> None:
        self.uri = uri
        self.bus = records.bus
        self.records = records
        self.driver = driver
        self.devices = devices
        self.admission = Admission(records, driver)
        self.definitions = Definitions(records, driver.check, store)
        self.recovery = Recovery(records, sink, driver, self.admission)
        starting, questions = Starting(records, driver, self.admission, self.definitions), Questions(records, devices)
        self._closing = False
        self._calls: set[anyio.CancelScope] = set()
        self._call_ended = anyio.Event()
        self._by_itself: dict[type[Request[Any]], Callable[[Any, Deadline], Awaitable[Any]]] = {
            orders.Define: self.definitions.define,
            orders.Undefine: self.definitions.undefine,
            orders.SetAutostart: self.definitions.set_autostart,
            orders.AskAutostart: self.definitions.ask_autostart,
            orders.Start: starting.start,
            orders.Create: starting.create,
            orders.AskXML: questions.xml,
            orders.ReadPhysPortId: questions.read_phys_port_id,
            orders.Refresh: questions.refresh,
            orders.AskDetails: questions.details,
            orders.Enumerate: questions.enumerate,
        }

    @property
    def uuid(self) -> UUID:
        """The host's."""
        return self.bus.host

    async def call(self, request: Request[R], caller: Caller = _HERE) -> R:
        """Does what ``caller`` asks; raises errors of :mod:`aiovirt.errors`, HostGone when the engine ends first."""
        if not request.timeout > 0:
            raise InvalidArgument(f"a timeout of {request.timeout:g} s is not possible")
        if self._closing:
            raise HostGone(self.bus.cursor)
        kind = type(request)
        self.admission.check(kind, caller)
        by, scope = Deadline.after(request.timeout), anyio.CancelScope()
        self._calls.add(scope)
        try:
            with scope:
                answer: R = await self._by_itself.get(kind, self.admission.perform)(request, by)
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
        """Takes no more calls, cancels those under way and waits for them, then ends the guests that are its own."""
        self._closing = True
        for scope in self._calls:
            scope.cancel()
        while self._calls:
            self._call_ended = anyio.Event()
            await self._call_ended.wait()
        owned = [entry.uuid for entry in self.records.entries if entry.run and entry.run.autodestroy]
        async with anyio.create_task_group() as tasks:
            for uuid in owned:
                tasks.start_soon(self.admission.destroy_owned, uuid)
