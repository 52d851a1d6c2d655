from __future__ import annotations

from uuid import UUID

import pytest
from msgspec.structs import replace

from aiovirt.drivers.qemu import command_line
from aiovirt.errors import ConfigUnsupported, InvalidArgument, XMLInvalid
from aiovirt.libvirtxml import parse, render
from aiovirt.libvirtxml.document import MAX_BYTES, MAX_DEPTH
from aiovirt.model.cpu import Cpu, CpuCheck, CpuFallback
from aiovirt.model.devices.audio import Audio, AudioType
from aiovirt.model.devices.controller import Controller, ControllerType
from aiovirt.model.devices.device import Address, AddressType
from aiovirt.model.devices.disk import Disk, DiskBus, DiskDevice
from aiovirt.model.devices.input import Input, InputBus, InputType
from aiovirt.model.devices.serial import Chardev, Serial
from aiovirt.model.spec import Action, DomainSpec, OsSpec, VirtType
from aiovirt.model.units import GiB, KiB, MiB, TiB
from tests.libvirtxml.documents import FULL, SMALL, changed, libvirt


def on_pci(slot: str) -> Address:
    return Address(type=AddressType.PCI, domain="0x0000", bus="0x00", slot=slot, function="0x0")


WEB = DomainSpec(
    name="web",
    memory=512 * MiB,
    vcpus=2,
    uuid=UUID("4dea22b3-1d52-d8f3-2516-782e98ab3fa0"),
    type=VirtType.KVM,
    title="The web server",
    description="On two\nlines",
    metadata='<app:owner xmlns:app="urn:app">me</app:owner>',
    os=OsSpec(
        arch="x86_64",
        machine="pc",
        boot=("cdrom", "hd"),
        kernel="/boot/vmlinuz",
        initrd="/boot/initrd",
        cmdline="console=ttyS0",
    ),
    acpi=True,
    on_crash=Action.PRESERVE,
    emulator="/usr/bin/qemu-system-x86_64",
    apic=True,
    pae=True,
    cpu=Cpu(check=CpuCheck.NONE, fallback=CpuFallback.FORBID, model="qemu64"),
    devices=(
        Disk(source="/images/web.qcow2", target="vda", format="qcow2", alias="virtio-disk0", address=on_pci("0x02")),
        Disk(
            source="/images/install.iso",
            target="hdc",
            bus=DiskBus.IDE,
            device=DiskDevice.CDROM,
            readonly=True,
            address=Address(type=AddressType.DRIVE, controller="0", bus="1", target="0", unit="0"),
        ),
        Controller(type=ControllerType.PCI, index=0, model="pci-root"),
        Serial(type=Chardev.UNIX, path="/run/web.sock"),
        Serial(type=Chardev.PTY),
        Input(type=InputType.MOUSE, bus=InputBus.PS2),
        Audio(type=AudioType.NONE),
    ),
)


def check(spec: DomainSpec) -> None:
    """As QEMU's driver does, for a domain of whatever type."""
    command_line.check(replace(spec, type=VirtType.QEMU))


def small(old: str, new: str) -> str:
    return changed(old, new, document=SMALL)[0]


def with_devices(xml: str) -> str:
    return small("</domain>", f"<devices>{xml}</devices></domain>")


# -- what is read ------------------------------------------------------------------------------


def test_the_fullest_domain() -> None:
    assert parse(FULL) == WEB


def test_the_smallest_domain_has_the_defaults_of_libvirt() -> None:
    assert parse(SMALL) == DomainSpec(name="small", memory=64 * MiB, acpi=False)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("<memory>65536</memory>", 64 * MiB),
        ("<memory unit='b'>67108864</memory>", 64 * MiB),
        ("<memory unit='bytes'>67108863</memory>", 64 * MiB),
        ("<memory unit='KB'>65537</memory>", 64001 * KiB),
        ("<memory unit='k'>65536</memory>", 64 * MiB),
        ("<memory unit='KiB'> 65536\n</memory>", 64 * MiB),
        ("<memory unit='MB'>64</memory>", 62500 * KiB),
        ("<memory unit='M'>64</memory>", 64 * MiB),
        ("<memory unit='MiB'>64</memory>", 64 * MiB),
        ("<memory unit='GB'>1</memory>", 976563 * KiB),
        ("<memory unit='G'>1</memory>", GiB),
        ("<memory unit='GiB'>1</memory>", GiB),
        ("<memory unit='TB'>1</memory>", 976562500 * KiB),
        ("<memory unit='T'>64</memory>", 64 * TiB),
        ("<memory unit='TiB'>64</memory>", 64 * TiB),
        ("<memory unit='mib'>64</memory>", 64 * MiB),
    ],
)
def test_units_of_memory(text: str, size: int) -> None:
    assert parse(small("<memory>65536</memory>", text)).memory == size


