"""The two doors between the engine and a driver.

Orders come down through :class:`Driver`; facts go up through :class:`Sink`. A driver never
decides what a state is and never publishes: it says what happened, and the engine steps the table.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol
from uuid import UUID

from anyio.abc import TaskStatus

from aiovirt.errors import Error
from aiovirt.events.types import Event
from aiovirt.model.busdevice import BusDevice
from aiovirt.model.details import DeviceDetails
from aiovirt.model.lifecycle import Fact
from aiovirt.model.machine import Machine
from aiovirt.model.record import RunRecord
from aiovirt.model.spec import DomainSpec
from aiovirt.model.state import MonitorHealth
from aiovirt.system.deadlines import Deadline

__all__ = ["DeviceSource", "Driver", "Save", "Sink"]

Save = Callable[[RunRecord], Awaitable[None]]


class Sink(Protocol):
    """Where a driver reports. Synchronous, on the loop's thread; the order of calls is the order of things."""

    def fact(self, uuid: UUID, fact: Fact, *, source_time: int | None = None, by_guest: bool = False) -> None:
        """Something happened to the guest ``uuid``; ``source_time`` is the hypervisor's, in ns UTC."""

    def monitor(self, uuid: UUID, health: MonitorHealth, why: str) -> None:
        """The guest's monitor is heard differently now."""

    def machine(self, uuid: UUID, machine: Machine) -> None:
        """So the guest's machine is now; where that is no news, nothing is told."""

    def publish(self, event: Event) -> object:
        """A device's event, complete but for its number."""


class Driver(Protocol):
    """A hypervisor. Every order raises errors of :mod:`aiovirt.errors` only, and by its deadline."""

    name: str

    def check(self, spec: DomainSpec) -> DomainSpec:
        """``spec`` as this driver would run it, its choices filled in; raises ConfigUnsupported."""
        ...

    async def start(self, run: RunRecord, spec: DomainSpec, *, paused: bool, save: Save, by: Deadline) -> None:
        """Starts a guest: reports RESUMED, or LAUNCHED where it is to stay ``paused``.

        ``save`` is awaited before the process starts, and again when it is known. When it raises,
        nothing is left running.
        """

    async def find(self, runs: Sequence[tuple[RunRecord, DomainSpec]]) -> dict[UUID, RunRecord | Error]:
        """Takes hold of the processes of guests that were left running; asks the kernel only.

        Returns the record of each that is there, complete, or why it cannot be held. Reports EXITED for those that have ended.
        """
        ...

    async def reconnect(self, uuid: UUID) -> None:
        """Speaks again with a guest that was found: reports how it is now, or a DEGRADED monitor with why."""

    async def settle(self, uuid: UUID, *, by: Deadline) -> None:
        """Learns the fate of orders whose deadline had passed when they were sent; raises OrderTimeout(sent=False)."""

    async def suspend(self, uuid: UUID, *, by: Deadline) -> None:
        """Asks for its vCPUs to stop; PAUSED follows."""

    async def resume(self, uuid: UUID, *, by: Deadline) -> None:
        """Asks for its vCPUs to run; RESUMED follows."""

    async def shutdown(self, uuid: UUID, *, by: Deadline) -> None:
        """Presses its power button; the guest decides what follows."""

    async def reset(self, uuid: UUID, *, by: Deadline) -> None:
        """Resets its machine; RESET follows."""

    async def destroy(self, uuid: UUID, *, by: Deadline) -> None:
        """Ends its process; EXITED follows."""

    async def qmp(self, uuid: UUID, command: str, arguments: bytes, *, by: Deadline) -> bytes:
        """A raw QMP command; raises Unsupported where there is no QMP."""
        ...

    async def log(self, name: str) -> str:
        """The last that the hypervisor has said of the domain of this name; empty where there is nothing. Raises SystemFailure."""
        ...


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
