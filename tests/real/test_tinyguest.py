"""The tiny guest in a real QEMU, over QMP and COM1, with nothing of aiovirt between."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from aiovirt.model.units import MiB
from aiovirt.testing.tinyguest import image, tiny_guest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import BufferedRWPair
    from pathlib import Path

ACCELERATORS = ["tcg", "kvm"] if os.access("/dev/kvm", os.R_OK | os.W_OK) else ["tcg"]
PATIENCE = 60.0
"""Seconds that a read may take before the test is given up."""


class Machine:
    """A running QEMU: its process, its COM1 as a stream, its QMP as calls."""

    def __init__(self, process: subprocess.Popen[bytes], com1: BufferedRWPair, qmp: BufferedRWPair) -> None:
        self.process, self.com1, self.qmp = process, com1, qmp
        assert "QMP" in json.loads(qmp.readline())
        self.call("qmp_capabilities")

    def call(self, command: str, **arguments: str) -> object:
        self.qmp.write(json.dumps({"execute": command, "arguments": arguments}).encode())
        self.qmp.flush()
        while "event" in (answer := json.loads(self.qmp.readline())):
            pass
        return answer["return"]

    def is_halted(self) -> bool:
        """Whether the vCPU waits in ``hlt`` at this moment (only HMP's register dump says so)."""
        return "HLT=1" in str(self.call("human-monitor-command", **{"command-line": "info registers"}))


def argv(disk: Path, accelerator: str, *, com1: int, qmp: int) -> list[str]:
    spec = tiny_guest(str(disk), name="tiny")
    return [
        *("qemu-system-x86_64", "-nodefaults", "-display", "none", "-accel", accelerator),
        *("-machine", spec.os.machine, "-m", f"{spec.memory // MiB}M"),
        *("-drive", f"file={spec.disks[0].source},format={spec.disks[0].format},if={spec.disks[0].bus}"),
        *("-chardev", f"socket,id=com1,fd={com1}", "-serial", "chardev:com1"),
        *("-chardev", f"socket,id=qmp,fd={qmp}", "-mon", "chardev=qmp,mode=control"),
    ]


def stream(own: socket.socket) -> BufferedRWPair:
    own.settimeout(PATIENCE)
    return own.makefile("rwb")


@pytest.fixture(params=ACCELERATORS)
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Machine]:
    disk = tmp_path / "tiny.img"
    disk.write_bytes(image())
    with ExitStack() as stack:
        ours, theirs = zip(*(map(stack.enter_context, socket.socketpair()) for _ in range(2)), strict=True)
        com1, qmp = (end.fileno() for end in theirs)
        process = stack.enter_context(subprocess.Popen(argv(disk, request.param, com1=com1, qmp=qmp), pass_fds=(com1, qmp)))
        stack.callback(process.kill)
        for end in theirs:
            end.close()
        yield Machine(process, *(stack.enter_context(stream(end)) for end in ours))


def test_whole_life(machine: Machine) -> None:
    """One test, for a KVM that is itself emulated takes seconds to get through the firmware."""
    assert machine.com1.readline() == b"aiovirt guest: up\r\n"

    assert any(machine.is_halted() for _ in range(10_000)), "it never came to rest after its line"
    halted = [machine.is_halted() for _ in range(100)]
    assert sum(halted) > len(halted) // 2

    machine.call("system_reset")
    assert machine.com1.read(1) == b"a"

    machine.call("system_powerdown")  # with the first character out, the button must work
    assert machine.com1.read() == b"iovirt guest: up\r\naiovirt guest: power button, off\r\n"
    assert machine.process.wait(PATIENCE) == 0