def test_current_memory_in_another_unit_may_be_the_same() -> None:
    xml = small("<os>", "<currentMemory unit='MiB'>64</currentMemory><os>")

    assert parse(xml).memory == 64 * MiB


@pytest.mark.parametrize("text", ["4dea22b31d52d8f32516782e98ab3fa0", " 4DEA22B3-1D52-D8F3-2516-782E98AB3FA0\n"])
def test_spellings_of_a_uuid(text: str) -> None:
    assert parse(changed("4dea22b3-1d52-d8f3-2516-782e98ab3fa0", text)[0]) == WEB


def test_a_comment_does_not_cut_a_text_short() -> None:
    assert parse(small("small", "sm<!-- not the end --><?nor this?>all")).name == "small"


def test_cdata_is_text() -> None:
    assert parse(small("small", "<![CDATA[<small>]]>")).name == "<small>"


def test_metadata_stands_alone_with_its_namespaces() -> None:
    xml = """<domain xmlns:a='urn:a'><name>n</name><memory>65536</memory><os><type>hvm</type></os>
    <metadata> <a:x k='&lt;'><![CDATA[<&>]]> <!-- c --></a:x> <plain/> </metadata></domain>"""

    metadata = parse(xml).metadata

    assert metadata == '<a:x xmlns:a="urn:a" k="&lt;"><![CDATA[<&>]]> <!-- c --></a:x> <plain/>'


def test_empty_metadata_is_none() -> None:
    assert parse(small("<os>", "<metadata> </metadata><os>")).metadata is None


def test_bytes_are_read_in_the_encoding_they_declare() -> None:
    xml = "<?xml version='1.0' encoding='iso-8859-1'?>" + small("small", "grün")

    assert parse(xml.encode("iso-8859-1")).name == "grün"
    assert parse(xml).name == "grün"


def test_a_lone_console_is_the_first_serial_port() -> None:
    assert parse(with_devices("<console type='pty' tty='/dev/pts/1'/>")).serials == (Serial(type=Chardev.PTY),)


def test_a_unix_socket_without_a_mode_is_connected_to() -> None:
    serials = parse(with_devices("<serial type='unix'><source path='/s'/></serial>")).serials

    assert serials == (Serial(type=Chardev.UNIX, path="/s", listen=False),)


@pytest.mark.parametrize(("target", "bus"), [("hdb", DiskBus.IDE), ("vdb", DiskBus.VIRTIO)])
def test_a_disk_that_says_little(target: str, bus: DiskBus) -> None:
    disks = parse(with_devices(f"<disk><source file='/d'/><target dev='{target}'/></disk>")).disks

    assert disks == (Disk(source="/d", target=target, bus=bus),)


@pytest.mark.parametrize("name", ["pc", "q35"])
def test_a_domain_of_libvirts_own_qemu_driver(name: str) -> None:
    spec = parse(libvirt(name))

    assert spec.os.machine.startswith("pc-")
    assert len(spec.disks) == {"pc": 3, "q35": 1}[name]
    assert len(spec.serials) == {"pc": 3, "q35": 1}[name]


def test_all_that_ours_cannot_have_is_said_at_once() -> None:
    with pytest.raises(ConfigUnsupported) as caught:
        parse(libvirt("test-default"), check=check)

    places = [(place.path, place.line) for place in caught.value.places]
    interface = "/domain/devices/interface"
    of_interface = [(f"{interface}/@type", 21), (f"{interface}/source/@network", 23), (f"{interface}/target", 24)]
    assert places == [*of_interface, ("/domain/currentMemory", 5)]
    assert str(caught.value) == (
        f"{interface}/@type (line 21) is not supported yet: 'network' is not one of user, client, server, udp, mcast; "
        f"{interface}/source/@network (line 23) is not supported yet; {interface}/target (line 24) is not supported yet; "
        "/domain/currentMemory (line 5) is not supported yet: 2097152 KiB differs from the memory of 8388608 KiB"
    )


