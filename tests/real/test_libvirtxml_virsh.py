"""libvirt itself reads what we render, and we read what it writes: its test driver and its QEMU driver.

Neither needs a daemon: both run inside the ``virsh`` process.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from msgspec.structs import replace

from aiovirt.drivers.qemu.command_line import check, command_line
from aiovirt.drivers.qemu.defaults import Capabilities, fill
from aiovirt.drivers.qemu.emulator import Emulator
from aiovirt.errors import ConfigUnsupported, XMLInvalid
from aiovirt.events.libvirt_ids import DomainEventID
from aiovirt.libvirtxml import parse, render
from aiovirt.model.clock import Clock, ClockOffset, TickPolicy, Timer, TimerName, TimerTrack
from aiovirt.model.cpu import (
    Cpu,
    CpuCache,
    CpuCacheMode,
    CpuCheck,
    CpuFallback,
    CpuFeature,
    CpuMode,
    FeaturePolicy,
    MaxPhysAddr,
    MaxPhysAddrMode,
    Topology,
)
from aiovirt.model.devices.console import Console, ConsoleTarget
from aiovirt.model.devices.controller import Controller, ControllerType
from aiovirt.model.devices.device import Device
from aiovirt.model.devices.disk import Disk, DiskBus, DiskDevice
from aiovirt.model.devices.input import Input, InputBus, InputType
from aiovirt.model.devices.interface import InterfaceSource, InterfaceType, NetworkInterface
from aiovirt.model.devices.serial import Chardev, Serial
from aiovirt.model.devices.sound import Codec, Sound, SoundModel
from aiovirt.model.power import PowerManagement
from aiovirt.model.spec import Action, DomainSpec, OsSpec, VirtType
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
    devices=(
        Disk(source="/images/it's a & b.qcow2", target="vda", format="qcow2"),
        Disk(source="/images/ro.img", target="vdb", readonly=True),
        Serial(type=Chardev.UNIX, path="/run/a's.sock"),
        Serial(type=Chardev.UNIX, path="/run/b.sock", listen=False),
        Serial(type=Chardev.FILE, path="/var/log/c.log"),
        Serial(type=Chardev.PTY),
        Serial(type=Chardev.NULL),
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
    ide = [Disk(source="/d", target=f"hd{letter}", bus=DiskBus.IDE) for letter in "abcd"]
    spec = replace(SMALL, devices=(*ide[:2], replace(ide[2], device=DiskDevice.CDROM, readonly=True), ide[3]))

    text = libvirts_own(spec, tmp_path, TEST)

    assert text.count("<address type='drive'") == len(ide)
    assert as_asked(parse(text)) == spec


@pytest.mark.parametrize("machine", ["pc", "q35"])
def test_libvirts_qemu_driver_keeps_it(machine: str, nobodys: Path) -> None:
    spec = replace(FULL, type=VirtType.QEMU, os=replace(FULL.os, machine=machine), on_poweroff=Action.DESTROY, on_reboot=Action.RESTART)

    seen = parse(libvirts_own(spec, nobodys, f"qemu:///embed?root={nobodys}/root", user=NOBODY))

    assert seen.os.machine.startswith("pc-")
    check(seen)
    assert replace(as_asked(seen), os=replace(seen.os, machine=machine), cpu=None) == spec


CLOCKS: dict[str, Clock] = {
    "UTC": Clock(),
    "local time": Clock(offset=ClockOffset.LOCALTIME),
    "a time zone": Clock(offset=ClockOffset.TIMEZONE, timezone="Europe/Berlin"),
    "a start": Clock(offset=ClockOffset.ABSOLUTE, start=1_000_000_000),
    "what virt-install writes": Clock(
        timers=[
            Timer(name=TimerName.RTC, tickpolicy=TickPolicy.CATCHUP),
            Timer(name=TimerName.PIT, tickpolicy=TickPolicy.DELAY),
            Timer(name=TimerName.HPET, present=False),
        ]
    ),
    "a tracked RTC": Clock(timers=[Timer(name=TimerName.RTC, tickpolicy=TickPolicy.CATCHUP, track=TimerTrack.GUEST)]),
    "a wall clock": Clock(timers=[Timer(name=TimerName.RTC, track=TimerTrack.WALL)]),
    "a real clock": Clock(timers=[Timer(name=TimerName.RTC, track=TimerTrack.REALTIME)]),
    "a discarding PIT": Clock(timers=[Timer(name=TimerName.PIT, tickpolicy=TickPolicy.DISCARD)]),
    "the processor's": Clock(
        timers=[
            Timer(name=TimerName.KVMCLOCK, present=False),
            Timer(name=TimerName.HYPERVCLOCK, present=True),
            Timer(name=TimerName.TSC, frequency=3_504_000_000),
        ]
    ),
}


@pytest.mark.parametrize("clock", CLOCKS.values(), ids=CLOCKS)
def test_libvirts_qemu_driver_keeps_the_clock_and_gives_qemu_what_we_do(clock: Clock, nobodys: Path) -> None:
    spec = replace(SMALL, type=VirtType.QEMU, os=OsSpec(machine="pc-i440fx-7.2"), clock=clock, emulator="/usr/bin/qemu-system-x86_64")
    uri = f"qemu:///embed?root={nobodys}/root"

    assert parse(libvirts_own(spec, nobodys, uri, user=NOBODY)).clock == clock
    theirs, ours = libvirts_argv(spec, nobodys, uri), command_line(spec, ID, emulator=Emulator("qemu", (7, 2)), monitor_fd=3, now=0)
    for option in ("-rtc", "-cpu"):
        assert (_values(ours, option) or ["qemu64"]) == _values(theirs, option)
    ours_of_kvm = command_line(replace(spec, type=VirtType.KVM), ID, emulator=Emulator("qemu", (7, 2)), monitor_fd=3, now=0)
    assert _values(ours_of_kvm, "-global") == _values(theirs, "-global")  # libvirt sets it for a PIT that there is only with KVM
    assert ("-no-hpet" in theirs) == any("hpet=off" in value for value in _values(ours, "-machine"))
    assert next((word for word in theirs if word.startswith("TZ=")), None) == (clock.timezone and f"TZ={clock.timezone}")


PROCESSORS: dict[str, Cpu] = {
    "a model": Cpu(model="Haswell", check=CpuCheck.NONE, fallback=CpuFallback.ALLOW),
    "a model with features": Cpu(
        model="core2duo",
        check=CpuCheck.NONE,
        fallback=CpuFallback.FORBID,
        features=[CpuFeature(policy=FeaturePolicy.FORCE, name="vmx"), CpuFeature(policy=FeaturePolicy.FORBID, name="svm")],
    ),
    "a vendor": Cpu(model="Nehalem", check=CpuCheck.NONE, fallback=CpuFallback.ALLOW, vendor_id="KVMKVMKVM123"),
    "all that there is": Cpu(mode=CpuMode.MAXIMUM, check=CpuCheck.NONE),
    "caches": Cpu(mode=CpuMode.MAXIMUM, check=CpuCheck.NONE, migratable=True, cache=CpuCache(mode=CpuCacheMode.PASSTHROUGH)),
    "no caches": Cpu(mode=CpuMode.MAXIMUM, check=CpuCheck.NONE, cache=CpuCache(mode=CpuCacheMode.DISABLE)),
    "bits": Cpu(
        model="qemu64",
        check=CpuCheck.NONE,
        fallback=CpuFallback.ALLOW,
        max_phys_addr=MaxPhysAddr(mode=MaxPhysAddrMode.EMULATE, bits=42),
        cache=CpuCache(mode=CpuCacheMode.EMULATE, level=3),
    ),
    "a topology": Cpu(model="qemu64", check=CpuCheck.NONE, fallback=CpuFallback.FORBID, topology=Topology(sockets=1, cores=2, threads=2)),
}


@pytest.mark.parametrize("cpu", PROCESSORS.values(), ids=PROCESSORS)
def test_libvirts_qemu_driver_keeps_the_processor_and_gives_qemu_what_we_do(cpu: Cpu, nobodys: Path) -> None:
    vcpus = cpu.topology.vcpus if cpu.topology else 3
    emulator = "/usr/bin/qemu-system-x86_64"
    spec = replace(SMALL, type=VirtType.QEMU, os=OsSpec(machine="pc-i440fx-7.2"), cpu=cpu, vcpus=vcpus, emulator=emulator)
    uri = f"qemu:///embed?root={nobodys}/root"

    assert parse(libvirts_own(spec, nobodys, uri, user=NOBODY)).cpu == cpu
    theirs, ours = libvirts_argv(spec, nobodys, uri), command_line(spec, ID, emulator=Emulator("qemu", (7, 2)), monitor_fd=3, now=0)
    for option in ("-smp", "-cpu"):
        assert [set(value.split(",")) for value in _values(ours, option)] == [set(value.split(",")) for value in _values(theirs, option)]


@pytest.mark.parametrize("machine", ["pc-i440fx-7.2", "pc-q35-7.2"])
def test_libvirts_qemu_driver_keeps_how_it_may_sleep_and_gives_qemu_what_we_do(machine: str, nobodys: Path) -> None:
    emulator, pm = "/usr/bin/qemu-system-x86_64", PowerManagement(suspend_to_mem=False, suspend_to_disk=True)
    spec = replace(SMALL, type=VirtType.QEMU, os=OsSpec(machine=machine), pm=pm, emulator=emulator)
    uri = f"qemu:///embed?root={nobodys}/root"

    assert parse(libvirts_own(spec, nobodys, uri, user=NOBODY)).pm == pm
    theirs, ours = libvirts_argv(spec, nobodys, uri), command_line(spec, ID, emulator=Emulator("qemu", (7, 2)), monitor_fd=3, now=0)
    assert _values(ours, "-global") == _values(theirs, "-global")


INTERFACES: dict[str, NetworkInterface] = {
    "on QEMU's own network": NetworkInterface.user(mac="52:54:00:11:22:33"),
    "without a model": NetworkInterface.user(mac="52:54:00:11:22:33", model=None),
    "of a group": NetworkInterface(
        type=InterfaceType.MCAST, source=InterfaceSource(address="230.0.0.1", port=5558), mac="52:54:00:11:22:33"
    ),
    "that listens": NetworkInterface(type=InterfaceType.SERVER, source=InterfaceSource(port=5558), mac="52:54:00:11:22:33", model="e1000"),
    "in datagrams": NetworkInterface(
        type=InterfaceType.UDP,
        source=InterfaceSource(address="127.0.0.1", port=11115, local_address="127.0.0.2", local_port=11116),
        mac="52:54:00:11:22:33",
        model="e1000e",
    ),
}


@pytest.mark.parametrize("interface", INTERFACES.values(), ids=INTERFACES)
def test_libvirts_qemu_driver_keeps_interfaces(interface: NetworkInterface, nobodys: Path) -> None:
    spec = replace(SMALL, type=VirtType.QEMU, devices=(interface,), emulator="/usr/bin/qemu-system-x86_64")

    theirs = parse(libvirts_own(spec, nobodys, f"qemu:///embed?root={nobodys}/root", user=NOBODY)).of(NetworkInterface)
    ours = fill(spec, Capabilities()).of(NetworkInterface)
    assert [replace(each, address=None) for each in theirs] == list(ours)


SOUNDS: dict[str, Sound] = {
    "HDA": Sound(model=SoundModel.ICH9),
    "HDA with codecs": Sound(model=SoundModel.ICH6, codecs=[Codec.MICRO, Codec.OUTPUT]),
    **{str(model): Sound(model=model) for model in (SoundModel.AC97, SoundModel.ES1370, SoundModel.SB16, SoundModel.USB)},
}


@pytest.mark.parametrize("sound", SOUNDS.values(), ids=SOUNDS)
def test_libvirts_qemu_driver_keeps_sound_and_gives_qemu_what_we_do(sound: Sound, nobodys: Path) -> None:
    usb = Controller(type=ControllerType.USB, index=0, model="piix3-uhci")
    spec = replace(SMALL, type=VirtType.QEMU, os=OsSpec(machine="pc-i440fx-7.2"), emulator="/usr/bin/qemu-system-x86_64")
    spec = fill(replace(spec, devices=(usb, sound)), Capabilities())
    uri = f"qemu:///embed?root={nobodys}/root"

    kept = parse(libvirts_own(spec, nobodys, uri, user=NOBODY)).of(Sound)
    assert [replace(each, address=None) for each in kept] == [sound]
    theirs, ours = libvirts_argv(spec, nobodys, uri), command_line(spec, ID, emulator=Emulator("qemu", (7, 2)), monitor_fd=3, now=0)
    assert _sound(ours) == _sound(theirs)


def _sound(argv: list[str]) -> list[dict[str, object]]:
    """What of sound there is, without the places on buses, which QEMU gives where libvirt does."""
    found = [json.loads(value) for option in ("-audiodev", "-device") for value in _values(argv, option) if value.startswith("{")]
    named = [each for each in found if each["id"].startswith(("audio", "sound"))]
    return [{name: value for name, value in each.items() if name not in ("addr", "port") and value != "pci.0"} for each in named]


def libvirts_argv(spec: DomainSpec, folder: Path, uri: str) -> list[str]:
    """The variables and the argv that libvirt's QEMU driver would start ``spec`` with."""
    path = folder / "domain.xml"
    path.write_text(render(spec))
    virsh = ["virsh", "--quiet", "--connect", uri, f"domxml-to-native qemu-argv {path}"]
    groups: list[int] | None = [] if NOBODY is not None else None
    environment = os.environ | {"HOME": str(folder)}
    done = subprocess.run(
        virsh, check=False, capture_output=True, text=True, user=NOBODY, group=NOBODY, extra_groups=groups, env=environment
    )
    assert done.returncode == 0, done.stderr
    return shlex.split(done.stdout)


