"""One running QEMU: its process, its monitor, and the task that watches over both.

The process is held by pidfd, the monitor by its socket; either can be had without the other. When
the process ends, all that QEMU said before is reported first, and EXITED last.
"""

from __future__ import annotations

import math
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final
from uuid import UUID

import anyio
from anyio.abc import TaskGroup, TaskStatus
from anyio.lowlevel import checkpoint

from aiovirt.drivers.door import Sink
from aiovirt.drivers.qemu import commands
from aiovirt.drivers.qemu.held import Held
from aiovirt.drivers.qemu.machine import CHANGED_BY_EVENTS, Balloon, ask_machine, is_balloon_driven
from aiovirt.drivers.qemu.monitor import Late, Listener, Monitor
from aiovirt.drivers.qemu.translate import Resets, StateChange, quoted, run_state, translate
from aiovirt.errors import ConnectionLost, Error, OrderTimeout
from aiovirt.model.lifecycle import Fact
from aiovirt.model.record import RunRecord
from aiovirt.model.spec import DomainSpec
from aiovirt.model.state import MonitorHealth
from aiovirt.system.again import FIRST_PAUSE, contained, is_passing, keep_on, log_failure, words_of
from aiovirt.system.bytestream import UnixStream
from aiovirt.system.deadlines import Deadline, Deadlines
from aiovirt.system.latch import Latch
from aiovirt.system.log import get_logger
from aiovirt.system.process import ExitStatus
from aiovirt.wire.qmp import QMPEvent
from aiovirt.wire.qmp.protocol import DEFAULT_LIMIT

__all__ = ["Guest"]

logger = get_logger("qemu")

LAST_WORDS: Final = 1.0  # how long an ended process's socket is still read, and a lost monitor's process awaited
GRACE: Final = 3.0  # between SIGTERM and SIGKILL
QUESTION_TIMEOUT: Final = 30.0  # for what we ask of our own accord


