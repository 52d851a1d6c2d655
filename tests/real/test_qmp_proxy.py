"""The QMP door of real guests: qemu.qmp's client, its shell and its window work there, beside the engine."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import sys
import termios
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, TypeVar

import anyio
import pytest
from anyio.abc import ByteReceiveStream, Process
from msgspec import Raw
from qemu.qmp import QMPClient
from qemu.qmp.qmp_client import ExecuteError

import aiovirt
from aiovirt import DomainState
from aiovirt.drivers.qemu.refusals import _REACHES_OUR_MONITOR, _REFUSED
from aiovirt.events import DomainLifecycle, DomainQMP, Lifecycle, MonitorHealth, MonitorResumed, MonitorStalled
from aiovirt.wire.qmp.server import QMPServer
from tests.real.conftest import PATIENCE, Place
from tests.real.test_qemu import no_guest_is_left, pid_of, state_of

__all__ = ["no_guest_is_left"]

pytestmark = pytest.mark.anyio

T = TypeVar("T")
TOOLS = Path(sys.executable).parent


@pytest.fixture
async def guest(host: aiovirt.Host, place: Place) -> AsyncIterator[aiovirt.Domain]:
    """A guest that runs."""
    domain = await host.create(place.spec(), autodestroy=True)
    yield domain
    if host.domains(active=True):
        await domain.destroy()


@pytest.fixture
def path(place: Place) -> str:
    return f"{place.folder}/qmp"


# -- qemu.qmp's client -------------------------------------------------------------------------


async def drive(path: str) -> tuple[dict[str, Any], list[dict[str, Any]], list[Any]]:
    """(greeting, events, answers) of a QMPClient that stops a guest and lets it go on."""
    client = QMPClient("driver")
    await client.connect(path)
    try:
        answers: list[Any] = [await client.execute("query-status")]
        events: list[dict[str, Any]] = []
        with client.listener(("STOP", "RESUME")) as listener:
            for order in ("stop", "cont"):
                await client.execute(order)
                events.append(dict(await asyncio.wait_for(listener.get(), PATIENCE)))
                answers.append(await client.execute("query-status"))
        with pytest.raises(ExecuteError) as failed:
            await client.execute("device_del", {"id": "nothing"})
        answers.append(failed.value.error_class)
        with pytest.raises(ExecuteError, match="refused here"):
            await client.execute("set-action", {"shutdown": "poweroff"})
        answers.append(len(await client.execute("query-qmp-schema")))  # type: ignore[arg-type]
        assert client.greeting
        return client.greeting._asdict(), events, answers
    finally:
        await client.disconnect()


async def in_a_thread(work: Callable[[str], Coroutine[Any, Any, T]], path: str) -> T:
    """QMPClient knows asyncio only: it has a loop of its own, whatever ours is."""
    return await anyio.to_thread.run_sync(lambda: asyncio.run(work(path)))


async def test_qemu_qmps_client_and_our_readers_hear_the_same(host: aiovirt.Host, guest: aiovirt.Domain, path: str) -> None:
    version = await guest.qmp("query-version")
    schema = await guest.qmp("query-qmp-schema", returns=list[object])
    async with host.events.subscribe(DomainQMP, DomainLifecycle, subject=guest) as events:
        async with guest.qmp_proxy(path):
            greeting, heard, answers = await in_a_thread(drive, path)
        told = [events.receive_nowait() for _ in range(4)]
    assert greeting == {"QMP": {"version": version, "capabilities": []}}
    assert [answer["status"] for answer in answers[:3]] == ["running", "paused", "running"]
    assert answers[3:] == ["DeviceNotFound", len(schema)]
    assert [event["event"] for event in heard] == ["STOP", "RESUME"]
    assert [" ".join(event.describe()[1:]) for event in told] == ["qmp STOP", "suspended paused", "qmp RESUME", "resumed unpaused"]
    times = [event["timestamp"]["seconds"] * 10**9 + event["timestamp"]["microseconds"] * 1000 for event in heard]
    assert [event.source_time for event in told] == [times[0], times[0], times[1], times[1]]
    assert events.statistics().behind == 0


async def look_on(path: str) -> tuple[list[str], list[Any]]:
    """(events, answers) of a QMPClient that asks and asks, until a guest was stopped and went on."""
    client = QMPClient("onlooker")
    await client.connect(path)
    try:
        answers: list[Any] = []
        events: list[str] = []
        with client.listener(("STOP", "RESUME")) as listener:
            while len(events) < 2:
                answers.append(await client.execute("query-uuid"))
                if not listener.empty():
                    events.append(str((await listener.get())["event"]))
        return events, answers
    finally:
        await client.disconnect()


async def test_several_clients_at_once(guest: aiovirt.Domain, path: str) -> None:
    seen: list[list[str]] = []

    async def one() -> None:
        events, answers = await in_a_thread(look_on, path)
        assert all(answer == {"UUID": str(guest.uuid)} for answer in answers)
        seen.append(events)

    async with guest.qmp_proxy(path), anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(one)
        while len(seen) < 3:  # whenever they come in, they are shown one
            await in_a_thread(drive, path)
    assert {event for events in seen for event in events} == {"STOP", "RESUME"}


# -- its shell ---------------------------------------------------------------------------------


class Shell:
    """qmp-shell, as somebody types and reads."""

    def __init__(self, process: Process) -> None:
        assert process.stdin
        assert process.stdout
        self._stdin, self._stdout = process.stdin, process.stdout
        self._said = ""

    async def read_until(self, text: str) -> str:
        """What it says up to ``text``."""
        with anyio.fail_after(PATIENCE):
            while text not in self._said:
                self._said += (await self._stdout.receive()).decode()
        before, _, self._said = self._said.partition(text)
        return before

    async def type(self, line: str) -> str:
        """What it says to ``line``."""
        await self._stdin.send(f"{line}\n".encode())
        return await self.read_until("(QEMU) ")


@asynccontextmanager
async def shell(place: Place, path: str, *options: str, may_fail: bool = False) -> AsyncIterator[Shell]:
    environment = {**os.environ, "HOME": str(place.folder), "PYTHONUNBUFFERED": "1"}
    async with await anyio.open_process([TOOLS / "qmp-shell", *options, path], env=environment, stderr=subprocess.STDOUT) as process:
        try:
            yield Shell(process)
            assert process.stdin
            await process.stdin.aclose()
            with anyio.fail_after(PATIENCE):
                assert await process.wait() in ({0, 1} if may_fail else {0})
        finally:
            if process.returncode is None:
                process.kill()


async def test_qmp_shell_drives_a_guest_while_the_engines_own_events_go_on(
    host: aiovirt.Host, place: Place, guest: aiovirt.Domain, path: str
) -> None:
    async with guest.qmp_proxy(path), shell(place, path) as user, host.events.subscribe(DomainLifecycle, subject=guest) as events:
        banner = await user.read_until("(QEMU) ")
        version = await guest.qmp("query-version", returns=dict[str, Any])
        assert "Connected to QEMU {major}.{minor}.{micro}\n".format(**version["qemu"]) in banner

        assert json.loads(await user.type("stop")) == {"return": {}}
        assert state_of(guest) is DomainState.PAUSED
        assert json.loads(await user.type("query-status"))["return"]["status"] == "paused"
        await guest.resume()
        assert json.loads(await user.type("query-status"))["return"]["status"] == "running"
        assert re.findall(r"'event': '(\w+)'", await user.type("")) == ["STOP", "RESUME"]

        assert json.loads(await user.type("device_del id=nothing"))["error"]["class"] == "DeviceNotFound"
        refused = json.loads(await user.type("getfd fdname=x"))["error"]
        assert refused["class"] == "GenericError"
        assert "descriptors" in refused["desc"]
        assert json.loads(await user.type("no-such"))["error"] == {
            "class": "CommandNotFound",
            "desc": "The command no-such has not been found",
        }

        await guest.suspend()
        assert json.loads(await user.type("cont")) == {"return": {}}
        assert state_of(guest) is DomainState.RUNNING
        told = [await events.receive() for _ in range(4)]
    assert [event.kind for event in told] == [Lifecycle.SUSPENDED, Lifecycle.RESUMED] * 2
    assert [event.cause is None for event in told] == [True, False, False, True]
    assert not Path(path).exists()


async def test_qmp_shell_with_the_human_monitor(place: Place, guest: aiovirt.Domain, path: str) -> None:
    async with guest.qmp_proxy(path), shell(place, path, "-H") as user:
        await user.read_until("(QEMU) ")
        assert "VM status: running" in await user.type("info status")
        await user.type("stop")
        assert state_of(guest) is DomainState.PAUSED
        assert "refused here" in await user.type("watchdog_action none")
        await user.type("cont")
        assert state_of(guest) is DomainState.RUNNING


async def test_qmp_shell_ends_with_the_guest(host: aiovirt.Host, place: Place, guest: aiovirt.Domain, path: str) -> None:
    # To end while the far side does is a failure to qmp-shell.
    async with guest.qmp_proxy(path), shell(place, path, may_fail=True) as user:
        await user.read_until("(QEMU) ")
        async with host.events.subscribe(DomainLifecycle, subject=guest) as events:
            assert json.loads(await user.type("quit")) == {"return": {}}
            with anyio.fail_after(PATIENCE):
                told = [await events.receive() for _ in range(2)]
        assert [(event.kind, event.cause) for event in told] == [(Lifecycle.SHUTDOWN, None), (Lifecycle.STOPPED, None)]
        assert host.domains() == []


# -- its window --------------------------------------------------------------------------------

CONTROL = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]|[\x0e\x0f]")


@asynccontextmanager
async def terminal(*command: str | Path) -> AsyncIterator[int]:
    """A command in a wide terminal of its own, as the descriptor of whoever sits there."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 500, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color"}
    try:
        process = await anyio.open_process(command, stdin=its, stdout=its, stderr=its, env=environment, start_new_session=True)
    finally:
        os.close(its)
    try:
        yield ours
    finally:
        process.kill()
        with anyio.CancelScope(shield=True):
            await process.aclose()
        os.close(ours)


