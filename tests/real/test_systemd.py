"""contrib/systemd, under a systemd of its own: the engine is started by its first client, and no guest ends with it."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiovirt.libvirtxml import render
from tests.lab.sandbox import require
from tests.lab.systemd import Systemd, booted
from tests.real.conftest import PATIENCE, Place

UNITS = Path(__file__).parents[2] / "contrib/systemd"
SERVICE, SOCKET = "aiovirt-engine.service", "aiovirt-engine.socket"
BIN = Path(sys.executable).parent


@pytest.fixture
def units() -> dict[str, str]:
    """Those that are shipped, and where their command is to be found here."""
    path = f"Environment=PATH={BIN}:/usr/sbin:/usr/bin:/sbin:/bin\n"
    return {unit: (UNITS / unit).read_text() for unit in (SERVICE, SOCKET)} | {
        f"{SERVICE}.d/path.conf": f"[Service]\n{path}",
        f"{SOCKET}.d/path.conf": f"[Socket]\n{path}",
    }


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


FOLLOWER = """
import sys, anyio, aiovirt
from aiovirt import DomainState

async def main():
    async with aiovirt.connect("qemu:///system") as host, host.events.subscribe() as events:
        domain = host.domain("web")
        print("attached", flush=True)
        for state in (DomainState.RUNNING, DomainState.PAUSED):
            await domain.wait_for_state(state)
            print(state.value, flush=True)
        cursors = []
        while events.cursor != host.events.cursor:
            cursors.append((await events.receive()).cursor.partition(":"))
        places = [int(sequence) for _, _, sequence in cursors]
        assert places == list(range(places[0], places[0] + len(places))), places
        print(await domain.xml() != "", flush=True)

anyio.run(main)
"""


def test_who_is_attached_goes_on_from_one_engine_to_the_next(systemd: Systemd, disk: Place) -> None:
    """From one that a command has started to the unit's, and when that is started again."""
    xml, script, said = disk.folder / "web.xml", disk.folder / "follower.py", disk.folder / "said"
    xml.write_text(render(disk.spec("web")))
    script.write_text(FOLLOWER)
    aiovirt(systemd, "define", str(xml))
    assert systemd.property(SERVICE, "ActiveState") == "inactive", "the command has started one"
    aiovirt(systemd, "start", "web", "--paused")
    pid = guest(systemd)
    output = [f"--property=Standard{stream}=file:{said}" for stream in ("Output", "Error")]
    systemd.run("systemd-run", "--quiet", "--unit=follower", "--property=Type=exec", *output, sys.executable, str(script))
    until_said(said, "attached")

    systemd.run("systemctl", "start", SOCKET)
    aiovirt(systemd, "resume", "web")
    assert systemd.property(SERVICE, "ActiveState") == "active"
    until_said(said, "running")

    engine = systemd.property(SERVICE, "MainPID")
    systemd.run("systemctl", "restart", SERVICE)
    assert systemd.property(SERVICE, "MainPID") not in {engine, "0"}
    aiovirt(systemd, "suspend", "web")
    until_said(said, "True")
    assert said.read_text().split() == ["attached", "running", "paused", "True"]
    assert guest(systemd) == pid
    aiovirt(systemd, "destroy", "web")


def until_said(said: Path, word: str) -> None:
    until = time.monotonic() + PATIENCE
    while not said.exists() or word not in said.read_text():
        assert time.monotonic() < until, said.read_text() if said.exists() else "nothing was said"
        time.sleep(0.05)
