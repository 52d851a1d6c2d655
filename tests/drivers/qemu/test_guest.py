"""A guest's events against a scripted monitor and a process that ends when it is told, in virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self, cast
from uuid import UUID

import anyio
import pytest
from msgspec.structs import replace

from aiovirt.drivers.qemu import commands
from aiovirt.drivers.qemu.guest import Guest
from aiovirt.drivers.qemu.held import Held
from aiovirt.drivers.qemu.translate import RUN_STATES
from aiovirt.errors import ConnectionLost, OrderTimeout
from aiovirt.events import DomainQMP, Event
from aiovirt.model.lifecycle import Fact
from aiovirt.model.machine import Job, Machine
from aiovirt.model.record import ProcessId, RunRecord
from aiovirt.model.state import MonitorHealth
from aiovirt.system.bytestream import UnixStream
from aiovirt.system.deadlines import Deadline, Deadlines
from aiovirt.system.process import ExitStatus, Process
from aiovirt.testing.qmp_peer import Command, QMPPeer
from aiovirt.testing.tinyguest import tiny_guest
from tests.blocking import BlockingCalls

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

U = UUID(int=1)


class Peer(QMPPeer):
    """The scripted peer as a guest opens and closes it."""

    speaker = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def stream(self) -> UnixStream:
        return cast("UnixStream", self)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """What is said in the block is read by one read(2), at its end."""
        said: list[bytes] = []
        self.send_bytes = said.append  # type: ignore[method-assign,assignment]
        try:
            yield
        finally:
            del self.send_bytes
        self.send_bytes(b"".join(said))


class Mortal(Held):
    """A process that is none: it ends when ``end`` is set."""

    def __init__(self) -> None:
        super().__init__(Process(ProcessId("a boot", 1, 0), -1), Path("/nowhere"))
        self.end = anyio.Event()

    async def wait(self) -> ExitStatus:
        await self.end.wait()
        return ExitStatus(code=0)


class Ears:
    """The sink: what was told, in order."""

    def __init__(self, peer: QMPPeer) -> None:
        self.told: list[DomainQMP | Fact | MonitorHealth] = []
        self.machines: list[Machine] = []
        self._peer = peer

    def fact(self, uuid: UUID, fact: Fact, *, source_time: int | None = None, by_guest: bool = False, rebooting: bool = False) -> None:  # noqa: ARG002
        assert uuid == U
        self.told.append(fact)
        if fact is Fact.EXITED:
            self._peer.event("STOP")

    def monitor(self, uuid: UUID, health: MonitorHealth, why: str) -> None:  # noqa: ARG002
        self.told.append(health)

    def machine(self, uuid: UUID, machine: Machine) -> None:
        assert uuid == U
        self.machines.append(machine)

    def publish(self, event: Event) -> None:
        assert isinstance(event, DomainQMP)
        assert (event.uuid, event.name) == (U, "web")
        self.told.append(event)

    @property
    def names(self) -> list[str]:
        return [one.event if isinstance(one, DomainQMP) else one.name for one in self.told]

    @property
    def said(self) -> list[DomainQMP]:
        return [one for one in self.told if isinstance(one, DomainQMP)]


MACHINE: dict[str, object] = {
    "query-cpus-fast": [{"cpu-index": 0, "thread-id": 7}, {"cpu-index": 1}],
    "qom-list": [{"name": "net0", "type": "child<e1000>"}, {"name": "type", "type": "string"}, {"name": "disk", "type": "child<ide-hd>"}],
    "query-jobs": [{"id": "b", "type": "mirror", "status": "ready", "current-progress": 1}, {"id": "a", "type": "x-new", "status": "null"}],
    "query-balloon": {"actual": 2**30},
}
VIRTIO: dict[str, object] = {"x-query-virtio": [{"name": "virtio-net", "path": "/n"}, {"name": "virtio-balloon", "path": "/b"}]}
FOUND = Machine(balloon=2**30, vcpus=2, devices=("disk", "net0"), jobs=(Job("a", "x-new", "null"), Job("b", "mirror", "ready")))


class Scene:
    """A guest, its monitor's far side, its process, and what it told."""

    def __init__(self, *, obliging: bool = True) -> None:
        self.peer = Peer(obliging=obliging)
        self.process = Mortal()
        self.ears = Ears(self.peer)
        run = RunRecord(uuid=U, name="web", id=1, xml="")
        self.deadlines = Deadlines()
        spec = tiny_guest("/web.img", name="web")
        self.memory = spec.memory
        self.guest = Guest(run, spec, self.process, self.ears, lambda _: None, deadlines=self.deadlines)

    async def begin(self) -> None:
        await self.guest.begin(self.peer.stream, Deadline.after(5))

    async def reattach(self) -> None:
        await self.guest.reattach(self.peer.stream, Deadline.after(5))


