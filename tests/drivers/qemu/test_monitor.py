"""The monitor's session against a scripted peer, in virtual time."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
import anyio.lowlevel
import msgspec
import pytest
from anyio.abc import TaskGroup
from qemu.qmp.qmp_client import BadReplyError, ExecInterruptedError, ExecuteError

from aiovirt.drivers.qemu.monitor import Late, Listener, Monitor, Priority
from aiovirt.errors import (
    CommandFailed,
    ConnectionLost,
    InvalidArgument,
    OrderTimeout,
    ProtocolError,
    ReplyTooLong,
    SystemFailure,
    Unsupported,
)
from aiovirt.system.bytestream import UnixStream
from aiovirt.system.deadlines import Deadline, Deadlines
from aiovirt.testing.qmp_peer import Command, QMPPeer
from aiovirt.wire.qmp import QMPEvent
from aiovirt.wire.qmp.messages import LINE_LIMIT

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]


LIMIT = 1_000_000


class Session:
    """A monitor, its peer, and what it told."""

    def __init__(self, *, obliging: bool = True) -> None:
        self.peer = QMPPeer(obliging=obliging)
        self.events: list[QMPEvent] = []
        self.heard: list[bool] = []
        self.why = ""
        self.late: list[Late] = []
        self.overlooked: list[tuple[str | None, int]] = []
        self.deadlines = Deadlines()
        self.monitor = Monitor(self.peer, _MonitorListener(self), self.deadlines, limit=LIMIT)
        self.outcomes: dict[str, object] = {}
        self.timeouts: dict[str, tuple[bool, float]] = {}

    async def run(self) -> None:
        self.why = await self.monitor.run()

    async def ask(self, command: str, priority: Priority = Priority.PLAIN, timeout: float = 60, descriptor: int | None = None) -> None:
        """What comes of it is noted, with the moment; nothing if cancelled."""
        try:
            answer = await self.monitor.execute(command, returns=str, by=Deadline.after(timeout), priority=priority, descriptor=descriptor)
        except OrderTimeout as error:
            self.timeouts[command] = error.sent, anyio.current_time()
        except ConnectionLost:
            self.outcomes[command] = ConnectionLost
        else:
            self.outcomes[command] = answer

    @property
    def received(self) -> list[str]:
        """What the peer was sent, after the negotiation."""
        return [command.execute or command.exec_oob for command in self.peer.received[1:]]

    async def begin(self, tasks: TaskGroup, *commands: str, priority: Priority = Priority.PLAIN, timeout: float = 60) -> None:
        """Asks for ``commands`` one after the other, and waits for none."""
        for command in commands:
            tasks.start_soon(self.ask, command, priority, timeout)
            await anyio.wait_all_tasks_blocked()


class _MonitorListener(Listener):
    """Notes what it is told."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def event(self, event: QMPEvent) -> None:
        self._session.events.append(event)

    def responsive(self, again: bool) -> None:  # noqa: FBT001 - a plain answer
        self._session.heard.append(again)

    def late(self, answer: Late) -> None:
        self._session.late.append(answer)

    def oversized(self, event: str | None, size: int) -> None:
        self._session.overlooked.append((event, size))


@asynccontextmanager
async def session(*, obliging: bool = True) -> AsyncIterator[Session]:
    one = Session(obliging=obliging)
    # what would wait for ever fails after a day, which is over at once
    with anyio.fail_after(24 * 3600):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one.deadlines.run)
            tasks.start_soon(one.run)
            if obliging:
                await one.monitor.ready(Deadline.after(1))
            yield one
            tasks.cancel_scope.cancel()


async def test_commands_are_answered_in_any_order() -> None:
    async with session() as one, anyio.create_task_group() as tasks:
        answers: dict[str, object] = {}

        async def ask(command: str) -> None:
            answers[command] = await one.monitor.execute(command, returns=str, by=Deadline.after(5))

        for name in ("a", "b", "c"):
            tasks.start_soon(ask, name)
        commands = [await one.peer.next_command() for _ in range(3)]
        for command in reversed(commands):
            one.peer.reply(command, command.execute.upper())
        await anyio.wait_all_tasks_blocked()
        assert answers == {"a": "A", "b": "B", "c": "C"}