def _values(argv: list[str], option: str) -> list[str]:
    return [argv[at + 1] for at, word in enumerate(argv) if word == option]


def test_libvirts_qemu_driver_keeps_controllers_inputs_and_consoles(nobodys: Path) -> None:
    """And what it adds to them is what :func:`aiovirt.drivers.qemu.defaults.fill` adds."""
    devices: tuple[Device, ...] = (
        Serial(type=Chardev.NULL),
        Console(target=ConsoleTarget.VIRTIO, type=Chardev.PTY),
        Console(target=ConsoleTarget.VIRTIO, type=Chardev.FILE, path="/var/log/console", append=True),
        Input(type=InputType.TABLET),
        Input(type=InputType.KEYBOARD, bus=InputBus.VIRTIO),
    )
    asked = replace(SMALL, type=VirtType.QEMU, devices=devices, emulator="/usr/bin/qemu-system-x86_64")

    seen = parse(libvirts_own(asked, nobodys, f"qemu:///embed?root={nobodys}/root", user=NOBODY))

    check(seen)
    filled = fill(asked, Capabilities())
    for kind in (Serial, Console, Input, Controller):
        theirs = [replace(device, address=None, alias=None) for device in seen.of(kind)]
        assert sorted(map(repr, theirs)) == sorted(map(repr, filled.of(kind)))