@asynccontextmanager
async def scene(*, obliging: bool = True) -> AsyncIterator[Scene]:
    one = Scene(obliging=obliging)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one.deadlines.run)
        await tasks.start(one.guest.watch)
        yield one
        tasks.cancel_scope.cancel()


async def test_what_was_said_comes_before_what_follows() -> None:
    async with scene() as one:
        await one.begin()
        for name in ("RESUME", "STOP", "RTC_CHANGE", "RESUME"):
            one.peer.event(name, {"offset": 7} if name == "RTC_CHANGE" else None, seconds=3, microseconds=4)
        await anyio.wait_all_tasks_blocked()
        assert one.ears.names == ["RESUME", "RESUMED", "STOP", "PAUSED", "RTC_CHANGE", "RESUME", "RESUMED"]
        assert [event.data for event in one.ears.said] == [{}, {}, {"offset": 7}, {}]
        assert {event.source_time for event in one.ears.said} == {3_000_004_000}


async def test_a_beginning_is_heard_from_its_first_word_on() -> None:
    async with scene(obliging=False) as one, anyio.create_task_group() as tasks:
        tasks.start_soon(one.begin)
        one.peer.event("BEFORE_THE_GREETING")
        one.peer.greet()
        agreed = await one.peer.next_command()
        one.peer.event("STOP")
        await anyio.wait_all_tasks_blocked()
        assert one.ears.names == ["BEFORE_THE_GREETING", "STOP"]
        one.peer.reply(agreed)


async def test_a_guest_that_is_met_again_is_heard_before_it_is_known() -> None:
    async with scene() as one, anyio.create_task_group() as tasks:
        tasks.start_soon(one.reattach)
        asked = await one.peer.next_command()
        one.peer.event("STOP")
        await anyio.wait_all_tasks_blocked()
        assert one.ears.names == ["STOP"]
        one.peer.answers.update(MACHINE | VIRTIO | {"x-query-virtio-status": {"started": True}})
        one.peer.reply(asked, {"UUID": str(U)})
        status = await one.peer.next_command()
        assert (one.ears.names, one.ears.machines) == (["STOP"], [FOUND])  # all of it is known by the time it is CONNECTED
        one.peer.reply(status, {"status": "paused", "running": False})
        await anyio.wait_all_tasks_blocked()
        assert one.ears.names == ["STOP", "CONNECTED", "STOPPED"]


@pytest.mark.parametrize("body", [b"3", b"null", b"[1, 2]", b'"x"', b'{"a": "\xff"}', b'{"a": 18446744073709551616}'])
async def test_an_odd_body_costs_neither_its_event_nor_the_session(body: bytes) -> None:
    async with scene() as one:
        await one.begin()
        for name in (b"RTC_CHANGE", b"STOP"):
            one.peer.send_bytes(b'{"event": "' + name + b'", "data": ' + body + b"}\r\n")
        one.peer.answers["cont"] = {}
        await one.guest.execute(commands.cont, Deadline.after(5))
        assert one.ears.names == ["RTC_CHANGE", "STOP", "PAUSED"]
        assert [(event.data, event.omitted) for event in one.ears.said] == [({}, len(body))] * 2


