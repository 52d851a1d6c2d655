"""The QMP door over an engine that answers as the test says; real guests are in tests/real/test_qmp_proxy.py."""

from __future__ import annotations

import errno
import json
import os
import resource
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar, cast
from uuid import UUID

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

import aiovirt
from aiovirt.drivers.qemu.proxy import CLIENTS, WAITING
from aiovirt.drivers.qemu.refusals import refusal
from aiovirt.engine.domain import Domain
from aiovirt.errors import CommandFailed, ConnectionLost, HostGone, OrderTimeout
from aiovirt.events import DomainLifecycle, DomainQMP, Lifecycle
from aiovirt.events.bus import Bus
from aiovirt.model.orders import AskQMP, Request
from aiovirt.model.state import Detail, DomainState, Reason
from aiovirt.system.listener import Listener
from aiovirt.system.loop import new_waker

pytestmark = pytest.mark.anyio

R = TypeVar("R")
PATIENCE = 60
WEB, DB = UUID(int=1), UUID(int=2)
VERSION = b'{"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": ""}'
Answers = Callable[[AskQMP], Awaitable[bytes]]


class Scripted:
    """An engine of one host, whose QEMU says what the test says."""

    uri = "scripted:///"

    def __init__(self, *, capacity: int = 1024) -> None:
        self.uuid = UUID(int=9)
        self.bus = Bus(host=self.uuid, capacity=capacity, new_waker=new_waker)
        self.asked: list[AskQMP] = []
        self.answers: dict[str, Answers] = {}

    async def call(self, request: Request[R]) -> R:
        assert isinstance(request, AskQMP)
        self.asked.append(request)
        await anyio.lowlevel.checkpoint()
        answer = self.answers.get(request.command, self.version)
        return cast("R", await answer(request))

    async def version(self, request: AskQMP) -> bytes:
        assert request.command == "query-version"
        return VERSION

    def say(self, event: str, data: dict[str, object] | None = None, *, uuid: UUID = WEB, omitted: int = 0) -> None:
        """QEMU says ``event``."""
        self.bus.publish(DomainQMP.made(uuid=uuid, name="web", event=event, data=data or {}, omitted=omitted, source_time=5_000_006_000))

    def stop(self) -> None:
        """The domain's process has ended."""
        self.bus.publish(
            DomainLifecycle(
                uuid=WEB,
                name="web",
                kind=Lifecycle.STOPPED,
                detail=Detail.SHUTDOWN,
                state=DomainState.SHUTOFF,
                reason=Reason.SHUTDOWN,
                id=None,
                persistent=True,
            )
        )


class Client:
    """Somebody at the door."""

    def __init__(self, stream: SocketStream) -> None:
        self.stream = stream
        self._lines = BufferedByteReceiveStream(stream)

    async def say(self, command: str, arguments: dict[str, object] | None = None, *, number: int | None = None) -> None:
        await self.stream.send(json.dumps({"execute": command, "arguments": arguments or {}, "id": number}).encode())

    async def hear(self) -> dict[str, Any]:
        with anyio.fail_after(PATIENCE):
            said: dict[str, Any] = json.loads(await self._lines.receive_until(b"\r\n", 2**28))
        return said

    async def ask(self, command: str, arguments: dict[str, object] | None = None) -> dict[str, Any]:
        await self.say(command, arguments)
        return await self.hear()

    async def is_hung_up_on(self) -> bool:
        """Whether nothing more comes, and the door is shut."""
        try:
            with anyio.fail_after(PATIENCE):
                said = await self._lines.receive_until(b"\r\n", 2**28)
        except (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError):
            return True
        raise AssertionError(said)


@asynccontextmanager
async def visiting(path: str, *, negotiate: bool = True) -> AsyncIterator[Client]:
    async with await anyio.connect_unix(path) as stream:
        client = Client(stream)
        assert "QMP" in await client.hear()
        if negotiate:
            assert (await client.ask("qmp_capabilities"))["return"] == {}
        yield client


@pytest.fixture
def engine() -> Scripted:
    return Scripted()


@pytest.fixture
def web(engine: Scripted) -> Domain:
    return Domain(engine, WEB)


