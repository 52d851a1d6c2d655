"""The monitor's session with a real QEMU, over a real socket, in real time."""

from __future__ import annotations

import math
import os
import re
import select
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from uuid import uuid4

import anyio
import anyio.lowlevel
import msgspec
import pytest
from anyio import to_thread
from qemu.qmp.qmp_client import ExecInterruptedError, ExecuteError

from aiovirt.drivers.qemu import commands
from aiovirt.drivers.qemu.monitor import Late, Listener, Monitor, Priority
from aiovirt.drivers.qemu.window import WINDOW
from aiovirt.errors import CommandFailed, ConnectionLost, Error, InvalidArgument, OrderTimeout, ProtocolError, ReplyTooLong
from aiovirt.system.bytestream import UnixStream, connect_unix
from aiovirt.system.deadlines import Deadline, Deadlines
from aiovirt.system.sockets import listen_unix
from aiovirt.wire.qmp import QMPEvent
from aiovirt.wire.qmp.messages import LINE_LIMIT
from aiovirt.wire.qmp.protocol import DEFAULT_LIMIT
from tests.real.conftest import EMULATOR, PATIENCE

pytestmark = pytest.mark.anyio

SOON = 0.3
"""A deadline that is to pass."""

NOTHING = ("-machine", "none")
PC = ("-machine", "pc", "-m", "16M")
SCHEMA = "query-qmp-schema"  # its answer is long (over 150 kB), and takes QEMU milliseconds


class Nothing(msgspec.Struct):
    """An answer that says nothing."""


