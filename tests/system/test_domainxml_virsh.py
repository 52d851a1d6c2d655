"""libvirt itself reads what we render, and we read what it writes: its test driver and its QEMU driver.

Neither needs a daemon: both run inside the ``virsh`` process.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from msgspec.structs import replace

from aiovirt.domainxml import parse, render
from aiovirt.model.spec import Action, Chardev, DiskBus, DiskDevice, DiskSpec, DomainSpec, OsSpec, SerialSpec, VirtType
from aiovirt.model.units import GiB, KiB, MiB

TEST = "test:///default"
NOBODY = 65534 if os.geteuid() == 0 else None
ID = UUID("4dea22b3-1d52-d8f3-2516-782e98ab3fa0")
SMALL = DomainSpec(name="small", memory=64 * MiB, uuid=ID, type=VirtType.TEST)
FULL = DomainSpec(
    name="the 'full' <domain> & \"more\"",
    memory=GiB + KiB,
    vcpus=3,
    uuid=ID,
    type=VirtType.TEST,
    title="Ein schöner Titel",
    description="two\nlines\tand <brackets>",
    metadata='<a:owner xmlns:a="urn:a" kind="team">me</a:owner>\n    <b xmlns="urn:b"/>',
    os=OsSpec(boot=("cdrom", "hd", "network"), kernel="/boot/vmlinuz", initrd="/boot/initrd", cmdline="a 'b' \"c\" <d>"),
    acpi=True,
    on_poweroff=Action.PRESERVE,
    on_reboot=Action.DESTROY,
    on_crash=Action.RESTART,
    emulator="/usr/bin/qemu-system-x86_64",
    disks=(
        DiskSpec(source="/images/it's a & b.qcow2", target="vda", format="qcow2"),
        DiskSpec(source="/images/ro.img", target="vdb", readonly=True),
    ),
    serials=(
        SerialSpec(type=Chardev.UNIX, path="/run/a's.sock"),
        SerialSpec(type=Chardev.UNIX, path="/run/b.sock", listen=False),
        SerialSpec(type=Chardev.FILE, path="/var/log/c.log"),
        SerialSpec(type=Chardev.PTY),
        SerialSpec(type=Chardev.NULL),
    ),
)
NAMES = ["a", "ünï-código", "日本語", "🦀 crab", "-dash", "a b", "'", '"&<>', "x" * 200, "%s$(id)`;"]


def libvirts_own(spec: DomainSpec, folder: Path, uri: str, *, user: int | None = None) -> str:
    """What libvirt makes of ``spec``: checked against its schema, defined, and printed again."""
    path = folder / "domain.xml"
    path.write_text(render(spec))
    orders = f"define --validate {path}; dumpxml {spec.uuid}"
    virsh = ["virsh", "--quiet", "--connect", uri, orders]
    groups: list[int] | None = [] if user is not None else None
    environment = os.environ | {"HOME": str(folder)}
    done = subprocess.run(virsh, check=False, capture_output=True, text=True, user=user, group=user, extra_groups=groups, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def nobodys() -> Iterator[Path]:
    """A folder that is open to nobody: as root, libvirt's QEMU driver would want a user of its own to be there."""
    with tempfile.TemporaryDirectory(prefix="aiovirt-") as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


@pytest.mark.parametrize("spec", [SMALL, FULL], ids=["small", "full"])
def test_libvirt_writes_it_as_we_do(spec: DomainSpec, tmp_path: Path) -> None:
    text = libvirts_own(spec, tmp_path, TEST)

    assert text.strip() == render(spec).strip()
    assert parse(text) == spec


@pytest.mark.parametrize("name", NAMES)
def test_libvirt_takes_the_names_that_we_take(name: str, tmp_path: Path) -> None:
    spec = replace(SMALL, name=name)

    assert parse(libvirts_own(spec, tmp_path, TEST)) == spec


def test_libvirt_places_ide_disks_where_we_let_them_be(tmp_path: Path) -> None:
    ide = [DiskSpec(source="/d", target=f"hd{letter}", bus=DiskBus.IDE) for letter in "abcd"]
    spec = replace(SMALL, disks=(*ide[:2], replace(ide[2], device=DiskDevice.CDROM, readonly=True), ide[3]))

    text = libvirts_own(spec, tmp_path, TEST)

    assert text.count("<address type='drive'") == len(ide)
    assert parse(text) == spec


@pytest.mark.parametrize("machine", ["pc", "q35"])
def test_libvirts_qemu_driver_keeps_it(machine: str, nobodys: Path) -> None:
    spec = replace(FULL, type=VirtType.QEMU, os=replace(FULL.os, machine=machine), on_poweroff=Action.DESTROY, on_reboot=Action.RESTART)

    seen = parse(libvirts_own(spec, nobodys, f"qemu:///embed?root={nobodys}/root", user=NOBODY))

    assert seen.os.machine.startswith("pc-")
    assert replace(seen, os=replace(seen.os, machine=machine)) == spec
