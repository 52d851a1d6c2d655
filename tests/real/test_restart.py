"""What is left behind, and what is found: engines that are cancelled or killed, and files that are not as we left them."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import anyio
import pytest
from msgspec.structs import replace

import aiovirt
from aiovirt import DomainState
from aiovirt.events import DomainEvent, MonitorHealth
from aiovirt.libvirtxml import render
from aiovirt.system.bytestream import UnixStream, connect_unix
from tests.real.conftest import PATIENCE, Place
from tests.real.test_qemu import is_of, no_guest_is_left, pid_of, qemus, state_of, swept

pytestmark = pytest.mark.anyio
__all__ = ["no_guest_is_left"]


@pytest.fixture
def place() -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="aiovirt-") as folder:
        yield Place(Path(folder))


def record(place: Place, uuid: UUID) -> Path:
    return place.folder / f"engine/state/run/{uuid}.json"


def change_record(place: Place, uuid: UUID, /, **members: object) -> None:
    path = record(place, uuid)
    path.write_text(json.dumps(json.loads(path.read_text()) | members))


async def heard(host: aiovirt.Host, name: str, health: MonitorHealth) -> aiovirt.Domain:
    with anyio.fail_after(PATIENCE):
        async with host.events.watch(DomainEvent) as news:
            while host.domain(name).status.monitor is not health:
                await news.receive()
    return host.domain(name)


async def test_asyncios_own_cancellation_of_a_start_leaves_nothing(place: Place, anyio_backend: tuple[str, dict[str, object]]) -> None:
    if anyio_backend[0] != "asyncio":
        return  # there is no such thing elsewhere
    async with aiovirt.connect(place.uri) as host:
        for milliseconds in (1, 3, 5, 8, 12, 20, 40):
            task = asyncio.ensure_future(host.create(place.spec()))
            await asyncio.sleep(milliseconds / 1000)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            for domain in host.domains():
                await domain.destroy()
            assert await swept(place)
    assert not {pid for pid in qemus() if is_of(place, pid)}


async def test_ctrl_c_while_a_guest_starts_leaves_it_known_or_gone(place: Place) -> None:
    xml = place.folder / "tiny.xml"
    xml.write_text(render(place.spec()))
    command = [sys.executable, "-m", "aiovirt", "-c", place.uri, "create", str(xml)]
    runs = place.folder / "engine/state/run"
    for _ in range(4):
        starting = await anyio.to_thread.run_sync(lambda: subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        while starting.poll() is None and not (runs.is_dir() and list(runs.glob("*.json"))):
            await anyio.sleep(0.001)
        starting.send_signal(signal.SIGINT)
        await anyio.to_thread.run_sync(starting.wait)
        alive = {pid for pid in qemus() if is_of(place, pid)}
        async with aiovirt.connect(place.uri) as host:
            assert len(host.domains(active=True)) == len(alive)
            for domain in host.domains():
                await domain.destroy()


@pytest.mark.parametrize("moved", ["config_dir", "state_dir", "runtime_dir"])
async def test_two_engines_share_no_folder(place: Place, moved: str) -> None:
    folders = {name: str(place.folder / name) for name in ("config_dir", "state_dir", "runtime_dir")}
    others = {name: path if name == moved else f"{path}-2" for name, path in folders.items()}
    async with aiovirt.connect("qemu:///session", **folders):
        with pytest.raises(aiovirt.HostHeld) as held:
            async with aiovirt.connect("qemu:///session", **others):
                pass
        assert held.value.pid == os.getpid()


async def test_an_engine_killed_before_it_knew_the_pid_finds_its_guest(place: Place) -> None:
    """The emulator is slow to begin: nothing listens yet but what the dead engine left."""
    slow = place.folder / "slow-qemu"
    slow.write_text('#!/bin/sh\nsleep 1\nexec qemu-system-x86_64 "$@"\n')
    slow.chmod(0o700)
    spec = replace(place.spec(), emulator=str(slow))
    uuid = uuid4()
    (place.folder / "tiny.xml").write_text(render(replace(spec, uuid=uuid)))
    command = [sys.executable, "-m", "aiovirt", "-c", place.uri, "create", str(place.folder / "tiny.xml")]
    starting = await anyio.to_thread.run_sync(lambda: subprocess.Popen(command))
    with anyio.fail_after(PATIENCE):
        while not record(place, uuid).exists() or (found := json.loads(record(place, uuid).read_text())["process"]) is None:
            await anyio.sleep(0.001)
    starting.kill()
    await anyio.to_thread.run_sync(starting.wait)
    pid = found["pid"]
    assert str(slow) in Path(f"/proc/{pid}/cmdline").read_text()  # QEMU itself has not begun
    change_record(place, uuid, process=None)
    async with aiovirt.connect(place.uri) as host:
        domain = await heard(host, "tiny", MonitorHealth.CONNECTED)
        assert state_of(domain) is DomainState.PAUSED  # nobody told it to go
        with anyio.fail_after(PATIENCE):  # records are completed in the background
            while (process := json.loads(record(place, uuid).read_text())["process"]) is None:
                await anyio.sleep(0.01)
        assert process["pid"] == pid
        await domain.destroy()


async def test_a_record_that_cannot_be_read_is_not_written_over(place: Place) -> None:
    async with aiovirt.connect(place.uri) as host:
        domain = await host.define(place.spec())
        await domain.start()
        pid, uuid = pid_of(place, domain), domain.uuid
    change_record(place, uuid, version=99)
    async with aiovirt.connect(place.uri) as host:
        domain = host.domain("tiny")
        assert (domain.state, domain.status.monitor) == (DomainState.RUNNING, MonitorHealth.DEGRADED)
        with pytest.raises(aiovirt.OperationInvalid, match="running"):
            await domain.start()
    shutil.rmtree(place.folder / "engine" / "state" / "journal")
    async with aiovirt.connect(place.uri) as host:
        with pytest.raises(aiovirt.OperationFailed, match=f"runs already, as process {pid}"):
            await host.domain("tiny").start()
    assert json.loads(record(place, uuid).read_text())["version"] == 99
    os.kill(pid, 0)
    change_record(place, uuid, version=1)
    async with aiovirt.connect(place.uri) as host:
        await (await heard(host, "tiny", MonitorHealth.CONNECTED)).destroy()


@pytest.mark.parametrize(
    "members",
    [
        {"process": {"boot_id": "", "pid": 0, "start_time": 1}},
        {"process": {"boot_id": "", "pid": -1, "start_time": 1}},
        {"process": {"boot_id": "", "pid": 2**40, "start_time": 1}},
        {"monitor": "relative"},
        {"monitor": "/"},
        {"monitor": "/a\0b"},
        {"uuid": "00000000-0000-4000-8000-00000000000a"},
        {"xml": "<domain/>"},
        {"state": "asleep"},
    ],
)
async def test_a_record_with_odd_values_costs_nobody_else_anything(place: Place, members: dict[str, object]) -> None:
    async with aiovirt.connect(place.uri) as host:
        odd, good = await host.define(place.spec("odd")), await host.define(place.spec("good"))
        await odd.start()
        await good.start()
        pid = pid_of(place, odd)
    change_record(place, odd.uuid, **members)
    async with aiovirt.connect(place.uri) as host:
        await (await heard(host, "good", MonitorHealth.CONNECTED)).destroy()
    os.kill(pid, signal.SIGKILL)


async def test_files_that_are_no_files_hold_nobody_up(place: Place) -> None:
    async with aiovirt.connect(place.uri):
        pass
    os.mkfifo(place.folder / "engine/config/qemu/pipe.xml")
    os.mkfifo(place.folder / "engine/state/run/pipe.json")
    (place.folder / "engine/config/qemu/folder.xml").mkdir()
    with anyio.fail_after(60):
        async with aiovirt.connect(place.uri) as host:
            assert host.domains() == []


@pytest.mark.parametrize("name", [".hidden", "a b", "*", "[x]", "-", "e\u0301", "a,b=c", "日本"])
async def test_every_name_comes_back(place: Place, name: str) -> None:
    async with aiovirt.connect(place.uri) as host:
        await host.define(replace(place.spec("x"), name=name))
    async with aiovirt.connect(place.uri) as host:
        assert [domain.name for domain in host.domains()] == [name]
        await host.domain(name).start()
        await host.domain(name).destroy()


async def test_another_guest_at_the_monitor_is_left_alone(place: Place) -> None:
    async with aiovirt.connect(place.uri) as host:
        one, two = await host.define(place.spec("one")), await host.define(place.spec("two"))
        await one.start()
        await two.start()
    sockets = place.folder / "engine/runtime/qemu"
    (sockets / f"{two.uuid}.monitor").replace(sockets / f"{one.uuid}.monitor")
    async with aiovirt.connect(place.uri) as host:
        one = await heard(host, "one", MonitorHealth.DEGRADED)
        with pytest.raises(aiovirt.ConnectionLost):
            await one.suspend()
        with pytest.raises(aiovirt.ConnectionLost):
            await one.qmp("query-name")
        assert state_of(one) is DomainState.RUNNING
        await one.destroy()
        await host.domain("two").destroy()


async def test_a_guest_that_is_stuck_when_it_is_found_is_heard_when_it_can_be(place: Place) -> None:
    async with aiovirt.connect(place.uri) as host:
        domain = await host.define(place.spec())
        await domain.start()
        pid = pid_of(place, domain)
    os.kill(pid, signal.SIGSTOP)
    async with aiovirt.connect(place.uri) as host:
        domain = await heard(host, "tiny", MonitorHealth.DEGRADED)
        with pytest.raises(aiovirt.ConnectionLost):
            await domain.suspend(timeout=1)
        os.kill(pid, signal.SIGCONT)
        domain = await heard(host, "tiny", MonitorHealth.CONNECTED)
        await domain.suspend()
        await domain.destroy()


async def test_a_block_that_is_left_while_a_guest_starts_leaves_nothing(place: Place) -> None:
    outcome: list[str] = []

    async def create(host: aiovirt.Host) -> None:
        try:
            await host.create(place.spec())
        except aiovirt.HostGone:
            outcome.append("gone")

    async with anyio.create_task_group() as tasks, aiovirt.connect(place.uri) as host:
        tasks.start_soon(create, host)
        while not list((place.folder / "engine/state/run").iterdir()):
            await anyio.sleep(0.001)
    assert outcome == ["gone"]
    assert await swept(place)


async def test_a_reset_that_is_to_end_the_guest_ends_it(place: Place) -> None:
    from aiovirt.model.spec import Action

    async with aiovirt.connect(place.uri) as host:
        domain = await host.define(place.spec(on_reboot=Action.DESTROY))
        await domain.start()
        await domain.reset()
        await domain.wait_for_state(DomainState.SHUTOFF)


async def test_an_emulator_that_talks_garbage(place: Place) -> None:
    talker = place.folder / "talker"
    talker.write_text(
        f"#!{sys.executable}\n"
        "import socket, sys, time\n"
        "fd = next(int(part.partition('=')[2]) for word in sys.argv for part in word.split(',') if part.startswith('fd='))\n"
        "peer, _ = socket.socket(fileno=fd).accept()\n"
        "peer.sendall(b'nonsense\\n')\n"
        "time.sleep(600)\n"
    )
    talker.chmod(0o700)
    async with aiovirt.connect(place.uri) as host:
        with pytest.raises(aiovirt.GuestFailed, match=r"could not be spoken to: .*not a QMP message"):
            await host.create(replace(place.spec(), emulator=str(talker)))
        assert host.domains() == []
    assert await swept(place)


async def test_of_two_engines_that_start_one_guest_one_does(place: Place) -> None:
    """Engines that share no folder, at the same moment."""
    other = Place(place.folder / "other")
    other.folder.mkdir()
    uuid = UUID(int=4711)
    async with aiovirt.connect(place.uri) as one, aiovirt.connect(other.uri) as two:
        for _ in range(3):
            refused: list[str] = []

            async def start(host: aiovirt.Host, name: str, refused: list[str] = refused) -> None:
                try:
                    await host.create(place.spec(name, uuid=uuid), paused=True)
                except aiovirt.OperationFailed as error:
                    refused.append(str(error))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(start, one, "here")
                tasks.start_soon(start, two, "there")
            assert len(refused) == 1
            assert "runs already" in refused[0]
            assert len([*one.domains(), *two.domains()]) == 1
            for domain in [*one.domains(), *two.domains()]:
                await domain.destroy()


async def test_a_guest_that_was_found_in_a_shortage_is_spoken_to_when_that_is_over(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with aiovirt.connect(place.uri) as host:
        await (await host.define(place.spec("found"))).start()
    real, failures = (
        connect_unix,
        [OSError(errno.EMFILE, "made up"), OSError(errno.ENOMEM, "made up"), OSError(errno.ENOBUFS, "made up")],
    )

    async def short(path: str, **keys: bool) -> UnixStream:
        if failures:
            raise failures.pop()
        return await real(path, **keys)

    monkeypatch.setattr("aiovirt.drivers.qemu.guests.connect_unix", short)
    async with aiovirt.connect(place.uri) as host:
        domain = await heard(host, "found", MonitorHealth.CONNECTED)
        assert domain.state is DomainState.RUNNING
        assert not failures
        await domain.destroy()
    assert caplog.text.count("a guest cannot be spoken to ") == 2, "as such, and that it is tried again"
    assert caplog.text.count("a guest is spoken to again") == 1