async def test_a_refusal_is_ours_and_qemu_qmps() -> None:
    async with session() as one, anyio.create_task_group() as tasks:

        async def refuse() -> None:
            one.peer.fail(await one.peer.next_command(), "no such thing", "DeviceNotFound")

        tasks.start_soon(refuse)
        with pytest.raises(CommandFailed) as failed:
            await one.monitor.execute("device_del", {"id": "x"}, returns=object, by=Deadline.after(5))
        assert isinstance(failed.value, ExecuteError)
        assert failed.value.error_class == "DeviceNotFound"
        assert failed.value.description == "no such thing"
        assert failed.value.error.error.desc == "no such thing"


async def test_a_silent_peer_costs_the_deadline_and_is_told_once() -> None:
    async with session() as one:
        for _ in range(2):
            before = anyio.current_time()
            with pytest.raises(OrderTimeout) as late:
                await one.monitor.execute("query-status", returns=object, by=Deadline.after(7))
            assert anyio.current_time() - before == pytest.approx(7)
            assert late.value.sent
        assert one.heard == [False]
        one.peer.event("RTC_CHANGE")
        await anyio.wait_all_tasks_blocked()
        assert one.heard == [False, True]


async def test_a_deadline_that_is_cancelled_ends_the_wait_at_once_and_means_no_silence() -> None:
    async with session() as one, anyio.create_task_group() as tasks:
        by, before = Deadline.after(60), anyio.current_time()
        seen: list[bool] = []

        async def ask(command: str) -> None:
            with pytest.raises(OrderTimeout) as late:
                await one.monitor.execute(command, returns=object, by=by)
            seen.append(late.value.sent)

        for number in range(9):
            tasks.start_soon(ask, f"query-{number}")
        await anyio.wait_all_tasks_blocked()
        by.cancel()
        await anyio.wait_all_tasks_blocked()
        assert sorted(seen) == [False] * 2 + [True] * 7
        with pytest.raises(OrderTimeout) as never:
            await one.monitor.execute("query-status", returns=object, by=by)
        assert not never.value.sent
        assert anyio.current_time() < before + 1
        assert one.heard == []


async def test_a_late_answer_disturbs_nobody() -> None:
    async with session() as one, anyio.create_task_group() as tasks:
        with pytest.raises(OrderTimeout):
            await one.monitor.execute("slow", returns=object, by=Deadline.after(1))
        slow = await one.peer.next_command()

        async def answer() -> None:
            command = await one.peer.next_command()
            one.peer.reply(slow, "too late")
            one.peer.reply(command, "in time")

        tasks.start_soon(answer)
        assert await one.monitor.execute("quick", returns=str, by=Deadline.after(1)) == "in time"


async def test_a_peer_that_talks_is_not_silent() -> None:
    async with session() as one, anyio.create_task_group() as tasks:

        async def chatter() -> None:
            await one.peer.next_command()
            one.peer.event("RTC_CHANGE")

        tasks.start_soon(chatter)
        with pytest.raises(OrderTimeout):
            await one.monitor.execute("slow", returns=object, by=Deadline.after(3))
        assert one.heard == []


async def test_a_cancelled_command_leaves_the_session_usable() -> None:
    async with session() as one:
        one.peer.answers["query-name"] = "web"
        with anyio.move_on_after(1):
            await one.monitor.execute("slow", returns=object, by=Deadline.after(60))
        assert await one.monitor.execute("query-name", returns=str, by=Deadline.after(1)) == "web"


async def test_when_the_peer_hangs_up_every_waiter_is_told() -> None:
    async with session() as one:
        lost: list[str] = []

        async def ask() -> None:
            with pytest.raises(ConnectionLost) as gone:
                await one.monitor.execute("slow", returns=object, by=Deadline.after(60))
            lost.append(str(gone.value))

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            one.peer.close()
        assert len(lost) == 3
        assert one.why == "QEMU closed its monitor"
        with pytest.raises(ConnectionLost, match="closed its monitor"):
            await one.monitor.execute("query-status", returns=object, by=Deadline.after(1))


@pytest.mark.parametrize(
    "garbage",
    [b"\xff\xfe\r\n", b"{}\r\n", b'{"return": {}\r\n', b'{"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 0}}}}\r\n'],
)
async def test_garbage_ends_the_session_with_its_reason(garbage: bytes) -> None:
    async with session() as one:
        one.peer.send_bytes(garbage)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(ConnectionLost):
            await one.monitor.execute("query-status", returns=object, by=Deadline.after(1))
        assert one.why


