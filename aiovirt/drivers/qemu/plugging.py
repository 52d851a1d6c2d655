"""Devices into a QEMU that runs, and out of it: step by step, and back where a step fails."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import anyio
from msgspec import Struct

from aiovirt.drivers.qemu.devices.plugging import Command, Step
from aiovirt.drivers.qemu.monitor import Monitor
from aiovirt.errors import CommandFailed, Error, OperationFailed, OrderTimeout
from aiovirt.system.background import shielded
from aiovirt.system.deadlines import Deadline
from aiovirt.system.log import get_logger
from aiovirt.wire.qmp import QMPEvent
from aiovirt.wire.qmp.messages import decode_body

__all__ = ["Removals", "plug", "unplug"]

logger = get_logger("qemu")

UNDOING: Final = 10.0
"""Seconds that undoing has, whatever is left of the order's own time."""


class _Nothing(Struct):
    """An answer that says nothing."""


class _Data(Struct):
    """DEVICE_DELETED, DEVICE_UNPLUG_GUEST_ERROR (QAPI: qdev.json); a part of a device has no id."""

    device: str | None = None


class Removals:
    """What becomes of devices that were asked to go: whoever hears the session's events passes them on."""

    def __init__(self) -> None:
        self._awaited: dict[str, tuple[anyio.Event, list[str]]] = {}

    def hear(self, event: QMPEvent) -> None:
        """DEVICE_DELETED, or DEVICE_UNPLUG_GUEST_ERROR; the others say nothing of it. Raises ProtocolError."""
        if event.name in {"DEVICE_DELETED", "DEVICE_UNPLUG_GUEST_ERROR"}:
            device = decode_body(event.body, _Data).device
            if device in self._awaited:
                decided, refused = self._awaited[device]
                if event.name != "DEVICE_DELETED":
                    refused.append("the guest does not let it go")
                decided.set()

    @contextmanager
    def awaited(self, device: str) -> Iterator[tuple[anyio.Event, list[str]]]:
        """What is set when it is decided, and why the guest refused, if it did. Raises OperationFailed for one that is awaited already."""
        if device in self._awaited:
            raise OperationFailed(f"the device {device} is being unplugged already")
        self._awaited[device] = anyio.Event(), []
        try:
            yield self._awaited[device]
        finally:
            del self._awaited[device]


async def plug(monitor: Monitor, steps: Sequence[Step], by: Deadline) -> None:
    """Does them all, or none: where one fails, or this is cancelled, those before it are undone. Raises as :meth:`Monitor.execute`."""
    done: list[Step] = []
    try:
        for step in steps:
            done.append(step)
            await _execute(monitor, step.do, by)
    except BaseException as error:
        if isinstance(error, CommandFailed):
            done.pop()  # it was refused; of what is not answered nobody knows
        await shielded(_undo(monitor, done))
        raise


async def _undo(monitor: Monitor, done: list[Step]) -> None:
    by = Deadline.after(UNDOING)
    for step in reversed(done):
        try:
            await _execute(monitor, step.undo, by)
        except Error as error:
            logger.warning("a device is left half plugged in", command=step.undo.name, arguments=step.undo.arguments, error=str(error))


async def unplug(monitor: Monitor, steps: Sequence[Step], removals: Removals, by: Deadline) -> None:
    """Undoes them all, the last first; what a device stands on goes once the device has gone, which its guest may have to agree to.

    Raises OperationFailed where the guest refuses, OrderTimeout(sent=True) where it says nothing, and as :meth:`Monitor.execute`.
    """
    for step in reversed(steps):
        if step.device is None:
            await _execute(monitor, step.undo, by)
        else:
            with removals.awaited(step.device) as (decided, refused):
                await _execute(monitor, step.undo, by)
                await _decided(decided, step.device, by)
            if refused:
                raise OperationFailed(f"the device {step.device} stays: {refused[0]}")


async def _decided(decided: anyio.Event, device: str, by: Deadline) -> None:
    with by.scope():
        await decided.wait()
    if not decided.is_set():
        raise OrderTimeout(f"the device {device} has not gone within {by.timeout:g} s: its guest has not let it go yet", sent=True)


async def _execute(monitor: Monitor, command: Command, by: Deadline) -> None:
    await monitor.execute(command.name, command.arguments, returns=_Nothing, by=by)
