from __future__ import annotations

import json
from pathlib import Path
from uuid import UUID

import pytest
from msgspec.structs import replace

from aiovirt.drivers.qemu.command_line import check, command_line
from aiovirt.drivers.qemu.emulator import Emulator, find_emulator, version_in
from aiovirt.errors import ConfigUnsupported
from aiovirt.model.devices.disk import Disk, DiskBus, DiskDevice
from aiovirt.model.devices.serial import Chardev, Serial
from aiovirt.model.power import PowerManagement
from aiovirt.model.spec import Action, DomainSpec, OsSpec, VirtType
from aiovirt.model.units import GiB, MiB

NOW = 1_700_000_000.5  # 2023-11-14T22:13:20
U = UUID("00000000-0000-4000-8000-000000000001")
SPEC = DomainSpec(name="web", memory=512 * MiB, type=VirtType.QEMU)


def argv(spec: DomainSpec, version: tuple[int, int] | None = (7, 2)) -> list[str]:
    return command_line(spec, U, emulator=Emulator("/usr/bin/qemu-system-x86_64", version), monitor_fd=7, now=NOW)


def values(spec: DomainSpec, option: str) -> list[str]:
    words = argv(spec)
    return [words[at + 1] for at, word in enumerate(words) if word == option]


def test_what_makes_a_guest_outlive_us() -> None:
    words = argv(SPEC)
    for flag in ("-S", "-no-shutdown", "-nodefaults", "-no-user-config"):
        assert flag in words
    assert values(SPEC, "-uuid") == [str(U)]
    assert values(SPEC, "-name") == ["guest=web,debug-threads=on"]
    assert "socket,id=monitor,fd=7,server=on,wait=off" in values(SPEC, "-chardev")
    assert (values(SPEC, "-qmp"), values(SPEC, "-mon")) == (["chardev:monitor"], [])  # QEMU 11.1 calls the latter deprecated
    assert values(SPEC, "-sandbox") == ["on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"]


@pytest.mark.parametrize(
    ("version", "words"), [((7, 2), ",debug-threads=on"), ((10, 0), ",debug-threads=on"), ((11, 1), ""), ((12, 0), "")]
)
def test_threads_are_named_where_they_are_not_named_anyway(version: tuple[int, int], words: str) -> None:
    assert f"guest=web{words}" in argv(SPEC, version)
    assert "guest=web,debug-threads=on" in argv(SPEC, None)


@pytest.mark.parametrize(
    ("words", "version"),
    [
        ("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)\nCopyright (c) 2003-2022", (7, 2)),
        ("QEMU emulator version 11.1.3 (Debian 1:11.1.3+ds-1)\n", (11, 1)),
        ("emulator: wrapping\nQEMU emulator version 10.0.2 (Debian)\n", (10, 0)),
        ("", None),
        ("version 7.2", None),
    ],
)
def test_a_version_is_read(words: str, version: tuple[int, int] | None) -> None:
    assert version_in(words) == version


def test_an_emulator_that_is_another_file_is_asked_again(tmp_path: Path) -> None:
    program = tmp_path / "qemu"
    spec = replace(SPEC, emulator=str(program))
    for version in ((7, 2), (11, 1), None):
        new = tmp_path / "new"
        new.write_text("#!/bin/sh\nexit 1\n" if version is None else f"#!/bin/sh\necho QEMU emulator version {version[0]}.{version[1]}.0\n")
        new.chmod(0o755)
        new.replace(program)
        assert find_emulator(spec) == Emulator(str(program), version)


def test_sizes_and_accelerators() -> None:
    assert values(SPEC, "-m") == ["size=524288k"]
    assert values(replace(SPEC, memory=GiB, vcpus=3), "-smp") == ["3,sockets=3,cores=1,threads=1"]
    assert values(SPEC, "-machine") == ["pc,accel=tcg"]
    assert values(replace(SPEC, type=VirtType.KVM, acpi=False), "-machine") == ["pc,accel=kvm,acpi=off"]