async def test_events_are_handed_on_in_order() -> None:
    async with session() as one:
        for name in ("STOP", "RESUME", "STOP"):
            one.peer.event(name, seconds=3, microseconds=4)
        await anyio.wait_all_tasks_blocked()
        assert [event.name for event in one.events] == ["STOP", "RESUME", "STOP"]
        assert {event.time for event in one.events} == {3_000_004_000}


async def test_events_may_come_before_the_greeting() -> None:
    async with session(obliging=False) as one:
        one.peer.event("RESUME")
        one.peer.greet()
        one.peer.reply(await one.peer.next_command())
        await one.monitor.ready(Deadline.after(1))
        assert [event.name for event in one.events] == ["RESUME"]


async def test_a_peer_that_never_greets() -> None:
    async with session(obliging=False) as one:
        with pytest.raises(OrderTimeout, match="another client"):
            await one.monitor.ready(Deadline.after(5))


async def test_an_answer_of_another_type() -> None:
    async with session() as one:
        one.peer.answers["query-status"] = ["what"]
        with pytest.raises(ProtocolError):
            await one.monitor.execute("query-status", returns=dict[str, str], by=Deadline.after(1))


async def test_an_answer_of_another_type_is_qemu_qmps_too() -> None:
    async with session() as one:
        one.peer.answers["query-status"] = 3
        with pytest.raises(BadReplyError) as odd:
            await one.monitor.execute("query-status", returns=str, by=Deadline.after(1))
        assert isinstance(odd.value, ProtocolError)
        assert odd.value.sent["execute"] == "query-status"
        assert str(odd.value) == odd.value.error_message != ""
        one.peer.answers["query-status"] = "running"
        assert await one.monitor.execute("query-status", returns=str, by=Deadline.after(1)) == "running"


async def test_an_end_is_qemu_qmps_too() -> None:
    async with session() as one:
        one.peer.close()
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(ExecInterruptedError) as lost:
            await one.monitor.execute("query-status", returns=str, by=Deadline.after(1))
        assert isinstance(lost.value, ConnectionLost)
        assert one.received == []


async def test_an_end_before_the_greeting_is_told_at_once() -> None:
    async with session(obliging=False) as one:
        one.peer.close()
        with pytest.raises(ConnectionLost, match="closed its monitor"):
            await one.monitor.ready(Deadline.after(5))
        assert anyio.current_time() < 1


async def test_a_refused_negotiation_ends_it() -> None:
    async with session(obliging=False) as one:
        one.peer.greet()
        one.peer.fail(await one.peer.next_command(), "no")
        with pytest.raises(ConnectionLost, match="negotiating"):
            await one.monitor.ready(Deadline.after(5))


# -- the window --------------------------------------------------------------------------------

SEVEN = tuple(f"c{number}" for number in range(7))


async def test_seven_go_and_the_urgent_overtake_the_rest() -> None:
    async with session() as one, anyio.create_task_group() as tasks:
        await one.begin(tasks, *SEVEN, "plain-1", "plain-2")
        await one.begin(tasks, "urgent-1", "urgent-2", priority=Priority.URGENT)
        assert one.received == [*SEVEN]
        for answered, next_one in zip(range(4), ("urgent-1", "urgent-2", "plain-1", "plain-2"), strict=True):
            one.peer.reply(await one.peer.next_command(), "done")
            await anyio.wait_all_tasks_blocked()
            assert one.outcomes == dict.fromkeys(SEVEN[: answered + 1], "done")
            assert one.received[-1] == next_one
        one.peer.close()


async def test_out_of_band_commands_need_no_room() -> None:
    async with session() as one, anyio.create_task_group() as tasks:
        await one.begin(tasks, *SEVEN, "eighth")
        await one.begin(tasks, "migrate-pause", "migrate-recover", priority=Priority.OUT_OF_BAND)
        assert one.received == [*SEVEN, "migrate-pause", "migrate-recover"]
        assert [command.exec_oob for command in one.peer.received[-2:]] == ["migrate-pause", "migrate-recover"]
        one.peer.reply(one.peer.received[-2], "paused")
        await anyio.wait_all_tasks_blocked()
        assert one.outcomes == {"migrate-pause": "paused"}
        assert one.received[-1] == "migrate-recover"
        one.peer.close()


