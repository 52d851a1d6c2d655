"""The two doors between the engine and a driver.

Orders come down through :class:`Driver`; facts go up through :class:`Sink`. A driver never
decides what a state is and never publishes: it says what happened, and the engine steps the table.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeVar
from uuid import UUID

from anyio.abc import TaskStatus

from aiovirt.errors import Error
from aiovirt.events.types import Event
from aiovirt.model.busdevice import BusDevice
from aiovirt.model.details import DeviceDetails
from aiovirt.model.lifecycle import Fact
from aiovirt.model.machine import Machine
from aiovirt.model.orders import Request
from aiovirt.model.record import RunRecord
from aiovirt.model.spec import DomainSpec
from aiovirt.model.state import MonitorHealth
from aiovirt.system.deadlines import Deadline

__all__ = ["DeviceSource", "Driver", "Save", "Sink", "Target"]

R = TypeVar("R")

Save = Callable[[RunRecord], Awaitable[None]]


class Sink(Protocol):
    """Where a driver reports. Synchronous, on the loop's thread; the order of calls is the order of things."""

    def fact(self, uuid: UUID, fact: Fact, *, source_time: int | None = None, by_guest: bool = False, rebooting: bool = False) -> None:
        """Something happened to the guest ``uuid``; ``source_time`` is the hypervisor's, in ns UTC.

        ``rebooting`` is whether a power-off was meant as a reboot. What the definition says is done then
        (:mod:`aiovirt.model.policy`) the engine orders.
        """

    def monitor(self, uuid: UUID, health: MonitorHealth, why: str) -> None:
        """The guest's monitor is heard differently now."""

    def machine(self, uuid: UUID, machine: Machine) -> None:
        """So the guest's machine is now; where that is no news, nothing is told."""

    def publish(self, event: Event) -> object:
        """A device's event, complete but for its number."""


class Target(Protocol):
    """The domain that an order is about: ``live`` is what it runs with, or is to; ``run`` is the record of that run."""

    uuid: UUID
    name: str
    live: DomainSpec | None
    run: RunRecord | None

    async def save(self, run: RunRecord) -> None:
        """Keeps the record: it is on disk when this returns."""


class Driver(Protocol):
    """A hypervisor. Every order raises errors of :mod:`aiovirt.errors` only, and by its deadline.

    That passes early when the engine ends: an order waits in ``by.scope()``, or looks with ``by.when_cancelled``.
    """

    name: str

    def check(self, spec: DomainSpec) -> DomainSpec:
        """``spec`` as this driver would run it, its choices filled in; raises ConfigUnsupported."""
        ...

    def can(self, order: type[Request[Any]]) -> str | None:
        """Why orders of this kind cannot be carried out here, or None when they can."""

    def perform(self, order: Request[R], domain: Target, by: Deadline) -> Awaitable[R]:
        """Carries out one that it can; what comes of it is seen as facts. Raises OrderTimeout with whether it was sent.

        One that starts a guest awaits ``domain.save`` before its process starts, and again when that is known; it reports
        RESUMED, or LAUNCHED where the guest is to stay paused. When it raises, nothing is left running.
        """
        ...

    async def find(self, runs: Sequence[tuple[RunRecord, DomainSpec]]) -> dict[UUID, RunRecord | Error]:
        """Takes hold of the processes of guests that were left running; asks the kernel only.

        Returns the record of each that is there, complete, or why it cannot be held. Reports EXITED for those that have ended.
        """
        ...

    async def reconnect(self, uuid: UUID) -> None:
        """Speaks again with a guest that was found: reports how it is now, or a DEGRADED monitor with why."""

    async def settle(self, uuid: UUID, by: Deadline) -> None:
        """Learns the fate of orders whose deadline had passed when they were sent; raises OrderTimeout(sent=False)."""


class DeviceSource(Protocol):
    """Where a host's devices come from."""

    async def watch(self, *, task_status: TaskStatus[None]) -> None:
        """Reports the inventory, calls ``task_status.started()``, and then every change until cancelled."""

    async def read_phys_port_id(self, name: str) -> str | None:
        """Reads it now; None when the driver has none. Raises NoSuchDevice, SystemFailure."""
        ...

    async def refresh(self, subject: str) -> None:
        """Asks about one device now, and publishes in what it differs before it returns; raises SystemFailure.

        ``name/<name>``: about the network device that has this name or altname; raises NoSuchDevice where none has.
        """

    async def details(self, subject: str) -> DeviceDetails:
        """What the inventory does not keep of it; raises NoSuchDevice, SystemFailure."""
        ...

    async def enumerate(self, subsystem: str) -> list[BusDevice]:
        """Every device of a subsystem, by name; raises SystemFailure."""
        ...
