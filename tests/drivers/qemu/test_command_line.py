from __future__ import annotations

import json
from uuid import UUID

import pytest
from msgspec.structs import replace

from aiovirt.drivers.qemu.command_line import check, command_line
from aiovirt.errors import ConfigUnsupported
from aiovirt.model.spec import Action, Chardev, DiskBus, DiskDevice, DiskSpec, DomainSpec, OsSpec, SerialSpec, VirtType
from aiovirt.model.units import GiB, MiB

U = UUID("00000000-0000-4000-8000-000000000001")
SPEC = DomainSpec(name="web", memory=512 * MiB, type=VirtType.QEMU)


def argv(spec: DomainSpec) -> list[str]:
    return command_line(spec, U, emulator="/usr/bin/qemu-system-x86_64", monitor_fd=7)


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


def test_sizes_and_accelerators() -> None:
    assert values(SPEC, "-m") == ["size=524288k"]
    assert values(replace(SPEC, memory=GiB, vcpus=3), "-smp") == ["3"]
    assert values(SPEC, "-machine") == ["pc,accel=tcg"]
    assert values(replace(SPEC, type=VirtType.KVM, acpi=False), "-machine") == ["pc,accel=kvm,acpi=off"]


def test_names_with_commas_are_quoted() -> None:
    assert values(replace(SPEC, name="a,b=c"), "-name") == ["guest=a,,b=c,debug-threads=on"]
    serial = SerialSpec(type=Chardev.FILE, path="/var/log/a,b")
    assert "file,path=/var/log/a,,b,append=off,id=serial0" in values(replace(SPEC, serials=(serial,)), "-chardev")


def test_disks_and_their_boot_order() -> None:
    disks = (
        DiskSpec(source="/a,b", target="vda"),
        DiskSpec(source="/cd", target="hdc", bus=DiskBus.IDE, device=DiskDevice.CDROM),
        DiskSpec(source="/hd", target="hdb", bus=DiskBus.IDE, format="qcow2"),
    )
    spec = replace(SPEC, disks=disks, os=OsSpec(boot=("cdrom", "hd")))
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
    disks = tuple(DiskSpec(source=f"/{target}", target=target, bus=DiskBus.IDE) for target in ("hdb", "hda"))
    devices = [json.loads(text) for text in values(replace(SPEC, disks=disks), "-device")]
    assert [(device["id"], device.get("bootindex")) for device in devices] == [("disk-hda", 1), ("disk-hdb", None)]


def test_a_serial_port_adds_to_its_file_where_that_is_said() -> None:
    serial = SerialSpec(type=Chardev.FILE, path="/l", append=True)
    assert "file,path=/l,append=on,id=serial0" in values(replace(SPEC, serials=(serial,)), "-chardev")


def test_a_kernel_and_serial_ports() -> None:
    spec = replace(
        SPEC,
        os=OsSpec(kernel="/k", initrd="/i", cmdline="console=ttyS0 quiet"),
        serials=(SerialSpec(), SerialSpec(type=Chardev.UNIX, path="/s"), SerialSpec(type=Chardev.UNIX, path="/t", listen=False)),
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
        (replace(SPEC, disks=(DiskSpec(source="/a", target="hde", bus=DiskBus.IDE),)), "hda to hdd"),
        (replace(SPEC, disks=(DiskSpec(source="/a", target="hda", bus=DiskBus.IDE, readonly=True),)), "read-only"),
        (replace(SPEC, disks=(DiskSpec(source="/a", target="vda", device=DiskDevice.CDROM),)), "virtio"),
    ],
)
def test_what_qemu_cannot_give_is_refused(spec: DomainSpec, words: str) -> None:
    with pytest.raises(ConfigUnsupported, match=words):
        check(spec)