class Qemu:
    """A QEMU that listens at ``path``, and is sent signals."""

    def __init__(self, process: subprocess.Popen[bytes], path: str) -> None:
        self.process = process
        self.path = path

    def stop(self) -> None:
        """When this returns it does nothing more."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """When this returns it is gone."""
        self.process.kill()
        self.process.wait(PATIENCE)


@asynccontextmanager
async def qemu(*arguments: str) -> AsyncIterator[Qemu]:
    """A QEMU whose vCPUs, if any, are not let go.

    It waits for its first client: to one that comes while it sets up its monitor, it may greet twice, or greet and
    never answer (seen once in some 400 to 2,500 starts of QEMU 10.0 and 7.2, on plain sockets).
    """
    with tempfile.TemporaryDirectory(prefix="aiovirt-") as folder:
        path = str(Path(folder, "qmp"))
        with await to_thread.run_sync(listen_unix, path) as listening:
            command = [
                *(
                    EMULATOR or "qemu-system-x86_64",
                    *arguments,
                    "-accel",
                    "tcg",
                    "-nodefaults",
                    "-no-user-config",
                    "-display",
                    "none",
                    "-S",
                ),
                *("-chardev", f"socket,id=qmp,fd={listening.fileno()},server=on,wait=on", "-mon", "chardev=qmp,mode=control"),
            ]
            process = subprocess.Popen(command, pass_fds=(listening.fileno(),), stdin=subprocess.DEVNULL)
        try:
            yield Qemu(process, path)
        finally:
            process.kill()
            process.wait()


class Session(Listener):
    """A monitor, and what it told."""

    def __init__(self, stream: UnixStream, deadlines: Deadlines, limit: int) -> None:
        self.stream = stream
        self.events: list[QMPEvent] = []
        self.silences: list[bool] = []
        self.lates: list[Late] = []
        self.why = ""
        self.ended = anyio.Event()
        self.monitor = Monitor(stream, self, deadlines, limit=limit)
        self.tasks = anyio.create_task_group()
        self._news = anyio.Event()

    async def run(self) -> None:
        self.why = await self.monitor.run()
        self.ended.set()

    def event(self, event: QMPEvent) -> None:
        self.events.append(event)
        self._tell()

    def responsive(self, again: bool) -> None:  # noqa: FBT001 - a plain answer
        self.silences.append(again)
        self._tell()

    def late(self, answer: Late) -> None:
        self.lates.append(answer)
        self._tell()

    def _tell(self) -> None:
        news, self._news = self._news, anyio.Event()
        news.set()

    async def until(self, is_so: Callable[[], bool]) -> None:
        with anyio.fail_after(PATIENCE):
            while not is_so():
                await self._news.wait()

    async def wait_ended(self) -> None:
        with anyio.fail_after(PATIENCE):
            await self.ended.wait()

    async def ask(
        self, command: str, arguments: object = None, *, timeout: float = PATIENCE, priority: Priority = Priority.PLAIN
    ) -> object:
        return await self.monitor.execute(command, arguments, returns=object, by=Deadline.after(timeout), priority=priority)

    async def is_well(self) -> bool:
        """Whether it is answered, and rightly."""
        word = uuid4().hex
        return await self.ask("human-monitor-command", {"command-line": f"info {word}"}) == f"unknown command: 'info {word}'\r\n"


@asynccontextmanager
async def session(path: str, *, ready: bool = True, limit: int = DEFAULT_LIMIT) -> AsyncIterator[Session]:
    """A session, negotiated or just begun."""
    deadlines = Deadlines()
    async with await connect_unix(path) as stream:
        one = Session(stream, deadlines, limit)
        async with one.tasks:
            one.tasks.start_soon(deadlines.run)
            one.tasks.start_soon(one.run)
            if ready:
                await one.monitor.ready(Deadline.after(PATIENCE))
            yield one
            one.tasks.cancel_scope.cancel()


@pytest.fixture
async def machineless() -> AsyncIterator[Qemu]:
    async with qemu(*NOTHING) as one:
        yield one


@pytest.fixture
async def one(machineless: Qemu) -> AsyncIterator[Session]:
    async with session(machineless.path) as begun:
        yield begun


class Outcomes:
    """What becomes of many commands, in the order in which it becomes known."""

    def __init__(self) -> None:
        self.answers: dict[str, object] = {}
        self.errors: dict[str, Error] = {}

    async def note(self, name: str, asked: Callable[[], Awaitable[object]]) -> None:
        try:
            self.answers[name] = await asked()
        except Error as error:
            self.errors[name] = error

    @property
    def order(self) -> list[str]:
        return list(self.answers)


# -- each command ------------------------------------------------------------------------------


async def test_every_command_of_ours_means_what_it_says() -> None:
    uuid = str(uuid4())
    async with qemu(*PC, "-uuid", uuid) as pc, session(pc.path) as one:
        monitor = one.monitor
        assert await commands.query_uuid(monitor, by=Deadline.after(PATIENCE)) == commands.UuidInfo(UUID=uuid)
        version = (await commands.query_version(monitor, by=Deadline.after(PATIENCE))).qemu
        assert monitor.greeting is not None
        assert (version.major, version.minor, version.micro) == monitor.greeting.version
        assert version.major >= 7

        status = await commands.query_status(monitor, by=Deadline.after(PATIENCE))
        assert (status.status, status.running) == ("prelaunch", False)
        await commands.cont(monitor, by=Deadline.after(PATIENCE))
        status = await commands.query_status(monitor, by=Deadline.after(PATIENCE))
        assert (status.status, status.running) == ("running", True)
        await commands.stop(monitor, by=Deadline.after(PATIENCE))
        status = await commands.query_status(monitor, by=Deadline.after(PATIENCE))
        assert (status.status, status.running) == ("paused", False)
        await commands.system_reset(monitor, by=Deadline.after(PATIENCE))
        await commands.cont(monitor, by=Deadline.after(PATIENCE))
        await commands.system_powerdown(monitor, by=Deadline.after(PATIENCE))
        await one.until(lambda: {"RESET", "POWERDOWN"} <= {event.name for event in one.events})
        said = [event.name for event in one.events if event.name != "RESET"]
        assert said == ["RESUME", "STOP", "RESUME", "POWERDOWN"]
        assert all(event.time is not None for event in one.events)


async def test_orders_and_questions_that_cannot_be_carried_out_are_refused(one: Session) -> None:
    for command, arguments in {"no-such-command": None, "query-status": {"no": "argument"}, "device_del": {}}.items():
        with pytest.raises(CommandFailed) as refused:
            await one.ask(command, arguments)
        assert isinstance(refused.value, ExecuteError)
        assert refused.value.command == command
        assert refused.value.description
        assert refused.value.error.error.desc == refused.value.description
    with pytest.raises(CommandFailed) as unknown:
        await one.ask("no-such-command")
    assert unknown.value.error_class == "CommandNotFound"
    assert await one.is_well()


async def test_an_answer_of_another_type_costs_that_command_only(one: Session) -> None:
    with pytest.raises(ProtocolError):
        await one.monitor.execute("query-status", returns=list[int], by=Deadline.after(PATIENCE))
    assert await one.is_well()


# -- many at once ------------------------------------------------------------------------------


async def test_five_hundred_at_once_are_each_answered_rightly(one: Session) -> None:
    outcomes = Outcomes()
    most = 0

    async def ask(number: int) -> object:
        nonlocal most
        answer = await one.ask("human-monitor-command", {"command-line": f"print /d {number}"})
        most = max(most, len(one.monitor._window.sent))
        return answer

    async with anyio.create_task_group() as tasks:
        for number in range(500):
            tasks.start_soon(outcomes.note, str(number), partial(ask, number))
    assert outcomes.errors == {}
    assert outcomes.answers == {str(number): f"{number}\r\n" for number in range(500)}
    assert 1 < most <= WINDOW


async def test_an_urgent_one_overtakes_those_that_wait(machineless: Qemu, one: Session) -> None:
    outcomes = Outcomes()
    machineless.stop()
    async with anyio.create_task_group() as tasks:
        for number in range(50):
            tasks.start_soon(outcomes.note, str(number), partial(one.ask, "query-status"))
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(outcomes.note, "urgent", partial(one.ask, "query-name", priority=Priority.URGENT))
        await anyio.wait_all_tasks_blocked()
        machineless.go_on()
    assert len(outcomes.order) == 51
    assert outcomes.order.index("urgent") <= 2 * WINDOW  # trio shuffles who comes first in a turn


async def test_out_of_band_is_answered_while_seven_are_in_flight(machineless: Qemu, one: Session) -> None:
    outcomes = Outcomes()
    machineless.stop()
    async with anyio.create_task_group() as tasks:
        for number in range(WINDOW):
            tasks.start_soon(outcomes.note, str(number), partial(one.ask, SCHEMA))
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(outcomes.note, "yank", partial(one.ask, "query-yank", priority=Priority.OUT_OF_BAND))
        await anyio.wait_all_tasks_blocked()
        machineless.go_on()
    assert outcomes.errors == {}
    assert len(outcomes.order) == WINDOW + 1
    assert outcomes.order[-1] != "yank"
    assert isinstance(outcomes.answers["yank"], list)


async def test_what_cannot_be_out_of_band_is_refused(one: Session) -> None:
    with pytest.raises(CommandFailed, match="OOB"):
        await one.ask("query-status", priority=Priority.OUT_OF_BAND)
    assert await one.is_well()


async def test_a_cancelled_one_is_told_when_it_is_answered_and_the_session_goes_on(machineless: Qemu, one: Session) -> None:
    machineless.stop()
    with anyio.move_on_after(0.05):
        await one.ask("cont")
    assert not is_settled(one)
    machineless.go_on()
    await one.until(lambda: bool(one.lates))
    assert one.lates == [Late("cont", changes=True, done=True)]
    assert is_settled(one)
    assert await one.is_well()


# -- descriptors -------------------------------------------------------------------------------


@pytest.fixture
def descriptor() -> Iterator[int]:
    number = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    yield number
    os.close(number)


async def test_twenty_descriptors_among_two_hundred_commands(machineless: Qemu, one: Session, descriptor: int) -> None:
    """Sent at once, each would be replaced by the next, as QEMU is slow with what stands before them."""
    outcomes = Outcomes()

    async def give(name: str) -> object:
        return await one.monitor.execute("getfd", {"fdname": name}, returns=Nothing, by=Deadline.after(PATIENCE), descriptor=descriptor)

    machineless.stop()
    async with anyio.create_task_group() as tasks:
        for number in range(200):
            ask = partial(one.ask, "human-monitor-command", {"command-line": f"print /d {number}"})
            tasks.start_soon(outcomes.note, f"print {number}", ask)
            if number % 40 == 0:
                tasks.start_soon(outcomes.note, f"schema {number}", partial(one.ask, SCHEMA))
                for extra in range(4):
                    tasks.start_soon(outcomes.note, f"fd{number + extra}", partial(give, f"fd{number + extra}"))
        await anyio.wait_all_tasks_blocked()
        machineless.go_on()
    given = [name for name in outcomes.answers if name.startswith("fd")]
    assert len(given) == 20
    assert outcomes.errors == {}
    assert len(outcomes.answers) == 225
    for name in given:
        assert await one.ask("closefd", {"fdname": name}) == {}
    with pytest.raises(CommandFailed, match="not found"):
        await one.ask("closefd", {"fdname": given[0]})


async def test_a_descriptor_that_came_is_the_one_that_was_given(machineless: Qemu, one: Session) -> None:
    inner, outer = os.pipe2(os.O_CLOEXEC)
    target = Path(f"/proc/self/fd/{outer}").readlink()
    await one.monitor.execute("getfd", {"fdname": "pipe"}, returns=Nothing, by=Deadline.after(PATIENCE), descriptor=outer)
    assert target in {link.readlink() for link in Path(f"/proc/{machineless.process.pid}/fd").iterdir()}
    os.close(outer)
    assert select.select([inner], [], [], 0)[0] == []  # QEMU holds it open
    await one.ask("closefd", {"fdname": "pipe"})
    assert os.read(inner, 1) == b""
    os.close(inner)


async def test_a_descriptor_that_is_none_costs_that_command_only(one: Session, descriptor: int) -> None:
    closed = os.dup(descriptor)
    os.close(closed)
    with pytest.raises(Error):
        await one.monitor.execute("getfd", {"fdname": "closed"}, returns=Nothing, by=Deadline.after(PATIENCE), descriptor=closed)
    assert not one.ended.is_set()
    assert await one.is_well()
    await one.monitor.execute("getfd", {"fdname": "open"}, returns=Nothing, by=Deadline.after(PATIENCE), descriptor=descriptor)


# -- what is too much --------------------------------------------------------------------------


async def test_a_reply_over_the_limit_costs_that_command_only(machineless: Qemu) -> None:
    async with session(machineless.path, limit=50_000) as one:
        outcomes = Outcomes()
        async with anyio.create_task_group() as tasks:
            for number in range(5):
                tasks.start_soon(outcomes.note, f"long {number}", partial(one.ask, SCHEMA))
                tasks.start_soon(outcomes.note, f"short {number}", partial(one.ask, "query-status"))
        assert sorted(outcomes.errors) == [f"long {number}" for number in range(5)]
        assert {type(error) for error in outcomes.errors.values()} == {ReplyTooLong}
        assert sorted(outcomes.answers) == [f"short {number}" for number in range(5)]
        assert await one.is_well()
        assert one.silences == []


async def test_a_reply_under_the_limit_is_whole(one: Session) -> None:
    schema = await one.monitor.execute(SCHEMA, returns=list[dict[str, object]], by=Deadline.after(PATIENCE))
    assert {"command", "event", "object", "enum"} <= {entry["meta-type"] for entry in schema}


async def test_arguments_over_the_limit_are_not_sent(one: Session) -> None:
    with pytest.raises(InvalidArgument, match=str(LINE_LIMIT)):
        await one.ask("human-monitor-command", {"command-line": "x" * LINE_LIMIT})
    assert await one.is_well()


async def test_a_long_command_is_sent_in_as_many_parts_as_it_takes(one: Session) -> None:
    """Longer than the socket holds: what is asked next waits for it. QEMU reads it byte by byte."""
    outcomes = Outcomes()
    async with anyio.create_task_group() as tasks:
        for number in range(2):
            line = f"print /d {number}{' ' * 250_000}"
            tasks.start_soon(outcomes.note, str(number), partial(one.ask, "human-monitor-command", {"command-line": line}))
            tasks.start_soon(outcomes.note, f"short {number}", partial(one.ask, "query-name"))
    assert outcomes.errors == {}
    assert {outcomes.answers[str(number)] == f"{number}\r\n" for number in range(2)} == {True}


def is_settled(session: Session) -> bool:
    """As a call: mypy does not see that an await may change an attribute."""
    return session.monitor.is_settled


def deep(levels: int) -> msgspec.Raw:
    return msgspec.Raw(b'{"command-line": ' + b"[" * levels + b"1" + b"]" * levels + b"}")


UNREADABLE = {
    "nearly": deep(1_000),
    "deep": deep(2_000),
    "deeper": deep(20_000),
    "wide": msgspec.Raw(b'{"command-line": [' + b"1," * 1_500_000 + b"1]}"),
    "double": msgspec.Raw(b'{"command-line": "x", "command-line": "x"}'),
    "character": msgspec.Raw('{"command-line": "\ufffe"}'.encode()),
}
"""JSON that QEMU refuses: over its limits (qobject/json-streamer.c) or against its rules; ``nearly`` it can read.

