"""contrib/systemd, under a systemd of its own: the engine is started by its first client, and no guest ends with it."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiovirt.domainxml import render
from tests.lab.sandbox import require
from tests.lab.systemd import Systemd, booted
from tests.system.conftest import Place

UNITS = Path(__file__).parents[2] / "contrib/systemd"
SERVICE, SOCKET = "aiovirt-engine.service", "aiovirt-engine.socket"
BIN = Path(sys.executable).parent


@pytest.fixture
def units() -> dict[str, str]:
    """Those that are shipped, and where their command is to be found here."""
    path = f"[Service]\nEnvironment=PATH={BIN}:/usr/sbin:/usr/bin:/sbin:/bin\n"
    return {unit: (UNITS / unit).read_text() for unit in (SERVICE, SOCKET)} | {f"{SERVICE}.d/path.conf": path}


@pytest.fixture
def systemd(units: dict[str, str]) -> Iterator[Systemd]:
    require()
    with booted(units) as running:
        yield running


@pytest.fixture
def disk() -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="aiovirt-") as folder:
        yield Place(Path(folder))


def aiovirt(systemd: Systemd, *words: str) -> str:
    return systemd.run(str(BIN / "aiovirt"), "-c", "qemu:///system", *words)


def guest(systemd: Systemd) -> str:
    """The process of the only one."""
    return systemd.run("pgrep", "-f", "qemu-system.*-uuid").strip()


def test_systemd_finds_nothing_to_say_of_the_units(systemd: Systemd) -> None:
    assert systemd.run("systemd-analyze", "verify", "--man=no", f"/etc/systemd/system/{SERVICE}", f"/etc/systemd/system/{SOCKET}") == ""


def test_the_first_client_starts_it_and_no_guest_ends_with_it(systemd: Systemd, disk: Place) -> None:
    xml = disk.folder / "web.xml"
    xml.write_text(render(disk.spec("web")))
    systemd.run("systemctl", "start", SOCKET)
    assert systemd.property(SERVICE, "ActiveState") == "inactive"
    assert systemd.run("stat", "-c", "%a", "/run/aiovirt", "/run/aiovirt/engine.sock").split() == ["700", "600"]

    aiovirt(systemd, "define", str(xml))
    assert systemd.property(SERVICE, "ActiveState") == "active"
    aiovirt(systemd, "start", "web", "--paused")
    pid = guest(systemd)

    systemd.run("systemctl", "stop", SERVICE)
    assert systemd.property(SERVICE, "Result") == "success"
    assert aiovirt(systemd, "domstate", "web").strip() == "paused"
    assert systemd.property(SERVICE, "ActiveState") == "active", "the socket was still there, and who asked has started it"
    assert guest(systemd) == pid

    engine = systemd.property(SERVICE, "MainPID")
    systemd.run("systemctl", "kill", "--kill-whom=main", "--signal=KILL", SERVICE)
    assert aiovirt(systemd, "domstate", "web").strip() == "paused"
    assert systemd.property(SERVICE, "MainPID") not in {engine, "0"}
    assert guest(systemd) == pid

    systemd.run("systemctl", "stop", SOCKET, SERVICE)
    assert guest(systemd) == pid
    systemd.run("systemctl", "start", SERVICE)
    aiovirt(systemd, "destroy", "web")
    systemd.run("pgrep", "-f", "qemu-system.*-uuid", status=1)