@pytest.fixture
def path() -> Iterator[str]:
    """In /tmp itself: a unix socket's path is short."""
    with tempfile.TemporaryDirectory(prefix="aiovirt-") as folder:
        yield f"{folder}/qmp"


async def at_once(_: AskQMP) -> bytes:
    return b"{}"


class Gate:
    """Answers once it is opened; counts who waits."""

    def __init__(self) -> None:
        self.opened = anyio.Event()
        self.cancelled = 0
        self._came = 0
        self._changed = anyio.Event()

    async def __call__(self, request: AskQMP) -> bytes:
        self._came += 1
        self._changed.set()
        try:
            await self.opened.wait()
        except BaseException:
            self.cancelled += 1
            raise
        return request.arguments

    async def wait_for(self, count: int) -> None:
        with anyio.fail_after(PATIENCE):
            while self._came < count:
                self._changed = anyio.Event()
                await self._changed.wait()


# -- entering and leaving ----------------------------------------------------------------------


async def test_the_version_is_asked_for_once_and_is_in_the_greeting(engine: Scripted, web: Domain, path: str) -> None:
    async with web.qmp_proxy(path, timeout=3.0) as door:
        assert door.path == path
        for _ in range(2):
            async with await anyio.connect_unix(path) as stream:
                assert await Client(stream).hear() == {"QMP": {"version": json.loads(VERSION), "capabilities": []}}
        assert Path(path).stat().st_mode & 0o777 == 0o600
        assert Path(path).is_socket()
    assert engine.asked == [AskQMP(uuid=WEB, command="query-version", timeout=3.0)]
    assert not Path(path).exists()


async def test_where_there_is_no_qmp_there_is_no_door(path: str) -> None:
    async with aiovirt.connect("test:///default") as host:
        with pytest.raises(aiovirt.Unsupported):
            async with host.domain("test").qmp_proxy(path):
                pytest.fail("entered")
    assert not Path(path).exists()


async def test_leaving_hangs_up_and_gives_up_what_is_under_way(engine: Scripted, web: Domain, path: str) -> None:
    gate = engine.answers["slow"] = Gate()
    async with AsyncExitStack() as guests:
        async with web.qmp_proxy(path):
            idle, busy = [await guests.enter_async_context(visiting(path)) for _ in range(2)]
            await busy.say("slow")
            await gate.wait_for(1)
            assert engine.bus.statistics().parked == 1
        assert gate.cancelled == 1
        assert engine.bus.statistics().parked == 0
        assert await idle.is_hung_up_on()
        assert await busy.is_hung_up_on()
        with pytest.raises(OSError, match="No such file"):
            await anyio.connect_unix(path)


async def test_what_the_body_raises_leaves_as_itself(web: Domain, path: str) -> None:
    with pytest.raises(KeyError):
        async with web.qmp_proxy(path), visiting(path):
            raise KeyError
    assert not Path(path).exists()


async def test_being_cancelled_leaves_nothing(engine: Scripted, web: Domain, path: str) -> None:
    for turns in range(12):
        async with anyio.create_task_group() as tasks:

            async def enter() -> None:
                async with web.qmp_proxy(path):
                    await anyio.sleep_forever()

            tasks.start_soon(enter)
            for _ in range(turns):
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        assert not Path(path).exists()
        assert engine.bus.statistics().parked == 0


async def test_the_engines_end_is_told(engine: Scripted, web: Domain, path: str) -> None:
    with pytest.raises(HostGone), anyio.fail_after(PATIENCE):
        async with web.qmp_proxy(path):
            engine.bus.close()
            await anyio.sleep_forever()
    assert not Path(path).exists()


# -- the path ----------------------------------------------------------------------------------


async def test_a_file_that_took_its_place_stays(engine: Scripted, web: Domain, path: str) -> None:
    async with web.qmp_proxy(path):
        Path(path).unlink()
        Path(path).write_text("mine")
    assert Path(path).read_text() == "mine"
    Path(path).unlink()
    async with web.qmp_proxy(path):
        Path(path).unlink()
    async with web.qmp_proxy(path), visiting(path) as client:
        engine.answers["a"] = at_once
        assert await client.ask("a") == {"return": {}, "id": None}


