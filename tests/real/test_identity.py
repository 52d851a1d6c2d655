"""Who is a guest: what the kernel says of processes, locks and sockets, and nothing that anybody may write."""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import anyio
import pytest
from anyio import to_thread
from msgspec.structs import replace

import aiovirt
from aiovirt import DomainState
from aiovirt.engine.paths import find_folders
from aiovirt.engine.uri import parse_uri
from aiovirt.events import MonitorHealth
from aiovirt.libvirtxml import render
from aiovirt.system.files import lock_for_good
from aiovirt.system.identity import boot_id, host_uuid
from tests.real.conftest import PATIENCE, Place
from tests.real.test_qemu import no_guest_is_left, pid_of, state_of, swept
from tests.real.test_restart import change_record, heard, record

pytestmark = pytest.mark.anyio
__all__ = ["no_guest_is_left"]

NOBODY = 65534


def lock_of(uuid: UUID) -> Path:
    return find_folders(parse_uri("qemu:///session"), os.environ, {}).guests / str(uuid)


@asynccontextmanager
async def stranger(*words: str) -> AsyncIterator[anyio.abc.Process]:
    """A harmless process with these words on its command line: another user's, where we may become one."""
    become = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"] if os.geteuid() == 0 else []
    script = "import sys; print(flush=True); sys.stdin.read()"
    async with await anyio.open_process([*become, "/usr/bin/python3", "-c", script, *words]) as process:
        assert process.stdout is not None
        await process.stdout.receive()
        try:
            yield process
        finally:
            assert process.returncode is None, "it was ended"
            process.terminate()


def wrapper(place: Place, after: str = "", before: str = "") -> str:
    """An emulator that is a script: it runs QEMU, waits for it, and says who it was."""
    path = place.folder / "wrapper"
    path.write_text(f'#!/bin/sh\necho $$ >{path}.pid\n{before}\nqemu-system-x86_64 "$@"\n{after}\n')
    path.chmod(0o700)
    return str(path)


def wrapper_of(place: Place) -> int:
    return int((place.folder / "wrapper.pid").read_text())


def stat_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def lives(pid: int) -> bool:
    try:
        return stat_of(pid)[0] != "Z"
    except OSError:
        return False


async def gone(pid: int) -> None:
    with anyio.fail_after(PATIENCE):
        while lives(pid):
            await anyio.sleep(0.01)


# -- what others write -------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["--nothing"], ["-D", "/var/lib/libvirt/qemu"]])
async def test_what_others_write_on_their_command_line_keeps_no_guest_from_starting(place: Place, words: list[str]) -> None:
    async with aiovirt.connect(place.uri) as host:
        domain = await host.define(place.spec())
        async with stranger("-uuid", str(domain.uuid), *words):
            await domain.start(paused=True)
            await domain.destroy()


async def test_a_process_that_writes_a_guests_uuid_is_not_that_guest(place: Place) -> None:
    """Its engine was killed before it knew the pid, and the guest has ended since."""
    async with aiovirt.connect(place.uri) as host:
        domain = await host.define(place.spec())
        await domain.start(paused=True)
        pid = pid_of(place, domain)
    os.kill(pid, signal.SIGKILL)
    await gone(pid)
    change_record(place, domain.uuid, process=None)
    async with stranger("-uuid", str(domain.uuid)), aiovirt.connect(place.uri) as host:
        domain = host.domain("tiny")
        assert domain.state is DomainState.SHUTOFF
        with pytest.raises(aiovirt.OperationInvalid):
            await domain.destroy()
        await domain.start(paused=True)
        await domain.destroy()


async def test_a_process_that_is_another_users_by_now_is_not_killed(place: Place) -> None:
    async with aiovirt.connect(place.uri) as host:
        domain = await host.define(place.spec())
        await domain.start(paused=True)
        pid = pid_of(place, domain)
    if os.geteuid() != 0:
        os.kill(pid, signal.SIGKILL)
        return  # who is not root has no process that may become another user's
    os.kill(pid, signal.SIGKILL)
    await gone(pid)
    async with stranger() as other:
        known = json.loads(record(place, domain.uuid).read_text())["process"]
        theirs = {"pid": other.pid, "start_time": int(stat_of(other.pid)[19])}
        change_record(place, domain.uuid, process=known | theirs)
        async with aiovirt.connect(place.uri) as host:
            domain = await heard(host, "tiny", MonitorHealth.DEGRADED)
            with pytest.raises(aiovirt.SystemFailure, match="another user's"):
                await domain.destroy()


