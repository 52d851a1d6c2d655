"""The QEMU driver with real guests."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import anyio
import pytest
from msgspec.structs import replace
from qemu.qmp.qmp_client import ExecuteError

import aiovirt
from aiovirt import DomainState
from aiovirt.events import (
    DomainEvent,
    DomainLifecycle,
    DomainQMP,
    DomainReboot,
    Event,
    Lifecycle,
    MonitorHealth,
    MonitorLost,
    MonitorResumed,
    MonitorStalled,
)
from aiovirt.model.spec import Action
from tests.real.conftest import PATIENCE, Place

pytestmark = pytest.mark.anyio


def qemus() -> set[int]:
    """Every QEMU of this machine that we see."""
    found: set[int] = set()
    for stat in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if b"qemu-system" in stat.read_bytes().split(b"\0")[0]:
                found.add(int(stat.parent.name))
        except OSError:
            continue
    return found


def is_of(place: Place, pid: int) -> bool:
    """Whether this process has a file of the place on its command line, as its guests have."""
    try:
        return os.fsencode(place.folder) in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


@pytest.fixture(autouse=True)
def no_guest_is_left(place: Place) -> Iterator[None]:
    """None of the test's own: others may run beside it, and be somebody's. One that was killed may still be ending."""
    yield
    left = {pid for pid in qemus() if is_of(place, pid) and not ends(pid)}
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left


def ends(pid: int) -> bool:
    """Whether that process ends within a few seconds."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([process], [], [], 5)[0])
    finally:
        os.close(process)


def pid_of(place: Place, domain: aiovirt.Domain) -> int:
    import json

    return int(json.loads((place.folder / f"engine/state/run/{domain.uuid}.json").read_text())["process"]["pid"])


def state_of(domain: aiovirt.Domain) -> DomainState:
    """Its state, as a call: mypy does not see that an await may change an attribute."""
    return domain.state


def words(events: Sequence[Event]) -> list[str]:
    return [" ".join(event.describe()[1:]) for event in events]


async def test_a_whole_life(host: aiovirt.Host, place: Place) -> None:
    async with host.events.subscribe(DomainLifecycle) as events, place.listening() as (spec, up):
        domain = await host.define(spec)
        await domain.start()
        assert (domain.state, domain.id) == (DomainState.RUNNING, 1)
        await up.wait()
        await domain.suspend()
        assert domain.state is DomainState.PAUSED
        status = await domain.qmp("query-status", returns=dict[str, object])
        assert {"status": "paused", "running": False}.items() <= status.items()  # until 9.0 it says singlestep, too
        await domain.resume()
        await domain.shutdown()
        await domain.wait_for_state(DomainState.SHUTOFF)
        told = [events.receive_nowait() for _ in range(6)]
        assert words(told) == [
            "defined added",
            "started booted",
            "suspended paused",
            "resumed unpaused",
            "shutdown finished after guest request",
            "stopped shutdown",
        ]
        assert [event.source_time is not None for event in told] == [False, True, True, True, True, False]


async def test_what_qemu_said_comes_before_what_follows(host: aiovirt.Host, place: Place) -> None:
    async with host.events.subscribe(DomainLifecycle, DomainQMP) as events:
        domain = await host.define(place.spec())
        await domain.start()
        await domain.suspend()
        await domain.resume()
        await domain.destroy()
        told = [events.receive_nowait() for _ in range(9)]
    assert words(told) == [
        "defined added",
        "qmp RESUME",
        "started booted",
        "qmp STOP",
        "suspended paused",
        "qmp RESUME",
        "resumed unpaused",
        "qmp SHUTDOWN guest=False reason=host-signal",
        "stopped destroyed",
    ]
    assert [told[said].source_time == told[said + 1].source_time for said in (1, 3, 5)] == [True, True, True]


