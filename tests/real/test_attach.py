"""Processes that attach to the one that holds a host: what they see, and what none of them can do to another."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self
from uuid import UUID

import anyio
import pytest

import aiovirt
from aiovirt import Domain, DomainState, Host
from aiovirt.engine.attached import AttachedEngine
from aiovirt.engine.connect import Connection
from aiovirt.engine.local import LocalEngine
from aiovirt.errors import HostGone, HostHeld, NoConnect, OrderTimeout
from aiovirt.events import DomainEvent, DomainLifecycle, Event, MonitorHealth, NetdevAdded
from aiovirt.events.cursor import parse_cursor
from aiovirt.events.segment import decode_event
from aiovirt.model.caller import Caller
from aiovirt.model.netdev import Netdev
from aiovirt.model.orders import AskXML
from aiovirt.wire.attach import Frames, framed
from aiovirt.wire.attach.messages import (
    ENGINE_LIMIT,
    Answer,
    Ask,
    Failure,
    FromClient,
    FromEngine,
    Hello,
    NextEvents,
    Unknown,
    Welcome,
    decode_from_engine,
    encode,
)
from tests.real.conftest import PATIENCE, Place, engine_of

pytestmark = pytest.mark.anyio


@pytest.fixture
async def held(place: Place) -> AsyncIterator[Connection]:
    """A host that this process holds."""
    connection = aiovirt.connect(place.uri)
    async with connection:
        yield connection


def socket_of(place: Place) -> Path:
    return place.folder / "engine/runtime/engine.sock"


class Raw:
    """A client made by hand, that says what it likes."""

    def __init__(self, place: Place) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(socket_of(place)))
        self.socket.settimeout(PATIENCE)
        self._frames = Frames(ENGINE_LIMIT)
        self._heard: list[FromEngine | Unknown] = []

    def say(self, *messages: FromClient | FromEngine) -> None:
        self.socket.sendall(b"".join(framed(encode(message)) for message in messages))

    def hear(self) -> FromEngine | Unknown | None:
        """The next message, or None at the end."""
        while not self._heard:
            try:
                data = self.socket.recv(65_536)
            except ConnectionResetError:
                return None
            if not data:
                return None
            self._heard += map(decode_from_engine, self._frames.feed(data))
        return self._heard.pop(0)

    def all_until_the_end(self) -> list[FromEngine | Unknown]:
        return list(iter(self.hear, None))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()


HELLO = Hello(1, "a test")


def spam(host: Host, count: int, size: int = 0) -> list[Event]:
    return [
        host.engine.bus.publish(NetdevAdded(device=Netdev(id=f"{number}.1", ifindex=number, name="n", properties={"a": "x" * size})))
        for number in range(1, count + 1)
    ]


# -- the same host -----------------------------------------------------------------------------


async def test_it_is_the_same_host(place: Place, held: Connection) -> None:
    assert held.holder is not None
    async with place.attach() as host, place.attach() as third:
        assert isinstance(host.engine, AttachedEngine)
        assert len(held.holder.clients) == 2
        assert {client.pid for client in held.holder.clients} == {os.getpid()}
        domain = await host.define(place.spec())
        with anyio.fail_after(PATIENCE):
            while not third.domains():  # it is told a moment later
                await anyio.lowlevel.checkpoint()
        assert third.domains() == [domain]
        assert host.devices.netdevs() == third.devices.netdevs() != []
        assert await domain.xml() == await third.domain("tiny").xml()
    with anyio.fail_after(PATIENCE):
        while held.holder.clients:
            await anyio.lowlevel.checkpoint()


async def test_the_socket_is_its_users_alone(place: Place, held: Connection) -> None:  # noqa: ARG001 - somebody holds it
    found = socket_of(place).stat()
    assert stat.S_IMODE(found.st_mode) == 0o600
    assert stat.S_IMODE(socket_of(place).parent.stat().st_mode) == 0o700


async def test_another_user_is_refused(place: Place, held: Connection) -> None:  # noqa: ARG001
    for path in (place.folder, place.folder / "engine", place.folder / "engine/runtime"):
        path.chmod(0o711)
    socket_of(place).chmod(0o666)
    script = f"""
import os, socket
os.setuid(65534)
with socket.socket(socket.AF_UNIX) as s:
    s.connect({str(socket_of(place))!r})
    print(b"".join(iter(lambda: s.recv(4096), b"")))