# -- what is refused ---------------------------------------------------------------------------

BAD = {
    "a type that is no word": ("type='kvm'", "type='&#10;'", "/domain/@type", XMLInvalid),
    "an empty type": ("type='kvm'", "type=''", "/domain/@type", XMLInvalid),
    "an id that is no number": ("id='3'", "id='three'", "/domain/@id", XMLInvalid),
    "an empty name": (">web<", "><", "/domain/name", XMLInvalid),
    "a name with a slash": (">web<", ">a/b<", "/domain/name", XMLInvalid),
    "a name with a control character": (">web<", ">a&#9;b<", "/domain/name", XMLInvalid),
    "two names": ("</name>", "</name><name>b</name>", "/domain/name", XMLInvalid),
    "a uuid that is none": ("4dea22b3-", "4dea22b3-4dea22b3-", "/domain/uuid", XMLInvalid),
    "a uuid in braces": (">4dea22b3-1d52-d8f3-2516-782e98ab3fa0<", ">{4dea22b3-1d52-d8f3-2516-782e98ab3fa0}<", "/domain/uuid", XMLInvalid),
    "text in metadata": ("<metadata>", "<metadata>stray", "/domain/metadata", XMLInvalid),
    "no such unit": ("unit='MiB'", "unit='MOB'", "/domain/memory/@unit", XMLInvalid),
    "an empty unit": ("unit='MiB'", "unit=''", "/domain/memory/@unit", XMLInvalid),
    "memory in words": (">512<", ">lots<", "/domain/memory", XMLInvalid),
    "memory in a fraction": (">512<", ">0.5<", "/domain/memory", XMLInvalid),
    "memory in other digits": (">512<", ">٥١٢<", "/domain/memory", XMLInvalid),
    "no memory": (">512<", "><", "/domain/memory", XMLInvalid),
    "zero memory": (">512<", ">0<", "/domain/memory", XMLInvalid),
    "negative memory": (">512<", ">-512<", "/domain/memory", XMLInvalid),
    "huge memory": (">512<", f">{2**63}<", "/domain/memory", XMLInvalid),
    "memory of 5000 digits": (">512<", f">{'9' * 5000}<", "/domain/memory", XMLInvalid),
    "memory kept out of dumps": ("unit='MiB'", "dumpCore='off' unit='MiB'", "/domain/memory/@dumpCore", ConfigUnsupported),
    "less current memory": (">524288<", ">524287<", "/domain/currentMemory", ConfigUnsupported),
    "no vcpu": ("static'>2<", "static'>0<", "/domain/vcpu", XMLInvalid),
    "too many vcpus": ("static'>2<", "static'>4097<", "/domain/vcpu", XMLInvalid),
    "vcpus placed by numad": ("'static'", "'auto'", "/domain/vcpu/@placement", ConfigUnsupported),
    "vcpus pinned": ("placement='static'", "cpuset='0'", "/domain/vcpu/@cpuset", ConfigUnsupported),
    "a title of two lines": ("The web", "The\nweb", "/domain/title", XMLInvalid),
    "another kind of guest": (">hvm<", ">xen<", "/domain/os/type", ConfigUnsupported),
    "an empty arch": ("arch='x86_64'", "arch=''", "/domain/os/type/@arch", XMLInvalid),
    "an empty kernel": (">/boot/vmlinuz<", "><", "/domain/os/kernel", XMLInvalid),
    "a boot device that is none": ("dev='cdrom'", "dev='tape'", "/domain/os/boot/@dev", XMLInvalid),
    "a boot device without a name": ("dev='cdrom'", "", "/domain/os/boot/@dev", XMLInvalid),
    "firmware": ("<os>", "<os firmware='efi'>", "/domain/os/@firmware", ConfigUnsupported),
    "another feature": ("<apic/>", "<hap/>", "/domain/features/hap", ConfigUnsupported),
    "a feature with a setting": ("<apic/>", "<apic eoi='on'/>", "/domain/features/apic/@eoi", ConfigUnsupported),
    "the host's cpu model": ("mode='custom' match='exact'", "mode='host-model'", "/domain/cpu/@mode", ConfigUnsupported),
    "a cpu that is no word": (">qemu64<", ">qemu64,x=y<", "/domain/cpu/model", ConfigUnsupported),
    "a topology of other vcpus": (
        "</model>",
        "</model><topology sockets='3' cores='1' threads='1'/>",
        "/domain/cpu/topology",
        ConfigUnsupported,
    ),
    "a topology of none": ("</model>", "</model><topology sockets='0' cores='1' threads='1'/>", "/domain/cpu/topology", XMLInvalid),
    "numa cells": ("</model>", "</model><numa><cell id='0'/></numa>", "/domain/cpu/numa", ConfigUnsupported),
    "a clock that is reset": ("offset='utc'", "offset='utc' adjustment='reset'", "/domain/clock/@adjustment", ConfigUnsupported),
    "half a second": ("offset='utc'", "offset='variable' adjustment='0.5'", "/domain/clock/@adjustment", XMLInvalid),
    "another offset": ("offset='utc'", "offset='moon'", "/domain/clock/@offset", ConfigUnsupported),
    "a time zone that is not said": ("offset='utc'", "offset='timezone'", "/domain/clock", XMLInvalid),
    "a timer of Xen's": ("offset='utc'/>", "offset='utc'><timer name='platform'/></clock>", "/domain/clock/timer", ConfigUnsupported),
    "a timer twice": ("offset='utc'/>", "offset='utc'><timer name='rtc'/><timer name='rtc'/></clock>", "/domain/clock", XMLInvalid),
    "a timer without a name": ("offset='utc'/>", "offset='utc'><timer/></clock>", "/domain/clock/timer/@name", XMLInvalid),
    "an action of libvirt's alone": ("<on_poweroff>destroy", "<on_poweroff>rename-restart", "/domain/on_poweroff", ConfigUnsupported),
    "an empty emulator": (">/usr/bin/qemu-system-x86_64<", "><", "/domain/devices/emulator", XMLInvalid),
    "a disk that is no file": ("disk type='file'", "disk type='block'", "/domain/devices/disk/@type", ConfigUnsupported),
    "a floppy": ("device='disk'", "device='floppy'", "/domain/devices/disk/@device", ConfigUnsupported),
    "another image format": ("type='qcow2'", "type='vmdk'", "/domain/devices/disk/driver/@type", ConfigUnsupported),
    "another disk driver": ("name='qemu'", "name='tap'", "/domain/devices/disk/driver/@name", ConfigUnsupported),
    "a disk's cache mode": ("name='qemu'", "cache='none'", "/domain/devices/disk/driver/@cache", ConfigUnsupported),
    "a disk's relative path": ("'/images/web.qcow2'", "'web.qcow2'", "/domain/devices/disk", XMLInvalid),
    "a source without a file": ("file='/images/web.qcow2'", "", "/domain/devices/disk/source/@file", XMLInvalid),
    "another bus": ("bus='virtio'", "bus='sata'", "/domain/devices/disk/target/@bus", ConfigUnsupported),
    "a bus that cannot be known": ("dev='vda' bus='virtio'", "dev='sda'", "/domain/devices/disk/target/@bus", XMLInvalid),
    "a target that is none": ("dev='vda'", "dev='v/a'", "/domain/devices/disk", XMLInvalid),
    "two disks with one target": ("dev='vda'", "dev='hdc'", "/domain/devices", XMLInvalid),
    "a name of the user's own": ("'virtio-disk0'", "'ua-mine'", "/domain/devices/disk/alias", ConfigUnsupported),
    "another kind of address": ("type='pci' domain", "type='ccw' domain", "/domain/devices/disk/address/@type", ConfigUnsupported),
    "an address that is none": ("slot='0x02'", "slot='two'", "/domain/devices/disk/address/@slot", XMLInvalid),
    "an address against the target": (
        "bus='1' target='0' unit='0'",
        "bus='0' target='0' unit='0'",
        "/domain/devices/disk/address",
        ConfigUnsupported,
    ),
    "another controller": ("type='pci' index='0' model='pci-root'", "type='scsi'", "/domain/devices/controller/@type", ConfigUnsupported),
    "a serial port without a type": ("serial type='unix'", "serial", "/domain/devices/serial/@type", XMLInvalid),
    "a serial port on a network": ("serial type='unix'", "serial type='tcp'", "/domain/devices/serial/@type", ConfigUnsupported),
    "a socket without a path": (" path='/run/web.sock'", "", "/domain/devices/serial/source/@path", XMLInvalid),
    "a socket's relative path": ("'/run/web.sock'", "'web.sock'", "/domain/devices/serial", XMLInvalid),
    "another mode of a socket": ("mode='bind'", "mode='ask'", "/domain/devices/serial/source/@mode", ConfigUnsupported),
    "another kind of port": ("type='isa-serial'", "type='usb-serial'", "/domain/devices/serial/target/@type", ConfigUnsupported),
    "ports out of order": ("isa-serial' port='0'", "isa-serial' port='1'", "/domain/devices/serial/target", ConfigUnsupported),
    "a console of its own": (
        "<console type='unix'>\n      <source mode='bind' path='/run/web.sock'/>",
        "<console type='pty'>",
        "/domain/devices/console",
        ConfigUnsupported,
    ),
    "a console on s390": ("type='serial' port", "type='sclp' port", "/domain/devices/console/target/@type", ConfigUnsupported),
    "an input of the host": ("type='mouse' bus='ps2'", "type='evdev'", "/domain/devices/input/@type", ConfigUnsupported),
    "sound": ("id='1' type='none'", "id='1' type='alsa'", "/domain/devices/audio/@type", ConfigUnsupported),
    "a balloon": ("model='none'", "model='xen'", "/domain/devices/memballoon/@model", ConfigUnsupported),
    "a TPM": ("<audio", "<tpm/><audio", "/domain/devices/tpm", ConfigUnsupported),
    "a card on a network": ("<audio", "<interface type='network'/><audio", "/domain/devices/interface/@type", ConfigUnsupported),
    "QEMU's own options": (
        "<clock",
        "<q:commandline xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'/><clock",
        "/domain/q:commandline",
        ConfigUnsupported,
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_refusal_names_the_place(case: str) -> None:
    old, new, path, error_type = BAD[case]
    xml, line = changed(old, new)

    with pytest.raises((XMLInvalid, ConfigUnsupported)) as caught:
        parse(xml, check=check)

    assert type(caught.value) is error_type
    if isinstance(caught.value, XMLInvalid):
        assert caught.value.path == path
        assert caught.value.line is not None
        assert line_of_element(xml, path, line) == caught.value.line
    else:
        assert f"{path} (line {line_of_element(xml, path, line)}) is not supported yet" in str(caught.value)


def line_of_element(xml: str, path: str, line: int) -> int:
    """``line``, where the text changed, or the line above it on which the element of ``path`` starts."""
    tag = path.removesuffix("/" + path.rpartition("/")[2] if "@" in path else "").rpartition("/")[2].rpartition("}")[2].partition("[")[0]
    lines = xml.split("\n")[:line]
    return max(number for number, text in enumerate(lines, start=1) if f"<{tag}" in text)


MISSING = {
    "name": ("<name>small</name>", "/domain/name"),
    "memory": ("<memory>65536</memory>", "/domain/memory"),
    "os": ("<os><type>hvm</type></os>", "/domain/os"),
    "type": ("<type>hvm</type>", "/domain/os/type"),
}


@pytest.mark.parametrize("name", MISSING)
def test_what_must_be_there(name: str) -> None:
    text, path = MISSING[name]

    with pytest.raises(XMLInvalid, match="it is missing") as caught:
        parse(small(text, ""))

    assert caught.value.path == path
    assert caught.value.line == (4 if name == "type" else 1)


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        ("<memory>512</memory>", "512 KiB comes to 524288 bytes, under 1 MiB: did you mean unit='MiB'?"),
        ("<memory unit='b'>512</memory>", "512 b comes to 1024 bytes, under 1 MiB: did you mean unit='MiB'?"),
        ("<memory unit='b'>524288</memory>", "524288 b comes to 524288 bytes, under 1 MiB: did you mean unit='KiB'?"),
    ],
)
def test_too_little_memory_asks_what_was_meant(xml: str, message: str) -> None:
    with pytest.raises(XMLInvalid) as caught:
        parse(small("<memory>65536</memory>", xml))

    assert str(caught.value) == f"XML error: line 3: /domain/memory: {message}"