@pytest.mark.parametrize(
    ("order", "on_reboot", "reason", "after"),
    [
        ("destroy", Action.RESTART, "host-signal", ()),
        ("quit", Action.RESTART, "host-qmp-quit", ()),
        # it is ended when it says so, at once: it may come to say more, or not
        ("reset", Action.DESTROY, "host-qmp-system-reset", ("STOP", "SHUTDOWN")),
    ],
)
async def test_what_qemu_says_of_its_end(
    host: aiovirt.Host, place: Place, order: str, on_reboot: Action, reason: str, after: tuple[str, ...]
) -> None:
    """What belongs to an order is read off these (aiovirt.model.lifecycle)."""
    spec = place.spec(on_reboot=on_reboot)
    async with host.run(spec) as domain, host.events.subscribe(DomainEvent, subject=domain) as events:
        await (domain.qmp("quit") if order == "quit" else getattr(domain, order)())
        said: list[DomainQMP] = []
        while not (isinstance(event := await events.receive(), DomainLifecycle) and event.kind is Lifecycle.STOPPED):
            said += [event] if isinstance(event, DomainQMP) else []
    assert (said[0].event, said[0].data) == ("SHUTDOWN", {"guest": False, "reason": reason})
    assert {event.event for event in said[1:]} <= set(after)


async def test_events_that_lead_to_nothing_arrive_as_they_were_said(host: aiovirt.Host, place: Place) -> None:
    """A job that fails at once, for want of a folder."""
    options = {"driver": "file", "filename": str(place.folder / "missing/disk"), "size": 0}
    async with host.run(place.spec()) as domain, host.events.subscribe(DomainEvent, subject=domain) as events:
        await domain.qmp("blockdev-create", {"job-id": "create", "options": options})
        told: list[DomainQMP] = []
        with anyio.fail_after(PATIENCE):
            while not told or told[-1].data["status"] != "concluded":
                event = await events.receive()
                assert isinstance(event, DomainQMP)
                told.append(event)
    assert {(event.uuid, event.name, event.event, event.omitted, event.cause) for event in told} == {
        (domain.uuid, "tiny", "JOB_STATUS_CHANGE", 0, None)
    }
    assert [event.data for event in told] == [
        {"status": status, "id": "create"} for status in ("created", "running", "aborting", "concluded")
    ]
    assert all(event.source_time is not None for event in told)


async def test_a_reset_boots_again(host: aiovirt.Host, place: Place) -> None:
    async with place.listening() as (spec, up), host.run(spec) as domain:
        await up.wait()
        async with domain.expect(DomainReboot) as seen:
            await domain.reset()
        assert not seen.value.by_guest
        assert domain.state is DomainState.RUNNING


async def test_a_paused_start(host: aiovirt.Host, place: Place) -> None:
    domain = await host.create(place.spec(), paused=True)
    assert state_of(domain) is DomainState.PAUSED
    await domain.resume()
    assert state_of(domain) is DomainState.RUNNING
    await domain.destroy()
    assert host.domains() == []


async def test_on_poweroff_restart(host: aiovirt.Host, place: Place) -> None:
    async with place.listening(on_poweroff=Action.RESTART) as (spec, up), host.run(spec) as domain:
        await up.wait()
        async with domain.expect(DomainLifecycle, where=lambda event: event.kind is Lifecycle.RESUMED):
            await domain.shutdown()
        assert domain.state is DomainState.RUNNING


async def test_a_guest_that_is_killed_was_not_shut_down(host: aiovirt.Host, place: Place) -> None:
    domain = await host.define(place.spec())
    await domain.start()
    async with domain.expect(DomainLifecycle) as seen:
        os.kill(pid_of(place, domain), signal.SIGKILL)
    assert (seen.value.kind, str(seen.value.detail), str(seen.value.reason)) == (Lifecycle.STOPPED, "failed", "crashed")
    await domain.start()
    await domain.destroy()


async def test_a_qmp_error_is_qemu_qmps_too(host: aiovirt.Host, place: Place) -> None:
    async with host.run(place.spec()) as domain:
        with pytest.raises(ExecuteError) as refused:
            await domain.qmp("device_del", {"id": "nothing"})
        assert isinstance(refused.value, aiovirt.CommandFailed)
        assert refused.value.error_class == "DeviceNotFound"
        with pytest.raises(aiovirt.ProtocolError):
            await domain.qmp("query-status", returns=list[int])
        with pytest.raises(aiovirt.InvalidArgument):
            await domain.qmp("query-status", {"x": object()})


# -- guests outlive us -------------------------------------------------------------------------