async def test_a_body_that_decides_and_cannot_be_read_is_told_and_ends_the_session() -> None:
    async with scene() as one:
        await one.begin()
        one.peer.send({"event": "SHUTDOWN", "data": 3})
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(ConnectionLost, match="unexpected body"):
            await one.guest.execute(commands.cont, Deadline.after(5))
        assert [(event.event, event.omitted) for event in one.ears.said] == [("SHUTDOWN", 1)]


async def test_after_the_end_nothing_is_told() -> None:
    """Its socket may have been read already when its process is given up."""
    async with scene() as one:
        await one.begin()
        one.peer.event("STOP")
        one.process.end.set()
        await one.guest.exited.wait()
        await anyio.wait_all_tasks_blocked()
        assert one.ears.names == ["STOP", "PAUSED", "EXITED"]


# -- orders that were given up -----------------------------------------------------------------


async def given_up(one: Scene) -> Command:
    """A ``stop`` whose caller has gone, and that the peer has not answered."""
    await one.begin()
    with pytest.raises(OrderTimeout) as late:
        await one.guest.execute(commands.stop, Deadline.after(1))
    assert late.value.sent
    assert one.ears.names == ["STALLED"]
    return await one.peer.next_command()


async def test_what_was_given_up_and_happened_after_all_is_news() -> None:
    async with scene() as one:
        stop = await given_up(one)
        one.peer.answers["query-status"] = {"status": "paused", "running": False}
        one.peer.reply(stop)
        await anyio.wait_all_tasks_blocked()
        assert one.ears.names == ["STALLED", "CONNECTED", "STOPPED"]


async def test_a_question_that_was_given_up_is_no_news() -> None:
    async with scene() as one:
        await one.begin()
        with anyio.move_on_after(1):
            await one.guest.monitor.execute("query-block", returns=object, by=Deadline.after(60))  # type: ignore[union-attr]
        one.peer.reply(await one.peer.next_command(), [])
        await anyio.wait_all_tasks_blocked()
        assert one.ears.names == []
        assert [command.execute for command in one.peer.received] == ["qmp_capabilities", "query-block"]


async def test_the_next_order_first_learns_its_fate() -> None:
    async with scene() as one:
        stop = await given_up(one)
        learned = anyio.Event()

        async def settle() -> None:
            await one.guest.settle(Deadline.after(60))
            learned.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(settle)
            await anyio.wait_all_tasks_blocked()
            one.peer.reply(stop)
            while (status := await one.peer.next_command()).execute != "query-status":
                pass  # it is asked what it has, too
            assert not learned.is_set()
            one.peer.reply(status, {"status": "paused", "running": False})
            await learned.wait()
            assert one.ears.names[-1] == "STOPPED"


async def test_a_fate_that_is_not_learned_in_time() -> None:
    async with scene() as one:
        await given_up(one)
        before = anyio.current_time()
        with pytest.raises(OrderTimeout) as late:
            await one.guest.settle(Deadline.after(7))
        assert not late.value.sent
        assert anyio.current_time() - before == pytest.approx(7)


async def test_when_the_session_ends_nobody_waits_for_a_fate() -> None:
    async with scene() as one, anyio.create_task_group() as tasks:
        await given_up(one)
        tasks.start_soon(one.guest.settle, Deadline.after(60))
        await anyio.wait_all_tasks_blocked()
        before = anyio.current_time()
        one.peer.close()
        await anyio.wait_all_tasks_blocked()
        assert anyio.current_time() - before < 10


async def test_a_message_nobody_read_may_have_been_news() -> None:
    async with scene() as one:
        await one.begin()
        one.peer.answers["query-status"] = {"status": "paused", "running": False}
        one.guest.monitor._listener.oversized("STOP", 70_000_000)  # type: ignore[union-attr]
        await anyio.wait_all_tasks_blocked()
        assert one.ears.names == ["STOPPED"]


# -- its machine -------------------------------------------------------------------------------