async def read_screen(screen: int, *words: bytes) -> None:
    """Returns when all the words are on the screen. It is drawn anew when a key is pressed, and then only."""
    said = b""
    with anyio.fail_after(PATIENCE):
        while not all(word in CONTROL.sub(b"", said) for word in words):
            os.write(screen, END_OF_LINE)
            with anyio.move_on_after(0.05):
                await anyio.wait_readable(screen)
                said += os.read(screen, 65536)


DOWN, END_OF_LINE, META_ENTER = b"\x1b[B", b"\x05", b"\x1b\r"


async def test_qmp_tui_works(guest: aiovirt.Domain, path: str) -> None:
    async with guest.qmp_proxy(path), terminal(TOOLS / "qmp-tui", path) as screen:
        await read_screen(screen, b'"QMP": {', b'"capabilities": []', b'"execute": "qmp_capabilities"', b"[Connected ")
        os.write(screen, DOWN * 50)
        async with guest.expect(DomainLifecycle) as seen:
            os.write(screen, b'{"execute": "stop"}' + META_ENTER)
        assert seen.value.kind is Lifecycle.SUSPENDED
        await read_screen(screen, b'"event": "STOP"', b'"return": {}')
        await guest.resume()
        await read_screen(screen, b'"event": "RESUME"')


