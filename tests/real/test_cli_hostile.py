"""Names and words that a terminal would obey, from the kernel, from QEMU, from guests and clients: none of it reaches one."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from aiovirt.libvirtxml import render
from aiovirt.wire.attach import VERSION, framed
from aiovirt.wire.attach.messages import Hello, encode
from tests.real.test_cli_attached import PATIENCE, Terminals, define, user, wait_until
from tests.test_text import is_harmless

__all__ = ["user"]

RED, C1, RAW, TURNED = "\x1b[31mr", "c\x9b1m", "b\udcff\udc9b", "t\u202eexe"
"""Names of network devices that Linux takes: it refuses slashes, colons and white space only."""
WORDS = "\x1b]0;owned\x07\x1b[2J\x9b5mblink\r\n\u202edneirf"


def said_by(user: Terminals, *words: str, status: int = 0) -> str:
    """Both streams, which hold nothing that a terminal would obey."""
    done = subprocess.run(user.command(*words), capture_output=True, check=False, timeout=PATIENCE, env=user.environment)
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == status, said
    assert is_harmless(said.replace("\n", "").replace("\t", "")), words
    return said


@pytest.fixture
def _devices() -> None:
    for name in (RED, C1, RAW, TURNED):
        subprocess.run(["ip", "link", "add", name, "type", "bridge"], check=True)


@pytest.mark.usefixtures("_devices")
def test_names_of_network_devices(user: Terminals) -> None:
    with user.beside("watch", "--json") as holding:
        assert holding.stdout is not None
        cursor = json.loads(holding.stdout.readline())["cursor"]
        said = said_by(user, "nodedev-list", "--details")
        assert "\\x1b[31mr" in said
        assert "\\u202e" in said
        for words in (["nodedev-list"], ["nodedev-list", "--tree"], ["nodedev-list", "--ports"], ["nodedev-list", "--json"]):
            said_by(user, *words)
        names = {json.loads(line)["name"] for line in said_by(user, "nodedev-list", "--details", "--json").splitlines()}
        assert {RED, C1, TURNED} <= names
        for verb in ("nodedev-info", "nodedev-dumpxml"):
            said_by(user, verb, RED)
            said_by(user, verb, TURNED, "--json")
        subprocess.run(["ip", "link", "set", RED, "mtu", "1400"], check=True)
        subprocess.run(["ip", "link", "set", C1, "name", f"{C1}2"], check=True)
        subprocess.run(["ip", "link", "set", TURNED, "alias", WORDS], check=True)
        said_by(user, "event", "--since", cursor, "--type", "netdev", "--timeout", "60")
        said_by(user, "event", "--since", cursor, "--type", "netdev", "--json", "--timeout", "60")
        said_by(user, "watch", "--timeout", "2", status=124)
        said_by(user, "watch", "--timeout", "2", "--json", status=124)
        for name in (RED, f"{C1}2", RAW, TURNED):
            subprocess.run(["ip", "link", "del", name], check=True)


def test_the_last_words_of_an_emulator(user: Terminals) -> None:
    emulator = user.place.folder / "emulator"
    emulator.write_text(f"#!/bin/sh\nprintf '%s' '{WORDS}' >&2\nexit 1\n")
    emulator.chmod(0o700)
    xml = user.place.folder / "tiny.xml"
    xml.write_text(render(user.place.spec("tiny", emulator=str(emulator))))
    said_by(user, "define", str(xml))
    said = said_by(user, "start", "tiny", status=1)
    assert said.count("\n") == 1
    assert "\\u202edneirf" in said
    assert "\\x1b[2J" in said_by(user, "log", "tiny")
    assert json.loads(said_by(user, "log", "tiny", "--json"))["log"].replace("\r", "") == WORDS.replace("\r", "")
    assert is_harmless((user.place.folder / "state/engine.log").read_text().replace("\n", ""))


def test_what_qemu_says_back(user: Terminals) -> None:
    define(user)
    said_by(user, "start", "tiny")
    quoted = json.dumps({"execute": WORDS}, ensure_ascii=False)
    assert said_by(user, "qemu-monitor-command", "tiny", quoted, status=1).count("\n") == 1
    assert "\\x1b" in said_by(user, "qemu-monitor-command", "tiny", "--hmp", f"{RED} {C1}")
    answer = said_by(user, "qemu-monitor-command", "tiny", json.dumps({"execute": "qom-list", "arguments": {"path": WORDS}}), status=1)
    assert answer.count("\n") == 1
    said_by(user, "dominfo", WORDS, status=4)


def test_a_definition_that_says_what_a_terminal_would_obey(user: Terminals) -> None:
    xml = user.place.folder / "tiny.xml"
    meant = render(user.place.spec("tiny"))
    for text in (meant.replace("<name>tiny", "<name>ti\x9b5mny"), meant.replace("<devices>", "<de\u202evices>", 1)):
        xml.write_text(text)
        assert said_by(user, "define", str(xml), status=1).count("\n") == 1
    disk = user.place.folder / "\x9b5m\u202e.img"
    disk.write_bytes((user.place.folder / "tiny.img").read_bytes())
    xml.write_text(meant.replace("tiny.img", disk.name))
    said_by(user, "define", str(xml))
    dumped = said_by(user, "dumpxml", "tiny")
    assert "&#x9b;5m&#x202e;.img" in dumped
    xml.write_text(dumped)
    said_by(user, "undefine", "tiny")
    said_by(user, "define", str(xml))
    assert said_by(user, "dumpxml", "tiny") == dumped
    assert disk.name in json.loads(said_by(user, "dumpxml", "tiny", "--json"))["xml"]


def test_the_name_of_a_client_in_the_engines_log(user: Terminals) -> None:
    folder = user.place.folder
    with user.beside("watch") as watching, socket.socket(socket.AF_UNIX) as client:
        assert watching.stdout is not None
        watching.stdout.readline()
        client.connect(str(folder / "runtime/engine.sock"))
        client.sendall(framed(encode(Hello(VERSION, RED + C1 + WORDS, (str(folder / "config"), str(folder / "state"))))) + b"\xff" * 64)
        log = folder / "state/engine.log"
        wait_until(lambda: "disconnected" in log.read_text())
    assert "\\x1b[31mr" in log.read_text()
    assert is_harmless(log.read_text().replace("\n", ""))
    assert [line.split(" ")[0] for line in log.read_text().splitlines()] == ["Holding", "WARNING"]


def test_paths_that_are_no_text(user: Terminals) -> None:
    folder = os.fsencode(user.place.folder)
    assert "\\udcff" in said_by(user, "define", os.fsdecode(folder + b"/\xff\x1b"), status=1)
    define(user)
    said_by(user, "start", "tiny")
    path = os.fsdecode(folder + b"/\xff\x9b.sock")
    with subprocess.Popen(user.command("qmp-proxy", "tiny", path, "--json"), stdout=subprocess.PIPE, env=user.environment) as proxy:
        assert proxy.stdout is not None
        said = proxy.stdout.readline().decode()
        assert json.loads(said)["socket"] == path.encode(errors="backslashreplace").decode()
        assert is_harmless(said.removesuffix("\n"))
        assert Path(path).is_socket()
        proxy.send_signal(signal.SIGINT)
        assert proxy.wait(PATIENCE) == 0