async def test_what_is_there_already_stays(web: Domain, path: str) -> None:
    Path(path).write_text("mine")
    with pytest.raises(aiovirt.SystemFailure, match="something else"):
        async with web.qmp_proxy(path):
            pytest.fail("entered")
    assert Path(path).read_text() == "mine"


async def test_a_door_that_is_open_is_not_taken_over(engine: Scripted, web: Domain, path: str) -> None:
    async with web.qmp_proxy(path), visiting(path) as client:
        with pytest.raises(aiovirt.SystemFailure, match="somebody else"):
            async with Domain(engine, DB).qmp_proxy(path):
                pytest.fail("entered")
        engine.answers["a"] = at_once
        assert (await client.ask("a"))["return"] == {}
        async with visiting(path):
            pass


async def test_a_socket_that_somebody_left_is_replaced(web: Domain, path: str) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(path)
    async with web.qmp_proxy(path), visiting(path):
        pass
    assert not Path(path).exists()


async def test_a_path_may_be_long(web: Domain, path: str) -> None:
    folder = Path(path).with_name("f" * 120)
    folder.mkdir()
    async with web.qmp_proxy(folder / "qmp"):
        assert (folder / "qmp").is_socket()
        (folder / "qmp").rename(path)
        async with visiting(path):
            pass
        Path(path).rename(folder / "qmp")
    assert not (folder / "qmp").exists()


@pytest.mark.parametrize(
    ("given", "raised"), [("/nowhere/at/all", aiovirt.SystemFailure), ("\0", aiovirt.InvalidArgument), ("", aiovirt.SystemFailure)]
)
async def test_a_path_that_cannot_be(web: Domain, given: str, raised: type[Exception]) -> None:
    with pytest.raises(raised):
        async with web.qmp_proxy(given):
            pytest.fail("entered")


# -- answers -----------------------------------------------------------------------------------


async def test_commands_go_as_they_were_said(engine: Scripted, web: Domain, path: str) -> None:
    async def answer(_: AskQMP) -> bytes:
        return b'{"big": 123456789012345678901234567890, "f": 1.50}'

    engine.answers["a-b"] = answer
    async with web.qmp_proxy(path, timeout=7.0), visiting(path) as client:
        await client.stream.send(b'{"execute":"a-b", "arguments": {"x": [1.50,\n 1e3]}, "id": {"n": 1.0}}')
        assert await client.hear() == {"return": {"big": 123456789012345678901234567890, "f": 1.5}, "id": {"n": 1.0}}
    assert engine.asked[1] == AskQMP(uuid=WEB, command="a-b", arguments=b'{"x": [1.50,\n 1e3]}', timeout=7.0)


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (CommandFailed("x", "DeviceNotFound", "Device 'x' not found"), {"class": "DeviceNotFound", "desc": "Device 'x' not found"}),
        (OrderTimeout("QEMU did not answer", sent=True), {"class": "GenericError", "desc": "QEMU did not answer"}),
        (ConnectionLost("the monitor: gone"), {"class": "GenericError", "desc": "the monitor: gone"}),
        (aiovirt.OperationInvalid("the domain is not running"), {"class": "GenericError", "desc": "the domain is not running"}),
    ],
)
async def test_errors_are_told_as_qmps(engine: Scripted, web: Domain, path: str, error: Exception, answer: dict[str, str]) -> None:
    async def refuse(_: AskQMP) -> bytes:
        raise error

    engine.answers |= {"x": refuse, "y": at_once}
    async with web.qmp_proxy(path), visiting(path) as client:
        assert await client.ask("x") == {"error": answer, "id": None}
        assert (await client.ask("y"))["return"] == {}


async def test_one_after_the_other_and_in_order(engine: Scripted, web: Domain, path: str) -> None:
    gate = engine.answers["slow"] = Gate()
    engine.answers["quick"] = at_once
    async with web.qmp_proxy(path), visiting(path) as client, visiting(path) as other:
        await client.say("slow", number=0)
        for number in range(1, 20):
            await client.say("quick" if number % 2 else "getfd", number=number)
        await gate.wait_for(1)
        assert (await other.ask("quick"))["return"] == {}  # nobody else waits
        assert [request.command for request in engine.asked[1:]] == ["slow", "quick"]
        gate.opened.set()
        assert [(await client.hear())["id"] for _ in range(20)] == [*range(20)]