async def test_however_much_is_said_it_is_looked_at_once_more() -> None:
    async with scene() as one:
        await one.begin()
        one.peer.event("BALLOON_CHANGE", {"actual": 5})
        asked = await one.peer.next_command()
        for _ in range(10):
            one.peer.event("JOB_STATUS_CHANGE", {"id": "b", "status": "running"})
        await anyio.wait_all_tasks_blocked()
        one.peer.answers.update(MACHINE)
        one.peer.reply(asked, MACHINE[asked.execute])
        await anyio.wait_all_tasks_blocked()
        assert one.ears.machines == [FOUND, FOUND]
        one.peer.event("RTC_CHANGE", {"offset": 1})
        await anyio.wait_all_tasks_blocked()
        assert len(one.ears.machines) == 2


@pytest.mark.parametrize(("error_class", "told"), [("DeviceNotActive", True), ("KVMMissingCap", True), ("GenericError", False)])
async def test_a_refused_question(error_class: str, *, told: bool) -> None:
    """Without a balloon there is none; any other refusal leaves what is known, and costs nothing else."""
    async with scene() as one:
        await one.begin()
        one.peer.answers.update({name: answer for name, answer in MACHINE.items() if name != "query-balloon"})
        one.guest.look_again()
        one.peer.fail(await one.peer.next_command(), "no", error_class)
        await anyio.wait_all_tasks_blocked()
        assert one.ears.machines == ([replace(FOUND, balloon=None)] if told else [])
        one.peer.answers.update(MACHINE)
        one.guest.look_again()
        await anyio.wait_all_tasks_blocked()
        assert one.ears.machines[-1] == FOUND


async def test_who_is_stuck_while_it_is_asked_is_found_all_the_same() -> None:
    async with scene() as one, anyio.create_task_group() as tasks:
        one.peer.answers["query-uuid"] = {"UUID": str(U)}
        tasks.start_soon(one.reattach)
        await one.peer.next_command()  # and it is never answered
        one.peer.answers["query-status"] = {"status": "running", "running": True}
        await anyio.sleep(31)
        assert one.ears.names == ["STALLED", "CONNECTED", "CONNECTED", "RESUMED"]


async def test_what_was_asked_in_vain_is_asked_again_when_it_is_heard_again() -> None:
    async with scene() as one:
        await one.begin()
        one.guest.look_again()
        await anyio.sleep(100)
        assert (one.ears.names, one.ears.machines, len(one.peer.received)) == (["STALLED"], [], 2)
        one.peer.answers.update(MACHINE)
        one.peer.event("RTC_CHANGE", {"offset": 1})
        await anyio.wait_all_tasks_blocked()
        assert (one.ears.names, one.ears.machines) == (["STALLED", "CONNECTED", "RTC_CHANGE"], [FOUND])


async def test_one_that_answers_others_is_asked_again() -> None:
    """Not heard again, as it was always heard: but for one answer that it owes."""
    async with scene() as one:
        await one.begin()
        one.guest.look_again()
        owed = await one.peer.next_command()
        for _ in range(4):
            await anyio.sleep(10)
            one.peer.event("RTC_CHANGE", {"offset": 1})
        one.peer.answers.update(MACHINE)
        await anyio.sleep(60)
        assert one.ears.machines == [FOUND]
        one.peer.reply(owed, [])
        await anyio.wait_all_tasks_blocked()
        assert set(one.ears.names) == {"RTC_CHANGE"}


async def test_a_device_that_comes_late_is_told() -> None:
    async with scene() as one:
        await one.begin()
        one.peer.answers.update(MACHINE)
        one.peer.answers["query-status"] = {"status": "running", "running": True}
        monitor = await one.guest.usable_monitor(Deadline.after(1))
        with pytest.raises(OrderTimeout):
            await monitor.execute("device_add", {"driver": "e1000"}, returns=object, by=Deadline.after(1))
        assert one.ears.machines == []
        one.peer.reply(await one.peer.next_command())
        await anyio.wait_all_tasks_blocked()
        assert one.ears.machines == [FOUND]


