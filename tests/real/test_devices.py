"""Devices of real QEMUs: what a domain says is there, as QEMU itself says it."""

from __future__ import annotations

import pytest
from msgspec import Struct
from msgspec.structs import replace

from aiovirt import Host
from aiovirt.model.devices.console import Console, ConsoleTarget
from aiovirt.model.devices.controller import Controller, ControllerType
from aiovirt.model.devices.device import Device
from aiovirt.model.devices.input import Input, InputBus, InputType
from aiovirt.model.devices.interface import NetworkInterface
from aiovirt.model.devices.memballoon import MemBalloon, MemBalloonModel
from aiovirt.model.devices.rng import Rng, RngBackend
from aiovirt.model.devices.serial import Chardev
from aiovirt.model.devices.sound import Codec, Sound, SoundModel
from aiovirt.model.devices.watchdog import Watchdog, WatchdogAction, WatchdogModel
from aiovirt.model.spec import DomainSpec, OsSpec
from aiovirt.model.units import MiB
from tests.real.conftest import Place

pytestmark = pytest.mark.anyio

Row = tuple[str, Device, str]
ON_VIRTIO = ConsoleTarget.VIRTIO
ROWS: list[Row] = [
    ("balloon0", MemBalloon(model=MemBalloonModel.VIRTIO), "virtio-balloon-pci"),
    ("net0", NetworkInterface.user(mac="52:54:00:11:22:33"), "virtio-net-pci"),
    ("net0", NetworkInterface.user(mac="52:54:00:11:22:33", model="e1000e"), "e1000e"),
    ("net0", NetworkInterface.user(mac="52:54:00:11:22:33", model="rtl8139"), "rtl8139"),
    ("sound0", Sound(model=SoundModel.ICH9, codecs=[Codec.DUPLEX, Codec.OUTPUT]), "ich9-intel-hda"),
    ("sound0-codec0", Sound(model=SoundModel.ICH6), "hda-duplex"),
    ("sound0", Sound(model=SoundModel.AC97), "AC97"),
    ("sound0", Sound(model=SoundModel.ES1370), "ES1370"),
    ("sound0", Sound(model=SoundModel.SB16), "sb16"),
    ("sound0", Sound(model=SoundModel.USB), "usb-audio"),
    ("watchdog0", Watchdog(model=WatchdogModel.I6300ESB), "i6300esb"),
    ("watchdog0", Watchdog(model=WatchdogModel.IB700), "ib700"),
    ("rng0", Rng(backend=RngBackend.RANDOM), "virtio-rng-pci"),
    ("rng0", Rng(backend=RngBackend.BUILTIN, bytes=4096, period=500), "virtio-rng-pci"),
    ("input0", Input(type=InputType.TABLET, bus=InputBus.USB), "usb-tablet"),
    ("input0", Input(type=InputType.MOUSE, bus=InputBus.USB), "usb-mouse"),
    ("input0", Input(type=InputType.KEYBOARD, bus=InputBus.USB), "usb-kbd"),
    ("input0", Input(type=InputType.TABLET, bus=InputBus.VIRTIO), "virtio-tablet-pci"),
    ("input0", Input(type=InputType.MOUSE, bus=InputBus.VIRTIO), "virtio-mouse-pci"),
    ("input0", Input(type=InputType.KEYBOARD, bus=InputBus.VIRTIO), "virtio-keyboard-pci"),
    ("console0", Console(target=ON_VIRTIO), "virtconsole"),
    ("console0", Console(target=ON_VIRTIO, type=Chardev.PTY), "virtconsole"),
    ("virtio-serial0", Controller(type=ControllerType.VIRTIO_SERIAL, index=0, ports=5, vectors=2), "virtio-serial-pci"),
    ("usb", Controller(type=ControllerType.USB, index=0, model="piix3-uhci"), "piix3-usb-uhci"),
    ("usb", Controller(type=ControllerType.USB, index=0, model="piix4-uhci"), "piix4-usb-uhci"),
    ("usb", Controller(type=ControllerType.USB, index=0, model="ehci"), "usb-ehci"),
    ("usb", Controller(type=ControllerType.USB, index=0, model="pci-ohci"), "pci-ohci"),
    ("usb", Controller(type=ControllerType.USB, index=0, model="nec-xhci"), "nec-usb-xhci"),
    ("usb1", Controller(type=ControllerType.USB, index=1, model="qemu-xhci"), "qemu-xhci"),
]


class Member(Struct):
    """QAPI's ObjectPropertyInfo (qom.json)."""

    name: str
    type: str


class PciDeviceInfo(Struct):
    """QAPI's PciDeviceInfo (pci.json)."""

    qdev_id: str
    slot: int
    function: int


class PciInfo(Struct):
    """QAPI's PciInfo (pci.json)."""

    devices: list[PciDeviceInfo]