async def test_who_says_no_more_still_hears_the_answers(engine: Scripted, web: Domain, path: str) -> None:
    gate = engine.answers["slow"] = Gate()
    size = 3 * WAITING

    async def much(_: AskQMP) -> bytes:
        return b'"%s"' % (b"x" * size)

    engine.answers |= {"much": much, "a": at_once}
    async with web.qmp_proxy(path), visiting(path) as client, visiting(path) as good:
        await client.say("slow", number=1)
        await client.say("much", number=2)
        await client.stream.send_eof()
        await gate.wait_for(1)
        gate.opened.set()
        while engine.asked[-1].command != "much":
            await anyio.lowlevel.checkpoint()
        for _ in range(10):
            await good.ask("a")
        assert [(await client.hear())["id"] for _ in range(2)] == [1, 2]
        assert await client.is_hung_up_on()


# -- events ------------------------------------------------------------------------------------


async def test_events_come_as_they_were_said_to_all_who_have_negotiated(engine: Scripted, web: Domain, path: str) -> None:
    engine.answers["a"] = at_once
    async with web.qmp_proxy(path), visiting(path, negotiate=False) as early, visiting(path) as client:
        engine.say("STOP")
        engine.say("RTC_CHANGE", {"offset": 3})
        engine.say("HUGE", omitted=70_000)
        engine.say("OTHER", uuid=DB)
        stamp = {"timestamp": {"seconds": 5, "microseconds": 6}}
        assert [await client.hear() for _ in range(3)] == [
            stamp | {"event": "STOP"},
            stamp | {"event": "RTC_CHANGE", "data": {"offset": 3}},
            stamp | {"event": "HUGE", "data": {}},
        ]
        assert (await client.ask("a"))["return"] == {}
        assert (await early.ask("a"))["error"]["class"] == "CommandNotFound"
        assert (await early.ask("qmp_capabilities"))["return"] == {}
        engine.say("RESUME")
        assert (await early.hear())["event"] == (await client.hear())["event"] == "RESUME"


@pytest.mark.parametrize("count", [1, 500])
async def test_an_event_comes_before_the_answers_it_came_before(engine: Scripted, web: Domain, path: str, count: int) -> None:
    async def answer(_: AskQMP) -> bytes:
        for number in range(count):
            engine.say("STOP", {"n": number})
            engine.say("OTHER", uuid=DB)
        return b"{}"

    engine.answers["stop"] = answer
    async with web.qmp_proxy(path), visiting(path) as client:
        for _ in range(3):
            await client.say("stop")
            said = [await client.hear() for _ in range(count + 1)]
            assert [one.get("data") for one in said] == [*({"n": number} for number in range(count)), None]
            assert said[-1]["return"] == {}


async def test_clients_are_hung_up_on_when_the_domain_ends(engine: Scripted, web: Domain, path: str) -> None:
    """As QEMU's own monitor does, and with all that it said before; the door stays open."""

    async def end(_: AskQMP) -> bytes:
        engine.say("SHUTDOWN")
        engine.stop()
        return b"{}"

    gate = engine.answers["slow"] = Gate()
    engine.answers["quit"] = end
    async with web.qmp_proxy(path), visiting(path) as client, visiting(path) as idle, visiting(path, negotiate=False) as early:
        async with visiting(path) as busy:
            await busy.say("slow")
            await gate.wait_for(1)
            await client.say("quit")
            assert (await client.hear())["event"] == "SHUTDOWN"
            assert (await client.hear())["return"] == {}
            assert await client.is_hung_up_on()
            assert (await idle.hear())["event"] == "SHUTDOWN"
            assert await idle.is_hung_up_on()
            assert await early.is_hung_up_on()
            gate.opened.set()
            assert (await busy.hear())["event"] == "SHUTDOWN"
            assert (await busy.hear())["return"] == {}
            assert await busy.is_hung_up_on()
        async with visiting(path) as later:
            engine.answers["a"] = at_once
            assert (await later.ask("a"))["return"] == {}