async def test_however_much_is_said_while_it_is_found_it_is_connected() -> None:
    async with scene() as one, anyio.create_task_group() as tasks:
        one.peer.answers["query-uuid"] = {"UUID": str(U)}
        tasks.start_soon(one.reattach)
        asked = await one.peer.next_command()
        one.peer.event("RESET", {"guest": True, "reason": "guest-reset"})
        one.peer.reply(asked, [])
        for name in ("qom-list", "query-jobs", "query-balloon"):
            asked = await one.peer.next_command()
            assert asked.execute == name
            one.peer.reply(asked, MACHINE[name])
        one.peer.reply(await one.peer.next_command(), {"status": "running", "running": True})
        again = await one.peer.next_command()
        assert one.ears.names == ["RESET", "RESET", "CONNECTED", "RESUMED"]
        one.peer.answers.update(MACHINE)
        one.peer.reply(again, MACHINE[again.execute])
        await anyio.wait_all_tasks_blocked()
        assert one.ears.machines == [replace(FOUND, vcpus=0, balloon=None), replace(FOUND, balloon=None)]


# -- how it is, where no event says it -----------------------------------------------------------


def answering(one: Scene, status: str) -> None:
    one.peer.answers["query-status"] = {"status": status, "running": status == "running"}
    one.peer.answers.update(MACHINE)