async def test_where_nothing_is_out_of_band() -> None:
    async with session(obliging=False) as one:
        one.peer.greet(capabilities=())
        agreed = await one.peer.next_command()
        assert agreed.arguments == {}
        one.peer.reply(agreed)
        await one.monitor.ready(Deadline.after(1))
        with pytest.raises(Unsupported):
            await one.monitor.execute("migrate-pause", returns=str, by=Deadline.after(1), priority=Priority.OUT_OF_BAND)
        assert one.received == []


async def test_descriptors_go_one_at_a_time_each_with_its_command(tmp_path: Path) -> None:
    files = [tmp_path / name for name in "ab"]
    for file in files:
        file.touch()
    first, second = (os.open(file, os.O_RDONLY) for file in files)
    try:
        async with session() as one, anyio.create_task_group() as tasks:
            tasks.start_soon(one.ask, "getfd", Priority.PLAIN, 60, first)
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(one.ask, "add-fd", Priority.PLAIN, 60, second)
            await anyio.wait_all_tasks_blocked()
            assert [there.st_ino for there in one.peer.descriptors] == [files[0].stat().st_ino]
            one.peer.reply(await one.peer.next_command(), "kept")
            await anyio.wait_all_tasks_blocked()
            assert one.received == ["getfd", "add-fd"]
            assert [there.st_ino for there in one.peer.descriptors] == [file.stat().st_ino for file in files]
            one.peer.close()
    finally:
        os.close(first)
        os.close(second)


async def test_a_command_that_is_too_large_is_not_sent() -> None:
    async with session() as one:
        with pytest.raises(InvalidArgument, match="human-monitor-command"):
            await one.monitor.execute("human-monitor-command", {"command-line": "x" * LINE_LIMIT}, returns=str, by=Deadline.after(1))
        one.peer.answers["human-monitor-command"] = "done"
        fits = {"command-line": "x" * (LINE_LIMIT - 1000)}
        assert await one.monitor.execute("human-monitor-command", fits, returns=str, by=Deadline.after(1)) == "done"
        assert len(one.received) == 1


# -- given up ----------------------------------------------------------------------------------


async def test_what_was_not_sent_in_time_never_runs() -> None:
    async with session() as one, anyio.create_task_group() as tasks:
        await one.begin(tasks, *SEVEN)
        await one.begin(tasks, "eighth", priority=Priority.URGENT, timeout=5)
        await anyio.sleep(10)
        sent, when = one.timeouts["eighth"]
        assert not sent
        assert when == pytest.approx(5, abs=2)
        assert one.monitor.is_settled
        for command in list(one.peer.received[1:]):
            one.peer.reply(command, "done")
        await anyio.wait_all_tasks_blocked()
        assert one.received == [*SEVEN]
        assert one.late == []


async def test_what_was_cancelled_before_it_was_sent_never_runs() -> None:
    async with session() as one, anyio.create_task_group() as tasks:
        await one.begin(tasks, *SEVEN)
        with anyio.move_on_after(1):
            await one.monitor.execute("eighth", returns=str, by=Deadline.after(60))
        for command in list(one.peer.received[1:]):
            one.peer.reply(command, "done")
        await anyio.wait_all_tasks_blocked()
        assert one.received == [*SEVEN]
        assert one.late == []


async def test_what_stood_behind_a_cancelled_one_goes_at_once() -> None:
    async with session() as one, anyio.create_task_group() as tasks:
        with socket.socket() as any_descriptor:
            tasks.start_soon(one.ask, "getfd", Priority.PLAIN, 60, any_descriptor.fileno())
            await anyio.wait_all_tasks_blocked()
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as blocked:
                    blocked.start_soon(one.ask, "add-fd", Priority.PLAIN, 60, any_descriptor.fileno())
                    await anyio.wait_all_tasks_blocked()
                    await one.begin(tasks, "query-status")
                    assert one.received == ["getfd"]
                    scope.cancel()
            await anyio.wait_all_tasks_blocked()
            assert one.received == ["getfd", "query-status"]
            one.peer.close()


async def test_a_command_that_is_given_up_keeps_its_place_until_it_is_answered() -> None:
    async with session() as one, anyio.create_task_group() as tasks:
        await one.begin(tasks, *SEVEN, timeout=5)
        await anyio.sleep(10)
        assert [sent for sent, _ in one.timeouts.values()] == [True] * 7
        await one.begin(tasks, "eighth")
        assert one.received == [*SEVEN]
        one.peer.reply(await one.peer.next_command(), "late")
        await anyio.wait_all_tasks_blocked()
        assert one.received == [*SEVEN, "eighth"]
        one.peer.close()