async def test_who_cannot_have_all_events_is_hung_up_on(path: str) -> None:
    engine = Scripted(capacity=8)
    async with Domain(engine, WEB).qmp_proxy(path), visiting(path) as client:
        for _ in range(1000):
            engine.say("STOP")
        assert await client.is_hung_up_on()
        async with visiting(path) as later:
            engine.say("RESUME")
            assert (await later.hear())["event"] == "RESUME"


# -- clients that do not behave ----------------------------------------------------------------


async def test_who_does_not_read_is_hung_up_on_and_harms_nobody(engine: Scripted, web: Domain, path: str) -> None:
    engine.answers["a"] = at_once
    gone = anyio.Event()
    async with web.qmp_proxy(path), visiting(path) as deaf, visiting(path) as good:

        async def knock() -> None:
            """Only one who is given up can no longer be written to."""
            with suppress(anyio.BrokenResourceError):
                while True:
                    await deaf.stream.send(b" " * 1000)
                    await anyio.lowlevel.checkpoint()
            gone.set()

        said = 0
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(knock)
            while not gone.is_set() and said < 4 * WAITING:
                engine.say("NOISE", {"x": "y" * 1000})
                said += 1000
                assert (await good.hear())["event"] == "NOISE"
            tasks.cancel_scope.cancel()
        assert gone.is_set()
        assert said > WAITING
        assert (await good.ask("a"))["return"] == {}


async def test_what_waits_for_a_client_keeps_it_from_being_read(engine: Scripted, web: Domain, path: str) -> None:
    size = 3 * WAITING

    async def much(_: AskQMP) -> bytes:
        return b'"%s"' % (b"x" * size)

    engine.answers["much"] = much
    async with web.qmp_proxy(path), visiting(path) as client, visiting(path) as good:
        for number in range(5):
            await client.say("much", number=number)
        assert len((await good.ask("much"))["return"]) == size
        asked = sum(request.command == "much" for request in engine.asked)
        assert asked == 2
        for number in range(5):
            answer = await client.hear()
            assert (answer["id"], len(answer["return"])) == (number, size)


async def test_who_sends_garbage_is_told_and_harms_nobody(engine: Scripted, web: Domain, path: str) -> None:
    engine.answers["a"] = at_once
    async with web.qmp_proxy(path), visiting(path) as client, visiting(path) as good:
        await client.stream.send(b'\x00\xff garbage {["\n' + b"[" * 5000 + b"\xff{'a'}\n")
        errors = [(await client.hear())["error"]["class"] for _ in range(6)]
        assert set(errors) == {"GenericError"}
        assert (await client.ask("a"))["return"] == {}
        assert (await good.ask("a"))["return"] == {}


async def test_who_floods_with_garbage_and_does_not_read_is_not_read(engine: Scripted, web: Domain, path: str) -> None:
    engine.answers["a"] = at_once
    async with web.qmp_proxy(path), visiting(path) as flood, visiting(path) as good:
        raw = flood.stream.extra(SocketAttribute.raw_socket)  # noqa: S610 - no database
        sent = turns = 0
        while turns < 100 and sent < 16 * WAITING:
            try:
                sent += raw.send(b"{}" * 10_000)
                turns = 0
            except BlockingIOError:
                turns += 1
            assert (await good.ask("a"))["return"] == {}
        assert sent < WAITING
        assert (await flood.hear())["error"]["class"] == "GenericError"


async def test_who_leaves_in_the_middle_harms_nobody(engine: Scripted, web: Domain, path: str) -> None:
    gate = engine.answers["slow"] = Gate()
    engine.answers["a"] = at_once
    async with web.qmp_proxy(path), visiting(path) as good:
        for said in (b"", b'{"execute": "a', b'{"execute": "slow"}'):
            async with visiting(path) as client:
                await client.stream.send(said)
        await gate.wait_for(1)
        engine.say("STOP")
        assert (await good.hear())["event"] == "STOP"
        gate.opened.set()
        assert (await good.ask("a"))["return"] == {}


