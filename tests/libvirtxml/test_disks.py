"""Where disks stand, and what cannot be one: by the rules of libvirt 9.0, which tests/real/test_libvirtxml_virsh.py asks itself."""

from __future__ import annotations

import pytest

from aiovirt.errors import InvalidArgument, XMLInvalid
from aiovirt.libvirtxml import parse, render
from aiovirt.model.devices.disk import Disk, DiskBus
from aiovirt.model.spec import DomainSpec, OsSpec
from aiovirt.model.units import MiB

SPEC = DomainSpec(name="small", memory=64 * MiB)


def disk(target: str, bus: DiskBus | None = None) -> str:
    said = f" bus='{bus}'" if bus else ""
    return f"<disk><source file='/{target}'/><target dev='{target}'{said}/></disk>"


def domain(*disks: str) -> str:
    return f"<domain><name>small</name><memory>65536</memory><os><type>hvm</type></os><devices>{''.join(disks)}</devices></domain>"


def targets(spec: DomainSpec) -> list[str]:
    return [disk.target for disk in spec.disks]


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("hdb hda", "hda hdb"),
        ("vdaa vdb vda", "vda vdb vdaa"),
        # buses are taken for granted when disks are sorted already
        ("vdc hda", "hda vdc"),
        ("vdb hda vda", "hda vda vdb"),
        # and said, each stands where its first disk does
        ("vdb+ hdc+ vda+ hda+", "vda vdb hda hdc"),
        ("vdc+ hda+", "vdc hda"),
    ],
)
def test_disks_stand_in_libvirts_order(written: str, kept: str) -> None:
    buses = {"h": DiskBus.IDE, "v": DiskBus.VIRTIO}
    spec = parse(domain(*(disk(word.rstrip("+"), buses[word[0]] if word.endswith("+") else None) for word in written.split())))
    assert targets(spec) == kept.split()
    assert targets(parse(render(spec))) == kept.split(), "it is kept in the order that it is dumped in"


def test_a_spec_has_its_disks_in_that_order_from_the_first() -> None:
    disks = tuple(Disk(source="/d", target=target) for target in ("vdz", "vdaa", "vda"))
    assert targets(DomainSpec(name="a", memory=MiB, devices=disks)) == ["vda", "vdz", "vdaa"]


@pytest.mark.parametrize(("target", "index"), [("vda", 0), ("sdz", 25), ("xvdaa", 26), ("ubdba", 52), ("hdfxshrxx", 2**31 - 1)])
def test_a_target_says_which_disk_of_its_bus_it_is(target: str, index: int) -> None:
    assert Disk(source="/d", target=target).index == index


@pytest.mark.parametrize(
    "target",
    [
        "hd1",
        "hda1",
        "vda10",
        "hd",
        "vd",
        "VDA",
        "vdA",
        "xda",
        "foo",
        "fda",
        "mmcblk0",
        "a",
        "vda1a",
        "vda-1",
        "vdfxshrxy",
        "vdzzzzzzz",
        "vdä",
    ],
)
def test_targets_that_name_no_disk_are_refused(target: str) -> None:
    with pytest.raises(XMLInvalid, match="target") as wrong:
        parse(domain(disk(target, DiskBus.VIRTIO)))
    assert "/disk" in str(wrong.value)


def test_a_partition_is_no_disk() -> None:
    with pytest.raises(InvalidArgument, match="partition"):
        Disk(source="/d", target="hda1")


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        (("vda", DiskBus.VIRTIO), ("vda", DiskBus.VIRTIO), "two disks have the target 'vda'"),
        (("hda", DiskBus.VIRTIO), ("hda", DiskBus.IDE), "two disks have the target 'hda'"),
        (("hda", DiskBus.IDE), ("sda", DiskBus.IDE), "one place on the IDE bus: 'hda' and 'sda'"),
    ],
)
def test_two_disks_cannot_be_in_one_place(first: tuple[str, DiskBus], second: tuple[str, DiskBus], words: str) -> None:
    with pytest.raises(XMLInvalid, match=words):
        parse(domain(disk(*first), disk(*second)))


def test_on_virtio_a_target_is_but_a_name() -> None:
    assert targets(parse(domain(disk("sda", DiskBus.VIRTIO), disk("vda", DiskBus.VIRTIO)))) == ["sda", "vda"]


@pytest.mark.parametrize("name", ["graphics=off", "pc,accel=kvm", "pc q35", "-pc", "pc\nq35", "pc/q35", "pc,", "é"])
@pytest.mark.parametrize("field", ["machine", "arch"])
def test_what_is_no_name_of_a_machine_goes_into_no_option(field: str, name: str) -> None:
    with pytest.raises(InvalidArgument, match="is not the name of"):
        OsSpec(**{field: name})  # type: ignore[arg-type]
    if "\n" not in name:
        with pytest.raises(XMLInvalid):
            parse(domain().replace("<type>", f"<type {field}='{name}'>"))


@pytest.mark.parametrize("append", ["on", "off", None])
def test_whether_a_serial_port_adds_to_its_file(append: str | None) -> None:
    said = f" append='{append}'" if append else ""
    spec = parse(domain(f"<serial type='file'><source path='/l'{said}/></serial>"))
    assert spec.serials[0].append is (append == "on")
    assert parse(render(spec)) == spec