def test_the_root_must_be_a_domain() -> None:
    with pytest.raises(XMLInvalid, match="not a <network>") as caught:
        parse("\n<network/>")

    assert (caught.value.path, caught.value.line) == ("/network", 2)


@pytest.mark.parametrize(
    "xml",
    [
        "<disk device='cdrom'><target dev='hdc'/></disk>",
        "<console type='null'/><console type='null'/>",
        "<console type='null'/><console type='null'><target type='serial' port='1'/></console>",
        "<serial type='null'/><console type='pty'/>",
        "<controller type='usb' index='1' model='ich9-ehci1'/>",
        "<memballoon model='none'><stats period='1'/></memballoon>",
        "<memballoon model='none'/><memballoon model='virtio'/><memballoon model='virtio'/>",
        "<watchdog model='diag288'/>",
        "<watchdog model='ib700'/><watchdog model='i6300esb' action='none'/>",
        "<watchdog model='i6300esb' action='dump'/>",
        "<rng model='virtio'><backend model='egd'/></rng>",
        "<serial type='null'><source path='/dev/null'/></serial>",
        "<serial type='file'><source path='/l' append='maybe'/></serial>",
    ],
)
def test_devices_that_are_not_to_be_had(xml: str) -> None:
    with pytest.raises(ConfigUnsupported, match=r"^/domain/devices/.* \(line 5\) is not supported yet"):
        parse(with_devices(xml), check=check)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<os>", "<features><apic/></features><os>"),
        ("<os>", "<cpu mode='custom' match='exact'><model>qemu64</model></cpu><os>"),
        ("</os>", "</os><devices><input type='mouse' bus='ps2'/></devices>"),
        ("</os>", "</os><devices><controller type='ide' index='0'/></devices>"),
    ],
)
def test_what_every_pc_has_another_machine_may_not(old: str, new: str) -> None:
    xml = small(old, new)

    assert parse(xml).name == "small"
    with pytest.raises(ConfigUnsupported):
        parse(xml.replace("<type>", "<type arch='aarch64'>"), check=check)


