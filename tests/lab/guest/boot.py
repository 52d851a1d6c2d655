"""Boots the lab guest and runs a command in it.

It has this machine's files, this checkout at its own path among them; what it writes is gone with it. Its PCI devices:
six empty root ports ``rp1`` to ``rp6`` (their numbers are those of their slots), an igb with seven VFs behind ``rp7``,
an NVMe controller with four behind ``rp8``, an IOMMU, and a port by which it speaks QMP to its own QEMU.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from tests.lab import backports
from tests.lab.guest.build import CHECKOUT, CannotRunError, build, need

__all__ = ["INSIDE", "LIMIT", "NO_VERDICT", "require", "run"]

INSIDE: Final = "AIOVIRT_LAB"
"""The environment variable that is "1" inside."""

LIMIT: Final = 480.0
"""Seconds after which a run is over, whatever its command does."""

NO_VERDICT: Final = 125

_BACKPORTS: Final = CHECKOUT / "build" / "qemu-10"
_COMMANDS: Final = {"setpriv": "util-linux", "udevadm": "udev", "ip": "iproute2"}
_LAST_LINES: Final = 30

_MACHINE: Final = """
-accel tcg,thread=multi -machine q35 -cpu qemu64 -smp 2 -m 1536 -nodefaults -no-user-config -display none -no-reboot
-device virtio-rng-pci,addr=0x2
-device intel-iommu,intremap=on
-device virtio-serial-pci,id=ports,addr=0x3
"""

_DEVICES: Final = """
-netdev user,id=net0,restrict=on
-device igb,id=igb,bus=rp7,mac=52:54:00:1a:b0:00,netdev=net0
-device nvme-subsys,id=nvmes,nqn=lab
-device nvme,id=nvme,bus=rp8,serial=lab,subsys=nvmes,sriov_max_vfs=4,sriov_vq_flexible=8,sriov_vi_flexible=4,max_ioqpairs=10,msix_qsize=9
"""

_KERNEL: Final = "console=ttyS0 quiet panic=-1 mitigations=off intel_iommu=on"


def require() -> None:
    """Raises RuntimeError, saying what to run, outside of a lab guest."""
    if os.environ.get(INSIDE) != "1":
        raise RuntimeError("this needs the lab guest: python -m tests.lab.guest .venv/bin/python -m pytest tests/labguest (or: make lab)")


def run(command: Sequence[str], *, limit: float = LIMIT) -> int:
    """The command's exit status, or NO_VERDICT when it came to none: why is then on stderr, with the console's end."""
    try:
        return _run(command, limit)
    except CannotRunError as error:
        print(f"lab: {error}", file=sys.stderr)
        return NO_VERDICT


def _run(command: Sequence[str], limit: float) -> int:
    need(_COMMANDS)
    built = build()
    try:
        emulator = backports.fetch(_BACKPORTS, "10")
    except (OSError, subprocess.CalledProcessError, StopIteration) as error:
        raise CannotRunError(f"no QEMU from Debian's backports: {error}") from error
    with tempfile.TemporaryDirectory(prefix="aiovirt-lab-") as folder:
        handed = Path(folder, "handed")
        _hand_over(handed, command)
        ended = _boot(emulator, _machine(built, Path(folder)), limit)
        if (handed / "status").exists():
            return int((handed / "status").read_text())
        raise CannotRunError(f"the command came to no end: {ended}; the console's last lines:\n{_end_of(Path(folder, 'console'))}")


def _hand_over(folder: Path, command: Sequence[str]) -> None:
    """What the guest finds of us."""
    folder.mkdir()
    (folder / "checkout").write_text(str(CHECKOUT))
    setting = f"export {INSIDE}=1 PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1"
    (folder / "command").write_text(f"cd {shlex.quote(str(CHECKOUT))} && {setting} && exec {shlex.join(command)}\n")


def _boot(emulator: Path, machine: Iterable[str], limit: float) -> str:
    """How the emulator ended, which does not outlive us. The command's output is ours."""
    output = os.dup(sys.stdout.fileno())
    line = ["setpriv", "--pdeathsig", "KILL", str(emulator), "-add-fd", f"fd={output},set=1", *machine]
    try:
        ended = subprocess.run(line, stdin=subprocess.DEVNULL, pass_fds=[output], timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        return f"QEMU was killed after {limit:g} s"
    finally:
        os.close(output)
    return f"QEMU ended with {ended.returncode}"


def _machine(built: Path, folder: Path) -> Iterator[str]:
    yield from _MACHINE.split()
    for number in range(1, 9):
        yield from ("-device", f"pcie-root-port,id=rp{number},chassis={number},slot={number},addr={7 + number:#x}")
    yield from _DEVICES.split()
    yield from ("-kernel", f"{built}/vmlinux", "-initrd", f"{built}/initrd", "-append", _KERNEL)
    yield from _share("root", "/", "readonly=on")
    yield from _share("lab", f"{folder}/handed", "readonly=off")
    yield from ("-chardev", f"file,id=console,path={folder}/console", "-serial", "chardev:console")
    yield from _port("lab.output", "file,path=/dev/fdset/1,append=on")
    yield from ("-chardev", f"socket,id=qmp,path={folder}/qmp,server=on,wait=off", "-mon", "chardev=qmp,mode=control")
    yield from _port("lab.qmp", f"socket,path={folder}/qmp")


def _share(tag: str, path: str, mode: str) -> tuple[str, ...]:
    return ("-virtfs", f"local,path={path},mount_tag={tag},security_model=none,multidevs=remap,{mode}")


def _port(name: str, backend: str) -> tuple[str, ...]:
    return ("-chardev", f"{backend},id={name}", "-device", f"virtserialport,bus=ports.0,chardev={name},name={name}")


def _end_of(console: Path) -> str:
    if not console.exists():
        return "(there is none)"
    return "\n".join(console.read_text(errors="replace").splitlines()[-_LAST_LINES:])
