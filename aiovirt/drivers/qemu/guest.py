"""One running QEMU: its process, its monitor, and the task that watches over both.

The process is held by pidfd, the monitor by its socket; either can be had without the other. When
the process ends, all that QEMU said before is reported first, and EXITED last.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Final

import anyio
from anyio.abc import TaskGroup, TaskStatus
from msgspec import Struct

from aiovirt.drivers.door import Sink
from aiovirt.drivers.qemu.monitor import Monitor
from aiovirt.drivers.qemu.translate import FACT_OF_RUN_STATE, heard
from aiovirt.errors import ConnectionLost, Error, OrderTimeout
from aiovirt.model.lifecycle import Fact
from aiovirt.model.record import RunRecord
from aiovirt.model.spec import Action, DomainSpec
from aiovirt.model.state import MonitorHealth
from aiovirt.system.carrier import Carrier
from aiovirt.system.process import ExitStatus, Process
from aiovirt.wire.qmp import QMPEvent

__all__ = ["Guest"]

LAST_WORDS: Final = 1.0  # how long an ended process's socket is still read, and a lost monitor's process awaited
GRACE: Final = 3.0  # between SIGTERM and SIGKILL
POLICY_TIMEOUT: Final = 30.0


class _Status(Struct):
    """``query-status`` (QAPI: StatusInfo)."""

    status: str


class _Uuid(Struct):
    """``query-uuid`` (QAPI: UuidInfo)."""

    UUID: str


class Guest:
    """A guest of ours. ``ended`` is called once, when its process is gone."""

    def __init__(self, run: RunRecord, spec: DomainSpec, process: Process, sink: Sink, ended: Callable[[Guest], None]) -> None:
        self.run = run
        self.process = process
        self.monitor: Monitor | None = None
        self.exited = anyio.Event()
        self.tried = anyio.Event()  # its monitor is connected, or could not be
        self.status = ExitStatus()
        self._spec = spec
        self._sink = sink
        self._ended = ended
        self._quiet = anyio.Event()  # the monitor has nothing more to say
        self._quiet.set()
        self._tasks: TaskGroup | None = None

    # -- life ------------------------------------------------------------------------------

    async def watch(self, *, task_status: TaskStatus[None]) -> None:
        """Lives as long as the process, or until cancelled; cancelling harms no guest."""
        async with self.process, anyio.create_task_group() as self._tasks:
            task_status.started()
            self.status = await self.process.wait()
            with anyio.move_on_after(LAST_WORDS):
                await self._quiet.wait()
            self._ended(self)
            self.exited.set()
            self._sink.fact(self.run.uuid, Fact.EXITED)
            self._tasks.cancel_scope.cancel()

    async def open_monitor(self, carrier: Carrier, timeout: float) -> Monitor:
        """Starts the session over ``carrier``; raises OrderTimeout, ConnectionLost as :meth:`Monitor.ready`."""
        assert self._tasks is not None
        self.monitor = Monitor(carrier, on_event=self._on_event, on_heard=self._on_heard)
        self._quiet = anyio.Event()
        self._tasks.start_soon(self._listen, carrier, self.monitor)
        await self.monitor.ready(timeout)
        return self.monitor

    async def _listen(self, carrier: Carrier, monitor: Monitor) -> None:
        async with carrier:
            why = await monitor.run()
        self._quiet.set()
        with anyio.move_on_after(LAST_WORDS):
            await self.exited.wait()
        if not self.exited.is_set() and monitor is self.monitor:
            self._sink.monitor(self.run.uuid, MonitorHealth.LOST, why)

    # -- news ------------------------------------------------------------------------------

    def _on_event(self, event: QMPEvent) -> None:
        if (news := heard(event)) is not None:
            self.report(news.fact, source_time=event.time, by_guest=news.by_guest)

    def report(self, fact: Fact, *, source_time: int | None = None, by_guest: bool = False) -> None:
        """Tells the engine, then does what the definition says is done then."""
        self._sink.fact(self.run.uuid, fact, source_time=source_time, by_guest=by_guest)
        self._follow_policy(fact)

    def _on_heard(self, again: bool) -> None:  # noqa: FBT001 - the callback's shape
        health = MonitorHealth.CONNECTED if again else MonitorHealth.STALLED
        self._sink.monitor(self.run.uuid, health, "" if again else "it did not answer in time")

    def _follow_policy(self, fact: Fact) -> None:
        """on_poweroff and on_crash: what is done once the guest has come to its end."""
        wanted = {
            Fact.GUEST_POWEROFF: self._spec.on_poweroff,
            Fact.PANICKED: self._spec.on_crash,
        }.get(fact)
        if wanted is Action.DESTROY:
            self.process.send_signal(signal.SIGTERM)
        elif wanted is Action.RESTART and self._tasks is not None:
            self._tasks.start_soon(self._restart)

    async def _restart(self) -> None:
        try:
            await self.execute("system_reset", POLICY_TIMEOUT)
            await self.execute("cont", POLICY_TIMEOUT)
        except Error as error:
            self._sink.monitor(self.run.uuid, MonitorHealth.DEGRADED, f"could not be restarted: {error}")

    # -- orders ----------------------------------------------------------------------------

    async def execute(self, command: str, timeout: float) -> None:
        """A command whose answer says nothing."""
        monitor = await self.usable_monitor(timeout)
        await monitor.execute(command, returns=dict[str, object], timeout=timeout)

    async def usable_monitor(self, timeout: float) -> Monitor:
        """The session, once it is there; raises ConnectionLost where there is none."""
        with anyio.move_on_after(timeout):
            await self.tried.wait()
        if self.monitor is None or not self.tried.is_set():
            raise ConnectionLost(f"the monitor of {self.run.name} is not connected", subject=f"domain/{self.run.uuid}")
        return self.monitor

    async def query_facts(self, timeout: float) -> Fact | None:
        """Who it is and how it is: raises ConnectionLost when another guest answers; the fact of its run state."""
        monitor = self.monitor
        assert monitor is not None
        answer = await monitor.execute("query-uuid", returns=_Uuid, timeout=timeout)
        if answer.UUID.lower() != str(self.run.uuid):
            raise ConnectionLost(f"another guest answers at the monitor: {answer.UUID}")
        status = await monitor.execute("query-status", returns=_Status, timeout=timeout)
        return FACT_OF_RUN_STATE.get(status.status)

    async def destroy(self, timeout: float) -> None:
        """SIGTERM, so that QEMU flushes its disks; SIGKILL when it has not ended in time."""
        self.process.send_signal(signal.SIGTERM)
        with anyio.move_on_after(min(GRACE, timeout / 2)):
            await self.exited.wait()
        if not self.exited.is_set():
            await self.kill(timeout / 2)

    async def kill(self, timeout: float) -> None:
        """SIGKILL; raises OrderTimeout when even that does not end it (a device that never lets go)."""
        self.process.send_signal(signal.SIGKILL)
        with anyio.move_on_after(timeout):
            await self.exited.wait()
        if not self.exited.is_set():
            raise OrderTimeout(f"process {self.process.pid} of {self.run.name} does not end", sent=True)