@pytest.mark.parametrize(("console", "is_taken"), [(1, True), (0, True), (2, False)])
def test_the_console_of_a_port_with_another_number_is_that_port(console: int, *, is_taken: bool) -> None:
    xml = with_devices(f"<serial type='pty'><target port='1'/></serial><console type='pty'><target port='{console}'/></console>")

    if not is_taken:
        with pytest.raises(ConfigUnsupported, match="a console is the first serial port"):
            parse(xml)
        return
    spec = parse(xml)
    assert spec.devices[0] == Serial(type=Chardev.PTY, port=1)
    assert parse(render(spec)) == spec


@pytest.mark.parametrize("kind", ["xen", "tiny"])
def test_a_type_is_for_the_driver_to_take_or_to_refuse(kind: str) -> None:
    xml = FULL.replace("type='kvm'", f"type='{kind}'", 1)

    assert parse(xml).type == VirtType(kind)
    assert parse(render(parse(xml))).type == VirtType(kind)
    with pytest.raises(ConfigUnsupported, match=f"a domain of type '{kind}' is not run by QEMU"):
        parse(xml, check=command_line.check)


def test_a_cpu_is_taken_for_a_pc_alone() -> None:
    xml = small("<os>", "<cpu mode='custom' match='exact'><model>qemu32</model></cpu><os>")

    assert parse(xml.replace("<type>", "<type arch='i686'>"), check=check).os.arch == "i686"
    with pytest.raises(ConfigUnsupported, match="of a machine of aarch64"):
        parse(xml.replace("<type>", "<type arch='aarch64' machine='virt'>"), check=check)


