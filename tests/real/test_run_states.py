"""What a guest's state is when no event, or one event too many, says it: as a real QEMU answers."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

import aiovirt
from aiovirt import Domain, DomainState, Host
from aiovirt.drivers.qemu.driver import HANDLERS
from aiovirt.events import DomainEvent, DomainLifecycle, DomainQMP, DomainReboot, Lifecycle
from aiovirt.libvirtxml import render
from aiovirt.model import orders
from aiovirt.model.devices.serial import Chardev, Serial
from aiovirt.model.spec import Action, DomainSpec
from aiovirt.model.state import Reason
from aiovirt.system.inotify import IN_MODIFY, FolderWatch
from aiovirt.testing.tinyguest import UP, image
from tests.real.conftest import EMULATOR, PATIENCE, Place
from tests.real.test_machine import outside

pytestmark = pytest.mark.anyio

# what the tiny guest does when its power button is pressed, and others in its place
OFF = bytes.fromhex("BA 04 06 B8 00 20 EF")  # mov dx, 0x604; mov ax, 0x2000; out dx, ax
SLEEP = bytes.fromhex("BA 04 06 B8 00 24 EF")  # sleep type 1 is S3
PANIC = bytes.fromhex("BA 05 05 B0 01 90 EE")  # mov dx, 0x505; mov al, 1; nop; out dx, al: pvpanic
WAIT = bytes.fromhex("E9 75 01 90 90 90 90")  # jmp 0x7da0, where what follows is put
WAITING = bytes.fromhex("BA FD 03 EC A8 01 74 FB") + OFF + bytes.fromhex("F4 EB FD")  # off once COM1 says something (LSR, data ready)
REBOOT = bytes.fromhex("BA F9 0C B0 06 90 EE")  # mov dx, 0xcf9; mov al, 6; nop; out dx, al: a hard reset


def pressing(press: bytes) -> bytes:
    changed = image().replace(OFF, press)
    assert not any(changed[0x1A0 : 0x1A0 + len(WAITING)])
    return changed[:0x1A0] + WAITING + changed[0x1A0 + len(WAITING) :]


Boots = Callable[[], Awaitable[None]]


@asynccontextmanager
async def booting(
    place: Place, press: bytes = OFF, *, com1: list[anyio.abc.ByteStream] | None = None, **changes: Action | str
) -> AsyncIterator[tuple[DomainSpec, Boots]]:
    """The spec of a guest that does ``press`` when its power button is pressed, and what waits for its next boot.

    ``com1`` is given the other end of its serial port.
    """
    path = place.folder / "tiny.com1"
    send, receive = anyio.create_memory_object_stream[None](100)

    async def listen(stream: anyio.abc.ByteStream) -> None:
        said = b""
        if com1 is not None:
            com1[:] = [stream]
        async with stream:
            async for part in stream:
                *boots, said = (said + part).split(UP)
                for _ in boots:
                    send.send_nowait(None)

    with send, receive:
        async with await anyio.create_unix_listener(path) as port, anyio.create_task_group() as tasks:
            tasks.start_soon(port.serve, listen)
            with anyio.fail_after(PATIENCE):
                serial = Serial(type=Chardev.UNIX, path=str(path), listen=False)
                spec = place.spec("tiny", ports=(serial,), **changes)
                Path(spec.disks[0].source).write_bytes(pressing(press))
                yield spec, receive.receive
            tasks.cancel_scope.cancel()


def run_state_of(place: Place) -> object:
    """As QEMU has it while no engine is there."""
    (path,) = Path(place.folder / "engine/runtime/qemu").glob("*.monitor")
    with socket.socket(socket.AF_UNIX) as client, client.makefile("rw") as said:
        client.settimeout(PATIENCE)
        client.connect(str(path))
        for command in ("qmp_capabilities", "query-status"):
            said.write(json.dumps({"execute": command}))
            said.flush()
        return next(answer["return"]["status"] for answer in map(json.loads, said) if answer.get("return"))


def panicking(place: Place) -> str:
    """An emulator that has the device by which a guest says that it panicked."""
    path = place.folder / "emulator"
    path.write_text(f'#!/bin/sh\nexec {EMULATOR or shutil.which("qemu-system-x86_64")} "$@" -device pvpanic\n')
    path.chmod(0o755)
    return str(path)


def state_of(domain: Domain) -> tuple[DomainState, Reason]:
    return domain.status.state, domain.status.reason


async def pressed(domain: Domain, kind: Lifecycle) -> None:
    async with domain.expect(DomainLifecycle, where=lambda event: event.kind is kind):
        await domain.shutdown()


async def test_a_guest_that_was_stopped_and_reset_while_no_engine_was_there_is_paused(place: Place) -> None:
    async with aiovirt.connect(place.uri) as host:
        await (await host.define(place.spec())).start()
    outside(place, {"execute": "stop"}, {"execute": "system_reset"})
    async with aiovirt.connect(place.uri) as host:
        domain = host.domain("tiny")
        await domain.wait_for_state(DomainState.PAUSED)
        assert state_of(domain) == (DomainState.PAUSED, Reason.USER)
        await domain.resume()
        assert domain.state is DomainState.RUNNING
        await domain.destroy()


async def test_a_crashed_guest_that_is_reset_is_paused(host: Host, place: Place) -> None:
    async with booting(place, PANIC, on_crash=Action.PRESERVE, emulator=panicking(place)) as (spec, boots), host.run(spec) as domain:
        await boots()
        await pressed(domain, Lifecycle.CRASHED)
        await domain.reset()
        assert state_of(domain) == (DomainState.PAUSED, Reason.CRASHED)
        await domain.resume()
        await boots()
        assert domain.state is DomainState.RUNNING


async def test_one_that_was_powered_off_and_preserved_is_paused_after_a_reset(host: Host, place: Place) -> None:
    async with booting(place, on_poweroff=Action.PRESERVE) as (spec, boots), host.run(spec) as domain:
        await boots()
        await pressed(domain, Lifecycle.SHUTDOWN)
        await domain.reset()
        assert state_of(domain) == (DomainState.PAUSED, Reason.USER)
        await domain.resume()
        await boots()


async def test_a_sleeping_guest_that_is_reset_is_paused_and_can_be_resumed(host: Host, place: Place) -> None:
    async with booting(place, SLEEP) as (spec, boots), host.run(spec) as domain:
        await boots()
        await pressed(domain, Lifecycle.PMSUSPENDED)
        await domain.reset()
        assert state_of(domain) == (DomainState.PAUSED, Reason.USER)
        await domain.resume()
        await boots()
        assert domain.state is DomainState.RUNNING


async def test_a_sleeping_guest_that_is_stopped_and_let_go_sleeps_on(host: Host, place: Place) -> None:
    """QEMU 7 ignores both; 10 says STOP and RESUME."""
    async with booting(place, SLEEP) as (spec, boots), host.run(spec) as domain:
        await boots()
        await pressed(domain, Lifecycle.PMSUSPENDED)
        await domain.qmp("stop")
        await domain.qmp("cont")
        if domain.state is DomainState.PAUSED:  # the answer is on its way
            await domain.wait_for_state(DomainState.PMSUSPENDED)
        assert (await domain.qmp("query-status", returns=dict[str, object]))["status"] == "suspended"
        assert domain.state is DomainState.PMSUSPENDED
        async with domain.expect(DomainLifecycle, where=lambda event: event.state is DomainState.RUNNING):
            await domain.qmp("system_wakeup")


async def test_one_that_was_stopped_in_its_sleep_is_resumed_into_it(host: Host, place: Place) -> None:
    async with booting(place, SLEEP) as (spec, boots), host.run(spec) as domain:
        await boots()
        await pressed(domain, Lifecycle.PMSUSPENDED)
        await domain.qmp("stop")
        if domain.state is DomainState.PAUSED:
            await domain.resume()
        assert domain.state is DomainState.PMSUSPENDED


async def reboots(host: Host, domain: Domain, after: str) -> tuple[list[bool], int]:
    """(by whom, of each DomainReboot; how often QEMU said RESET) since then."""
    told: list[bool] = []
    said = 0
    async with host.events.subscribe(DomainEvent, subject=domain, after=after) as events:
        while events.cursor < host.events.cursor:
            match await events.receive():
                case DomainReboot() as event:
                    told.append(event.by_guest)
                case DomainQMP(event="RESET"):
                    said += 1
                case _:
                    pass
    return told, said


async def test_one_reset_by_the_host_is_one_reboot(host: Host, place: Place) -> None:
    async with booting(place) as (spec, boots), host.run(spec) as domain:
        await boots()
        for _ in range(3):
            after = host.events.cursor
            await domain.reset()
            await boots()
            told, said = await reboots(host, domain, after)
            assert told == [False]
            assert said > 1, "this firmware resets once more by itself"


async def test_one_reboot_by_the_guest_is_one_reboot(host: Host, place: Place) -> None:
    async with booting(place, REBOOT) as (spec, boots), host.run(spec) as domain:
        await boots()
        after = host.events.cursor
        async with domain.expect(DomainReboot):
            await domain.shutdown()
        await boots()
        assert (await reboots(host, domain, after))[0] == [True]


async def test_a_reboot_presses_the_power_button_and_boots_again(host: Host, place: Place) -> None:
    async with booting(place) as (spec, boots), host.run(spec) as domain:
        for _ in range(2):
            await boots()
            async with host.events.subscribe(DomainLifecycle, DomainReboot, subject=domain) as events:
                await domain.reboot()
                told = [await events.receive() for _ in range(3)]
            assert [" ".join(event.describe()[1:]) for event in told] == [
                "shutdown finished after guest request",
                "reboot by the host",
                "resumed unpaused",
            ]
            assert told[0].cause is not None
        await boots()
        await pressed(domain, Lifecycle.STOPPED)


async def test_a_reboot_does_what_on_reboot_says(host: Host, place: Place) -> None:
    async with booting(place, on_reboot=Action.DESTROY, on_poweroff=Action.PRESERVE) as (spec, boots), host.run(spec) as domain:
        await boots()
        async with domain.expect(DomainLifecycle, where=lambda event: event.kind is Lifecycle.STOPPED):
            await domain.reboot()


async def test_a_shutdown_takes_back_a_reboot_that_has_not_come(host: Host, place: Place) -> None:
    com1: list[anyio.abc.ByteStream] = []
    async with booting(place, WAIT, com1=com1) as (spec, boots), host.run(spec) as domain:
        await boots()
        await domain.reboot()
        await domain.shutdown()
        async with domain.expect(DomainLifecycle, where=lambda event: event.kind is Lifecycle.STOPPED):
            await com1[0].send(b"!")


async def test_a_reboot_that_an_engine_was_asked_for_comes_under_the_next_one(place: Place) -> None:
    """The guest powers off while no engine is there."""
    com1: list[anyio.abc.ByteStream] = []
    async with booting(place, WAIT, com1=com1) as (spec, boots):
        async with aiovirt.connect(place.uri) as host:
            domain = await host.define(spec)
            await domain.start()
            await boots()
            await domain.reboot()
        await com1[0].send(b"!")
        with anyio.fail_after(PATIENCE):
            while run_state_of(place) != "shutdown":
                await anyio.sleep(0.01)
        async with aiovirt.connect(place.uri) as host:
            await boots()
            domain = host.domain("tiny")
            await domain.wait_for_state(DomainState.RUNNING)
            await domain.shutdown()
            await com1[0].send(b"!")
            await domain.wait_for_state(DomainState.SHUTOFF)


async def test_only_what_runs_is_shut_down(host: Host, place: Place) -> None:
    domain = await host.create(place.spec(), paused=True)
    async with host.events.subscribe(DomainEvent, subject=domain) as events:
        with pytest.raises(aiovirt.OperationInvalid, match="domain is not running") as no:
            await domain.shutdown()
        assert no.value.code == 55
        with pytest.raises(anyio.WouldBlock):
            while isinstance(event := events.receive_nowait(), DomainEvent):
                assert not (isinstance(event, DomainQMP) and event.event == "POWERDOWN")
    await domain.destroy()


async def test_a_snapshot_that_cannot_be_loaded_is_seen_to_stop_the_guest(host: Host, place: Place) -> None:
    async with host.run(place.spec()) as domain:
        arguments = {"job-id": "load", "tag": "no such", "vmstate": "disk0-format", "devices": ["disk0-format"]}
        async with domain.expect(DomainLifecycle):
            await domain.qmp("snapshot-load", arguments)
        assert domain.state is DomainState.PAUSED
        while (status := await domain.qmp("query-status", returns=dict[str, object]))["status"] != "restore-vm":
            assert status["running"] is False
    domain = await host.define(place.spec())
    await domain.start()
    await domain.qmp("snapshot-load", arguments)
    await domain.wait_for_state(DomainState.PAUSED)
    await domain.resume()
    await domain.destroy()


async def test_a_guest_whose_snapshot_was_not_loaded_while_no_engine_was_there_is_paused(place: Place) -> None:
    async with aiovirt.connect(place.uri) as host:
        await (await host.define(place.spec())).start()
    arguments = {"job-id": "load", "tag": "no such", "vmstate": "disk0-format", "devices": ["disk0-format"]}
    outside(place, {"execute": "snapshot-load", "arguments": arguments})
    async with aiovirt.connect(place.uri) as host:
        domain = host.domain("tiny")
        await domain.wait_for_state(DomainState.PAUSED)
        assert domain.status.reason is Reason.FROM_SNAPSHOT
        await domain.resume()
        await domain.destroy()


async def test_the_first_disk_by_target_is_booted(host: Host, place: Place) -> None:
    empty = place.folder / "empty.img"
    empty.write_bytes(bytes(512))
    async with booting(place) as (spec, boots):
        (bootable,) = spec.disks
        first = f"<disk><source file='{empty}'/><target dev='hdb' bus='ide'/></disk>"
        xml = render(spec).replace("<disk ", f"{first}<disk ", 1)
        domain = await host.create(xml)
        await boots()
        assert [disk.target for disk in (await domain.spec()).disks] == [bootable.target, "hdb"]
        await domain.destroy()


@pytest.mark.parametrize(("append", "boots"), [(False, 1), (True, 2)])
async def test_a_serial_ports_file_begins_anew_unless_it_is_to_be_added_to(host: Host, place: Place, *, append: bool, boots: int) -> None:
    path = place.folder / "com1.log"
    domain = await host.define(place.spec(ports=(Serial(type=Chardev.FILE, path=str(path), append=append),)))
    with anyio.fail_after(PATIENCE), FolderWatch(place.folder, IN_MODIFY) as writes:
        for start in range(2):
            await domain.start()
            while path.read_bytes().count(UP) < (start + 1 if append else 1):
                await writes.names()
            await domain.destroy()
    assert path.read_bytes().count(UP) == boots


async def test_qemu_finds_nothing_in_our_words_that_is_deprecated(host: Host, place: Place) -> None:
    async with host.run(place.spec()) as domain:
        assert "deprecated" not in await domain.log()


# -- what the definition says is done ----------------------------------------------------------


async def test_a_crashed_guest_that_is_to_be_restarted_boots_again(host: Host, place: Place) -> None:
    async with booting(place, PANIC, on_crash=Action.RESTART, emulator=panicking(place)) as (spec, boots), host.run(spec) as domain:
        await boots()
        async with domain.expect(DomainLifecycle, where=lambda event: event.kind is Lifecycle.RESUMED) as seen:
            await pressed(domain, Lifecycle.CRASHED)
        await boots()
        assert (domain.state, seen.value.cause is not None) == (DomainState.RUNNING, True)


async def test_a_guest_that_powered_off_while_no_engine_was_there_is_restarted_by_the_next(place: Place) -> None:
    async with booting(place, on_poweroff=Action.RESTART) as (spec, boots):
        async with aiovirt.connect(place.uri) as host:
            await (await host.define(spec)).start()
            await boots()
        outside(place, {"execute": "system_powerdown"})
        async with aiovirt.connect(place.uri) as host:
            await boots()
            domain = host.domain("tiny")
            await domain.wait_for_state(DomainState.RUNNING)
            await domain.destroy()


async def test_a_restart_that_was_broken_off_is_gone_on_with_by_the_next_engine(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: object) -> None:
        await anyio.sleep_forever()

    async with booting(place, on_poweroff=Action.RESTART) as (spec, boots):
        async with aiovirt.connect(place.uri) as host:
            domain = await host.define(spec)
            await domain.start()
            await boots()
            with monkeypatch.context() as held:
                held.setattr(HANDLERS, "functions", HANDLERS.functions | {orders.Resume: never})
                async with domain.expect(DomainReboot):
                    await domain.shutdown()
                assert domain.state is DomainState.SHUTDOWN
        async with aiovirt.connect(place.uri) as host:
            domain = host.domain("tiny")
            await domain.wait_for_state(DomainState.RUNNING)
            await boots()
            await domain.destroy()