class Guest:
    """A guest of ours. ``ended`` is called once, when its process is gone."""

    def __init__(  # noqa: PLR0913 - who it is, what it runs on, and who is told
        self,
        run: RunRecord,
        spec: DomainSpec,
        process: Held,
        sink: Sink,
        ended: Callable[[Guest], None],
        *,
        deadlines: Deadlines,
        reply_limit: int = DEFAULT_LIMIT,
    ) -> None:
        self.run = run
        self.process = process
        self.monitor: Monitor | None = None
        self.exited = Latch()
        self.tried = Latch()  # its monitor is connected, or could not be
        self.status = ExitStatus()
        self.ended_by_itself = False
        self._sink = sink
        self._deadlines = deadlines
        self._reply_limit = reply_limit
        self._ended = ended
        self.is_met = False  # a session with it is being opened, after it was found
        self._asking = 0  # how many times it is being asked how it is
        self._settled = Latch()
        self._is_looking = self._may_differ = False  # at its machine
        self._may_sleep = False  # suspended to memory, whatever has stopped it since
        self._resets = Resets()
        self._balloon = Balloon(spec.memory)
        self._quiet = Latch()  # the monitor has nothing more to say
        self._quiet.set()
        self._tasks: TaskGroup | None = None
        self.is_retried = False  # after a shortage, until it can be spoken to
        self._was_short = False
        self.reconnect: Callable[[UUID], Awaitable[None]] = _cannot
        """Opens the monitor of this guest; whoever found it knows how."""

    # -- life ------------------------------------------------------------------------------

    async def watch(self, *, task_status: TaskStatus[None]) -> None:
        """Lives as long as the process, or until cancelled; cancelling harms no guest."""
        with contained(logger, "a guest is not watched any more", self.give_up, domain=self.run.name):
            try:
                async with self.process, anyio.create_task_group() as self._tasks:
                    self.process.tasks = self._tasks
                    task_status.started()
                    await self._until_exited()
                    self._tasks.cancel_scope.cancel()
            finally:
                self._tasks = None

    async def _until_exited(self) -> None:
        await keep_on(self._wait, logger, lost="a guest's end cannot be waited for", back="a guest's end is waited for again")
        with anyio.move_on_after(LAST_WORDS):
            await self._quiet.wait()
        self._ended(self)
        self.exited.set()
        self._sink.fact(self.run.uuid, Fact.EXITED)

    async def _wait(self, works: Callable[[], None]) -> None:
        works()
        self.status = await self.process.wait()

    async def begin(self, stream: UnixStream, by: Deadline) -> None:
        """The first session, with a QEMU that we started; raises as :meth:`Monitor.ready` and :meth:`Held.spoken_by`."""
        monitor = self._open(stream)
        await monitor.ready(by)
        await self.process.spoken_by(stream.speaker)
        self.monitor = monitor
        self.tried.set()

    async def reattach(self, stream: UnixStream, by: Deadline) -> None:
        """A session with a QEMU that was found: asks who and how it is, and reports that.

        One that does not greet in time is DEGRADED, and is heard whenever it does greet. Raises
        ConnectionLost when the session ends, or another guest answers, or another user; SystemFailure.
        """
        monitor = self._open(stream)
        try:
            try:
                await monitor.ready(by)
            except OrderTimeout as late:
                self.give_up(late)
                await monitor.ready(Deadline.after(math.inf))
            await self._adopt(monitor, stream.speaker)
        except BaseException:
            self.monitor = None
            stream.close()
            raise

    @contextmanager
    def trying(self) -> Iterator[None]:
        """A session is being opened within the block, and none beside it: orders wait for what comes of it."""
        self.is_met, self.tried = True, Latch()
        try:
            yield
        finally:
            self.is_met = False
            self.tried.set()

    @property
    def is_unreached(self) -> bool:
        """Whether opening a session has failed, or the last one has ended: then it can be tried again."""
        return self.tried.is_set and not self.is_met and not self.exited.is_set and (self.monitor is None or self.monitor_ended)

    async def _adopt(self, monitor: Monitor, speaker: tuple[int, int] | None) -> None:
        answer = await commands.query_uuid(monitor, by=Deadline.after(QUESTION_TIMEOUT))
        if answer.UUID.lower() != str(self.run.uuid):
            raise ConnectionLost(f"another guest answers at the monitor: {answer.UUID}")
        await self.process.spoken_by(speaker)
        self.monitor = monitor  # from here on its events are facts
        self._balloon.was_not_heard()
        self._is_looking = True
        try:
            await self._look(monitor)
        finally:
            self._is_looking = False
        status = await commands.query_status(monitor, by=Deadline.after(QUESTION_TIMEOUT))
        self.tried.set()
        self._sink.monitor(self.run.uuid, MonitorHealth.CONNECTED, "found again")
        self._report_found(status)
        if self._may_differ:
            self.look_again()

    def give_up(self, why: Exception) -> None:
        """It cannot be spoken to: DEGRADED, and still there. After a shortage it is tried again."""
        self.tried.set()
        if not self.exited.is_set:
            self._sink.monitor(self.run.uuid, MonitorHealth.DEGRADED, words_of(why))
            if is_passing(why):
                self._try_again()

    def _try_again(self) -> None:
        self._was_short = True
        if self._tasks is not None and not self.is_retried:
            self.is_retried = True
            self._tasks.start_soon(self._keep_trying)

    async def _keep_trying(self) -> None:
        with anyio.move_on_after(FIRST_PAUSE):
            await self.exited.wait()
        try:
            log = logger.bind(domain=self.run.name)
            await keep_on(self._try_once, log, lost="a guest cannot be spoken to for now", back="a guest is spoken to again")
        finally:
            self.is_retried = False

    async def _try_once(self, works: Callable[[], None]) -> None:
        await self.tried.wait()
        self._was_short = False
        await self.reconnect(self.run.uuid)
        if self.is_unreached and self._was_short:
            raise ConnectionLost(f"the monitor of {self.run.name} is not connected")
        works()

    def _open(self, stream: UnixStream) -> Monitor:
        if self._tasks is None:
            raise ConnectionLost(f"{self.run.name} is not watched any more")
        listener = _MonitorListener(self)
        monitor = listener.monitor = Monitor(stream, listener, self._deadlines, limit=self._reply_limit)
        self._quiet = Latch()
        self._tasks.start_soon(self._listen, stream, monitor, name="monitor")
        return monitor

    async def _listen(self, stream: UnixStream, monitor: Monitor) -> None:
        quiet, why, failures = self._quiet, "", list[Exception]()
        with contained(logger, "a guest could not be listened to", failures.append, domain=self.run.name):
            async with stream:
                why = await monitor.run()
        quiet.set()
        self._settled.set()
        if await self.ends() or monitor is not self.monitor:
            self._was_short = self._was_short or any(map(is_passing, failures))  # whoever opened it tells
        elif failures:
            self.give_up(failures[0])
        else:
            self._sink.monitor(self.run.uuid, MonitorHealth.LOST, why)

    async def ends(self) -> bool:
        """Whether its process ends now: that is why its monitor was closed, and is seen a moment later."""
        with anyio.move_on_after(LAST_WORDS):
            await self.exited.wait()
        return self.exited.is_set

    @property
    def monitor_ended(self) -> bool:
        """Whether its session is over: most often because its process is, too."""
        return self._quiet.is_set

    # -- events ------------------------------------------------------------------------------

    def on_event(self, monitor: Monitor, event: QMPEvent) -> None:
        """Passes on what was said, always; and then what it means, once a session is begun."""
        if self.exited.is_set:
            return
        said = quoted(event, self.run.uuid, self.run.name)
        self._sink.publish(said)
        if monitor is not self.monitor:
            return
        if (change := translate(event)) is not None:
            self._take(monitor, change, said.source_time)
        if event.name in CHANGED_BY_EVENTS:
            self._balloon.hear(event.name, said.source_time)
            self.look_again()

    def _take(self, monitor: Monitor, change: StateChange, time: int | None) -> None:
        """Reports what was said; where that does not say how the guest is now, it is asked."""
        match change.fact:
            case Fact.RESET:
                if self._resets.is_new(time, by_guest=change.by_guest):
                    self.report(change, source_time=time)
                if self.tried.is_set:
                    self.ask_how_it_is(monitor)
            case Fact.RESUMED if self._may_sleep:
                self._ask(self._ask_whether_it_sleeps, monitor, time)
            case _:
                self._may_sleep = change.fact is Fact.PM_SUSPENDED or (self._may_sleep and change.fact is not Fact.WOKEN)
                self.report(change, source_time=time)

    def report(self, change: StateChange, *, source_time: int | None = None) -> None:
        """Tells the engine."""
        if not self.exited.is_set:
            self._sink.fact(self.run.uuid, change.fact, source_time=source_time, by_guest=change.by_guest, rebooting=change.rebooting)

    def on_responsive(self, monitor: Monitor, *, again: bool) -> None:
        """Silence, or its end."""
        if monitor is self.monitor:
            health = MonitorHealth.CONNECTED if again else MonitorHealth.STALLED
            self._sink.monitor(self.run.uuid, health, "" if again else "it did not answer in time")
            if again and self._may_differ:
                self.look_again()

    def on_late(self, monitor: Monitor, answer: Late) -> None:
        """What had been cancelled has happened, or was refused; or it was our own question."""
        if answer.changes:
            self.ask_how_it_is(monitor)
        if monitor is self.monitor and (answer.changes or self._may_differ):
            self.look_again()

    def ask_how_it_is(self, monitor: Monitor) -> None:
        """Something may have happened that no event told: what it is now becomes an event."""
        if monitor is self.monitor:
            self._ask(self._ask_how_it_is, monitor)

    def _ask(self, question: Callable[..., Awaitable[None]], monitor: Monitor, *about: object) -> None:
        """In a task of its own; :meth:`settle` waits for it."""
        if self._tasks is not None:
            self._asking += 1
            self._tasks.start_soon(self._asked, question, monitor, *about)

    @contextmanager
    def _using(self, monitor: Monitor | None) -> Iterator[None]:
        """Errors of ours go on; with whatever else is raised, the session ends: what was missed is asked for by the next one."""
        try:
            yield
        except Error:
            raise
        except Exception as error:  # noqa: BLE001 - a guest's trouble, which is nobody else's
            log_failure(logger, "what a guest said could not be made use of", error, domain=self.run.name)
            if monitor is not None:
                monitor.fail(error)

    async def _asked(self, question: Callable[..., Awaitable[None]], monitor: Monitor, *about: object) -> None:
        try:
            with self._using(monitor):
                await question(monitor, *about)
        except Error as error:
            logger.info("it could not be asked how it is", domain=self.run.name, error=str(error))
        finally:
            self._asking -= 1
            self._settled.set()

    async def _ask_how_it_is(self, monitor: Monitor) -> None:
        self._report_found(await commands.query_status(monitor, by=Deadline.after(QUESTION_TIMEOUT)))

    async def _ask_whether_it_sleeps(self, monitor: Monitor, time: int | None) -> None:
        """RESUME was said: QEMU 10 does so, too, of a guest that was stopped in its sleep and sleeps on.

        Where it cannot be asked, the event is believed.
        """
        try:
            status = await commands.query_status(monitor, by=Deadline.after(QUESTION_TIMEOUT))
        except Error:
            self.report(StateChange(Fact.RESUMED), source_time=time)
            raise
        if status.status != "suspended":
            self.report(StateChange(Fact.RESUMED), source_time=time)
        self._report_found(status)

    def _report_found(self, status: commands.StatusInfo) -> None:
        """How it was found to be, when it was asked."""
        self._may_sleep = not status.running
        self.report(StateChange(run_state(status.status, running=status.running)))

    def look_again(self) -> None:
        """Its machine may be another one: what it is now becomes an event."""
        self._may_differ = True
        if self._tasks is not None and self.monitor is not None and not self._is_looking:
            self._is_looking = True
            self._tasks.start_soon(self._look_on, self.monitor)

    async def _look_on(self, monitor: Monitor) -> None:
        try:
            with self._using(monitor):
                while self._may_differ and await self._look(monitor):
                    pass
        finally:
            self._is_looking = False

    async def _look(self, monitor: Monitor) -> bool:
        """Whether it can be asked again now, if need be: one that says nothing is asked when it is heard again."""
        self._may_differ = False
        try:
            machine = await ask_machine(monitor, by=Deadline.after(QUESTION_TIMEOUT))
            if self._balloon.is_doubtful(machine):
                self._balloon.learn(driven=await is_balloon_driven(monitor, by=Deadline.after(QUESTION_TIMEOUT)))
        except OrderTimeout:
            self._may_differ = True
            return not monitor.is_silent
        except Error as error:
            logger.info("it could not be asked what it has", domain=self.run.name, error=str(error))
            return False
        if monitor is self.monitor and not self.exited.is_set:
            self._sink.machine(self.run.uuid, self._balloon.judged(machine))
        return True

    # -- orders ----------------------------------------------------------------------------

    async def execute(self, order: commands.Order, by: Deadline) -> None:
        """A command whose answer says nothing."""
        await order(await self.usable_monitor(by), by=by)

    def is_settled(self) -> bool:
        """Whether the fate of every order that had been cancelled is known, and how the guest is then."""
        return self.monitor is None or (self.monitor.is_settled and not self._asking)

    async def settle(self, by: Deadline) -> None:
        """Returns when it is so; raises OrderTimeout(sent=False)."""
        if self.is_settled():
            return
        with by.scope():
            while not self.is_settled():
                self._settled = Latch()
                await self._settled.wait()
            return
        raise OrderTimeout(
            f"{self.run.name} has not yet answered an order that was cancelled", sent=False, subject=f"domain/{self.run.uuid}"
        )

    @property
    def ready_monitor(self) -> Monitor | None:
        """The session, where it is there and needs not be waited for."""
        monitor = self.monitor
        return monitor if monitor is not None and monitor.ended is None and self.tried.is_set else None

    async def usable_monitor(self, by: Deadline) -> Monitor:
        """The session, once it is there; raises OrderTimeout(sent=False), and ConnectionLost where there is none."""
        if not self.tried.is_set:
            with by.scope():
                await self.tried.wait()
        if not self.tried.is_set:
            raise OrderTimeout(f"the monitor of {self.run.name} is not connected yet", sent=False, subject=f"domain/{self.run.uuid}")
        if self.monitor is None:
            raise ConnectionLost(f"the monitor of {self.run.name} is not connected", subject=f"domain/{self.run.uuid}")
        return self.monitor

    async def destroy(self, by: Deadline, *, graceful: bool) -> None:
        """SIGTERM, so that QEMU flushes its disks; SIGKILL when it has not ended in time, unless it is to be ``graceful``.

        Raises OrderTimeout where it has not ended then.
        """
        self.process.send_signal(signal.SIGTERM)
        if graceful:
            await self._wait_for_end(by)
            return
        with anyio.move_on_after(min(GRACE, by.left / 2)):
            await self.exited.wait()
        if not self.exited.is_set:
            await self.kill(by)

    async def kill(self, by: Deadline) -> None:
        """SIGKILL; raises OrderTimeout when even that does not end it (a device that never lets go)."""
        self.process.send_signal(signal.SIGKILL)
        await self._wait_for_end(by)

    async def _wait_for_end(self, by: Deadline) -> None:
        with by.scope():
            await self.exited.wait()
        if not self.exited.is_set:
            raise OrderTimeout(f"process {self.process.pid} of {self.run.name} does not end", sent=True)


async def _cannot(_: UUID) -> None:
    """Nobody has said how."""
    await checkpoint()


class _MonitorListener(Listener):
    """What one session hears, with the session it comes from: there may have been others before it."""

    monitor: Monitor

    def __init__(self, guest: Guest) -> None:
        self._guest = guest

    def event(self, event: QMPEvent) -> None:
        self._guest.on_event(self.monitor, event)

    def responsive(self, again: bool) -> None:  # noqa: FBT001 - a plain answer
        self._guest.on_responsive(self.monitor, again=again)

    def late(self, answer: Late) -> None:
        self._guest.on_late(self.monitor, answer)

    def oversized(self, event: str | None, size: int) -> None:  # noqa: ARG002 - whichever it was
        self._guest.ask_how_it_is(self.monitor)
        self._guest.look_again()