# -- what QEMU does ----------------------------------------------------------------------------


class Bare:
    """A QEMU of nobody's, to compare with."""

    def __init__(self) -> None:
        ours, its = socket.socketpair()
        chardev = f"socket,id=monitor,fd={its.fileno()}"
        command = ["qemu-system-x86_64", "-S", "-nodefaults", "-display", "none", "-machine", "pc,accel=tcg", "-m", "16"]
        self._process = subprocess.Popen([*command, "-chardev", chardev, "-mon", "chardev=monitor,mode=control"], pass_fds=[its.fileno()])
        its.close()
        ours.settimeout(PATIENCE)
        self._socket = ours
        self._lines = ours.makefile("rb")
        self.greeting = json.loads(self._lines.readline())["QMP"]

    def ask(self, said: bytes) -> dict[str, Any]:
        """The answer to ``said``."""
        self._socket.sendall(said)
        answer: dict[str, Any] = json.loads(self._lines.readline())
        return answer

    def close(self) -> None:
        """Ends it."""
        self._process.kill()
        self._process.wait()
        self._lines.close()
        self._socket.close()


@pytest.fixture(scope="module")
def bare() -> Iterator[Bare]:
    with closing(Bare()) as qemu:
        yield qemu


# What is said, before negotiation and after it: QEMU answers with these very words, and so do we.
ALIKE = [
    b'{"execute":"query-status","id":{"a":[1.5,1000,"x"]}}',
    b'{"execute":"nonsense"}',
    b'{"execute":"qmp_capabilities","id":null}',
    b'{"execute":"qmp_capabilities","id":"two"}',
    b'{"exec-oob":"query-status","id":2}',
    b'{"execute":5,"id":2}',
    b'{"execute":"query-status","arguments":5,"id":2}',
    b'{"execute":"query-status","foo":5,"id":2}',
    b'{"id":2}',
    b"{}",
    b"[1,2]",
    b'"str"\n',
    b"5\n",
    b"\xff\n",
    b'{"execute":5,"id":' + b"[" * 2000,
    b"\xff\n",
]
# These are errors of the same class, in words of our own.
ALIKE_IN_KIND = [b"nonsense\n", b"}\n", b'{"execute":nonsense}', b'{"execute":"\\ud800"}', b'{"execute":"x","a":{"b":1,}}']