# -- what the kernel says ----------------------------------------------------------------------


async def test_a_guest_whose_lock_is_held_is_not_started_and_its_holder_is_named(place: Place) -> None:
    async with aiovirt.connect(place.uri) as host:
        domain = await host.define(place.spec())
        lock = await to_thread.run_sync(lock_for_good, lock_of(domain.uuid))
        assert lock is not None
        with lock, pytest.raises(aiovirt.OperationFailed, match=f"runs already, as process {os.getpid()}$"):
            await domain.start()
        await domain.start(paused=True)
        await domain.destroy()


async def test_a_record_of_a_guest_that_another_engine_runs_by_now_does_not_take_it(place: Place) -> None:
    """Two state folders of one user; in one of them the guest ended while nobody looked."""
    other = Place(place.folder / "other")
    other.folder.mkdir()
    uuid = UUID(int=4712)
    async with aiovirt.connect(place.uri) as host:
        await (await host.define(place.spec(uuid=uuid))).start(paused=True)
        pid = pid_of(place, host.domain("tiny"))
    os.kill(pid, signal.SIGKILL)
    await gone(pid)
    change_record(place, uuid, process=None)
    async with aiovirt.connect(other.uri) as there:
        domain = await there.create(other.spec(uuid=uuid), paused=True)
        async with aiovirt.connect(place.uri) as host:
            assert host.domain("tiny").state is DomainState.SHUTOFF
        assert state_of(domain) is DomainState.PAUSED
        await domain.destroy()


async def test_a_lock_goes_with_the_last_who_needs_it(place: Place) -> None:
    async with aiovirt.connect(place.uri) as host:
        domain = await host.define(place.spec())
        await domain.start(paused=True)
        assert lock_of(domain.uuid).exists()
        await domain.destroy()
        before = {path.name for path in lock_of(domain.uuid).parent.iterdir()}
        assert str(domain.uuid) not in before
        with pytest.raises(aiovirt.GuestFailed):
            await host.create(place.spec("bad", emulator="/bin/false"))
        assert {path.name for path in lock_of(domain.uuid).parent.iterdir()} <= before
        await domain.start(paused=True)
        pid = pid_of(place, domain)
    os.kill(pid, signal.SIGKILL)
    await gone(pid)
    assert lock_of(domain.uuid).exists(), "nobody was there"
    async with aiovirt.connect(place.uri):
        assert not lock_of(domain.uuid).exists()


# -- an emulator that is a script which waits for QEMU -----------------------------------------


async def test_an_emulator_that_runs_qemu_and_waits_ends_with_it(place: Place) -> None:
    async with aiovirt.connect(place.uri) as host:
        domain = await host.create(place.spec(emulator=wrapper(place)), paused=True)
        await domain.qmp("quit")
        await domain.wait_for_state(DomainState.SHUTOFF)
        assert not lives(wrapper_of(place))


async def test_destroy_ends_the_qemu_of_an_emulator_that_waits_for_it(place: Place) -> None:
    async with aiovirt.connect(place.uri) as host:
        domain = await host.define(place.spec(emulator=wrapper(place)))
        await domain.start(paused=True)
        pid = pid_of(place, domain)
        assert pid != wrapper_of(place)
        await domain.destroy()
        assert not lives(pid)
        assert not lives(wrapper_of(place))
        await domain.start(paused=True)
        await domain.destroy()


async def test_an_emulator_that_hangs_behind_qemu_is_ended(place: Place) -> None:
    async with aiovirt.connect(place.uri) as host:
        domain = await host.create(place.spec(emulator=wrapper(place, after="exec sleep 600")), paused=True)
        await domain.destroy()
        assert not lives(wrapper_of(place))
        assert await swept(place)


async def test_a_guest_whose_emulators_script_is_killed_lives_on(place: Place) -> None:
    async with aiovirt.connect(place.uri) as host:
        domain = await host.create(place.spec(emulator=wrapper(place)))
        os.kill(wrapper_of(place), signal.SIGKILL)
        await gone(wrapper_of(place))
        await domain.suspend()
        await domain.resume()
        pid = pid_of(place, domain)
    async with aiovirt.connect(place.uri) as host:
        domain = await heard(host, "tiny", MonitorHealth.CONNECTED)
        assert pid_of(place, domain) == pid
        await domain.destroy()
        assert not lives(pid)


