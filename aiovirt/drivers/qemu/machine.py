"""A guest's machine, asked of its QEMU: what no event tells whole."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from aiovirt.drivers.qemu import commands
from aiovirt.drivers.qemu.monitor import Monitor
from aiovirt.errors import CommandFailed
from aiovirt.model.machine import Job, Machine
from aiovirt.system.deadlines import Deadline
from aiovirt.system.log import get_logger

__all__ = ["CHANGED_BY_COMMANDS", "CHANGED_BY_EVENTS", "Balloon", "ask_machine", "is_balloon_driven"]

logger = get_logger("qemu")

CHANGED_BY_EVENTS: Final = frozenset({"ACPI_DEVICE_OST", "BALLOON_CHANGE", "DEVICE_DELETED", "JOB_STATUS_CHANGE", "RESET"})
"""After these it may be another one. QEMU tells some of them once a second at most: what they say may be old."""

CHANGED_BY_COMMANDS: Final = frozenset({"device_add", "human-monitor-command"})
"""No event tells what came of these."""

_HAS_NONE: Final = frozenset({"DeviceNotActive", "KVMMissingCap"})
_PERIPHERAL: Final = "/machine/peripheral"


class Balloon:
    """What the balloon's value is worth: after a reset QEMU goes on saying the old one, until the guest's driver is loaded again."""

    def __init__(self, memory: int) -> None:
        self._memory = memory
        self._is_old = self._is_doubted = False
        self._reset_at = 0

    def hear(self, event: str, time: int | None) -> None:
        """QEMU said ``event``, at ``time`` in ns UTC. A BALLOON_CHANGE may come a second late: one of before a reset says nothing."""
        if event == "RESET":
            self._is_old, self._is_doubted, self._reset_at = True, False, time or 0
        elif event == "BALLOON_CHANGE" and (time is None or time > self._reset_at):
            self._is_old = False

    def was_not_heard(self) -> None:
        """There may have been resets, and a driver that was loaded since: :meth:`learn` says what came of it."""
        self._is_doubted = True

    def learn(self, *, driven: bool) -> None:
        """Whether the guest has a driver for it, since its last reset. A reset that was heard meanwhile is later than that."""
        if self._is_doubted:
            self._is_doubted, self._is_old = False, not driven

    def is_doubtful(self, machine: Machine) -> bool:
        """Whether it has to be asked for its driver before ``machine`` can be judged."""
        return self._is_doubted and machine.balloon not in (None, self._memory)

    def judged(self, machine: Machine) -> Machine:
        """``machine`` without a value from before a reset, unless that was all of its memory: so much it has after a reset, too."""
        return replace(machine, balloon=None) if self._is_old and machine.balloon != self._memory else machine


async def is_balloon_driven(monitor: Monitor, *, by: Deadline) -> bool:
    """Whether the guest's driver for the balloon is loaded; False where QEMU cannot say (before 7.2). Raises as :meth:`Monitor.execute`."""
    try:
        for device in await commands.query_virtio(monitor, by=by):
            if device.name == "virtio-balloon":
                return (await commands.query_virtio_status(monitor, device.path, by=by)).started
    except CommandFailed as refused:
        logger.info("it could not be asked for its balloon's driver", error=str(refused))
    return False


async def ask_machine(monitor: Monitor, *, by: Deadline) -> Machine:
    """How it is now; its four questions have until ``by``. Raises as :meth:`Monitor.execute`."""
    cpus = await commands.query_cpus_fast(monitor, by=by)
    members = await commands.qom_list(monitor, _PERIPHERAL, by=by)
    jobs = await commands.query_jobs(monitor, by=by)
    return Machine(
        balloon=await _balloon(monitor, by),
        vcpus=len(cpus),
        devices=tuple(sorted(member.name for member in members if member.type.startswith("child<"))),
        jobs=tuple(sorted((Job(job.id, job.type, job.status, job.error) for job in jobs), key=lambda job: job.id)),
    )


async def _balloon(monitor: Monitor, by: Deadline) -> int | None:
    try:
        return (await commands.query_balloon(monitor, by=by)).actual
    except CommandFailed as refused:
        if refused.error_class in _HAS_NONE:
            return None
        raise