A caller may well say all but ``double``."""


@pytest.mark.parametrize("kind", UNREADABLE)
async def test_what_qemu_cannot_read_costs_that_command_only(machineless: Qemu, one: Session, kind: str) -> None:
    outcomes = Outcomes()
    machineless.stop()  # so that all are on their way before any is answered
    async with anyio.create_task_group() as tasks:
        for name in ("before", "unreadable", "after", "last"):
            arguments = UNREADABLE[kind] if name == "unreadable" else {"command-line": "print /d 1"}
            tasks.start_soon(outcomes.note, name, partial(one.ask, "human-monitor-command", arguments))
            await anyio.wait_all_tasks_blocked()
        machineless.go_on()
    assert outcomes.answers == dict.fromkeys(("before", "after", "last"), "1\r\n")
    assert isinstance(outcomes.errors["unreadable"], CommandFailed | InvalidArgument)
    assert await one.is_well()
    assert not one.ended.is_set()


async def test_what_qemu_cannot_read_out_of_band_costs_that_command_only(machineless: Qemu, one: Session) -> None:
    outcomes = Outcomes()
    machineless.stop()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(outcomes.note, "before", partial(one.ask, "query-name"))
        await anyio.wait_all_tasks_blocked()
        yank = partial(one.ask, "yank", {"instances": "\ufffe"}, priority=Priority.OUT_OF_BAND, timeout=2)
        tasks.start_soon(outcomes.note, "unreadable", yank)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(outcomes.note, "after", partial(one.ask, "query-name"))
        await anyio.wait_all_tasks_blocked()
        machineless.go_on()
    assert outcomes.answers == {"before": {}, "after": {}}
    assert isinstance(outcomes.errors["unreadable"], CommandFailed | InvalidArgument)
    assert await one.is_well()


# -- another client ----------------------------------------------------------------------------


async def test_a_second_client_is_told_and_served_when_the_first_has_left(machineless: Qemu) -> None:
    async with session(machineless.path), session(machineless.path, ready=False) as second:
        with pytest.raises(OrderTimeout, match="held by another client"):
            await second.monitor.ready(Deadline.after(SOON))
        assert second.monitor.greeting is None
    async with session(machineless.path) as first, session(machineless.path, ready=False) as second:
        with pytest.raises(OrderTimeout):
            await second.monitor.ready(Deadline.after(SOON))
        first.stream.close()
        await first.wait_ended()
        first.stream._socket.close()
        await second.monitor.ready(Deadline.after(PATIENCE))
        assert await second.is_well()


# -- killed and stopped, at each step ----------------------------------------------------------


async def connected(one: Qemu) -> Session:
    """QEMU itself does not know yet that somebody is there."""
    one.stop()
    return Session(await connect_unix(one.path), Deadlines(), DEFAULT_LIMIT)


async def greeted(one: Qemu) -> Session:
    """QEMU has said who it is, and nobody has read that yet."""
    stream = await connect_unix(one.path)
    await anyio.wait_readable(stream._socket)
    one.stop()
    return Session(stream, Deadlines(), DEFAULT_LIMIT)


@asynccontextmanager
async def begun(first: Session) -> AsyncIterator[Session]:
    async with first.stream, first.tasks:
        first.tasks.start_soon(first.monitor._deadlines.run)
        first.tasks.start_soon(first.run)
        yield first
        first.tasks.cancel_scope.cancel()


@pytest.mark.parametrize("step", [connected, greeted])
async def test_stopped_before_it_is_ready_it_is_too_late_and_goes_on(machineless: Qemu, step: Callable[[Qemu], Awaitable[Session]]) -> None:
    async with begun(await step(machineless)) as one:
        with pytest.raises(OrderTimeout) as late:
            await one.monitor.ready(Deadline.after(SOON))
        assert late.value.sent
        assert (one.monitor.greeting is not None) is (step is greeted)
        machineless.go_on()
        await one.monitor.ready(Deadline.after(PATIENCE))
        assert await one.is_well()


@pytest.mark.parametrize("step", [connected, greeted])
async def test_killed_before_it_is_ready_it_is_lost(machineless: Qemu, step: Callable[[Qemu], Awaitable[Session]]) -> None:
    async with begun(await step(machineless)) as one:
        machineless.kill()
        with pytest.raises(ConnectionLost) as lost:
            await one.monitor.ready(Deadline.after(PATIENCE))
        assert isinstance(lost.value, ExecInterruptedError)
        await one.wait_ended()
        assert one.why


async def test_killed_while_somebody_waits_for_it_to_be_ready(machineless: Qemu) -> None:
    outcomes = Outcomes()
    async with begun(await connected(machineless)) as one, anyio.create_task_group() as tasks:
        tasks.start_soon(outcomes.note, "first", partial(one.monitor.ready, Deadline.after(PATIENCE)))
        tasks.start_soon(outcomes.note, "second", partial(one.monitor.ready, Deadline.after(math.inf)))
        await anyio.wait_all_tasks_blocked()
        machineless.kill()
    assert {name: type(error).__mro__[1] for name, error in outcomes.errors.items()} == {"first": ConnectionLost, "second": ConnectionLost}


async def test_killed_when_nothing_is_asked(machineless: Qemu, one: Session) -> None:
    machineless.kill()
    await one.wait_ended()
    for _ in range(2):
        with pytest.raises(ConnectionLost, match=re.escape(one.why)) as lost:
            await one.ask("query-status")
        assert isinstance(lost.value, ExecInterruptedError)
    assert one.silences == []


async def test_killed_just_before_it_is_asked(machineless: Qemu, one: Session) -> None:
    """Nobody here knows yet that it is gone."""
    machineless.kill()
    outcomes = Outcomes()
    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(outcomes.note, str(number), partial(one.ask, "query-status"))
    assert len(outcomes.errors) == 20
    assert all(isinstance(error, ConnectionLost) for error in outcomes.errors.values())
    await one.wait_ended()


async def test_killed_while_some_are_unanswered_and_some_not_sent(machineless: Qemu, one: Session) -> None:
    outcomes = Outcomes()
    machineless.stop()
    async with anyio.create_task_group() as tasks:
        for number in range(30):
            priority = (Priority.PLAIN, Priority.URGENT, Priority.OUT_OF_BAND)[number % 3]
            tasks.start_soon(outcomes.note, str(number), partial(one.ask, "query-yank", priority=priority))
        await anyio.wait_all_tasks_blocked()
        machineless.kill()
    assert len(outcomes.errors) == 30
    assert all(isinstance(error, ConnectionLost) and isinstance(error, ExecInterruptedError) for error in outcomes.errors.values())
    assert is_settled(one)


async def test_what_it_said_before_it_ended_is_heard_whoever_asks_then(machineless: Qemu, one: Session) -> None:
    """It ends, and is asked something before anybody has read its last words."""
    outcomes = Outcomes()
    machineless.stop()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(outcomes.note, "quit", partial(one.ask, "quit"))
        await anyio.wait_all_tasks_blocked()
        machineless.go_on()
        machineless.process.wait(PATIENCE)
        await outcomes.note("after", partial(one.ask, "query-status"))
    await one.wait_ended()
    assert [event.name for event in one.events] == ["SHUTDOWN"]
    assert outcomes.answers == {"quit": {}}
    assert isinstance(outcomes.errors["after"], ConnectionLost)


async def test_stopped_while_some_are_unanswered_and_some_not_sent(machineless: Qemu, one: Session) -> None:
    """What was sent may happen, what was not never will; and then it goes on, in the same session."""
    outcomes = Outcomes()
    machineless.stop()
    async with anyio.create_task_group() as tasks:
        for number in range(WINDOW):
            tasks.start_soon(outcomes.note, str(number), partial(one.ask, "getfd" if number < 3 else "query-name", timeout=SOON))
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(outcomes.note, "never", partial(one.ask, "cont", timeout=SOON, priority=Priority.URGENT))
        tasks.start_soon(outcomes.note, "out of band", partial(one.ask, "query-yank", timeout=SOON, priority=Priority.OUT_OF_BAND))
    sent = {name: error.sent for name, error in outcomes.errors.items() if isinstance(error, OrderTimeout)}
    assert sent == {**dict.fromkeys(map(str, range(WINDOW)), True), "never": False, "out of band": True}
    assert one.silences == [False]
    assert not is_settled(one)
    with pytest.raises(OrderTimeout) as full:
        await one.ask("query-status", timeout=SOON, priority=Priority.URGENT)
    assert not full.value.sent
    assert one.silences == [False]

    machineless.go_on()
    await one.until(lambda: len(one.lates) == WINDOW + 1)
    assert one.silences == [False, True]
    assert is_settled(one)
    assert sorted((late.command, late.changes, late.done) for late in one.lates) == [
        *[("getfd", True, False)] * 3,
        *[("query-name", False, True)] * 4,
        ("query-yank", False, True),
    ]
    assert (await commands.query_status(one.monitor, by=Deadline.after(PATIENCE))).status == "prelaunch"
    assert await one.is_well()
    assert one.lates[WINDOW + 1 :] == []


async def test_stopped_and_gone_on_in_time_it_was_never_silent(machineless: Qemu, one: Session) -> None:
    outcomes = Outcomes()
    machineless.stop()
    async with anyio.create_task_group() as tasks:
        for number in range(WINDOW + 1):
            tasks.start_soon(outcomes.note, str(number), partial(one.ask, "query-name"))
        with anyio.move_on_after(SOON):
            await anyio.sleep_forever()
        assert outcomes.answers == {}
        machineless.go_on()
    assert len(outcomes.answers) == WINDOW + 1
    assert (one.silences, one.lates) == ([], [])


async def test_stopped_again_and_again_each_silence_is_told(machineless: Qemu, one: Session) -> None:
    for times in range(1, 4):
        machineless.stop()
        for _ in range(2):
            with pytest.raises(OrderTimeout):
                await one.ask("query-status", timeout=0.05)
        assert one.silences == [False, True] * (times - 1) + [False]
        machineless.go_on()
        assert await one.is_well()
        assert one.silences == [False, True] * times


async def test_stopped_with_a_socket_that_is_full_it_goes_on(machineless: Qemu, one: Session) -> None:
    """Whatever is asked then waits here; nothing of it is torn, and none of it is sent twice."""
    outcomes = Outcomes()
    machineless.stop()
    async with anyio.create_task_group() as tasks:
        for number in range(8):
            line = f"print /d {number}{' ' * 45_000}"
            tasks.start_soon(outcomes.note, str(number), partial(one.ask, "human-monitor-command", {"command-line": line}))
            await anyio.lowlevel.checkpoint()
        await anyio.wait_all_tasks_blocked()
        assert len(one.monitor._window.sent) < WINDOW
        with pytest.raises(OrderTimeout) as late:
            await one.ask("cont", timeout=SOON, priority=Priority.URGENT)
        assert not late.value.sent
        machineless.go_on()
    assert outcomes.errors == {}
    assert outcomes.answers == {str(number): f"{number}\r\n" for number in range(8)}
    assert (await commands.query_status(one.monitor, by=Deadline.after(PATIENCE))).status == "prelaunch"
