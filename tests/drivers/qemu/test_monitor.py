"""The monitor's session against a scripted peer, in virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
import pytest
from qemu.qmp.qmp_client import ExecuteError

from aiovirt.drivers.qemu.monitor import Monitor
from aiovirt.errors import CommandFailed, ConnectionLost, OrderTimeout, ProtocolError
from aiovirt.testing.qmp_peer import QMPPeer
from aiovirt.wire.qmp import QMPEvent

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]


class Session:
    """A monitor, its peer, and what it told."""

    def __init__(self, *, obliging: bool = True) -> None:
        self.peer = QMPPeer(obliging=obliging)
        self.events: list[QMPEvent] = []
        self.heard: list[bool] = []
        self.why = ""
        self.monitor = Monitor(self.peer, on_event=self.events.append, on_heard=self.heard.append)

    async def run(self) -> None:
        self.why = await self.monitor.run()


@asynccontextmanager
async def session(*, obliging: bool = True) -> AsyncIterator[Session]:
    one = Session(obliging=obliging)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one.run)
        if obliging:
            await one.monitor.ready(1)
        yield one
        tasks.cancel_scope.cancel()


async def test_commands_are_answered_in_any_order() -> None:
    async with session() as one, anyio.create_task_group() as tasks:
        answers: dict[str, object] = {}

        async def ask(command: str) -> None:
            answers[command] = await one.monitor.execute(command, returns=str, timeout=5)

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
            await one.monitor.execute("device_del", {"id": "x"}, returns=object, timeout=5)
        assert isinstance(failed.value, ExecuteError)
        assert failed.value.error_class == "DeviceNotFound"
        assert failed.value.description == "no such thing"
        assert failed.value.error.error.desc == "no such thing"


async def test_a_silent_peer_costs_the_deadline_and_is_told_once() -> None:
    async with session() as one:
        for _ in range(2):
            before = anyio.current_time()
            with pytest.raises(OrderTimeout) as late:
                await one.monitor.execute("query-status", returns=object, timeout=7)
            assert anyio.current_time() - before == pytest.approx(7)
            assert late.value.sent
        assert one.heard == [False]
        one.peer.event("RTC_CHANGE")
        await anyio.wait_all_tasks_blocked()
        assert one.heard == [False, True]


async def test_a_late_answer_disturbs_nobody() -> None:
    async with session() as one, anyio.create_task_group() as tasks:
        with pytest.raises(OrderTimeout):
            await one.monitor.execute("slow", returns=object, timeout=1)
        slow = await one.peer.next_command()

        async def answer() -> None:
            command = await one.peer.next_command()
            one.peer.reply(slow, "too late")
            one.peer.reply(command, "in time")

        tasks.start_soon(answer)
        assert await one.monitor.execute("quick", returns=str, timeout=1) == "in time"


async def test_a_peer_that_talks_is_not_silent() -> None:
    async with session() as one, anyio.create_task_group() as tasks:

        async def chatter() -> None:
            await one.peer.next_command()
            one.peer.event("RTC_CHANGE")

        tasks.start_soon(chatter)
        with pytest.raises(OrderTimeout):
            await one.monitor.execute("slow", returns=object, timeout=3)
        assert one.heard == []


async def test_a_cancelled_command_leaves_the_session_usable() -> None:
    async with session() as one:
        one.peer.answers["query-name"] = "web"
        with anyio.move_on_after(1):
            await one.monitor.execute("slow", returns=object, timeout=60)
        assert await one.monitor.execute("query-name", returns=str, timeout=1) == "web"


async def test_when_the_peer_hangs_up_every_waiter_is_told() -> None:
    async with session() as one:
        lost: list[str] = []

        async def ask() -> None:
            with pytest.raises(ConnectionLost) as gone:
                await one.monitor.execute("slow", returns=object, timeout=60)
            lost.append(str(gone.value))

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            one.peer.close()
        assert len(lost) == 3
        assert one.why == "QEMU closed its monitor"
        with pytest.raises(ConnectionLost, match="closed its monitor"):
            await one.monitor.execute("query-status", returns=object, timeout=1)


@pytest.mark.parametrize(
    "garbage",
    [b"\xff\xfe\r\n", b"{}\r\n", b'{"return": {}\r\n', b'{"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 0}}}}\r\n'],
)
async def test_garbage_ends_the_session_with_its_reason(garbage: bytes) -> None:
    async with session() as one:
        one.peer.send_bytes(garbage)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(ConnectionLost):
            await one.monitor.execute("query-status", returns=object, timeout=1)
        assert one.why


async def test_events_are_handed_on_in_order() -> None:
    async with session() as one:
        for name in ("STOP", "RESUME", "STOP"):
            one.peer.event(name, seconds=3, microseconds=4)
        await anyio.wait_all_tasks_blocked()
        assert [event.name for event in one.events] == ["STOP", "RESUME", "STOP"]
        assert {event.time for event in one.events} == {3_000_004_000}


async def test_events_without_end_leave_others_their_turn() -> None:
    class Torrent(QMPPeer):
        """Always has the next event at once, as a socket does whose far side is faster than we are."""

        async def receive(self) -> bytes:
            return self._to_client.popleft() if self._to_client else b""

    peer, turns = Torrent(obliging=False), [0]
    handed_on: list[str] = []
    for _ in range(100):
        peer.event("BLOCK_IO_ERROR")
    monitor = Monitor(peer, on_event=lambda event: handed_on.append(event.name), on_heard=lambda _: None)

    async def other() -> None:
        while len(handed_on) < 100:
            turns[0] += 1
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(other)
        await monitor.run()
    assert turns[0] > 50


async def test_events_may_come_before_the_greeting() -> None:
    async with session(obliging=False) as one:
        one.peer.event("RESUME")
        one.peer.greet()
        one.peer.reply(await one.peer.next_command())
        await one.monitor.ready(1)
        assert [event.name for event in one.events] == ["RESUME"]


async def test_a_peer_that_never_greets() -> None:
    async with session(obliging=False) as one:
        with pytest.raises(OrderTimeout, match="another client"):
            await one.monitor.ready(5)


async def test_an_answer_of_another_type() -> None:
    async with session() as one:
        one.peer.answers["query-status"] = ["what"]
        with pytest.raises(ProtocolError):
            await one.monitor.execute("query-status", returns=dict[str, str], timeout=1)