async def test_leaving_ends_no_guest_and_coming_back_finds_it(place: Place) -> None:
    async with aiovirt.connect(place.uri) as host:
        domain = await host.define(place.spec())
        await domain.start()
        pid, number = pid_of(place, domain), domain.id
        transient = await host.create(place.spec("brief"), paused=True)
    os.kill(pid, 0)
    async with aiovirt.connect(place.uri) as host:
        async with host.events.watch(DomainEvent) as news:
            while any(domain.status.monitor is not MonitorHealth.CONNECTED for domain in host.domains()):
                await news.receive()
        found, brief = host.domain("tiny"), host.domain("brief")
        assert (found.state, found.id, pid_of(place, found)) == (DomainState.RUNNING, number, pid)
        assert (brief.uuid, brief.state, brief.is_persistent) == (transient.uuid, DomainState.PAUSED, False)
        await found.suspend()
        await found.destroy()
        await brief.destroy()
        assert [domain.name for domain in host.domains()] == ["tiny"]


async def test_what_a_guest_did_while_nobody_was_there_is_told(place: Place) -> None:
    async with aiovirt.connect(place.uri) as host:
        domain = await host.define(place.spec())
        await domain.start()
        pid = pid_of(place, domain)
    os.kill(pid, signal.SIGKILL)
    async with aiovirt.connect(place.uri) as host:
        domain = host.domain("tiny")
        await domain.wait_for_state(DomainState.SHUTOFF)
        assert str(domain.status.reason) == "crashed"
    async with aiovirt.connect(place.uri) as host:
        assert host.domain("tiny").state is DomainState.SHUTOFF


async def test_autodestroy_ends_with_its_connection_only(place: Place) -> None:
    async with aiovirt.connect(place.uri) as host:
        owned, kept = await host.define(place.spec("owned")), await host.define(place.spec("kept"))
        await owned.start(autodestroy=True)
        await kept.start()
        gone, alive = pid_of(place, owned), pid_of(place, kept)
    with pytest.raises(ProcessLookupError):
        os.kill(gone, 0)
    os.kill(alive, 0)
    async with aiovirt.connect(place.uri) as host:
        assert host.domain("owned").state is DomainState.SHUTOFF
        await host.domain("kept").destroy()