def reset(one: Scene, *, guest: bool = False, ms: int = 0) -> None:
    reason = "guest-reset" if guest else "host-qmp-system-reset"
    one.peer.event("RESET", {"guest": guest, "reason": reason}, seconds=1 + ms // 1000, microseconds=ms % 1000 * 1000)


def facts(one: Scene) -> list[str]:
    return [told.name for told in one.ears.told if isinstance(told, Fact)]


@pytest.mark.parametrize("status", RUN_STATES)
async def test_a_guest_is_found_as_query_status_says(status: str) -> None:
    async with scene() as one:
        one.peer.answers["query-uuid"] = {"UUID": str(U)}
        answering(one, status)
        await one.reattach()
        assert facts(one) == [RUN_STATES[status].name]


@pytest.mark.parametrize("status", ["prelaunch", "running", "suspended", "of-a-later-qemu"])
async def test_it_is_asked_how_it_is_after_each_reset(status: str) -> None:
    async with scene() as one:
        await one.begin()
        answering(one, status)
        reset(one)
        await anyio.wait_all_tasks_blocked()
        reset(one, guest=True, ms=70)  # its firmware's own
        await anyio.wait_all_tasks_blocked()
        asked = RUN_STATES.get(status, Fact.PAUSED).name
        assert facts(one) == ["RESET", asked, asked]


async def test_what_the_firmware_resets_is_no_reboot() -> None:
    async with scene() as one:
        await one.begin()
        answering(one, "running")
        for ms in (0, 66, 66, 5_000, 5_100):
            reset(one, guest=ms > 0, ms=ms)
        await anyio.wait_all_tasks_blocked()
        assert one.ears.names.count("RESET") == 5 + 2, "each is told as it was said, and two as reboots"


async def test_one_that_was_stopped_in_its_sleep_and_is_let_go_sleeps_on() -> None:
    async with scene() as one:
        await one.begin()
        answering(one, "suspended")
        for name in ("SUSPEND", "STOP", "RESUME"):
            one.peer.event(name)
        await anyio.wait_all_tasks_blocked()
        answering(one, "running")
        for name in ("WAKEUP", "STOP", "RESUME"):
            one.peer.event(name)
        await anyio.wait_all_tasks_blocked()
        assert facts(one) == ["PM_SUSPENDED", "PAUSED", "PM_SUSPENDED", "WOKEN", "PAUSED", "RESUMED"]
        assert [command.execute for command in one.peer.received].count("query-status") == 1, "who does not sleep is not asked"


async def test_one_that_was_found_paused_may_have_been_stopped_in_its_sleep() -> None:
    async with scene() as one:
        one.peer.answers["query-uuid"] = {"UUID": str(U)}
        answering(one, "paused")
        await one.reattach()
        answering(one, "suspended")
        one.peer.event("RESUME")
        await anyio.wait_all_tasks_blocked()
        assert facts(one) == ["STOPPED", "PM_SUSPENDED"]


@pytest.mark.parametrize("status", ["running", "io-error"])
async def test_one_that_was_let_go_ran_whatever_came_after(status: str) -> None:
    async with scene() as one:
        await one.begin()
        one.peer.event("SUSPEND")
        one.peer.event("STOP")
        answering(one, status)
        one.peer.event("RESUME", seconds=3)
        await anyio.wait_all_tasks_blocked()
        assert facts(one)[2:] == ["RESUMED", RUN_STATES[status].name]


async def test_where_it_cannot_be_asked_the_event_is_believed() -> None:
    async with scene() as one:
        await one.begin()
        one.peer.event("SUSPEND")
        one.peer.event("RESUME")
        one.peer.fail(await one.peer.next_command(), "no", "GenericError")
        await anyio.wait_all_tasks_blocked()
        assert facts(one) == ["PM_SUSPENDED", "RESUMED"]


# -- its balloon -------------------------------------------------------------------------------


async def test_a_balloon_of_before_a_reset_is_not_known_until_the_driver_says_so() -> None:
    async with scene() as one:
        await one.begin()
        answering(one, "running")
        for told, event in ((FOUND, "DEVICE_DELETED"), (replace(FOUND, balloon=None), "RESET"), (FOUND, "BALLOON_CHANGE")):
            one.peer.event(event, {"guest": True, "reason": "guest-reset"} if event == "RESET" else {"path": "/x"}, seconds=len(event))
            await anyio.wait_all_tasks_blocked()
            assert one.ears.machines[-1] == told


async def test_a_balloon_change_that_comes_late_says_nothing_of_after_the_reset() -> None:
    async with scene() as one:
        await one.begin()
        answering(one, "running")
        one.peer.event("RESET", {"guest": True, "reason": "guest-reset"}, seconds=5)
        one.peer.event("BALLOON_CHANGE", {"actual": 2**30}, seconds=4)
        await anyio.wait_all_tasks_blocked()
        assert {machine.balloon for machine in one.ears.machines} == {None}


async def test_all_of_its_memory_it_has_after_a_reset_too() -> None:
    async with scene() as one:
        await one.begin()
        answering(one, "running")
        memory = one.memory
        one.peer.answers["query-balloon"] = {"actual": memory}
        reset(one)
        await anyio.wait_all_tasks_blocked()
        assert one.ears.machines[-1].balloon == memory


IT_IS: dict[str, object] = {"query-uuid": {"UUID": str(U)}, "query-status": {"status": "running", "running": True}}


@pytest.mark.parametrize(("started", "known"), [(True, 2**30), (False, None), (None, None)])
async def test_after_an_absence_its_balloon_is_known_where_the_guest_has_a_driver(*, started: bool | None, known: int | None) -> None:
    """There may have been a reset that nobody heard. Where QEMU cannot say whether there is a driver, the value is not known."""
    async with scene() as one, anyio.create_task_group() as tasks:
        one.peer.answers.update(MACHINE | IT_IS | ({"x-query-virtio-status": {"started": started}} | VIRTIO if started is not None else {}))
        tasks.start_soon(one.reattach)
        if started is None:
            one.peer.fail(await one.peer.next_command(), "The command x-query-virtio has not been found", "CommandNotFound")
        await anyio.wait_all_tasks_blocked()
        assert one.ears.machines == [replace(FOUND, balloon=known)]
        one.peer.event("BALLOON_CHANGE", {"actual": 2**30}, seconds=1)
        await anyio.wait_all_tasks_blocked()
        assert one.ears.machines[-1] == FOUND


async def test_a_reset_while_it_is_asked_for_its_balloons_driver_is_later_than_the_answer() -> None:
    async with scene() as one, anyio.create_task_group() as tasks:
        one.peer.answers.update(MACHINE | VIRTIO | IT_IS)
        tasks.start_soon(one.reattach)
        while (asked := await one.peer.next_command()).execute != "x-query-virtio-status":
            pass
        with one.peer.at_once():  # the reset is heard before who asked goes on
            one.peer.reply(asked, {"started": True})
            reset(one)
        await anyio.wait_all_tasks_blocked()
        assert one.ears.machines[-1] == replace(FOUND, balloon=None)


# -- what goes wrong here ----------------------------------------------------------------------


class Trouble:
    """The sink fails at the next ``STOP`` that is said, with ``error``; its monitor is opened again so often in vain."""

    def __init__(self, one: Scene, error: Exception, in_vain: int = 0) -> None:
        self.reopened: list[float] = []
        self._one, self._error, self._in_vain = one, error, in_vain
        self._publish, self._begun = one.ears.publish, anyio.current_time()
        one.ears.publish = self.publish  # type: ignore[method-assign]
        one.guest.reconnect = self.reconnect

    def publish(self, event: Event) -> None:
        if isinstance(event, DomainQMP) and event.event == "STOP" and self._one.guest.monitor is not None:
            raise self._error
        self._publish(event)

    async def reconnect(self, _: UUID) -> None:
        self.reopened.append(anyio.current_time() - self._begun)
        if len(self.reopened) <= self._in_vain:
            self._one.guest.give_up(OSError(24, "Too many open files"))
            return
        self._one.peer = Peer()
        self._one.ears.publish = self._publish  # type: ignore[method-assign]
        await self._one.begin()


async def test_memory_that_is_short_for_one_guest_costs_it_its_session_for_a_moment(
    caplog: pytest.LogCaptureFixture, blocking_calls: BlockingCalls
) -> None:
    async with scene() as one:
        await one.begin()
        trouble = Trouble(one, MemoryError(), in_vain=2)
        one.peer.event("STOP")
        await anyio.sleep(60)
        assert one.ears.told[0] is MonitorHealth.DEGRADED
        assert trouble.reopened == pytest.approx([1.25, 1.5, 2.0], abs=0.01), "a second for last words, and then later each time"
        one.peer.event("RESUME")
        await anyio.wait_all_tasks_blocked()
        assert one.ears.names[-1] == "RESUMED"
        assert "Traceback" in caplog.text
        blocking_calls.take()


async def test_a_mistake_of_ours_costs_one_guest_its_session_and_its_end_is_still_seen(
    caplog: pytest.LogCaptureFixture, blocking_calls: BlockingCalls
) -> None:
    async with scene() as one:
        await one.begin()
        trouble = Trouble(one, ValueError("a mistake"))
        one.peer.event("STOP")
        await anyio.sleep(60)
        assert (one.ears.told, trouble.reopened, one.guest.is_unreached) == ([MonitorHealth.DEGRADED], [], True)
        assert "a mistake" in caplog.text
        one.process.end.set()
        await one.guest.exited.wait()
        await anyio.wait_all_tasks_blocked()
        assert one.ears.told[-1] is Fact.EXITED
        blocking_calls.take()


async def test_a_question_that_goes_wrong_ends_the_session_and_nothing_else(
    caplog: pytest.LogCaptureFixture, blocking_calls: BlockingCalls
) -> None:
    async with scene() as one:
        await one.begin()
        Trouble(one, ValueError("unused"))

        def fail(*_: object) -> None:
            raise ValueError("a mistake")

        one.ears.machine = fail  # type: ignore[method-assign, assignment]
        one.peer.answers.update(MACHINE)
        answering(one, "running")
        one.guest.look_again()
        await anyio.sleep(60)
        assert one.ears.told[-1] is MonitorHealth.DEGRADED
        assert "a mistake" in caplog.text
        blocking_calls.take()
