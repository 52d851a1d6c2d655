"""The far sides of QMP sessions: scripted peers, all of them in one other process, and real QEMUs that run no machine.

A scripted peer has no JSON: it finds the id of a command, and answers with bytes it has ready, as QEMU
writes them. Its client pays for all the rest, so it is never what a client waits for.
"""

from __future__ import annotations

import os
import re
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from aiovirt.system.sockets import listen_unix

__all__ = ["GREETING", "PeerClock", "guests", "pid_at", "raise_descriptor_limit", "scripted", "serve"]

ROOT: Final = Path(__file__).resolve().parent.parent
BACKLOG: Final = 16_384
CHUNK: Final = 16 * 1024

QEMU: Final = ("qemu-system-x86_64", "-machine", "none", "-accel", "tcg", "-nodefaults", "-no-user-config", "-display", "none", "-S")

GREETING: Final = (
    b'{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "Debian 1:7.2"}, "capabilities": ["oob"]}}\r\n'
)
NEGOTIATION: Final = b'"qmp_capabilities"'
AGREED: Final = b'{"return": {}%b}\r\n'
STATUS: Final = b'{"return": {"status": "running", "singlestep": false, "running": true}, "id": %b}\r\n'
ID: Final = re.compile(rb'"id":\s*("[^"]*"|\d+)(?=[\s,}])')


# -- scripted ----------------------------------------------------------------------------------


@contextmanager
def scripted() -> Iterator[str]:
    """The path of a socket with a scripted peer for whoever connects."""
    with tempfile.TemporaryDirectory(prefix="aiovirt-") as folder:
        path = str(Path(folder, "peers.qmp"))
        with listen_unix(path) as listening:
            fd = listening.fileno()
            command = [sys.executable, "-m", "benchmarks.qmp_peers", str(fd)]
            process = subprocess.Popen(command, cwd=ROOT, pass_fds=(fd,), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        with process:  # it ends when its input does
            assert process.stdout
            assert process.stdout.readline(), "the peers are there"
            yield path


def serve(listening: socket.socket, life: int) -> None:
    """Answers whoever connects, until there is something to read from ``life``: its end."""
    listening.setblocking(False)
    listening.listen(BACKLOG)
    epoll = select.epoll()
    door = listening.fileno()
    epoll.register(door, select.EPOLLIN)
    epoll.register(life, select.EPOLLIN)
    sessions: dict[int, socket.socket] = {}
    rests: dict[int, bytes] = {}
    print(flush=True)
    while True:
        for fd, _ in epoll.poll():
            if fd in sessions:
                if not _answer(sessions[fd], rests):
                    rests.pop(fd)
                    sessions.pop(fd).close()
            elif fd == door:
                for peer in _accepted(listening):
                    sessions[peer.fileno()], rests[peer.fileno()] = peer, b""
                    epoll.register(peer.fileno(), select.EPOLLIN)
            else:
                return


def _accepted(listening: socket.socket) -> Iterator[socket.socket]:
    with suppress(BlockingIOError):
        while True:
            peer, _ = listening.accept()
            with suppress(BrokenPipeError):  # it is gone already, as reading will show
                peer.sendall(GREETING)
            yield peer


def _answer(peer: socket.socket, rests: dict[int, bytes]) -> bool:
    """Answers what came; False when nothing more will. What was cut within a command is taken up with the next piece."""
    fd = peer.fileno()
    try:
        data = peer.recv(CHUNK)
    except ConnectionResetError:
        return False
    said, end = rests[fd] + data, 0
    answers: list[bytes] = []
    for found in ID.finditer(said):
        answers.append(STATUS % found[1])
        end = found.end()
    if NEGOTIATION in said:  # comes alone, before all others, and not everyone gives it an id
        answers, end = [AGREED % b"".join(b', "id": ' + found[1] for found in ID.finditer(said))], len(said)
    rests[fd] = said[end:]
    with suppress(BrokenPipeError):
        peer.sendall(b"".join(answers))
    return bool(data)


def pid_at(path: str) -> int:
    """The process that listens at ``path``."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        return int.from_bytes(client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)[:4], sys.byteorder)


class PeerClock:
    """The CPU time of the process that listens at ``path``, in seconds."""

    def __init__(self, path: str) -> None:
        self._clock = (~pid_at(path) << 3) | 2  # linux: include/linux/posix-timers_types.h, CPUCLOCK_SCHED of a process

    def read(self) -> float:
        return time.clock_gettime(self._clock)


def raise_descriptor_limit(needed: int) -> None:
    """Lets this process have as many descriptors as it may; raises OSError when those are fewer than ``needed``."""
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if most < needed:
        raise OSError(f"{needed} descriptors are needed, and the hard limit of RLIMIT_NOFILE is {most}")


# -- real --------------------------------------------------------------------------------------


@contextmanager
def guests(count: int) -> Iterator[dict[str, int]]:
    """The sockets of so many QEMUs that have greeted, in a folder of their own, each with its process id."""
    with tempfile.TemporaryDirectory(prefix="aiovirt-") as folder, ExitStack() as running:
        paths = [str(Path(folder, f"{number}.qmp")) for number in range(count)]
        started = {path: running.enter_context(_guest(path)) for path in paths}
        for path in paths:
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(path)
                assert client.recv(CHUNK), "it greets"
        yield started


@contextmanager
def _guest(path: str) -> Iterator[int]:
    """A QEMU that is given its socket listening, so that nobody has to wait for it to be there."""
    with listen_unix(path) as listening:
        fd = listening.fileno()
        monitor = ("-chardev", f"socket,id=qmp,fd={fd},server=on,wait=off", "-mon", "chardev=qmp,mode=control")
        process = subprocess.Popen([*QEMU, *monitor], pass_fds=(fd,), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    raise_descriptor_limit(0)
    serve(socket.socket(fileno=int(sys.argv[1])), sys.stdin.fileno())
    os._exit(0)  # ten thousand sockets need not be closed one by one
