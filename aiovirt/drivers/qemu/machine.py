"""A guest's machine, asked of its QEMU: what no event tells whole."""

from __future__ import annotations

from typing import Final

from aiovirt.drivers.qemu import commands
from aiovirt.drivers.qemu.monitor import Monitor
from aiovirt.errors import CommandFailed
from aiovirt.model.machine import Job, Machine

__all__ = ["CHANGED_BY_COMMANDS", "CHANGED_BY_EVENTS", "ask_machine"]

CHANGED_BY_EVENTS: Final = frozenset({"ACPI_DEVICE_OST", "BALLOON_CHANGE", "DEVICE_DELETED", "JOB_STATUS_CHANGE", "RESET"})
"""After these it may be another one. QEMU tells some of them once a second at most: what they say may be old."""

CHANGED_BY_COMMANDS: Final = frozenset({"device_add", "human-monitor-command"})
"""No event tells what came of these."""

_HAS_NONE: Final = frozenset({"DeviceNotActive", "KVMMissingCap"})
_PERIPHERAL: Final = "/machine/peripheral"


async def ask_machine(monitor: Monitor, *, timeout: float) -> Machine:
    """How it is now; each of its four questions has ``timeout`` seconds. Raises as :meth:`Monitor.execute`."""
    cpus = await commands.query_cpus_fast(monitor, timeout=timeout)
    members = await commands.qom_list(monitor, _PERIPHERAL, timeout=timeout)
    jobs = await commands.query_jobs(monitor, timeout=timeout)
    return Machine(
        balloon=await _balloon(monitor, timeout),
        vcpus=len(cpus),
        devices=tuple(sorted(member.name for member in members if member.type.startswith("child<"))),
        jobs=tuple(sorted((Job(job.id, job.type, job.status, job.error) for job in jobs), key=lambda job: job.id)),
    )


async def _balloon(monitor: Monitor, timeout: float) -> int | None:
    try:
        return (await commands.query_balloon(monitor, timeout=timeout)).actual
    except CommandFailed as refused:
        if refused.error_class in _HAS_NONE:
            return None
        raise
