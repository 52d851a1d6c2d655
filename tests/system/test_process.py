from __future__ import annotations

import errno
import os
import signal
import socket
import sys
from pathlib import Path

import anyio
import pytest
from anyio import to_thread
from msgspec.structs import replace

from aiovirt.system.proc import is_stopped
from aiovirt.system.process import ExitStatus, adopt, holders_of, look_up, spawn

pytestmark = pytest.mark.anyio


async def test_a_process_of_its_own_session_and_its_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    script = "echo out; echo err >&2; ps -o sid= -p $$; ls /proc/self/fd | wc -l; exit 3"
    async with await spawn(["/bin/sh", "-c", script], log=log) as process:
        with anyio.fail_after(60):
            assert await process.wait() == ExitStatus(code=3)
    out, err, session, descriptors = log.read_text().split()
    assert (out, err) == ("out", "err")
    assert int(session) == process.pid
    assert int(descriptors) == 4  # 0, 1, 2 and the folder that ls reads
    assert log.stat().st_mode & 0o777 == 0o600


async def test_it_is_given_what_it_is_to_keep(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        script = f"import os; os.write({theirs.fileno()}, b'hello')"
        async with await spawn([sys.executable, "-c", script], log=tmp_path / "log", keep=[theirs]) as process:
            assert await process.wait() == ExitStatus(code=0)
        assert ours.recv(10, socket.MSG_DONTWAIT) == b"hello"


async def test_a_signal(tmp_path: Path) -> None:
    async with await spawn(["/bin/sleep", "600"], log=tmp_path / "log") as process:
        process.send_signal(signal.SIGTERM)
        with anyio.fail_after(60):
            status = await process.wait()
    assert status == ExitStatus(signal=signal.SIGTERM)
    assert str(status) == "killed by SIGTERM"
    process.send_signal(signal.SIGKILL)  # to whom it may concern: nobody


async def test_a_command_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await spawn(["/no/such/command"], log=tmp_path / "log")


async def test_closing_lets_it_live_and_adopting_finds_it(tmp_path: Path) -> None:
    async with await spawn(["/bin/sleep", "600"], log=tmp_path / "log") as process:
        identity = process.identity
    os.kill(identity.pid, 0)
    found = await to_thread.run_sync(adopt, identity)
    assert found is not None
    async with found:
        found.send_signal(signal.SIGKILL)
        with anyio.fail_after(60):
            await found.wait()
    assert await to_thread.run_sync(adopt, identity) is None


async def test_another_process_of_that_pid_is_not_adopted(tmp_path: Path) -> None:
    async with await spawn(["/bin/sleep", "600"], log=tmp_path / "log") as process:
        identity = process.identity
        assert await to_thread.run_sync(adopt, replace(identity, start_time=identity.start_time - 1)) is None
        assert await to_thread.run_sync(adopt, replace(identity, boot_id="another")) is None
        process.send_signal(signal.SIGKILL)
        await process.wait()
        assert await to_thread.run_sync(adopt, identity) is None


async def test_a_name_with_parentheses(tmp_path: Path) -> None:
    odd = tmp_path / "a) R (b"
    odd.symlink_to("/bin/sleep")
    async with await spawn([str(odd), "600"], log=tmp_path / "log") as process:
        found = await to_thread.run_sync(adopt, process.identity)
        assert found is not None
        found.close()
        process.send_signal(signal.SIGKILL)
        await process.wait()


async def test_no_descriptor_is_left(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        async with await spawn(["/bin/true"], log=tmp_path / "log") as process:
            await process.wait()
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 1  # a loop may have made itself one


async def test_none_is_left_of_a_process_that_cannot_be_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with await spawn(["/bin/sleep", "600"], log=tmp_path / "log") as process:
        before = len(list(Path("/proc/self/fd").iterdir()))

        def stat_of(pid: int) -> list[str]:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), f"/proc/{pid}/stat")

        with monkeypatch.context() as short:
            short.setattr("aiovirt.system.process.stat_of", stat_of)
            for _ in range(3):
                with pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
                    await to_thread.run_sync(adopt, process.identity)
                with pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
                    await spawn(["/bin/sleep", "600"], log=tmp_path / "log")
        assert len(list(Path("/proc/self/fd").iterdir())) <= before + 1  # a loop may have made itself one
        process.send_signal(signal.SIGKILL)
        await process.wait()


async def test_a_process_of_another_user_is_not_ours(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        with pytest.raises(PermissionError, match="another user's"):
            await to_thread.run_sync(look_up, 1)
        return
    become = ["setpriv", "--reuid=65534", "--clear-groups", "/bin/sleep", "600"]
    async with await spawn(become, log=tmp_path / "log") as process:
        with anyio.fail_after(60):
            while Path(f"/proc/{process.pid}/comm").read_text() != "sleep\n":
                await anyio.sleep(0.01)
        with pytest.raises(PermissionError, match="another user's"):
            await to_thread.run_sync(adopt, process.identity)
        process.send_signal(signal.SIGKILL)
        await process.wait()


async def test_who_has_a_file_open_is_known_by_the_file(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with path.open("w") as file, (tmp_path / "lock.other").open("w") as other:
        async with await spawn(["/bin/sleep", "600"], log=tmp_path / "log", keep=[file]) as process:
            async with await spawn(["/bin/sleep", "600", str(path)], log=tmp_path / "log", keep=[other]) as named:
                assert await to_thread.run_sync(holders_of, path) == [process.pid, os.getpid()]
                named.send_signal(signal.SIGKILL)
                await named.wait()
            process.send_signal(signal.SIGKILL)
            await process.wait()


async def test_a_descriptor_that_is_closed_meanwhile_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "lock.of-a-guest"
    really = os.readlink

    def readlink(link: Path) -> str:
        if Path(link).name == "0":
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(link))
        return really(link)

    monkeypatch.setattr("aiovirt.system.process.os.readlink", readlink)
    with path.open("w"):
        assert await to_thread.run_sync(holders_of, path) == [os.getpid()]


async def test_a_process_is_stopped_or_not(tmp_path: Path) -> None:
    async with await spawn(["/bin/sleep", "600"], log=tmp_path / "log") as process:
        assert not await to_thread.run_sync(is_stopped, process.pid)
        os.kill(process.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        assert await to_thread.run_sync(is_stopped, process.pid)
        process.send_signal(signal.SIGKILL)
        await process.wait()
    assert not await to_thread.run_sync(is_stopped, process.pid)
