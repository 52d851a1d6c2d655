"""Hypothesis strategies for all that a DomainSpec can say in XML."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from lxml import etree

from aiovirt.model.clock import Catchup, Clock, ClockBasis, ClockOffset, TickPolicy, Timer, TimerMode, TimerName, TimerTrack
from aiovirt.model.cpu import (
    Cpu,
    CpuCache,
    CpuCacheMode,
    CpuCheck,
    CpuFallback,
    CpuFeature,
    CpuMatch,
    CpuMode,
    FeaturePolicy,
    MaxPhysAddr,
    MaxPhysAddrMode,
    Topology,
)
from aiovirt.model.devices.audio import Audio, AudioType
from aiovirt.model.devices.console import Console, ConsoleTarget
from aiovirt.model.devices.controller import Controller, ControllerTarget, ControllerType
from aiovirt.model.devices.disk import Disk, DiskBus, DiskDevice
from aiovirt.model.devices.input import Input, InputBus, InputType
from aiovirt.model.devices.interface import InterfaceSource, InterfaceType, LinkState, NetworkInterface
from aiovirt.model.devices.memballoon import MemBalloon, MemBalloonModel
from aiovirt.model.devices.rng import Rng, RngBackend
from aiovirt.model.devices.serial import Chardev, Serial
from aiovirt.model.devices.sound import Codec, Sound, SoundModel
from aiovirt.model.devices.watchdog import Watchdog, WatchdogAction, WatchdogModel
from aiovirt.model.power import PowerManagement
from aiovirt.model.spec import Action, DomainSpec, OsSpec, VirtType
from aiovirt.model.units import KiB, MiB, TiB

CONTROL = "".join(chr(code) for code in range(32) if chr(code) not in "\t\n\r")

xml_text = st.text(st.characters(codec="utf-8", exclude_characters=CONTROL + "\ufffe\uffff"), max_size=40)
filled_text = xml_text.filter(str.strip)
paths = xml_text.map("/".__add__)
names = (
    st.text(st.characters(codec="utf-8", exclude_characters="/").filter(str.isprintable), min_size=1, max_size=50)
    .filter(lambda name: not name.isspace())
    .filter(lambda name: name not in (".", ".."))
)

machines = st.from_regex("[A-Za-z0-9_][A-Za-z0-9_.-]{0,9}", fullmatch=True)
kernels = st.fixed_dictionaries({"kernel": filled_text}, optional={"initrd": filled_text, "cmdline": xml_text})
oses = st.builds(
    lambda kernel, **fields: OsSpec(**fields, **kernel),
    kernel=st.just({}) | kernels,
    arch=st.sampled_from(["x86_64", "i686", "aarch64"]) | machines,
    machine=st.sampled_from(["pc", "q35"]) | machines,
    boot=st.lists(st.sampled_from(["hd", "cdrom", "network", "fd"]), min_size=1, max_size=4).map(tuple),
)
disks = st.builds(
    Disk,
    source=paths,
    target=st.from_regex("[hvs]d[a-z]{1,2}", fullmatch=True),
    bus=st.sampled_from(DiskBus),
    device=st.sampled_from(DiskDevice),
    format=st.sampled_from(["raw", "qcow2"]),
    readonly=st.booleans(),
)
serials = (
    st.builds(Serial, type=st.sampled_from([Chardev.NULL, Chardev.PTY]), port=st.none() | st.integers(5, 9))
    | st.builds(Serial, type=st.just(Chardev.FILE), path=paths, append=st.booleans())
    | st.builds(Serial, type=st.just(Chardev.UNIX), path=paths, listen=st.booleans())
)

inert = st.sampled_from(
    [
        Controller(type=ControllerType.USB, index=0, model="qemu-xhci"),
        Controller(type=ControllerType.PCI, index=1, model="pcie-root-port", target=ControllerTarget(chassis="1", port="0x8")),
        Controller(type=ControllerType.VIRTIO_SERIAL, ports=16, vectors=4),
        Input(type=InputType.MOUSE, bus=InputBus.PS2),
        Input(type=InputType.TABLET, bus=InputBus.VIRTIO),
        Console(target=ConsoleTarget.VIRTIO, type=Chardev.PTY),
        Console(target=ConsoleTarget.VIRTIO, type=Chardev.FILE, path="/l", append=True),
        Audio(type=AudioType.NONE),
        Sound(model=SoundModel.ICH9, codecs=[Codec.MICRO, Codec.OUTPUT], audio=1),
        Sound(model=SoundModel.AC97),
        NetworkInterface.user(),
        NetworkInterface(type=InterfaceType.SERVER, source=InterfaceSource(port=5558), mac="52:54:00:11:22:33", link=LinkState.DOWN),
        MemBalloon(model=MemBalloonModel.VIRTIO),
        Watchdog(model=WatchdogModel.IB700, action=WatchdogAction.INJECT_NMI),
        Rng(backend=RngBackend.RANDOM, path="/dev/hwrng", bytes=1024, period=500),
        Rng(backend=RngBackend.BUILTIN),
    ]
)

numbers = st.integers(0, 2**32)
seconds = st.integers(-(10**18) + 1, 10**18 - 1)
timers = st.one_of(
    st.builds(
        Timer,
        name=st.sampled_from([name for name in TimerName if name is not TimerName.TSC]),
        present=st.none() | st.booleans(),
        tickpolicy=st.none() | st.sampled_from(TickPolicy),
        track=st.none() | st.sampled_from(TimerTrack),
        mode=st.none() | st.sampled_from(TimerMode),
    ),
    st.builds(Timer, name=st.just(TimerName.TSC), frequency=st.none() | numbers, mode=st.none() | st.sampled_from(TimerMode)),
    st.builds(
        Timer,
        name=st.just(TimerName.RTC),
        tickpolicy=st.just(TickPolicy.CATCHUP),
        catchup=st.builds(Catchup, threshold=st.none() | numbers, slew=st.none() | numbers, limit=st.none() | numbers),
    ),
)
some_timers = st.lists(timers, max_size=3, unique_by=lambda timer: timer.name)
clocks = st.one_of(
    st.builds(Clock, offset=st.sampled_from([ClockOffset.UTC, ClockOffset.LOCALTIME]), timers=some_timers),
    st.builds(Clock, offset=st.just(ClockOffset.TIMEZONE), timezone=filled_text, timers=some_timers),
    st.builds(Clock, offset=st.just(ClockOffset.ABSOLUTE), start=seconds, timers=some_timers),
    st.builds(Clock, offset=st.just(ClockOffset.VARIABLE), adjustment=seconds, basis=st.sampled_from(ClockBasis), timers=some_timers),
)

counts = st.integers(1, 2**16)
features = st.lists(
    st.builds(CpuFeature, policy=st.sampled_from(FeaturePolicy), name=filled_text), max_size=3, unique_by=lambda feature: feature.name
)
whole_processors = st.fixed_dictionaries(
    {
        "check": st.none() | st.sampled_from(CpuCheck),
        "vendor": st.none() | filled_text,
        "topology": st.none() | st.builds(Topology, sockets=counts, dies=counts, clusters=st.none() | counts, cores=counts, threads=counts),
        "cache": st.none() | st.builds(CpuCache, level=st.none() | st.integers(0, 9), mode=st.sampled_from(CpuCacheMode)),
        "max_phys_addr": st.none()
        | st.builds(MaxPhysAddr, mode=st.just(MaxPhysAddrMode.EMULATE), bits=st.none() | counts)
        | st.builds(MaxPhysAddr, mode=st.just(MaxPhysAddrMode.PASSTHROUGH), limit=st.none() | counts),
    }
)
processors = st.one_of(
    st.builds(
        lambda common, **fields: Cpu(**common, **fields),
        whole_processors,
        match=st.sampled_from(CpuMatch),
        model=filled_text,
        fallback=st.none() | st.sampled_from(CpuFallback),
        vendor_id=st.none() | st.just("GenuineIntel"),
        features=features,
    ),
    st.builds(
        lambda common, **fields: Cpu(**common, **fields),
        whole_processors,
        mode=st.sampled_from([CpuMode.MAXIMUM, CpuMode.HOST_PASSTHROUGH]),
        migratable=st.none() | st.booleans(),
        features=features,
    ),
    st.builds(lambda common: Cpu(**common), whole_processors),
)


@st.composite
def elements(draw: st.DrawFn) -> str:
    """One element of somebody's metadata, as XML."""
    uris = st.sampled_from(["urn:a", "urn:b", "https://example.org/'quoted'"])
    local = st.sampled_from(["a", "owner", "x-1", "é"])
    prefix, uri = draw(st.sampled_from(["p", "q", None])), draw(uris)
    nsmap: Any = {prefix: uri}
    root = etree.Element(f"{{{uri}}}{draw(local)}", nsmap=nsmap)
    root.text = draw(xml_text) or None
    for _ in range(draw(st.integers(0, 3))):
        child = etree.SubElement(root, f"{{{draw(uris)}}}{draw(local)}", attrib={draw(local): draw(xml_text)})
        child.tail = draw(xml_text)
    if draw(st.booleans()):
        root.append(etree.Comment(" kept "))
    return etree.tostring(root, encoding="unicode")


