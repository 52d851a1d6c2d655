from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from aiovirt.errors import InvalidArgument
from aiovirt.libvirtxml import parse, render
from aiovirt.libvirtxml.document import MAX_BYTES
from aiovirt.model.devices.disk import Disk, DiskBus, DiskDevice
from aiovirt.model.devices.serial import Chardev, Serial
from aiovirt.model.spec import DomainSpec, OsSpec, VirtType
from aiovirt.model.units import KiB, MiB
from tests.libvirtxml.specs import CONTROL, metadata

SMALL = DomainSpec(name="n", memory=64 * MiB)


def test_it_looks_as_libvirt_writes_it() -> None:
    spec = DomainSpec(
        name='it\'s <odd> & "quoted"',
        type=VirtType.KVM,
        memory=512 * MiB,
        vcpus=2,
        title="A title",
        metadata="<a:x xmlns:a='urn:a'/>",
        os=OsSpec(kernel="/boot/vmlinuz", cmdline="quiet"),
        emulator="/usr/bin/qemu-system-x86_64",
        devices=(
            Disk(source="/it's.iso", target="hdc", bus=DiskBus.IDE, device=DiskDevice.CDROM, readonly=True),
            Serial(type=Chardev.UNIX, path="/run/s"),
            Serial(),
        ),
    )

    assert (
        render(spec, id=3)
        == """\
<domain type='kvm' id='3'>
  <name>it&apos;s &lt;odd&gt; &amp; &quot;quoted&quot;</name>
  <title>A title</title>
  <metadata>
    <a:x xmlns:a="urn:a"/>
  </metadata>
  <memory unit='KiB'>524288</memory>
  <currentMemory unit='KiB'>524288</currentMemory>
  <vcpu placement='static'>2</vcpu>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
    <kernel>/boot/vmlinuz</kernel>
    <cmdline>quiet</cmdline>
    <boot dev='hd'/>
  </os>
  <features>
    <acpi/>
  </features>
  <clock offset='utc'/>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='file' device='cdrom'>
      <driver name='qemu' type='raw'/>
      <source file='/it&apos;s.iso'/>
      <target dev='hdc' bus='ide'/>
      <readonly/>
    </disk>
    <serial type='unix'>
      <source mode='bind' path='/run/s'/>
      <target port='0'/>
    </serial>
    <serial type='null'>
      <target port='1'/>
    </serial>
    <console type='unix'>
      <source mode='bind' path='/run/s'/>
      <target type='serial' port='0'/>
    </console>
    <memballoon model='none'/>
  </devices>
</domain>
"""
    )


def test_memory_is_rounded_up_to_a_kib() -> None:
    assert parse(render(replace(SMALL, memory=64 * MiB + 1))).memory == 64 * MiB + KiB


@pytest.mark.parametrize("blank", ["", " \n "])
def test_blank_metadata_is_none(blank: str) -> None:
    assert parse(render(replace(SMALL, metadata=blank))) == SMALL


@given(metadata)
def test_metadata_is_kept_however_often_it_goes_round(xml: str) -> None:
    once = parse(render(replace(SMALL, metadata=f"\n\t{xml} ")))

    assert once.metadata == xml
    assert parse(render(once)) == once


@given(st.sampled_from(CONTROL + "\ufffe\uffff\ud800\udfff"), st.sampled_from(["title", "description", "emulator", "metadata"]))
def test_a_character_that_xml_cannot_carry(char: str, field: str) -> None:
    with pytest.raises(InvalidArgument):
        render(replace(SMALL, **{field: f"a{char}"}))


@pytest.mark.parametrize(
    "spec",
    [
        replace(SMALL, devices=(Disk(source="/\udcff", target="vda"),)),
        replace(SMALL, description="x" * MAX_BYTES),
        replace(SMALL, metadata="no element"),
        replace(SMALL, metadata="<open>"),
        replace(SMALL, metadata="</metadata><name>other</name><metadata>"),
        replace(SMALL, metadata="<x/></metadata><!-- "),
        replace(SMALL, metadata="<p:x/>"),
        replace(SMALL, metadata="<a>" * 63 + "</a>" * 63),
        replace(SMALL, metadata=f"<a>{'x' * (MAX_BYTES - 100)}</a>"),
    ],
    ids=repr,
)
def test_what_xml_cannot_say(spec: DomainSpec) -> None:
    with pytest.raises(InvalidArgument):
        render(spec)


def test_the_deepest_metadata_that_is_read_is_rendered() -> None:
    spec = replace(SMALL, metadata="<a>" * 61 + "<a/>" + "</a>" * 61)

    assert parse(render(spec)) == spec