def as_asked(spec: DomainSpec) -> DomainSpec:
    """Without what libvirt adds by itself: controllers, inputs, where devices are plugged in."""
    return replace(spec, devices=tuple(replace(device, address=None) for device in (*spec.disks, *spec.serials)))


def virsh(orders: str, uri: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """As nobody, where we are root: libvirt's QEMU driver would want a user of its own to be there."""
    groups: list[int] | None = [] if NOBODY is not None else None
    words = ["virsh", "--quiet", "--connect", uri, orders]
    environment = os.environ | {"HOME": str(folder)}
    return subprocess.run(
        words, check=False, capture_output=True, text=True, user=NOBODY, group=NOBODY, extra_groups=groups, env=environment
    )


def made_by_libvirt(inside: str, devices: str, folder: Path) -> str | None:
    """The domain as libvirt's QEMU driver keeps it once it has read its own words again, or None where it refuses it."""
    text = f"""<domain type='qemu'><name>small</name><uuid>{ID}</uuid><memory>65536</memory>
        <os><type arch='x86_64' machine='pc'>hvm</type></os>{inside}
        <devices><emulator>/usr/bin/qemu-system-x86_64</emulator>{devices}</devices></domain>"""
    for _ in range(2):
        (folder / "domain.xml").write_text(text)
        done = virsh(f"define {folder}/domain.xml; dumpxml small", f"qemu:///embed?root={folder}/root", folder)
        if done.returncode != 0:
            assert "Failed to define" in done.stderr, done.stderr
            return None
        text = done.stdout
    return text


def made_by_us(inside: str, devices: str) -> DomainSpec | None:
    try:
        spec = parse(
            f"""<domain type='qemu'><name>small</name><memory>65536</memory><os><type>hvm</type></os>{inside}
            <devices>{devices}</devices></domain>"""
        )
        check(spec)
    except (XMLInvalid, ConfigUnsupported):
        return None
    return spec


def disks(words: str) -> str:
    """``hda vdb+ sda:ide``: a plus says the bus that the name has."""
    made: list[str] = []
    for word in words.split():
        target, _, bus = word.rstrip("+").partition(":")
        bus = bus or ({"h": "ide", "v": "virtio"}[word[0]] if word.endswith("+") else "")
        said = f" bus='{bus}'" if bus else ""
        made.append(f"<disk type='file'><source file='/{target}{bus}'/><target dev='{target}'{said}/></disk>")
    return "".join(made)


@pytest.mark.parametrize(
    "words",
    [
        "hdb hda", "vdc hda", "vdb hda vda", "vdc hdb vdb hda", "vdb+ hdc+ vda+ hda+", "vdc+ hda+", "vdc hda+", "vdb hdc vda+ hda+",
        "vdaa vdb vda", "sda:virtio vda", "hda:virtio hda", "hda:ide sda:ide", "vda vda", "sda:ide", "vdfxshrxx",
        "hd1", "hda1", "hd", "hde", "vda1", "VDA", "vdA", "xda:virtio", "foo:virtio", "fda:virtio", "mmcblk0:virtio", "hdaa", "vdzzzzzzz",
    ],
)  # fmt: skip
def test_libvirt_takes_and_sorts_the_disks_that_we_do(words: str, nobodys: Path) -> None:
    theirs, ours = made_by_libvirt("", disks(words), nobodys), made_by_us("", disks(words))
    assert (theirs is None) == (ours is None)
    if theirs is not None and ours is not None:
        assert [disk.target for disk in ours.disks] == re.findall(r"<target dev='(\w+)' bus='(?:ide|virtio)'", theirs)


@pytest.mark.parametrize("on_reboot", ["destroy", "restart"])
@pytest.mark.parametrize("on_poweroff", ["destroy", "restart"])
def test_libvirt_takes_the_actions_that_we_take(on_poweroff: str, on_reboot: str, nobodys: Path) -> None:
    actions = f"<on_poweroff>{on_poweroff}</on_poweroff><on_reboot>{on_reboot}</on_reboot>"
    assert (made_by_libvirt(actions, "", nobodys) is None) == (made_by_us(actions, "") is None)


def test_libvirt_numbers_its_events_as_we_do(nobodys: Path) -> None:
    """virsh lists them by number."""
    listed = virsh("event --list", TEST, nobodys).stdout.split()
    ours = [one.name.lower().replace("_", "-").replace("pm", "pm-") for one in DomainEventID]
    assert listed == ours[: len(listed)]
    assert len(listed) > DomainEventID.DEVICE_REMOVAL_FAILED
