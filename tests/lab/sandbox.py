"""Runs a command in namespaces of its own: network, mounts and processes, with a fresh sysfs.

    python -m tests.lab.sandbox [--udev] COMMAND…

Works as root, and as anyone where user namespaces are allowed. In it there is ``lo`` (up) and no
other device; /run is empty, so that ``ip netns add`` works; /tmp, /dev/kvm and the checkout are as outside. With
``--udev`` it has a udevd of its own, and a private /dev for that one to work on. The command's exit
status is ours, as a shell gives it; 125 when the sandbox could not be made.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

__all__ = ["INSIDE", "enter", "require"]

INSIDE: Final = "AIOVIRT_SANDBOX"
"""The environment variable that is "1" inside."""

NO_SANDBOX: Final = 125
NO_COMMAND: Final = 127

_NODES: Final = ("null", "zero", "full", "random", "urandom", "tty", "net/tun", "kvm")


def enter(command: Sequence[str], *, udev: bool = False) -> list[str]:
    """The command line that runs ``command`` inside."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    namespaces = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    inner = [sys.executable, "-m", __spec__.name, "--inside", *(["--udev"] if udev else []), *command]
    return ["unshare", *user, *namespaces, "--", *inner]


def require() -> None:
    """Raises RuntimeError, saying what to run, outside of a sandbox."""
    if os.environ.get(INSIDE) != "1":
        raise RuntimeError("this needs namespaces of its own: python -m tests.lab.sandbox python -m pytest tests/real (or: make test)")


def main(arguments: list[str]) -> int:
    """The command line described above."""
    inside = arguments[:1] == ["--inside"]
    arguments = arguments[inside:]
    udev = arguments[:1] == ["--udev"]
    command = arguments[udev:]
    if not command:
        print(__doc__, file=sys.stderr)
        return 2
    if not inside:
        line = enter(command, udev=udev)
        os.execvp(line[0], line)
    try:
        _furnish(udev=udev)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"no sandbox: {error}", file=sys.stderr)
        return NO_SANDBOX
    with _udevd() if udev else contextlib.nullcontext():
        return _status(command)


def _status(command: Sequence[str]) -> int:
    """What a shell would say of how the command ended."""
    try:
        child = subprocess.Popen(command, env=_environment())
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return NO_COMMAND
    while True:
        pid, status = os.wait()
        if pid == child.pid:
            child.returncode = ended = os.waitstatus_to_exitcode(status)
            return ended if ended >= 0 else 128 - ended


def _environment() -> dict[str, str]:
    """Ours, without the folder below /run that is not there any more."""
    return {name: value for name, value in os.environ.items() if name != "XDG_RUNTIME_DIR"} | {INSIDE: "1"}


def _furnish(*, udev: bool) -> None:
    _run("mount", "--make-rprivate", "/")
    _run("mount", "-t", "sysfs", "sysfs", "/sys")
    _run("mount", "-t", "tmpfs", "tmpfs", "/run")
    Path("/run/netns").mkdir()
    _run("ip", "link", "set", "lo", "up")
    if udev:
        _private_dev()


def _private_dev() -> None:
    """A /dev whose nodes are the system's, and whose owners and links a udevd may set as it likes."""
    outer = Path("/run/dev")
    outer.mkdir()
    _run("mount", "--rbind", "/dev", str(outer))
    _run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/dev")
    for folder in ("net", "shm", "pts"):
        Path("/dev", folder).mkdir()
    for node in _NODES:
        if (outer / node).exists():
            Path("/dev", node).touch()
            _run("mount", "--bind", str(outer / node), f"/dev/{node}")
    Path("/dev/fd").symlink_to("/proc/self/fd")
    _run("mount", "-t", "tmpfs", "tmpfs", "/dev/shm")
    _run("umount", "--lazy", str(outer))


@contextlib.contextmanager
def _udevd() -> Iterator[None]:
    Path("/run/udev").mkdir()
    _run("/lib/systemd/systemd-udevd", "--daemon", "--resolve-names=never")
    _run("udevadm", "control", "--ping")
    try:
        yield
    finally:
        _run("udevadm", "control", "--exit")


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