@pytest.mark.parametrize("known", ["qemu", "script", "nothing"])
async def test_an_engine_that_is_killed_leaves_both_to_the_next(place: Place, known: str) -> None:
    """Whichever of the two it had put down."""
    spec = replace(place.spec(emulator=wrapper(place)), uuid=UUID(int=4713))
    xml = place.folder / "tiny.xml"
    xml.write_text(render(spec))
    script = f"""
import aiovirt, anyio, os, pathlib, signal
async def main():
    async with aiovirt.connect({place.uri!r}) as host:
        await host.create(pathlib.Path({str(xml)!r}).read_text(), paused=True)
        os.kill(os.getpid(), signal.SIGKILL)
anyio.run(main)
"""
    ended = await anyio.run_process([sys.executable, "-c", script], check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    qemu = json.loads(record(place, UUID(int=4713)).read_text())["process"]
    waits = wrapper_of(place)
    processes = {"qemu": qemu, "script": qemu | {"pid": waits, "start_time": int(stat_of(waits)[19])}, "nothing": None}
    change_record(place, UUID(int=4713), process=processes[known])
    async with aiovirt.connect(place.uri) as host:
        domain = await heard(host, "tiny", MonitorHealth.CONNECTED)
        await domain.destroy()
        assert not lives(qemu["pid"])
        await gone(waits)
    assert not lock_of(UUID(int=4713)).exists()


async def test_a_start_that_is_given_up_before_qemu_speaks_leaves_neither(place: Place) -> None:
    """QEMU is stopped as soon as it is there, so it never says who it is."""
    path = place.folder / "stopping"
    path.write_text(f'#!/bin/sh\nqemu-system-x86_64 "$@" &\nkill -STOP $!\necho $! >{path}.pid\nwait $!\n')
    path.chmod(0o700)
    async with aiovirt.connect(place.uri) as host:
        with pytest.raises(aiovirt.OrderTimeout):
            await host.create(place.spec(emulator=str(path)), timeout=2)
        with anyio.fail_after(PATIENCE):
            assert await swept(place)
    assert not lives(int(Path(f"{path}.pid").read_text()))


async def test_a_guest_that_answers_for_another_user_is_not_spoken_to(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    async with aiovirt.connect(place.uri) as host:
        domain = await host.define(place.spec())
        await domain.start(paused=True)
        pid = pid_of(place, domain)
    monkeypatch.setattr("aiovirt.system.bytestream.receive_signed", lambda sock, size: (sock.recv(size), (pid, NOBODY)))
    async with aiovirt.connect(place.uri) as host:
        domain = await heard(host, "tiny", MonitorHealth.DEGRADED)
        await domain.destroy()


async def test_a_guest_that_could_not_be_looked_at_is_looked_at_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """For want of a descriptor: it has not ended for that."""
    async with aiovirt.connect(place.uri) as host:
        await (await host.define(place.spec())).start(paused=True)
    really, is_short = os.pidfd_open, True

    def pidfd_open(pid: int) -> int:
        if is_short:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return really(pid)

    monkeypatch.setattr("aiovirt.system.process.os.pidfd_open", pidfd_open)
    async with aiovirt.connect(place.uri) as host:
        domain = host.domain("tiny")
        assert (domain.state, domain.status.monitor) == (DomainState.PAUSED, MonitorHealth.DEGRADED)
        with pytest.raises(aiovirt.SystemFailure, match=os.strerror(errno.EMFILE)):
            await domain.destroy()
        is_short = False
        domain = await heard(host, "tiny", MonitorHealth.CONNECTED)
        await domain.destroy()


@pytest.mark.parametrize("tell", [host_uuid, boot_id])
def test_which_host_it_is_is_not_guessed_for_want_of_a_descriptor(tell: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    def read_text(path: Path) -> str:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), str(path))

    monkeypatch.setattr(Path, "read_text", read_text)
    with pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
        tell()


async def test_an_engine_that_cannot_tell_which_host_it_is_on_does_not_begin(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def boot_id() -> str:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), "/proc/sys/kernel/random/boot_id")

    monkeypatch.setattr("aiovirt.engine.connect.boot_id", boot_id)
    with pytest.raises(aiovirt.SystemFailure, match="which host this is"):
        async with aiovirt.connect(place.uri):
            pass


def test_no_command_line_is_read_on_the_way_to_a_guest() -> None:
    """Its cost would grow with what else runs here."""
    rooms = [Path(aiovirt.__file__).parent / room for room in ("drivers", "engine")]
    looking = [path.name for room in rooms for path in room.rglob("*.py") if "commandlines" in path.read_text()]
    assert looking == []