def test_a_refusal_is_short_however_much_is_there() -> None:
    with pytest.raises(ConfigUnsupported) as caught:
        parse(with_devices("<tpm/>" * 50_000))

    assert len(caught.value.message) < 4000
    assert len(caught.value.places) == 50_000
    assert str(caught.value).endswith("and 49968 more")


# -- what is not even read ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("xml", "line"),
    [
        ("", 1),
        (b"", 1),
        ("\n\n<domain", 3),
        ("<domain>\n</damain>", 2),
        ("<domain>\n\0</domain>", 2),
        ("<domain>\n\x07</domain>", 2),
        ("<domain>\n&#0;</domain>", 2),
        ("<domain>\n&other;</domain>", 2),
        ("<domain>\n\ud800</domain>", 2),
        (b"<domain>\n\xff</domain>", 2),
        ("<domain/>\n<domain/>", 2),
        ("<domain>\n<q:commandline/></domain>", 2),
        ("<domain id='1'\nid='2'/>", 2),
        (b"<?xml version='1.0' encoding='klingon'?><domain/>", 1),
    ],
)
def test_what_is_not_xml(xml: str | bytes, line: int) -> None:
    with pytest.raises(XMLInvalid) as caught:
        parse(xml)

    assert caught.value.line == line


@pytest.mark.parametrize(
    "doctype",
    [
        "<!DOCTYPE domain>",
        "<!DOCTYPE domain SYSTEM 'file:///etc/passwd'>",
        "<!DOCTYPE domain [<!ENTITY e SYSTEM 'file:///etc/passwd'>]>",
        "<!DOCTYPE domain [<!ENTITY e 'small'>]>",
    ],
)
def test_a_doctype_is_refused(doctype: str) -> None:
    with pytest.raises(XMLInvalid, match="a DOCTYPE has no place") as caught:
        parse(f"<?xml version='1.0'?>\n{doctype}\n" + small("small", "&e;" if "ENTITY" in doctype else "small"))

    assert caught.value.line == 2