async def test_a_late_answer_is_told_once() -> None:
    async with session() as one, anyio.create_task_group() as tasks:
        await one.begin(tasks, "stop", "query-status", "cont", "system_reset", timeout=5)
        with anyio.move_on_after(1):
            await one.monitor.execute("system_powerdown", returns=str, by=Deadline.after(60))
        settled = [one.monitor.is_settled]
        await anyio.sleep(10)
        stop, status, cont, reset, powerdown = one.peer.received[1:]
        one.peer.reply(powerdown, "done")
        one.peer.reply(stop, "done")
        one.peer.reply(stop, "done")
        one.peer.fail(cont, "no")
        one.peer.send({"return": "x" * LIMIT, "id": status.id})
        await anyio.wait_all_tasks_blocked()
        assert one.late == [
            Late(command="system_powerdown", changes=True, done=True),
            Late(command="stop", changes=True, done=True),
            Late(command="cont", changes=True, done=False),
            Late(command="query-status", changes=False, done=True),
        ]
        settled.append(one.monitor.is_settled)
        one.peer.reply(reset)
        await anyio.wait_all_tasks_blocked()
        assert [*settled, one.monitor.is_settled] == [False, False, True]
        assert len(one.late) == 5


async def test_an_answer_at_the_last_moment_is_either_in_time_or_late() -> None:
    """It comes after the deadline has passed, and before its caller runs again."""
    async with session() as one, anyio.create_task_group() as tasks:
        await one.begin(tasks, "stop", timeout=5)
        (stop,) = one.peer.received[1:]
        line = f'{{"return": "done", "id": {stop.id}}}\r\n'.encode()
        when = next(iter(one.monitor._window.open())).by.at
        one.deadlines.at(when, lambda: one.monitor._data_received(line))
        await anyio.sleep(10)
        told = one.late == [Late(command="stop", changes=True, done=True)]
        assert one.outcomes == ({} if told else {"stop": "done"})
        assert one.timeouts == ({"stop": (True, when)} if told else {})


async def test_each_deadline_is_kept_to_the_moment() -> None:
    async with session() as one:
        start = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            for number in range(50):
                tasks.start_soon(one.ask, f"c{number}", Priority.PLAIN, (number * 7) % 50 + 1)
        assert len(one.received) == 7
        assert one.timeouts == {f"c{number}": (f"c{number}" in one.received, start + (number * 7) % 50 + 1) for number in range(50)}


async def test_each_silence_is_told() -> None:
    async with session() as one:
        for times in (1, 2):
            await one.ask("query-status", timeout=3)
            await one.ask("query-status", timeout=3)
            one.peer.event("RTC_CHANGE")
            await anyio.wait_all_tasks_blocked()
            assert one.heard == [False, True] * times


# -- what else comes ---------------------------------------------------------------------------


async def test_a_reply_over_the_limit_costs_its_caller_only() -> None:
    async with session() as one:
        one.peer.answers["query-qmp-schema"] = "x" * LIMIT
        with pytest.raises(ReplyTooLong, match="query-qmp-schema"):
            await one.monitor.execute("query-qmp-schema", returns=str, by=Deadline.after(1))
        one.peer.answers["query-name"] = "web"
        assert await one.monitor.execute("query-name", returns=str, by=Deadline.after(1)) == "web"
        assert one.overlooked == []


async def test_an_event_over_the_limit_is_told_by_its_name() -> None:
    async with session() as one:
        one.peer.event("DUMP_COMPLETED", {"error": "x" * LIMIT})
        one.peer.event("STOP")
        one.peer.send_bytes(b"x" * LIMIT + b"xx\r\n")
        await anyio.wait_all_tasks_blocked()
        assert [name for name, _ in one.overlooked] == ["DUMP_COMPLETED", None]
        assert [size for _, size in one.overlooked if size > LIMIT] == [size for _, size in one.overlooked]
        assert [event.name for event in one.events] == ["STOP"]


async def test_an_answer_that_nobody_asked_for_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with session() as one:
        one.peer.send({"return": {}, "id": 4711})
        one.peer.send({"error": {"class": "GenericError", "desc": "no"}})
        await anyio.wait_all_tasks_blocked()
        one.peer.answers["query-name"] = "web"
        assert await one.monitor.execute("query-name", returns=str, by=Deadline.after(1)) == "web"
        assert [record.levelname for record in caplog.records] == ["WARNING"] * 2
        assert "4711" in caplog.records[0].getMessage()
        assert one.late == []


