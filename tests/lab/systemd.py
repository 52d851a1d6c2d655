"""A systemd of the tests' own, as PID 1 of namespaces of its own: what is said of units is seen to hold.

It knows the tests' units and no other: those of the machine would set it up, and clean its /tmp. /run and all state are
empty and its own, /etc may be written and is as before afterwards, and everything in it ends with the block. Only root
can have one.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

__all__ = ["Systemd", "booted"]

PATIENCE: Final = 60

_OUTER: Final = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$2"
mkdir "$2/cgroup"
mount -t cgroup2 cgroup2 "$2/cgroup"
for left in "$2"/cgroup/aiovirt-*/; do  # by a test that was killed
    if grep -qs 'populated 0' "$left/cgroup.events"; then find "$left" -depth -type d -exec rmdir {} +; fi
done
mkdir "$2/cgroup/$1"
trap 'find "$2/cgroup/$1" -depth -type d -exec rmdir {} +' EXIT
(
    sh -c 'echo $PPID' >"$2/cgroup/$1/cgroup.procs"
    exec unshare --cgroup --pid --ipc --uts --mount --fork --kill-child --mount-proc sh -c "$3" sh "$2"
)
"""
_INNER: Final = """
set -e
mkdir -p "$1/upper" "$1/work"
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t overlay -o "lowerdir=/etc,upperdir=$1/upper,workdir=$1/work" overlay /etc
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var/lib
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
for folder in /lib/systemd/system /lib/systemd/system-generators /lib/systemd/system-environment-generators /usr/local/lib/systemd; do
    if [ -d $folder ]; then mount -t tmpfs tmpfs $folder; fi
done
rm -rf /etc/systemd
mkdir -p /etc/systemd/system /run/lock
for target in lab sysinit basic sockets shutdown; do
    printf '[Unit]\nDefaultDependencies=no\n' >/etc/systemd/system/$target.target
done
exec /lib/systemd/systemd --system --unit=lab.target --log-target=null
"""


class Systemd:
    """One that has booted; ``pid`` is its PID 1, as we see it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def run(self, *command: str, status: int = 0) -> str:
        """What ``command`` says there; it is to end with ``status``."""
        line = ["nsenter", "--target", str(self.pid), "--mount", "--pid", "--cgroup", "--ipc", "--", *command]
        ended = subprocess.run(line, capture_output=True, text=True, check=False, timeout=PATIENCE)
        assert ended.returncode == status, f"{command}: {ended.returncode}\n{ended.stdout}{ended.stderr}"
        return ended.stdout

    def property(self, unit: str, name: str) -> str:
        """As ``systemctl show`` has it."""
        return self.run("systemctl", "show", "--value", f"--property={name}", unit).strip()


@contextlib.contextmanager
def booted(units: Mapping[str, str]) -> Iterator[Systemd]:
    """One that knows ``units``, by their paths below /etc/systemd/system."""
    name = f"aiovirt-{secrets.token_hex(8)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told, tempfile.TemporaryDirectory(prefix="aiovirt-") as stage:
        told.bind(f"\0{name}")
        told.settimeout(PATIENCE)
        told.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "container": "lab", "NOTIFY_SOCKET": f"@{name}"}
        command = ["unshare", "--mount", "--kill-child", "--fork", "sh", "-c", _OUTER, "sh", name, stage, _INNER]
        with subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL) as process:
            try:
                systemd = Systemd(_pid_of_who_is_ready(told))
                for path, text in units.items():
                    systemd.run("sh", "-c", 'mkdir -p "$(dirname "$1")" && printf %s "$2" >"$1"', "sh", f"/etc/systemd/system/{path}", text)
                systemd.run("systemctl", "daemon-reload")
                yield systemd
            finally:
                _end(process)


def _pid_of_who_is_ready(told: socket.socket) -> int:
    while True:
        words, ancillary, _, _ = told.recvmsg(4096, 64)
        if b"READY=1" in words:
            ((_, _, credentials),) = ancillary
            return int.from_bytes(credentials[:4], "little")


def _end(process: subprocess.Popen[bytes]) -> None:
    """What it started ends with its PID 1, and the shell around it then takes its cgroups away."""
    (shell,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    inner = Path(f"/proc/{shell}/task/{shell}/children").read_text().split()
    for pid in inner:
        subprocess.run(["kill", "-KILL", *Path(f"/proc/{pid}/task/{pid}/children").read_text().split()], check=False)
    process.wait(PATIENCE)