async def test_so_many_and_no_more(engine: Scripted, web: Domain, path: str) -> None:
    engine.answers["a"] = at_once
    async with web.qmp_proxy(path), AsyncExitStack() as guests:
        clients = [await guests.enter_async_context(visiting(path)) for _ in range(CLIENTS)]
        async with await anyio.connect_unix(path) as stream:
            assert await Client(stream).is_hung_up_on()
        await clients[0].stream.send_eof()
        assert await clients[0].is_hung_up_on()
        async with visiting(path) as client:
            assert (await client.ask("a"))["return"] == {}


async def serve_one(listener: Listener) -> None:
    async with await listener.accept():
        pass


async def test_who_cannot_be_served_is_hung_up_on(path: str) -> None:
    """No descriptor is left in this process: nobody waits for ever, and nothing spins."""
    listener = await anyio.to_thread.run_sync(Listener, path)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []
    with socket.socket(socket.AF_UNIX) as knocking, socket.socket(socket.AF_UNIX) as later:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
            with pytest.raises(OSError, match="Too many open files") as full:
                while True:
                    taken.append(os.dup(knocking.fileno()))
            assert full.value.errno == errno.EMFILE
            knocking.connect(path)
            with anyio.fail_after(PATIENCE):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(serve_one, listener)
                    knocking.setblocking(False)
                    await anyio.wait_readable(knocking)
                    assert knocking.recv(1) == b""
                    os.close(taken.pop())
                    later.connect(path)
        finally:
            for descriptor in taken:
                os.close(descriptor)
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
            await anyio.to_thread.run_sync(listener.close)
    assert not Path(path).exists()


# -- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("add-fd", {}),
        ("add_client", {"protocol": "vnc"}),
        ("closefd", {}),
        ("getfd", {"fdname": "x"}),
        ("remove-fd", {}),
        ("set-action", {"shutdown": "poweroff"}),
        ("watchdog-set-action", {"action": "none"}),
        ("x-exit-preconfig", {}),
        ("migrate", {"uri": "tcp:0:1"}),
        ("migrate_cancel", {}),
        ("migrate-set-parameters", {}),
        ("chardev-change", {"id": "monitor", "backend": {}}),
        ("chardev-remove", {"id": "monitor"}),
        ("yank", {"instances": [{"type": "migration"}, {"type": "chardev", "id": "monitor"}]}),
        ("human-monitor-command", {"command-line": "migrate -d tcp:0:1"}),
        ("human-monitor-command", {"command-line": " \n\v watchdog_action/x none"}),
        ("human-monitor-command", {"command-line": "chardev-remove serial0"}),
        ("human-monitor-command", {"command-line": "chardev-change monitor null"}),
        ("human-monitor-command", {"command-line": "getfd x"}),
        ("human-monitor-command", {"command-line": "exit_preconfig"}),
    ],
)
async def test_what_would_make_the_engine_wrong_is_refused(
    engine: Scripted, web: Domain, path: str, command: str, arguments: dict[str, object]
) -> None:
    async with web.qmp_proxy(path), visiting(path) as client:
        answer = await client.ask(command, arguments)
    assert answer["error"]["class"] == "GenericError"
    assert answer["error"]["desc"].startswith(f"The command {command} is refused here: ")
    assert answer["error"]["desc"].endswith(refusal(command, arguments))
    assert len(engine.asked) == 1


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("stop", {}),
        ("quit", {}),
        ("query-migrate", {}),
        ("query-fdsets", {}),
        ("device_add", {"driver": "x", "id": "monitor"}),
        ("chardev-remove", {"id": "serial0"}),
        ("chardev-remove", {"id": ["monitor"]}),
        ("yank", {"instances": [{"type": "chardev", "id": "serial0"}]}),
        ("yank", {"instances": "monitor"}),
        ("yank", {"instances": ["monitor"]}),
        ("yank", {}),
        ("client_migrate_info", {}),
        ("human-monitor-command", {"command-line": "info migrate"}),
        ("human-monitor-command", {"command-line": "help getfd"}),
        ("human-monitor-command", {"command-line": ""}),
        ("human-monitor-command", {"command-line": 5}),
        ("human-monitor-command", {}),
    ],
)
def test_all_else_is_asked(command: str, arguments: dict[str, object]) -> None:
    assert refusal(command, arguments) is None
