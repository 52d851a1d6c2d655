"""Whatever the umask, nothing that an engine or its guests make is anybody else's to use."""

from __future__ import annotations

import json
import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiovirt.libvirtxml import render
from aiovirt.model.devices.serial import Chardev, Serial
from tests.real.test_cli_attached import PATIENCE, Terminals, user, wait_until

__all__ = ["user"]


@pytest.fixture(autouse=True)
def no_umask(user: Terminals) -> Iterator[None]:
    """Before any folder is made; and the folders are to be made with the ones above them."""
    for which in ("CONFIG", "STATE", "RUNTIME"):
        user.environment[f"AIOVIRT_{which}_DIR"] = str(user.place.folder / "above" / which.lower())
    user.lock = user.place.folder / "above/runtime/engine.lock"
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.parametrize("held", ["in the background", "in the foreground"])
def test_no_folder_socket_or_file_is_anybody_elses(user: Terminals, held: str) -> None:
    engine = ["engine"] if held == "in the foreground" else ["watch"]
    made = user.place.folder / "made"
    made.mkdir(mode=0o700)
    everything = (user.place.folder / "above", made, Path("/run/aiovirt-guests"))
    with user.beside(*engine) as holding:
        assert holding.stdout is not None
        holding.stdout.readline()
        xml = user.place.folder / "tiny.xml"
        xml.write_text(render(user.place.spec("tiny", ports=serials(made))))
        user.run("define", str(xml))
        user.run("autostart", "tiny")
        user.run("start", "tiny")
        with user.beside("qmp-proxy", "tiny", str(made / "q.sock"), "--json") as proxy:
            assert proxy.stdout is not None
            assert json.loads(proxy.stdout.readline())["socket"]
            assert stat.S_ISSOCK((made / "com1").stat().st_mode)
            assert (made / "com2.log").exists()
            assert too_wide(*everything) == []
            proxy.send_signal(signal.SIGINT)
            assert proxy.wait(PATIENCE) == 0
        os.kill(killed := user.engine, signal.SIGKILL)
        wait_until(lambda: user.engine != killed)
    with user.beside(*engine) as holding:
        assert holding.stdout is not None
        holding.stdout.readline()
        assert user.run("list", "--name").strip() == "tiny"
        user.run("destroy", "tiny")
        user.run("undefine", "tiny")
        assert too_wide(*everything) == []


def serials(folder: Path) -> tuple[Serial, ...]:
    return (
        Serial(type=Chardev.UNIX, path=str(folder / "com1"), listen=True),
        Serial(type=Chardev.FILE, path=str(folder / "com2.log")),
    )


def too_wide(*folders: Path) -> list[str]:
    found = [path for folder in folders for path in [folder, *folder.rglob("*")]]
    assert len(found) > 10
    modes = {path: path.lstat().st_mode for path in found}
    return [f"{path} {stat.filemode(mode)}" for path, mode in modes.items() if mode & 0o077 and not stat.S_ISLNK(mode)]
