"""The QMP commands that aiovirt itself gives, with the types that QAPI gives them.

Orders go in the urgent priority: they overtake questions that wait. Each raises as :meth:`Monitor.execute` does.
"""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from aiovirt.drivers.qemu.monitor import Monitor, Priority
from aiovirt.system.deadlines import Deadline

__all__ = [
    "BalloonInfo",
    "CpuInfoFast",
    "JobInfo",
    "ObjectPropertyInfo",
    "Order",
    "StatusInfo",
    "UuidInfo",
    "VersionInfo",
    "VersionTriple",
    "VirtioInfo",
    "VirtioStatus",
    "cont",
    "qom_list",
    "query_balloon",
    "query_cpus_fast",
    "query_jobs",
    "query_status",
    "query_uuid",
    "query_version",
    "query_virtio",
    "query_virtio_status",
    "stop",
    "system_powerdown",
    "system_reset",
]


class StatusInfo(Struct, frozen=True):
    """QAPI's StatusInfo (run-state.json): ``status`` is a RunState."""

    status: str
    running: bool


class UuidInfo(Struct, frozen=True):
    """QAPI's UuidInfo (machine.json)."""

    UUID: str


class VersionTriple(Struct, frozen=True):
    """QAPI's VersionTriple (control.json)."""

    major: int
    minor: int
    micro: int


class VersionInfo(Struct, frozen=True):
    """QAPI's VersionInfo (control.json)."""

    qemu: VersionTriple
    package: str


class BalloonInfo(Struct, frozen=True):
    """QAPI's BalloonInfo (machine.json): ``actual`` in bytes."""

    actual: int


class VirtioInfo(Struct, frozen=True):
    """QAPI's VirtioInfo (virtio.json): ``name`` is that of its kind, ``path`` its place among QEMU's objects."""

    name: str
    path: str


class VirtioStatus(Struct, frozen=True):
    """QAPI's VirtioStatus (virtio.json): ``started`` from the driver's DRIVER_OK to the next reset."""

    started: bool


class CpuInfoFast(Struct, frozen=True, rename="kebab"):
    """QAPI's CpuInfoFast (machine.json)."""

    cpu_index: int


class JobInfo(Struct, frozen=True):
    """QAPI's JobInfo (job.json)."""

    id: str
    type: str
    status: str
    error: str | None = None


class ObjectPropertyInfo(Struct, frozen=True):
    """QAPI's ObjectPropertyInfo (qom.json)."""

    name: str
    type: str


class _Nothing(Struct):
    """An answer that says nothing."""


class Order(Protocol):
    """A command that takes nothing but its time, and whose answer says nothing."""

    async def __call__(self, monitor: Monitor, *, by: Deadline) -> None: ...


async def stop(monitor: Monitor, *, by: Deadline) -> None:
    """Stops its vCPUs; STOP follows."""
    await monitor.execute("stop", returns=_Nothing, by=by, priority=Priority.URGENT)


async def cont(monitor: Monitor, *, by: Deadline) -> None:
    """Lets its vCPUs run; RESUME follows."""
    await monitor.execute("cont", returns=_Nothing, by=by, priority=Priority.URGENT)


async def system_powerdown(monitor: Monitor, *, by: Deadline) -> None:
    """Presses its power button; POWERDOWN follows."""
    await monitor.execute("system_powerdown", returns=_Nothing, by=by, priority=Priority.URGENT)


async def system_reset(monitor: Monitor, *, by: Deadline) -> None:
    """Resets its machine; RESET follows."""
    await monitor.execute("system_reset", returns=_Nothing, by=by, priority=Priority.URGENT)


async def query_status(monitor: Monitor, *, by: Deadline) -> StatusInfo:
    """How it runs."""
    return await monitor.execute("query-status", returns=StatusInfo, by=by, priority=Priority.URGENT)


async def query_uuid(monitor: Monitor, *, by: Deadline) -> UuidInfo:
    """Who it is."""
    return await monitor.execute("query-uuid", returns=UuidInfo, by=by, priority=Priority.URGENT)


async def query_version(monitor: Monitor, *, by: Deadline) -> VersionInfo:
    """Which QEMU it is."""
    return await monitor.execute("query-version", returns=VersionInfo, by=by, priority=Priority.URGENT)


async def query_balloon(monitor: Monitor, *, by: Deadline) -> BalloonInfo:
    """How much memory the guest has; CommandFailed of class DeviceNotActive without a balloon device."""
    return await monitor.execute("query-balloon", returns=BalloonInfo, by=by)


async def query_virtio(monitor: Monitor, *, by: Deadline) -> list[VirtioInfo]:
    """Its virtio devices; CommandFailed of class CommandNotFound before QEMU 7.2."""
    return await monitor.execute("x-query-virtio", returns=list[VirtioInfo], by=by)


async def query_virtio_status(monitor: Monitor, path: str, *, by: Deadline) -> VirtioStatus:
    """How the virtio device at ``path`` is."""
    return await monitor.execute("x-query-virtio-status", {"path": path}, returns=VirtioStatus, by=by)


async def query_cpus_fast(monitor: Monitor, *, by: Deadline) -> list[CpuInfoFast]:
    """Its vCPUs, without stopping them."""
    return await monitor.execute("query-cpus-fast", returns=list[CpuInfoFast], by=by)


async def query_jobs(monitor: Monitor, *, by: Deadline) -> list[JobInfo]:
    """Jobs that were not dismissed, block jobs among them."""
    return await monitor.execute("query-jobs", returns=list[JobInfo], by=by)


async def qom_list(monitor: Monitor, path: str, *, by: Deadline) -> list[ObjectPropertyInfo]:
    """What the object at ``path`` has."""
    return await monitor.execute("qom-list", {"path": path}, returns=list[ObjectPropertyInfo], by=by)
