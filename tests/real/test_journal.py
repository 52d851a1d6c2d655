"""What a reader sees across the end of a real engine: nothing is missing, nothing comes twice, and what was missed is told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
from msgspec.structs import replace

import aiovirt
from aiovirt import DomainState, EventGap
from aiovirt.events import (
    Detail,
    DomainLifecycle,
    DomainQMP,
    Event,
    HostStarted,
    JournalDegraded,
    Lifecycle,
    NetdevAdded,
    NetdevChanged,
    NetdevEvent,
    PCIAdded,
    SourceResynced,
)
from tests.real.conftest import PATIENCE, Place
from tests.real.test_qemu import pid_of

pytestmark = pytest.mark.anyio


@pytest.fixture
async def veth() -> AsyncIterator[None]:
    """A pair of network devices, ``here0`` and ``there0``."""
    await ip("link add here0 type veth peer name there0")
    yield
    await anyio.run_process(["ip", "link", "del", "here0"], check=False, stderr=subprocess.DEVNULL)


async def ip(words: str) -> None:
    await anyio.run_process(["ip", *words.split()])


async def all_after(host: aiovirt.Host, cursor: str) -> list[Event]:
    """What was published since, up to now."""
    until = host.events.cursor
    found: list[Event] = []
    async with host.events.subscribe(after=cursor) as events:
        while events.cursor < until:
            found.append(await events.receive())
    return found


def contiguous(events: list[Event], after: str) -> bool:
    epoch, _, seq = after.partition(":")
    return [event.cursor for event in events] == [f"{epoch}:{int(seq) + number:016}" for number in range(1, len(events) + 1)]


async def test_cursors_outlive_a_clean_end(place: Place) -> None:
    async with aiovirt.connect(place.uri) as host:
        first = host.events.cursor
        domain = await host.define(place.spec())
        last = host.events.cursor
    async with aiovirt.connect(place.uri) as host:
        events = await all_after(host, first)
        assert contiguous(events, first)
        assert isinstance(events[0], DomainLifecycle)
        started = next(event for event in events if isinstance(event, HostStarted))
        assert (started.previous_cursor, started.clean, started.resumed, started.cut) == (last, True, True, 0)
        assert started.down_for is not None
        assert host.domain("tiny") == domain


@pytest.mark.usefixtures("veth")
async def test_a_killed_engine_goes_on_where_it_was(place: Place) -> None:
    """What was done while nobody was there is told as missed: to a guest, to a definition, to a device."""
    async with aiovirt.connect(place.uri) as host:
        running, forgotten = await host.define(place.spec("running")), await host.define(place.spec("forgotten"))
        await running.start()
        before = host.events.cursor
        pid = pid_of(place, running)
        started_at = host.domain("running").id
    crash = await crashed(place)
    await killed(pid)
    (place.folder / "engine/config/qemu/forgotten.xml").unlink()
    await ip("link set here0 mtu 1400")
    await ip("link add late0 type veth peer name late1")
    try:
        async with aiovirt.connect(place.uri) as host:
            with anyio.fail_after(PATIENCE):
                await host.domain("running").wait_for_state(DomainState.SHUTOFF)
            events = await all_after(host, before)
            assert contiguous(events, before)
            begun = [event for event in events if isinstance(event, HostStarted)]
            assert [(event.clean, event.resumed) for event in begun] == [(True, True), (False, True)]
            assert begun[1].previous_cursor == crash
            later = [event for event in events if event.cursor > begun[1].cursor]
            told = [event for event in later if isinstance(event, DomainLifecycle)]
            assert [(event.name, event.kind, event.missed) for event in told] == [
                ("forgotten", Lifecycle.UNDEFINED, True),
                ("running", Lifecycle.STOPPED, True),
            ]
            assert told[1].detail is Detail.FAILED
            devices = [event for event in later if isinstance(event, NetdevEvent)]
            assert {(type(event), event.device.name, event.missed) for event in devices} == {
                (NetdevChanged, "here0", True),
                (NetdevAdded, "late0", True),
                (NetdevAdded, "late1", True),
            }
            assert not any(isinstance(event, SourceResynced) for event in later)
            assert {domain.name for domain in host.domains()} == {"running"}
            assert started_at is not None
            await host.domain("running").start()
            assert (host.domain("running").id or 0) > started_at
            await host.domain("running").destroy()
    finally:
        await ip("link del late0")
    assert forgotten.uuid != running.uuid


async def test_a_guest_that_went_with_its_definition_is_missed(place: Place) -> None:
    async with aiovirt.connect(place.uri) as host:
        domain = await host.define(place.spec())
        await domain.start()
        before, pid = host.events.cursor, pid_of(place, domain)
    await killed(pid)
    (place.folder / "engine/config/qemu/tiny.xml").unlink()
    async with aiovirt.connect(place.uri) as host:
        with anyio.fail_after(PATIENCE):
            await domain_gone(host)
        told = [event for event in await all_after(host, before) if isinstance(event, DomainLifecycle)]
        assert [(event.kind, event.missed, event.cause) for event in told] == [
            (Lifecycle.UNDEFINED, True, None),
            (Lifecycle.STOPPED, True, None),
        ]


async def test_what_is_ordered_of_a_guest_that_does_not_answer_is_not_missed(place: Place) -> None:
    async with aiovirt.connect(place.uri) as host:
        domain = await host.define(place.spec())
        await domain.start()
        before, pid = host.events.cursor, pid_of(place, domain)
    os.kill(pid, signal.SIGSTOP)
    async with aiovirt.connect(place.uri) as host:
        await host.domain("tiny").destroy()
        told = [event for event in await all_after(host, before) if isinstance(event, DomainLifecycle)]
        assert [(event.kind, event.missed) for event in told] == [(Lifecycle.STOPPED, False)]
        assert told[0].cause is not None


async def domain_gone(host: aiovirt.Host) -> None:
    async with host.events.subscribe(DomainLifecycle) as events:
        while host.domains():
            await events.receive()


@pytest.mark.usefixtures("veth")
async def test_what_is_the_same_is_not_told_again(place: Place) -> None:
    async with aiovirt.connect(place.uri) as host:
        await (await host.define(place.spec())).start()
        ids = {device.name: device.id for device in host.devices.netdevs()}
        before = host.events.cursor
    async with aiovirt.connect(place.uri) as host:
        events = await all_after(host, before)
        assert not any(isinstance(event, NetdevEvent | SourceResynced) for event in events)
        assert {device.name: device.id for device in host.devices.netdevs()} == ids
        assert not any(isinstance(event, DomainLifecycle) for event in events)
        await host.domain("tiny").destroy()


@pytest.mark.usefixtures("veth")
async def test_another_boot_begins_with_its_own_devices(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    async with aiovirt.connect(place.uri) as host:
        before = host.events.cursor
        ids = {device.id for device in host.devices.netdevs()}
    monkeypatch.setattr("aiovirt.engine.connect.boot_id", lambda: "another-boot")
    async with aiovirt.connect(place.uri) as host:
        events = await all_after(host, before)
        assert contiguous(events, before)  # the engine had ended in order, so the epoch goes on
        kinds = [type(event) for event in events]
        assert kinds[0] is HostStarted
        assert [kind for kind in kinds if issubclass(kind, NetdevEvent)] == [NetdevAdded] * len(ids)
        assert [event.device for event in events if isinstance(event, PCIAdded)] == [replace(f, driver=None) for f in host.devices.pci()]
        assert kinds[-1] is SourceResynced
        assert not {device.id for device in host.devices.netdevs()} & ids


async def test_a_power_loss_chains_a_new_epoch(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    async with aiovirt.connect(place.uri) as host:
        early = host.events.cursor
    last = await crashed(place)
    file = max((place.folder / "engine/state/journal").glob("*.journal"))
    os.truncate(file, file.stat().st_size - 3)  # what the disk had not got yet
    monkeypatch.setattr("aiovirt.engine.connect.boot_id", lambda: "another-boot")
    async with aiovirt.connect(place.uri) as host:
        events = await all_after(host, early)
        started = next(event for event in reversed(events) if isinstance(event, HostStarted))
        assert started.clean is False
        assert started.cut > 0
        assert started.previous_cursor is not None
        assert early <= started.previous_cursor < last
        assert started.cursor[:26] > early[:26]
        with pytest.raises(EventGap):
            async with host.events.subscribe(after=last):
                pass


async def test_a_folder_that_takes_nothing_is_told(place: Place) -> None:
    """Root may write anywhere; a file in the journal's place takes nothing from anybody."""
    async with aiovirt.connect(place.uri):
        pass
    journal = place.folder / "engine/state/journal"
    journal.rename(journal.with_name("away"))
    journal.write_text("in the way")
    async with aiovirt.connect(place.uri) as host:
        domain = await host.define(place.spec())
        await domain.start()
        events = await all_after(host, host.events.cursor[:27] + "0" * 16)
        assert [type(event) for event in events[:2]] == [HostStarted, JournalDegraded]
        assert any(isinstance(event, DomainQMP) for event in events)
        await domain.destroy()


async def killed(pid: int) -> None:
    """Ends a process, and waits until it has."""
    handle = os.pidfd_open(pid)
    try:
        os.kill(pid, signal.SIGKILL)
        with anyio.fail_after(PATIENCE):
            await anyio.wait_readable(handle)
    finally:
        os.close(handle)


async def crashed(place: Place) -> str:
    """An engine that is killed once it has told some; the last cursor that it gave out."""
    program = Path(__file__).with_name("lives_briefly.py")
    async with await anyio.open_process([sys.executable, str(program), place.uri], stderr=None) as process:
        assert process.stdout
        said = b""
        with anyio.fail_after(PATIENCE):
            while not said.endswith(b"\n"):
                said += await process.stdout.receive()
        process.kill()
    return said.decode().strip()
