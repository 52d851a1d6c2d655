"""The engine in this process: it holds the domains, carries orders out and publishes.

Its parts are made one after the other, each from those before it: records, the sink that drivers report to, the driver, admission,
what is done with definitions, and recovery.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast
from uuid import UUID

import anyio

from aiovirt.drivers.door import DeviceSource, Driver
from aiovirt.engine.admission import Admission
from aiovirt.engine.definitions import Definitions
from aiovirt.engine.domains import DOMAIN
from aiovirt.engine.following import Followed
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
from aiovirt.model.spec import DomainSpec
from aiovirt.system.again import refusal
from aiovirt.system.deadlines import Deadline
from aiovirt.system.loop import current_loop

__all__ = ["LocalEngine"]

R = TypeVar("R")
_HERE = Caller()


class LocalEngine:
    """The holder of one host. ``store`` is None where nothing is kept."""

    def __init__(  # noqa: PLR0913 - its parts
        self, uri: str, records: Records, *, sink: EngineSink, driver: Driver, devices: DeviceSource, store: Store[DomainSpec] | None
    ) -> None:
        self.uri = uri
        self.bus = records.bus
        self.records = records
        self.driver = driver
        self.devices = devices
        self.admission = Admission(records, driver)
        self.definitions = Definitions(DOMAIN, records, driver.check, store)
        self.followed = Followed(records, self.admission, sink)
        self.recovery = Recovery(records, sink, driver, self.admission)
        starting, questions = Starting(records, driver, self.admission, self.definitions), Questions(records, devices)
        self._now = current_loop().now
        self._closing = False
        self._calls: set[Deadline] = set()
        self._call_ended: anyio.Event | None = None  # is set by each that ends, once they are waited for
        self._by_itself: dict[type[Request[Any]], Callable[[Any, Deadline], Awaitable[Any]]] = {
            orders.Define: self.definitions.define,
            orders.Undefine: self.definitions.undefine,
            orders.SetAutostart: self.definitions.set_autostart,
            orders.AskAutostart: self.definitions.ask_autostart,
            orders.Start: starting.start,
            orders.Create: starting.create,
            orders.AskAbility: self.admission.ability,
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
        by = Deadline(self._now() + request.timeout, request.timeout)
        self._calls.add(by)
        try:
            if kind in self._by_itself:
                return cast("R", await self._itself(kind, request, by))
            return cast("R", await self.admission.perform(request, by))
        except Error as error:
            if by.is_cancelled:
                raise HostGone(self.bus.cursor) from error
            raise
        except (OSError, MemoryError) as error:
            raise refusal("it cannot be done now", error) from error
        finally:
            self._calls.discard(by)
            if self._call_ended is not None:
                self._call_ended.set()

    async def _itself(self, kind: type[Request[Any]], request: Request[Any], by: Deadline) -> Any:  # noqa: ANN401 - each its own answer
        """What the engine does itself may wait for other things than its deadline."""
        with anyio.CancelScope() as scope:
            by.when_cancelled(scope.cancel)
            return await self._by_itself[kind](request, by)
        raise HostGone(self.bus.cursor)

    async def close(self) -> None:
        """Takes no more calls, ends those under way and waits for them, then ends the guests that are its own."""
        self._closing = True
        for by in tuple(self._calls):
            by.cancel()
        while self._calls:
            self._call_ended = anyio.Event()
            await self._call_ended.wait()
        owned = [entry.uuid for entry in self.records.entries if entry.run and entry.run.autodestroy]
        async with anyio.create_task_group() as tasks:
            for uuid in owned:
                tasks.start_soon(self.admission.destroy_owned, uuid)