async def test_an_engine_that_is_killed_harms_no_guest(place: Place) -> None:
    """A child holds the host, starts one guest that is to stay and one that is its own, and is killed."""
    kept, owned = place.spec("kept"), place.spec("owned")
    from aiovirt.libvirtxml import render

    (place.folder / "kept.xml").write_text(render(kept))
    (place.folder / "owned.xml").write_text(render(owned))
    script = f"""
import aiovirt, anyio, os, pathlib, signal
async def main():
    async with aiovirt.connect({place.uri!r}) as host:
        domain = await host.define(pathlib.Path({str(place.folder / "kept.xml")!r}).read_text())
        await domain.start()
        await host.create(pathlib.Path({str(place.folder / "owned.xml")!r}).read_text(), autodestroy=True)
        os.kill(os.getpid(), signal.SIGKILL)
anyio.run(main)
"""
    ended = await anyio.run_process([sys.executable, "-c", script], check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    async with aiovirt.connect(place.uri) as host:
        async with host.events.watch(DomainEvent) as news:
            while len(host.domains(active=True)) > 1 or host.domain("kept").status.monitor is not MonitorHealth.CONNECTED:
                await news.receive()
        await host.domain("kept").destroy()


async def test_a_guest_whose_monitor_is_gone_is_degraded_and_alive(place: Place) -> None:
    async with aiovirt.connect(place.uri) as host:
        domain = await host.define(place.spec())
        await domain.start()
        pid = pid_of(place, domain)
    next((place.folder / "engine/runtime/qemu").glob("*.monitor")).unlink()
    async with aiovirt.connect(place.uri) as host:
        domain = host.domain("tiny")
        async with host.events.watch(MonitorLost) as news:
            while domain.status.monitor is not MonitorHealth.DEGRADED:
                await news.receive()
        os.kill(pid, 0)
        assert state_of(domain) is DomainState.RUNNING
        with pytest.raises(aiovirt.ConnectionLost):
            await domain.suspend()
        await domain.destroy()
        assert state_of(domain) is DomainState.SHUTOFF


@pytest.mark.parametrize("by", ["what comes to the folder", "an order"])
async def test_a_guest_whose_monitor_is_back_is_spoken_to_again(place: Place, by: str) -> None:
    async with aiovirt.connect(place.uri) as host:
        domain = await host.define(place.spec())
        await domain.start()
    folder = place.folder / "engine/runtime/qemu"
    aside = folder.rename(folder.with_name("aside"))
    async with aiovirt.connect(place.uri) as host:
        domain = host.domain("tiny")
        async with host.events.subscribe(DomainEvent) as news:
            while health_of(domain) is not MonitorHealth.DEGRADED:
                await news.receive()
            if by == "an order":
                folder.rmdir()
                aside.rename(folder)  # nothing comes to the folder that is watched
                await domain.suspend()
                assert state_of(domain) is DomainState.PAUSED
            else:
                monitor = next(aside.glob("*.monitor"))
                monitor.rename(folder / monitor.name)
            while health_of(domain) is not MonitorHealth.CONNECTED:
                await news.receive()
        await domain.destroy()


def health_of(domain: aiovirt.Domain) -> MonitorHealth | None:
    return domain.status.monitor


async def test_one_process_holds_a_host(place: Place) -> None:
    async with aiovirt.connect(place.uri):
        with pytest.raises(aiovirt.HostHeld) as held:
            async with aiovirt.connect(place.uri):
                pass
        assert held.value.pid == os.getpid()
        assert held.value.code == 5
    async with aiovirt.connect(place.uri):
        pass


async def test_the_guest_has_a_session_of_its_own_and_only_its_descriptors(host: aiovirt.Host, place: Place) -> None:
    async with host.run(place.spec()) as domain:
        pid = pid_of(place, domain)
        assert os.getsid(pid) == pid
        assert os.getpgid(pid) == pid
        targets = {link.name: str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()}
        log = str(place.folder / "engine/state/log/tiny.log")
        assert [targets[number] for number in "012"] == ["/dev/null", log, log]
        ours = {str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()}
        shared = {target for target in ours & set(targets.values()) if not target.startswith(("anon_inode:", "/dev/"))}
        assert shared == set()
        status = Path(f"/proc/{pid}/status").read_text()
        assert "Seccomp:\t2" in status
        for file in (place.folder / "engine").rglob("*"):
            assert file.stat().st_mode & 0o077 == 0, file


async def test_a_log_stays_within_its_bound_while_the_guest_runs(host: aiovirt.Host, place: Place) -> None:
    """What a guest makes QEMU say may be without end; here the test writes where QEMU does."""
    async with host.run(place.spec()):
        log = place.folder / "engine/state/log/tiny.log"
        with log.open("ab", buffering=0) as qemu:
            for _ in range(12):
                qemu.write(b"x" * 99_999 + b"\n")
        with anyio.fail_after(PATIENCE):
            while log.stat().st_size > 1024 * 1024:
                await anyio.sleep(0.01)
        assert 0 < log.with_name("tiny.log.1").stat().st_size <= 1024 * 1024


# -- a stuck guest -----------------------------------------------------------------------------


async def test_a_stuck_guest_costs_its_own_callers_only(host: aiovirt.Host, place: Place) -> None:
    async with host.run(place.spec("stuck")) as stuck, host.run(place.spec("good")) as good:
        pid = pid_of(place, stuck)
        async with stuck.expect(MonitorStalled):
            os.kill(pid, signal.SIGSTOP)
            with pytest.raises(aiovirt.OrderTimeout) as late:
                await stuck.suspend(timeout=0.5)
        assert late.value.sent
        assert late.value.code == 68
        assert stuck.status.monitor is MonitorHealth.STALLED
        assert stuck.state is DomainState.RUNNING
        await good.suspend()
        async with stuck.expect(MonitorResumed):
            os.kill(pid, signal.SIGCONT)
        await stuck.wait_for_state(DomainState.PAUSED)  # the order that timed out happened after all, and is told


async def test_a_stopped_guest_can_be_destroyed(host: aiovirt.Host, place: Place) -> None:
    domain = await host.define(place.spec())
    await domain.start()
    os.kill(pid_of(place, domain), signal.SIGSTOP)
    await domain.destroy()
    assert (domain.state, str(domain.status.reason)) == (DomainState.SHUTOFF, "destroyed")


# -- bad input ---------------------------------------------------------------------------------


async def swept(place: Place) -> bool:
    """Whether no socket and no record is left: the records go in the background, and that soon."""
    engine = place.folder / "engine"
    with anyio.move_on_after(PATIENCE):
        while any(path for part in ("runtime/qemu", "state/run") for path in (engine / part).iterdir()):
            await anyio.sleep(0.01)
        return True
    return False


async def test_a_qemu_that_ends_at_once_says_why(host: aiovirt.Host, place: Place) -> None:
    spec = replace(place.spec(), os=replace(place.spec().os, machine="no-such-machine"))
    domain = await host.define(spec)
    since = host.events.cursor
    for order in (domain.start, lambda: host.create(replace(spec, name="other"))):
        with pytest.raises(aiovirt.GuestFailed, match="unsupported machine type") as failed:
            await order()
        assert "-machine help" in failed.value.log
        assert failed.value.code == 9
        assert host.events.cursor == since  # a start that failed was never started
    assert [domain.state for domain in host.domains()] == [DomainState.SHUTOFF]
    assert await swept(place)


async def test_a_disk_that_is_not_there(host: aiovirt.Host, place: Place) -> None:
    spec = place.spec()
    Path(spec.disks[0].source).unlink()
    with pytest.raises(aiovirt.GuestFailed, match="No such file"):
        await host.create(spec)
    assert host.domains() == []


async def test_an_emulator_that_is_not_there(host: aiovirt.Host, place: Place) -> None:
    with pytest.raises(aiovirt.SystemFailure, match="not installed") as missing:
        await host.create(replace(place.spec(), emulator="/opt/qemu"))
    assert missing.value.code == 38
    assert host.domains() == []


async def test_an_emulator_that_is_no_qemu(host: aiovirt.Host, place: Place) -> None:
    with pytest.raises(aiovirt.GuestFailed, match=r"exited with status 1|killed"):
        await host.create(replace(place.spec(), emulator="/bin/false"))
    assert await swept(place)


async def test_an_emulator_that_never_speaks(host: aiovirt.Host, place: Place) -> None:
    quiet = place.folder / "quiet"
    quiet.write_text("#!/bin/sh\nexec sleep 600\n")
    quiet.chmod(0o700)
    with pytest.raises(aiovirt.OrderTimeout):
        await host.create(replace(place.spec(), emulator=str(quiet)), timeout=0.5)
    assert await swept(place)
    assert subprocess.run(["pgrep", "-f", "sleep 600"], check=False, capture_output=True).returncode == 1


async def test_a_cancelled_start_leaves_nothing(host: aiovirt.Host, place: Place) -> None:
    for delay in (0.0, 0.01, 0.03, 0.05, 0.08):
        with anyio.move_on_after(delay):
            await host.create(place.spec())
        for domain in host.domains():
            await domain.destroy()
        assert await swept(place)
    assert host.domains() == []


async def test_files_that_cannot_be_read_are_left_alone(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    async with aiovirt.connect(place.uri) as host:
        await host.define(place.spec("good"))
    folder = place.folder / "engine/config/qemu"
    (folder / "bad.xml").write_text("<domain>\n<name>bad</name>\n<memory>x</memory></domain>")
    (folder / "other.xml").write_text((folder / "good.xml").read_text())
    (place.folder / "engine/state/run/00000000-0000-4000-8000-000000000009.json").write_text("{")
    async with aiovirt.connect(place.uri) as host:
        assert [domain.name for domain in host.domains()] == ["good"]
        with pytest.raises(aiovirt.DomainExists, match=r"bad\.xml"):
            await host.define(place.spec("bad"))
        assert [domain.name for domain in host.domains()] == ["good"]
    assert "<memory>x</memory>" in (folder / "bad.xml").read_text()
    assert sum("left alone" in record.getMessage() for record in caplog.records) == 3


async def test_a_folder_that_others_may_write_in_is_refused(place: Place) -> None:
    (place.folder / "engine").mkdir()
    (place.folder / "engine/runtime").mkdir()
    (place.folder / "engine/runtime").chmod(0o777)
    with pytest.raises(aiovirt.AccessDenied):
        async with aiovirt.connect(place.uri):
            pass