def test_qemus_words_are_qemus(bare: Bare) -> None:
    ours = QMPServer(Raw(b"{}"))

    def ask(said: bytes) -> dict[str, Any]:
        ours.feed(said)
        found = ours.next()
        assert isinstance(found, bytes)
        assert ours.next() is None
        answer: dict[str, Any] = json.loads(found)
        return answer

    for said in ALIKE:
        assert ask(said) == bare.ask(said), said
    for said in ALIKE_IN_KIND:
        assert ask(said)["error"]["class"] == bare.ask(said)["error"]["class"] == "GenericError", said


def test_all_that_is_refused_is_there(bare: Bare) -> None:
    """A name that QEMU does not have would refuse nothing."""
    commands = bare.ask(b'{"execute":"query-commands"}')
    human = bare.ask(b'{"execute":"human-monitor-command","arguments":{"command-line":"help"}}')
    names = {command["name"] for command in commands["return"]}
    names |= {name for line in human["return"].splitlines() for name in line.split(" ")[0].split("|")}
    assert {*_REFUSED, *_REACHES_OUR_MONITOR} <= {name.replace("_", "-") for name in names}


async def test_the_engines_monitor_cannot_be_yanked(guest: aiovirt.Domain, path: str) -> None:
    """It could: QEMU knows it by that name."""
    instances = await guest.qmp("query-yank", returns=list[object])
    assert instances == [{"type": "chardev", "id": "monitor"}]
    async with guest.qmp_proxy(path), await anyio.connect_unix(path) as client:
        await client.send(b'{"execute": "qmp_capabilities"}')
        await client.send(json.dumps({"execute": "yank", "arguments": {"instances": instances}}).encode())
        assert "cut off" in await read_lines(client, 3)
    assert guest.status.monitor is MonitorHealth.CONNECTED
    await guest.suspend()


async def read_lines(stream: ByteReceiveStream, count: int) -> str:
    said = b""
    with anyio.fail_after(PATIENCE):
        while said.count(b"\n") < count:
            said += await stream.receive()
    return said.decode()


async def test_a_guest_that_is_stuck_costs_its_client_the_deadline(place: Place, guest: aiovirt.Domain, path: str) -> None:
    pid = pid_of(place, guest)
    async with guest.qmp_proxy(path, timeout=0.5), await anyio.connect_unix(path) as client:
        await client.send(b'{"execute": "qmp_capabilities"}')
        await read_lines(client, 2)
        async with guest.expect(MonitorStalled):
            os.kill(pid, signal.SIGSTOP)
            await client.send(b'{"execute": "query-status", "id": 1}')
            answer = json.loads(await read_lines(client, 1))
        assert answer["id"] == 1
        assert answer["error"]["class"] == "GenericError"
        assert "did not answer" in answer["error"]["desc"]
        async with guest.expect(MonitorResumed):
            os.kill(pid, signal.SIGCONT)
        await client.send(b'{"execute": "query-uuid", "id": 2}')
        assert json.loads(await read_lines(client, 1)) == {"return": {"UUID": str(guest.uuid)}, "id": 2}