async def test_a_refusal_without_an_id_is_the_oldest_ones() -> None:
    async with session() as one, anyio.create_task_group() as tasks:
        await one.begin(tasks, "migrate-pause", priority=Priority.OUT_OF_BAND)
        tasks.start_soon(one.begin, tasks, "younger")
        one.peer.send({"error": {"class": "GenericError", "desc": "JSON parse error"}})
        with pytest.raises(CommandFailed, match="JSON parse error"):
            await one.monitor.execute("device_add", returns=str, by=Deadline.after(5))
        await anyio.wait_all_tasks_blocked()
        assert one.outcomes == {}
        one.peer.close()


async def test_a_return_without_an_id_is_nobodys() -> None:
    """To the oldest it would be the answer to another question."""
    async with session() as one, anyio.create_task_group() as tasks:
        await one.begin(tasks, "query-name")
        one.peer.send({"return": "what"})
        await anyio.wait_all_tasks_blocked()
        assert one.outcomes == {}
        one.peer.reply(await one.peer.next_command(), "web")
        await anyio.wait_all_tasks_blocked()
        assert one.outcomes == {"query-name": "web"}


# -- over a socket -----------------------------------------------------------------------------


@asynccontextmanager
async def over_a_socket() -> AsyncIterator[tuple[Session, Monitor, socket.socket, socket.socket]]:
    """What a session told, itself, its end, and QEMU's, which has greeted."""
    near, far = socket.socketpair()
    with far:
        one = Session()
        async with UnixStream(near) as stream, anyio.create_task_group() as tasks:
            monitor = Monitor(stream, _MonitorListener(one), one.deadlines)
            tasks.start_soon(one.deadlines.run)
            tasks.start_soon(monitor.run)
            far.sendall(b'{"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 22}}}}\r\n{"return": {}, "id": 1}\r\n')
            await monitor.ready(Deadline.after(1))
            far.recv(1000)
            yield one, monitor, near, far
            tasks.cancel_scope.cancel()


async def test_last_words_are_heard_though_a_write_failed() -> None:
    """QEMU says why it goes, and goes; who asks just then must not cost us its words."""
    async with over_a_socket() as (one, monitor, _, far):
        far.sendall(b'{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "SHUTDOWN", "data": {"guest": true}}\r\n')
        far.close()
        with pytest.raises(ConnectionLost):
            await monitor.execute("query-status", returns=str, by=Deadline.after(5))
        await anyio.sleep(0.1)
        assert [event.name for event in one.events] == ["SHUTDOWN"]


async def test_a_descriptor_that_cannot_be_sent_costs_its_caller_only() -> None:
    async with over_a_socket() as (_, monitor, _, far), anyio.create_task_group() as tasks:
        with pytest.raises(SystemFailure, match="getfd"):
            await monitor.execute("getfd", returns=str, by=Deadline.after(5), descriptor=9999)

        async def answer() -> None:
            await anyio.sleep(0.1)
            asked = msgspec.json.decode(far.recv(1000), type=Command)
            far.sendall(msgspec.json.encode({"return": asked.execute, "id": asked.id}) + b"\r\n")

        tasks.start_soon(answer)
        assert await monitor.execute("add-fd", returns=str, by=Deadline.after(5), descriptor=far.fileno()) == "add-fd"
        assert monitor.is_settled


async def test_several_may_wait_for_a_full_socket() -> None:
    async with over_a_socket() as (_, monitor, near, far), anyio.create_task_group() as tasks:
        with pytest.raises(BlockingIOError):
            while True:
                near.send(b" " * 1024)
        answers: list[str] = []

        async def ask(command: str) -> None:
            answers.append(await monitor.execute(command, returns=str, by=Deadline.after(3600)))

        for command in ("first", "second"):
            tasks.start_soon(ask, command)
            await anyio.sleep(0.1)
        far.setblocking(False)
        came = b""
        for _ in range(100):
            with suppress(BlockingIOError):
                came += far.recv(1_000_000).lstrip()
            await anyio.sleep(0.1)
        for line in came.splitlines():
            asked = msgspec.json.decode(line, type=Command)
            far.sendall(msgspec.json.encode({"return": asked.execute, "id": asked.id}) + b"\r\n")
        await anyio.sleep(0.1)
        assert sorted(answers) == ["first", "second"]