def test_entities_are_never_unfolded() -> None:
    entities = "".join(f"<!ENTITY e{n} '{f'&e{n - 1};' * 10 if n else 'lol'}'>" for n in range(20))

    with pytest.raises(XMLInvalid):
        parse(f"<!DOCTYPE domain [{entities}]><domain id='&e19;'>&e19;</domain>")


def test_the_limit_of_size() -> None:
    room = " " * (MAX_BYTES - len(SMALL))

    assert parse(SMALL + room).name == "small"
    with pytest.raises(XMLInvalid, match="1048577 bytes is more than"):
        parse(SMALL + room + " ")
    with pytest.raises(XMLInvalid, match="1048577 bytes is more than"):
        parse((SMALL + room + " ").encode())


def test_the_limit_of_depth() -> None:
    def nested(depth: int) -> str:
        return small("<os>", f"<metadata>{'<a>' * depth}{'</a>' * depth}</metadata><os>")

    assert parse(nested(MAX_DEPTH - 2)).name == "small"
    with pytest.raises(XMLInvalid, match="more than 64 elements inside one another") as caught:
        parse(nested(MAX_DEPTH - 1))
    assert caught.value.path == "/domain/metadata" + "/a" * 63
    with pytest.raises(XMLInvalid):
        parse(nested(100_000))


@pytest.mark.parametrize("many", [" ".join(f"a{n}='1'" for n in range(90_000)), " ".join(f"xmlns:a{n}='u'" for n in range(257))])
def test_the_limit_of_attributes(many: str) -> None:
    with pytest.raises(XMLInvalid, match="more than 256 attributes") as caught:
        parse(small("<os>", f"<metadata>\n<x {many}/></metadata><os>"))

    assert (caught.value.path, caught.value.line) == ("/domain/metadata/x", 5)


def test_the_limit_of_a_namespace() -> None:
    with pytest.raises(XMLInvalid, match="a namespace of more than 1024 characters") as caught:
        parse(small("<os>", f"<x xmlns='{'u' * 500_000}'>{'<y/>' * 50_000}</x><os>"))

    assert caught.value.line == 4
    assert len(str(caught.value)) < 1000


def test_the_limit_of_metadata_that_stands_alone() -> None:
    def crowd(size: int) -> str:
        return small("<domain>", f"<domain xmlns:a='{'u' * 1000}'><metadata>{'<a:x/>' * size}</metadata>")

    assert len(parse(crowd(1000)).metadata or "") == 1000 * len(f'<a:x xmlns:a="{"u" * 1000}"/>')
    with pytest.raises(XMLInvalid, match="once it stands alone"):
        parse(crowd(2000))


def test_a_line_beyond_65535_is_still_right() -> None:
    with pytest.raises(ConfigUnsupported, match=r"/domain/iothreads \(line 70005\)"):
        parse(small("</domain>", "\n" * 70_000 + "<iothreads>1</iothreads></domain>"))


def test_a_refusal_is_short_however_long_the_value() -> None:
    with pytest.raises(XMLInvalid) as caught:
        parse(small("small", "x" * 100_000 + "/"))

    assert len(str(caught.value)) < 1000
    assert isinstance(caught.value.__cause__, InvalidArgument)