def spec_with(spec: DomainSpec, device: Device) -> DomainSpec:
    return replace(spec, devices=(*spec.devices, device))


@pytest.mark.parametrize(("name", "device", "kind"), ROWS)
async def test_a_device_is_there(host: Host, place: Place, name: str, device: Device, kind: str) -> None:
    spec = place.spec()
    async with host.run(spec_with(spec, device)) as domain:
        path = f"/machine/peripheral/{name}"
        assert await domain.qmp("qom-get", {"path": path, "property": "type"}) == kind
        assert device in (await domain.spec()).devices


async def test_what_a_pc_has_anyway_is_in_its_xml_while_it_runs(host: Host, place: Place) -> None:
    """QEMU has it all, though nothing of it is in the definition."""
    domain = await host.define(place.spec())
    await domain.start()
    assert [str(device.tag) for device in (await domain.spec()).devices] == ["disk", "controller", "controller", "input", "input"]
    assert [str(device.tag) for device in (await domain.spec(inactive=True)).devices] == ["disk"]
    unattached = await domain.qmp("qom-list", {"path": "/machine/unattached"}, returns=list[Member])
    assert {"child<piix3-ide>", "child<i8042>"} <= {member.type for member in unattached}
    assert any(mouse["name"] == "QEMU PS/2 Mouse" for mouse in await domain.qmp("query-mice", returns=list[dict[str, object]]))
    await domain.destroy()


async def test_a_tablet_is_the_one_that_points(host: Host, place: Place) -> None:
    async with host.run(spec_with(place.spec(), Input(type=InputType.TABLET))) as domain:
        mice = await domain.qmp("query-mice", returns=list[dict[str, object]])
        assert [mouse["name"] for mouse in mice if mouse["absolute"]] == ["QEMU HID Tablet"]
        controllers = [str(each.model) for each in (await domain.spec()).of(Controller) if each.type is ControllerType.USB]
        assert controllers == ["piix3-uhci"]


async def test_consoles_on_virtio_stand_behind_one_controller(host: Host, place: Place) -> None:
    sockets = [str(place.folder / name) for name in ("a", "b")]
    consoles = [Console(target=ON_VIRTIO, type=Chardev.UNIX, path=path) for path in sockets]
    spec = place.spec()
    async with host.run(replace(spec, devices=(*spec.devices, *consoles))) as domain:
        chardevs = await domain.qmp("query-chardev", returns=list[dict[str, object]])
        found = {str(each["label"]): str(each["filename"]) for each in chardevs}
        assert [sockets[number] in found[f"console{number}"] for number in (0, 1)] == [True, True]
        for number in (0, 1):
            bus = await domain.qmp("qom-get", {"path": f"/machine/peripheral/console{number}", "property": "parent_bus"})
            assert str(bus).endswith("/virtio-serial0.0")


async def test_root_ports_are_buses_of_a_q35(host: Host, place: Place) -> None:
    ports = [Controller(type=ControllerType.PCI, index=index, model="pcie-root-port") for index in range(1, 11)]
    spec = place.spec(os=OsSpec(machine="q35"))
    async with host.run(replace(spec, devices=(*spec.devices, *ports, Rng(backend=RngBackend.BUILTIN)))) as domain:
        (bus,) = await domain.qmp("query-pci", returns=list[PciInfo])
        slots = {each.qdev_id: (each.slot, each.function) for each in bus.devices}
        assert [slots[f"pci.{number}"] for number in (1, 2, 8, 9, 10)] == [(16, 0), (16, 1), (16, 7), (17, 0), (17, 1)]
        assert slots["rng0"][0] in range(1, 16)


async def test_a_balloon_says_how_much_memory_there_is(host: Host, place: Place) -> None:
    async with host.run(spec_with(place.spec(), MemBalloon(model=MemBalloonModel.VIRTIO))) as domain:
        assert await domain.qmp("query-balloon") == {"actual": 16 * MiB}


@pytest.mark.parametrize("action", WatchdogAction)
async def test_each_action_of_a_watchdog_is_one_of_qemus(host: Host, place: Place, action: WatchdogAction) -> None:
    async with host.run(spec_with(place.spec(), Watchdog(model=WatchdogModel.I6300ESB, action=action))) as domain:
        await domain.qmp("watchdog-set-action", {"action": str(action)})


async def test_a_generator_has_its_rate(host: Host, place: Place) -> None:
    async with host.run(spec_with(place.spec(), Rng(backend=RngBackend.BUILTIN, bytes=4096, period=500))) as domain:
        read = {
            name: await domain.qmp("qom-get", {"path": "/machine/peripheral/rng0", "property": name}) for name in ("max-bytes", "period")
        }
        assert read == {"max-bytes": 4096, "period": 500}
