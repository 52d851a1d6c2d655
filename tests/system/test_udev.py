"""Without a udevd, as in a container: what there is of udev's word then."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from aiovirt.errors import SystemFailure
from aiovirt.events.types import DeviceInitialized, NetdevAdded, SourceMissing, WatcherLost
from aiovirt.system import udev
from aiovirt.system.udev import UdevMonitor, read_database
from tests.lab import sandbox
from tests.lab.watched import ip, only_lo, watching

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True, scope="module")
def inside() -> None:
    sandbox.require()
    assert not Path("/run/udev/control").exists()


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with only_lo():
        yield


async def test_without_udevd_all_else_goes_on() -> None:
    ip("add v0 type veth peer name v1")
    async with watching() as heard:
        assert [missing.source for missing in heard.of(SourceMissing)] == ["udev"]
        ip("add w0 type veth peer name w1", "set w0 up")
        await heard.until(lambda: "w0" in heard.netdevs() and heard.netdevs()["w0"].is_up)
        assert {device.initialized for device in heard.netdevs().values()} == {None}
        assert {event.device.initialized for event in heard.of(NetdevAdded)} == {None}
        assert heard.of(DeviceInitialized) == []
        assert heard.of(WatcherLost) == []


async def test_without_udevd_its_monitor_says_so() -> None:
    with pytest.raises(SystemFailure, match="no udevd"):
        async with UdevMonitor(receive_buffer=1 << 20):
            pass


@pytest.mark.parametrize(
    ("names", "runs"),
    [
        ((), False),
        (("control",), True),
        (("io.systemd.Udev",), True),
        (("io.systemd.Udev", "control -> io.systemd.Udev"), True),
        (("control -> io.systemd.Udev",), False),
        (("control, which a dead one left",), False),
        (("control, which is a file",), False),
        (("io.systemd.Udev, which a dead one left", "control"), True),
    ],
)
def test_udevd_is_asked_for_by_its_sockets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, names: tuple[str, ...], *, runs: bool) -> None:
    monkeypatch.setattr(udev, "_SOCKETS", [tmp_path / path.name for path in udev._SOCKETS])
    with ExitStack() as stack:
        for words in names:
            name, how, _ = words.replace(" -> ", ",").partition(",")
            path = tmp_path / name
            if "->" in words:
                path.symlink_to("io.systemd.Udev")
            elif "file" in words:
                path.write_text("")
            else:
                kind = socket.SOCK_SEQPACKET if name == "control" else socket.SOCK_STREAM
                opened = stack.enter_context(socket.socket(socket.AF_UNIX, kind))
                opened.bind(str(path))
                if how:
                    opened.close()
        assert udev._udevd_listens() is runs


def test_who_may_not_ask_udevd_sees_its_socket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(udev, "_SOCKETS", [tmp_path / "control"])
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as opened, monkeypatch.context() as patched:
        opened.bind(str(tmp_path / "control"))
        patched.setattr(socket.socket, "connect", refuse)
        assert udev._udevd_listens()
        (tmp_path / "control").unlink()
        assert not udev._udevd_listens()


async def test_without_udevd_its_database_has_nobody() -> None:
    ip("add v0 type veth peer name v1")
    assert await read_database() == []
