"""``aiovirt console`` and ``edit`` at a terminal, with a guest that says back what is typed."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time

import pytest

from aiovirt.libvirtxml import render
from aiovirt.model.devices.serial import Chardev, Serial
from tests.real.test_cli_attached import PATIENCE, Terminals, user, wait_until

__all__ = ["user"]

ECHO = bytes.fromhex("BA FD 03  EC  A8 01  74 FB  BA F8 03  EC  EE  EB F1").ljust(510, b"\0") + b"\x55\xaa"
"""A boot sector: mov dx,0x3fd; again: in al,dx; test al,1; jz again; mov dx,0x3f8; in al,dx; out dx,al; jmp the beginning."""


class Terminal:
    """A pty, and a command that has it as its terminal."""

    def __init__(self, user: Terminals, *words: str, **environment: str) -> None:
        self.master, self.slave = pty.openpty()
        self.before = self.attributes
        self.said = b""
        self.process = subprocess.Popen(
            [sys.executable, "-c", LEADER, *user.command(*words)],
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            start_new_session=True,
            env=user.environment | environment,
        )

    @property
    def attributes(self) -> list[object]:
        return termios.tcgetattr(self.slave)

    def type(self, text: bytes) -> None:
        os.write(self.master, text)

    def until(self, text: bytes) -> None:
        """Reads on until the terminal has shown this."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.said:
            assert time.monotonic() < deadline, self.said
            if select.select([self.master], [], [], 1)[0]:
                self.said += os.read(self.master, 4096)

    def end(self, status: int = 0) -> None:
        """The command ends so, and the terminal is as it was."""
        assert self.process.wait(PATIENCE) == status, self.said
        assert self.attributes == self.before
        self.close()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)


LEADER = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
"""Makes standard input the terminal of its session."""


def boot(user: Terminals, kind: Chardev) -> None:
    path = str(user.place.folder / "com1") if kind is Chardev.UNIX else None
    spec = user.place.spec("echo", ports=(Serial(type=kind, path=path),))
    (user.place.folder / "echo.img").write_bytes(ECHO)
    xml = user.place.folder / "echo.xml"
    xml.write_text(render(spec))
    user.run("create", str(xml))


def connected(user: Terminals, *words: str) -> Terminal:
    """At the console, once the guest answers. Until it has booted, nobody does."""
    terminal = Terminal(user, "console", "echo", *words)
    terminal.until(b"Escape character is ^] (Ctrl + ])")
    wait_until(lambda: terminal.attributes != terminal.before)  # from here on the terminal echoes nothing itself
    deadline = time.monotonic() + PATIENCE
    while b"!" not in terminal.said:
        assert time.monotonic() < deadline, terminal.said
        terminal.type(b"!")
        if select.select([terminal.master], [], [], 0.5)[0]:
            terminal.said += os.read(terminal.master, 4096)
    return terminal


@pytest.mark.parametrize("kind", [Chardev.PTY, Chardev.UNIX], ids=str)
def test_what_is_typed_reaches_the_guest_and_comes_back(user: Terminals, kind: Chardev) -> None:
    boot(user, kind)
    terminal = connected(user)
    terminal.type(b"^C is\x03 a key, and so is \x1a\x1b[A.")
    terminal.until(b"^C is\x03 a key, and so is \x1a\x1b[A.")
    terminal.type(b"last\x1dnever typed")
    terminal.end()
    again = connected(user, "--safe", "--devname", "serial0")
    again.type(b"\x1d")
    again.end()


@pytest.mark.parametrize("kind", [Chardev.PTY, Chardev.UNIX], ids=str)
@pytest.mark.parametrize("way", ["SIGTERM", "SIGHUP", "SIGINT", "SIGQUIT", "destroy"])
def test_the_terminal_is_as_it_was_on_every_way_out(user: Terminals, kind: Chardev, way: str) -> None:
    boot(user, kind)
    terminal = connected(user)
    if way == "destroy":
        user.run("destroy", "echo")
    else:
        terminal.process.send_signal(signal.Signals[way])
    terminal.end()


@pytest.mark.parametrize("kind", [Chardev.PTY, Chardev.UNIX], ids=str)
def test_one_sits_at_a_console_and_force_takes_the_seat(user: Terminals, kind: Chardev) -> None:
    boot(user, kind)
    first = connected(user)
    second = Terminal(user, "console", "echo")
    second.until(f"Active console session exists for this domain (process {first.process.pid})".encode())
    second.end(1)
    third = connected(user, "--force")
    first.end()
    third.type(b"mine now")
    third.until(b"mine now")
    third.type(b"\x1d")
    third.end()


def test_what_is_no_console_is_said(user: Terminals) -> None:
    boot(user, Chardev.PTY)
    assert user.run("console", "echo", status=1) == "error: Cannot run interactive console without a controlling TTY\n"
    terminal = Terminal(user, "console", "echo", "--devname", "serial7")
    terminal.until(b"error: domain 'echo' has no console 'serial7'; there are serial0")
    terminal.end(1)
    assert re.fullmatch(r"/dev/pts/\d+\n\n", user.run("ttyconsole", "echo"))
    user.run("destroy", "echo")
    boot(user, Chardev.NULL)
    assert user.run("ttyconsole", "echo", status=1) == "error: domain 'echo' has no console that is a pty\n"


# -- edit --------------------------------------------------------------------------------------

EDITOR = """#!/bin/sh
if grep -q "<memory unit='KiB'>16384" "$1"; then sed -i 's/>16384</>much</g' "$1"; else sed -i 's/>much</>32768</g' "$1"; fi
"""
PATIENT = """
import pathlib, signal, sys
def heard(*_):
    path = pathlib.Path(sys.argv[1])
    path.write_text(path.read_text().replace(">16384<", ">32768<"))
    sys.exit()
signal.signal(signal.SIGINT, heard)
print("editing", flush=True)
while True:
    signal.pause()
"""


def define(user: Terminals) -> None:
    xml = user.place.folder / "tiny.xml"
    xml.write_text(render(user.place.spec()))
    user.run("define", str(xml))


def test_edit_asks_again_until_it_is_right(user: Terminals) -> None:
    define(user)
    editor = user.place.folder / "editor"
    editor.write_text(EDITOR)
    editor.chmod(0o700)
    terminal = Terminal(user, "edit", "tiny", EDITOR=str(editor), VISUAL="")
    terminal.until(b"error: ")
    terminal.until(b"Failed. Try again? [y,n,i,f,?]: ")
    terminal.type(b"y\n")
    terminal.until(b"Domain 'tiny' XML configuration edited.")
    terminal.end()
    assert "32768" in user.run("dumpxml", "tiny")


def test_ctrl_c_in_the_editor_is_the_editors(user: Terminals) -> None:
    define(user)
    editor = user.place.folder / "editor.py"
    editor.write_text(PATIENT)
    terminal = Terminal(user, "edit", "tiny", EDITOR=f"{sys.executable} {editor}", VISUAL="")
    terminal.until(b"editing")
    terminal.type(b"\x03")
    terminal.until(b"Domain 'tiny' XML configuration edited.")
    terminal.end()
    assert "32768" in user.run("dumpxml", "tiny")