"""
    said = await anyio.run_process([sys.executable, "-c", script])
    assert b"AccessDenied" in said.stdout
    assert b"welcome" not in said.stdout


async def test_one_who_means_other_folders_is_refused(place: Place, held: Connection) -> None:  # noqa: ARG001
    root = place.folder / "engine"
    with pytest.raises(HostHeld, match=r"with .*engine/state") as refused:
        async with aiovirt.connect("qemu:///session", config_dir=root / "config", state_dir=root / "s2", runtime_dir=root / "runtime"):
            pass
    assert refused.value.pid == os.getpid()


async def test_a_later_version_is_answered_in_ours_and_an_earlier_one_is_refused(place: Place, held: Connection) -> None:  # noqa: ARG001
    def speak(version: int) -> list[FromEngine | Unknown | None]:
        with Raw(place) as raw:
            raw.say(Hello(version))
            return [raw.hear()]

    (welcome,) = await anyio.to_thread.run_sync(speak, 7)
    assert isinstance(welcome, Welcome)
    assert welcome.version == 1
    (refused,) = await anyio.to_thread.run_sync(speak, 0)
    assert isinstance(refused, Failure)
    assert "version 0" in refused.message


# -- events ------------------------------------------------------------------------------------


async def test_an_answer_comes_behind_what_was_published_before(place: Place, held: Connection) -> None:  # noqa: ARG001
    async with place.attach() as host:
        domain = await host.define(place.spec())
        for _ in range(5):
            await domain.start(paused=True)
            assert domain.is_active
            await domain.destroy()
            assert not domain.is_active
        await domain.undefine()
        assert host.domains() == []


async def test_who_attaches_late_reads_what_was_before(place: Place) -> None:
    async with aiovirt.connect(place.uri) as holder:
        before = holder.events.cursor
        told = spam(holder, 3000)
        async with place.attach() as host, host.events.subscribe(NetdevAdded, after=before) as events:
            more = spam(holder, 10)
            with anyio.fail_after(PATIENCE):
                heard = [await events.receive() for _ in range(3010)]
            assert heard == told + more


async def test_an_epoch_that_ends_is_told(place: Place) -> None:
    async with aiovirt.connect(place.uri) as holder, place.attach() as host, host.events.subscribe() as events:
        told = spam(holder, 2)
        assert [await events.receive() for _ in told] == told
        holder.engine.bus.degrade("the disk is full")
        more = spam(holder, 2)
        with anyio.fail_after(PATIENCE):
            degraded = await events.receive()
            assert [await events.receive() for _ in more] == more
        assert parse_cursor(degraded.cursor)[1] == 1
        assert host.events.cursor == holder.events.cursor
        async with host.events.subscribe(after=degraded.cursor) as again:
            assert await again.receive() == more[0]


async def test_a_client_that_does_not_read_harms_nobody_and_misses_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = aiovirt.connect(place.uri)
    async with connection as holder, place.attach() as host:
        assert connection.holder is not None
        monkeypatch.setattr(holder.engine.bus.ring, "_budget", 500_000)  # what it has not read is soon in the journal only
        with Raw(place) as deaf:
            deaf.say(HELLO)
            with anyio.fail_after(PATIENCE):
                while len(connection.holder.clients) < 2 or min(client._sent for client in connection.holder.clients) < 0:
                    await anyio.lowlevel.checkpoint()
            (stuck,) = (client for client in connection.holder.clients if client.program == "a test")
            async with host.events.subscribe(NetdevAdded) as events:
                told = list[Event]()
                for _ in range(40):
                    told += spam(holder, 500, 1000)
                    await anyio.lowlevel.checkpoint()
                with anyio.fail_after(PATIENCE):
                    assert [await events.receive() for _ in told] == told
            assert stuck._sent + 1 < holder.engine.bus.ring.first
            assert stuck._waiting == 0

            def listen() -> list[bytes]:
                assert isinstance(deaf.hear(), Welcome)
                heard: list[bytes] = []
                while len(heard) < len(told):
                    news = deaf.hear()
                    assert isinstance(news, NextEvents)
                    heard += news.events
                return heard

            with anyio.fail_after(PATIENCE):
                assert [decode_event(event) for event in await anyio.to_thread.run_sync(listen)] == told


async def test_the_end_of_the_holder_is_told_and_gone_on_from(place: Place) -> None:
    """Killed, with no chance to say so; whoever reads goes on with the next engine, with no gap and nothing twice."""
    async with engine_of(place) as process, place.attach() as host, host.events.subscribe() as events:
        domain = await host.define(place.spec())
        await domain.start()
        process.kill()
        heard: list[Event] = []
        with pytest.raises(HostGone) as gone, anyio.fail_after(PATIENCE):
            while True:
                heard.append(await events.receive())
        assert gone.value.cursor == heard[-1].cursor
        with pytest.raises(HostGone):
            await domain.suspend()
        assert domain.state is DomainState.RUNNING  # as it was known last
    async with place.attach() as host, host.events.subscribe(after=gone.value.cursor) as events:
        first = await events.receive()
        assert parse_cursor(first.cursor)[1] == parse_cursor(gone.value.cursor)[1] + 1
        with anyio.fail_after(PATIENCE):
            while host.domain("tiny").status.monitor is not MonitorHealth.CONNECTED:
                await events.receive()
        assert host.domain("tiny").state is DomainState.RUNNING
        await host.domain("tiny").destroy()


# -- orders ------------------------------------------------------------------------------------


@asynccontextmanager
async def stopped(domain: Domain, holder: Host) -> AsyncIterator[None]:
    """Its QEMU does not answer meanwhile."""
    run = holder.engine.records.entries.get(domain.uuid).run  # type: ignore[attr-defined]
    os.kill(run.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(run.process.pid, signal.SIGCONT)


async def test_what_can_be_done_is_asked_of_the_engine(place: Place, held: Connection) -> None:
    assert held.holder is not None
    async with place.attach() as host:
        assert await host.can("AskQMP") is None
        assert await host.can("Levitate") == "this engine does not know it"


async def test_the_engine_knows_who_asks(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    async with aiovirt.connect(place.uri) as holder, place.attach() as host:
        engine = holder.engine
        assert isinstance(engine, LocalEngine)
        asked: list[Caller] = []

        def check(_: object, caller: Caller) -> None:
            asked.append(caller)
            raise aiovirt.AccessDenied("not today")

        monkeypatch.setattr(engine.admission, "check", check)
        for each in (host, holder):
            with pytest.raises(aiovirt.AccessDenied, match="not today"):
                await each.define(place.spec())
    (attached, here) = asked
    assert (attached.origin, attached.uid, attached.pid) == ("attached", os.geteuid(), os.getpid())
    assert attached.program
    assert here == Caller(origin="process")


async def test_cancelling_an_order_gives_it_up_there(place: Place) -> None:
    connection = aiovirt.connect(place.uri)
    async with connection as holder, place.attach() as host:
        assert connection.holder is not None
        (client,) = connection.holder.clients
        domain = await host.define(place.spec())
        await domain.start()
        async with stopped(domain, holder):
            with anyio.move_on_after(0.2) as gave_up:
                await domain.suspend()
            assert gave_up.cancelled_caught
            assert client._calls == {}
            assert client._under_way == {True: 0, False: 0}
            with pytest.raises(OrderTimeout) as late:
                await domain.qmp("query-status", timeout=0.2)
            assert late.value.sent
        await domain.destroy()


async def test_a_holder_that_is_stopped_costs_a_deadline(place: Place) -> None:
    async with engine_of(place) as process, place.attach() as host:
        domain = await host.define(place.spec())
        process.send_signal(signal.SIGSTOP)
        try:
            start = anyio.current_time()
            with pytest.raises(OrderTimeout) as late:
                await domain.start(timeout=0.3)
            assert late.value.sent
            assert anyio.current_time() - start < PATIENCE
            assert domain.state is DomainState.SHUTOFF
            with anyio.move_on_after(0.1) as gave_up:
                await domain.xml()
            assert gave_up.cancelled_caught
        finally:
            process.send_signal(signal.SIGCONT)
        with anyio.fail_after(PATIENCE):
            assert "<name>tiny</name>" in await domain.xml()
            if domain.is_active:
                await domain.destroy()


async def test_who_does_not_answer_cannot_be_attached_to(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiovirt.engine.finding.PATIENCE", 0.5)
    async with engine_of(place) as process:
        process.send_signal(signal.SIGSTOP)
        with pytest.raises(NoConnect, match=f"process {process.pid}, does not answer"):
            async with place.attach():
                pass
        process.send_signal(signal.SIGCONT)


async def test_thousands_are_awaited_at_once(place: Place, held: Connection) -> None:  # noqa: ARG001
    async with place.attach() as host:
        domain = await host.define(place.spec())
        found: list[str] = []

        async def ask() -> None:
            found.append(await domain.xml())

        async with anyio.create_task_group() as tasks:
            for _ in range(2000):
                tasks.start_soon(ask)
        assert len(found) == 2000


async def test_a_guest_that_lives_for_its_connection_ends_with_it(place: Place) -> None:
    async with aiovirt.connect(place.uri) as holder, holder.events.subscribe(DomainLifecycle) as events:
        async with place.attach() as host:
            mine = await host.create(place.spec("mine"), autodestroy=True, paused=True)
            await host.create(place.spec("stays"), paused=True)
        with anyio.fail_after(PATIENCE):
            while holder.engine.bus.state.domains.get(mine.uuid) is not None:
                await events.receive()
        assert [domain.name for domain in holder.domains()] == ["stays"]
        await holder.domain("stays").destroy()


async def test_what_another_started_in_its_place_does_not(place: Place) -> None:
    connection = aiovirt.connect(place.uri)
    async with connection as holder:
        async with place.attach() as host:
            domain = await host.define(place.spec())
            await domain.start(autodestroy=True, paused=True)
            await holder.domain("tiny").destroy()
            await holder.domain("tiny").start(paused=True)
        assert connection.holder is not None
        with anyio.fail_after(PATIENCE):
            while connection.holder.clients:
                await anyio.lowlevel.checkpoint()
        assert holder.domain("tiny").state is DomainState.PAUSED
        await holder.domain("tiny").destroy()


# -- the hostile -------------------------------------------------------------------------------


def torrents() -> Iterator[tuple[str, bytes]]:
    hello = framed(encode(HELLO))
    yield "noise", os.urandom(100_000)
    yield "zeros", bytes(100_000)
    yield "a length without end", b"\xff\xff\xff\xff" + bytes(1000)
    yield "no greeting", ask(1)
    yield "two greetings", hello + hello
    yield "a number twice", hello + ask(1) + ask(1)
    yield "number 0", hello + ask(0)
    yield "a flood", hello + b"".join(ask(number) for number in range(1, 5000))
    yield "another's message", hello + framed(encode(NextEvents([])))
    yield "half a message", hello + ask(1)[:-5]


def ask(number: int) -> bytes:
    return framed(encode(Ask.of(number, AskXML(uuid=UUID(int=1)))))


@pytest.mark.parametrize("name", dict(torrents()))
async def test_no_bytes_harm_the_host_or_its_other_clients(place: Place, held: Connection, name: str) -> None:
    assert held.holder is not None
    data = dict(torrents())[name]

    def pour() -> list[FromEngine | Unknown]:
        with Raw(place) as raw:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                raw.socket.sendall(data)
            if name == "half a message":
                return []
            return raw.all_until_the_end()

    async with place.attach() as host:
        domain = await host.define(place.spec())
        with anyio.fail_after(PATIENCE):
            last = await anyio.to_thread.run_sync(pour)
            assert "<name>tiny</name>" in await domain.xml()
            while len(held.holder.clients) > 1:
                await anyio.lowlevel.checkpoint()
        if name not in {"half a message", "a flood", "noise"}:
            assert isinstance(last[-1], Failure)
            assert (last[-1].number, last[-1].kind) == (0, "ProtocolError")
        assert all(isinstance(message, Welcome | Answer | Failure) for message in last)


async def test_answers_that_nobody_takes_are_bounded(place: Place, held: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    assert held.holder is not None
    monkeypatch.setattr("aiovirt.engine.client.WAITING", 100_000)
    async with place.attach() as host:
        domain = await host.define(place.spec())
        with Raw(place) as raw:
            raw.say(HELLO)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                for first in range(1, 20_000, 50):
                    await anyio.to_thread.run_sync(raw.say, *(Ask.of(first + n, AskXML(uuid=domain.uuid)) for n in range(50)))
                    await anyio.lowlevel.checkpoint()
            with anyio.fail_after(PATIENCE):
                while len(held.holder.clients) > 1:
                    await anyio.lowlevel.checkpoint()
        assert await domain.xml()


# -- finding one another -----------------------------------------------------------------------


async def test_one_waits_for_a_holder_that_is_just_ending(place: Place) -> None:
    """Its socket is gone before its lock is; one that went on would make it anew."""
    async with engine_of(place) as process:
        process.send_signal(signal.SIGSTOP)
        await anyio.to_thread.run_sync(socket_of(place).unlink)
        async with anyio.create_task_group() as tasks:

            async def end() -> None:
                await anyio.wait_all_tasks_blocked()
                process.kill()

            tasks.start_soon(end)
            with anyio.fail_after(PATIENCE):
                async with place.attach() as host:
                    assert not isinstance(host.engine, AttachedEngine)


async def test_a_socket_that_a_killed_engine_left_is_in_nobodys_way(place: Place) -> None:
    async with engine_of(place) as process:
        process.kill()
        await process.wait()
    assert socket_of(place).exists()
    async with place.attach() as host:
        assert not isinstance(host.engine, AttachedEngine)
        async with place.attach() as other:
            assert isinstance(other.engine, AttachedEngine)


async def test_a_reader_wakes_for_what_others_do(place: Place, held: Connection) -> None:  # noqa: ARG001
    async with place.attach() as one, place.attach() as two, two.events.subscribe(DomainEvent) as events:
        await one.define(place.spec())
        with anyio.fail_after(PATIENCE):
            assert (await events.receive()).name == "tiny"