@pytest.mark.parametrize(("machine", "chip"), [("pc", "PIIX4_PM"), ("pc-i440fx-7.2", "PIIX4_PM"), ("q35", "ICH9-LPC")])
def test_how_it_may_sleep(machine: str, chip: str) -> None:
    spec = replace(SPEC, os=OsSpec(machine=machine), pm=PowerManagement(suspend_to_mem=False, suspend_to_disk=True))
    check(spec)
    assert values(spec, "-global") == [f"{chip}.disable_s3=1", f"{chip}.disable_s4=0"]
    assert values(replace(spec, pm=PowerManagement(suspend_to_disk=False)), "-global") == [f"{chip}.disable_s4=1"]
    with pytest.raises(ConfigUnsupported, match="of a machine 'microvm' of x86_64"):
        check(replace(spec, os=OsSpec(machine="microvm")))


def test_names_with_commas_are_quoted() -> None:
    assert values(replace(SPEC, name="a,b=c"), "-name") == ["guest=a,,b=c,debug-threads=on"]
    serial = Serial(type=Chardev.FILE, path="/var/log/a,b")
    assert "file,path=/var/log/a,,b,append=off,id=serial0" in values(replace(SPEC, devices=(serial,)), "-chardev")


def test_disks_and_their_boot_order() -> None:
    disks = (
        Disk(source="/a,b", target="vda"),
        Disk(source="/cd", target="hdc", bus=DiskBus.IDE, device=DiskDevice.CDROM),
        Disk(source="/hd", target="hdb", bus=DiskBus.IDE, format="qcow2"),
    )
    spec = replace(SPEC, devices=disks, os=OsSpec(boot=("cdrom", "hd")))
    nodes = [json.loads(text) for text in values(spec, "-blockdev")]
    assert [node.get("filename") for node in nodes[::2]] == ["/a,b", "/hd", "/cd"]
    assert [node["driver"] for node in nodes[1::2]] == ["raw", "qcow2", "raw"]
    assert [node["read-only"] for node in nodes[::2]] == [False, False, True]
    devices = [json.loads(text) for text in values(spec, "-device")]
    assert [(d["driver"], d.get("bus"), d.get("unit"), d.get("bootindex")) for d in devices] == [
        ("virtio-blk-pci", None, None, 2),
        ("ide-hd", "ide.0", 1, None),
        ("ide-cd", "ide.1", 0, 1),
    ]


def test_the_first_disk_by_target_is_booted() -> None:
    disks = tuple(Disk(source=f"/{target}", target=target, bus=DiskBus.IDE) for target in ("hdb", "hda"))
    devices = [json.loads(text) for text in values(replace(SPEC, devices=disks), "-device")]
    assert [(device["id"], device.get("bootindex")) for device in devices] == [("disk-hda", 1), ("disk-hdb", None)]


def test_a_serial_port_adds_to_its_file_where_that_is_said() -> None:
    serial = Serial(type=Chardev.FILE, path="/l", append=True)
    assert "file,path=/l,append=on,id=serial0" in values(replace(SPEC, devices=(serial,)), "-chardev")


def test_a_kernel_and_serial_ports() -> None:
    spec = replace(
        SPEC,
        os=OsSpec(kernel="/k", initrd="/i", cmdline="console=ttyS0 quiet"),
        devices=(Serial(), Serial(type=Chardev.UNIX, path="/s"), Serial(type=Chardev.UNIX, path="/t", listen=False)),
    )
    assert (values(spec, "-kernel"), values(spec, "-initrd"), values(spec, "-append")) == (["/k"], ["/i"], ["console=ttyS0 quiet"])
    assert values(spec, "-chardev")[1:] == [
        "null,id=serial0",
        "socket,path=/s,server=on,wait=off,id=serial1",
        "socket,path=/t,server=off,id=serial2",
    ]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (replace(SPEC, type=VirtType.TEST), "type 'test'"),
        (replace(SPEC, on_reboot=Action.PRESERVE), "on_reboot"),
        (replace(SPEC, on_poweroff=Action.RESTART, on_reboot=Action.DESTROY), "on_poweroff 'restart'"),
        (replace(SPEC, devices=(Disk(source="/a", target="hde", bus=DiskBus.IDE),)), "hda to hdd"),
        (replace(SPEC, devices=(Disk(source="/a", target="hda", bus=DiskBus.IDE, readonly=True),)), "read-only"),
        (replace(SPEC, devices=(Disk(source="/a", target="vda", device=DiskDevice.CDROM),)), "virtio"),
    ],
)
def test_what_qemu_cannot_give_is_refused(spec: DomainSpec, words: str) -> None:
    with pytest.raises(ConfigUnsupported, match=words):
        check(spec)
