"""The QMP commands that aiovirt itself gives, with the types that QAPI gives them.

Orders go in the urgent lane: they overtake questions that wait. Each raises as :meth:`Monitor.execute` does.
"""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from aiovirt.drivers.qemu.monitor import Lane, Monitor

__all__ = [
    "Order",
    "StatusInfo",
    "UuidInfo",
    "VersionInfo",
    "VersionTriple",
    "cont",
    "query_status",
    "query_uuid",
    "query_version",
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


class _Nothing(Struct):
    """An answer that says nothing."""


class Order(Protocol):
    """A command that takes nothing but its time, and whose answer says nothing."""

    async def __call__(self, monitor: Monitor, *, timeout: float) -> None: ...


async def stop(monitor: Monitor, *, timeout: float) -> None:
    """Stops its vCPUs; STOP follows."""
    await monitor.execute("stop", returns=_Nothing, timeout=timeout, lane=Lane.URGENT)


async def cont(monitor: Monitor, *, timeout: float) -> None:
    """Lets its vCPUs run; RESUME follows."""
    await monitor.execute("cont", returns=_Nothing, timeout=timeout, lane=Lane.URGENT)


async def system_powerdown(monitor: Monitor, *, timeout: float) -> None:
    """Presses its power button; POWERDOWN follows."""
    await monitor.execute("system_powerdown", returns=_Nothing, timeout=timeout, lane=Lane.URGENT)


async def system_reset(monitor: Monitor, *, timeout: float) -> None:
    """Resets its machine; RESET follows."""
    await monitor.execute("system_reset", returns=_Nothing, timeout=timeout, lane=Lane.URGENT)


async def query_status(monitor: Monitor, *, timeout: float) -> StatusInfo:
    """How it runs."""
    return await monitor.execute("query-status", returns=StatusInfo, timeout=timeout, lane=Lane.URGENT)


async def query_uuid(monitor: Monitor, *, timeout: float) -> UuidInfo:
    """Who it is."""
    return await monitor.execute("query-uuid", returns=UuidInfo, timeout=timeout, lane=Lane.URGENT)


async def query_version(monitor: Monitor, *, timeout: float) -> VersionInfo:
    """Which QEMU it is."""
    return await monitor.execute("query-version", returns=VersionInfo, timeout=timeout, lane=Lane.URGENT)