metadata = st.lists(elements(), min_size=1, max_size=3).map("\n    ".join)

domains = st.builds(
    DomainSpec,
    name=names,
    memory=st.integers(MiB // KiB, 64 * TiB // KiB).map(KiB.__mul__),
    vcpus=st.integers(1, 4096),
    uuid=st.none() | st.uuids(),
    type=st.none() | st.sampled_from(VirtType),
    title=st.none() | xml_text.map(lambda text: text.replace("\n", " ")),
    description=st.none() | xml_text,
    metadata=st.none() | metadata,
    os=oses,
    acpi=st.booleans(),
    clock=clocks,
    pm=st.none() | st.builds(PowerManagement, suspend_to_mem=st.none() | st.booleans(), suspend_to_disk=st.none() | st.booleans()),
    cpu=st.none() | processors,
    on_poweroff=st.sampled_from(Action),
    on_reboot=st.sampled_from(Action),
    on_crash=st.sampled_from(Action),
    emulator=st.none() | filled_text,
    devices=st.tuples(
        st.lists(disks, max_size=4, unique_by=(lambda disk: disk.target, lambda disk: disk.index)), st.lists(serials | inert, max_size=4)
    ).flatmap(lambda lists: st.permutations([*lists[0], *lists[1]]).map(tuple)),
)
