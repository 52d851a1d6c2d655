"""Records the corpus: what a real QEMU and the kernel say, word for word.

    python -m tests.lab.sandbox python -m tests.fuzz.record

Writes ``corpus/qmp``, ``corpus/rtnetlink`` and ``corpus/uevent`` anew, a file for each conversation or datagram.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from aiovirt.wire.rtnetlink import dump_links
from tests.fuzz.targets import CORPUS

GREETED = '{"execute": "qmp_capabilities", "arguments": {"enable": ["oob"]}, "id": 1}'
QEMU = ("qemu-system-x86_64", "-machine", "pc,accel=tcg", "-m", "16", "-display", "none", "-nodefaults", "-S", "-no-shutdown")

# conversation -> the lines that are sent after the negotiation
CONVERSATIONS: dict[str, Sequence[str]] = {
    "negotiation": (),
    "questions": (
        '{"execute": "query-status", "id": 2}',
        '{"execute": "query-version", "id": 3}',
        '{"execute": "query-cpus-fast", "id": 4}',
        '{"execute": "qom-list", "arguments": {"path": "/"}, "id": 5}',
        '{"execute": "human-monitor-command", "arguments": {"command-line": "info version"}, "id": 6}',
    ),
    "events": (
        '{"execute": "cont", "id": 2}',
        '{"execute": "stop", "id": 3}',
        '{"execute": "system_powerdown", "id": 4}',
        '{"execute": "system_reset", "id": 5}',
        '{"execute": "quit", "id": 6}',
    ),
    "refusals": (
        '{"execute": "nonsense", "id": 2}',
        '{"execute": "device_del", "arguments": {"id": "x"}, "id": 3}',
        '{"execute": "query-status", "arguments": {"x": 1}, "id": 4}',
        '{"exec-oob": "query-status", "id": 5}',
        '{"execute": "getfd", "arguments": {"fdname": "x"}, "id": 6}',
        "{]",
        '{"id": 7}',
    ),
}


def record_qmp(folder: Path) -> None:
    for name, lines in CONVERSATIONS.items():
        with qemu() as monitor:
            monitor.sendall(f"{GREETED}\n".encode())
            for line in lines:
                monitor.sendall(f"{line}\n".encode())
            (folder / name).write_bytes(heard(monitor, 2 + len(lines)))


@contextmanager
def qemu() -> Iterator[socket.socket]:
    """The monitor of a QEMU that lives as long as the block."""
    near, far = socket.socketpair()
    chardev = ("-chardev", f"socket,id=m,fd={far.fileno()}", "-mon", "chardev=m,mode=control")
    with near, subprocess.Popen([*QEMU, *chardev], pass_fds=[far.fileno()]) as process:
        far.close()
        try:
            yield near
        finally:
            process.kill()


def heard(monitor: socket.socket, answers: int) -> bytes:
    """All that comes until there are so many that are no events."""
    lines: list[bytes] = []
    with monitor.makefile("rb") as stream:
        while sum("event" not in json.loads(line) for line in lines) < answers:
            lines.append(stream.readline())
    return b"".join(lines)


def record_kernel(links: Path, uevents: Path) -> None:
    routes = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    kobjects = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 15)
    with routes, kobjects:
        kobjects.bind((0, 1))
        routes.bind((0, 1))
        for command in ("link add v0 type veth peer name w0", "link set w0 name x0", "link add m0 link x0 type macvlan", "link del x0"):
            subprocess.run(["ip", *command.split()], check=True)
            if "m0" in command:
                routes.send(dump_links(1))
        for sock, folder in ((routes, links), (kobjects, uevents)):
            for number, datagram in enumerate(datagrams(sock)):
                (folder / f"{number:02}").write_bytes(datagram)


def datagrams(sock: socket.socket) -> Iterator[bytes]:
    """What has come, but for the uevents of the links' queues."""
    sock.setblocking(False)
    while True:
        try:
            datagram = sock.recv(1 << 16)
        except BlockingIOError:
            return
        if b"SUBSYSTEM=queues" not in datagram:
            yield datagram


def main() -> None:
    for name in ("qmp", "rtnetlink", "uevent"):
        shutil.rmtree(CORPUS / name, ignore_errors=True)
        (CORPUS / name).mkdir(parents=True)
    record_qmp(CORPUS / "qmp")
    record_kernel(CORPUS / "rtnetlink", CORPUS / "uevent")


if __name__ == "__main__":
    main()
