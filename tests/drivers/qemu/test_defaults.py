"""What a definition leaves open is filled in by the host's capabilities and nothing else; what it says stays."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from aiovirt.drivers.qemu.command_line import check
from aiovirt.drivers.qemu.defaults import IDE, KEYBOARD, MOUSE, PCI_ROOT, PCIE_ROOT, SATA, Capabilities, fill
from aiovirt.errors import ConfigUnsupported
from aiovirt.model.devices.console import Console, ConsoleTarget
from aiovirt.model.devices.controller import Controller, ControllerTarget, ControllerType
from aiovirt.model.devices.device import Device
from aiovirt.model.devices.disk import Disk, DiskBus
from aiovirt.model.devices.input import Input, InputBus, InputType
from aiovirt.model.spec import DomainSpec, OsSpec, VirtType
from aiovirt.model.units import MiB
from tests.libvirtxml.documents import libvirt
from tests.libvirtxml.specs import domains

SPEC = DomainSpec(name="web", memory=64 * MiB, type=VirtType.QEMU)
Q35 = replace(SPEC, os=OsSpec(machine="q35"))
VIRTIO = Console(target=ConsoleTarget.VIRTIO)
NONE = Capabilities()


def usb(model: str | None = None, index: int | None = 0) -> Controller:
    return Controller(type=ControllerType.USB, index=index, model=model)


def port(index: int, chassis: str | None = None) -> Controller:
    target = ControllerTarget(chassis=chassis) if chassis else None
    return Controller(type=ControllerType.PCI, index=index, model="pcie-root-port", target=target)


def devices(spec: DomainSpec, *given: Device) -> list[Device]:
    return list(fill(replace(spec, devices=given), NONE).devices)


def test_the_type_is_the_best_that_the_host_has() -> None:
    spec = replace(SPEC, type=None)
    assert fill(spec, Capabilities(has_kvm=True)).type is VirtType.KVM
    assert fill(spec, Capabilities(has_kvm=False)).type is VirtType.QEMU
    assert fill(SPEC, Capabilities(has_kvm=True)).type is VirtType.QEMU


@pytest.mark.parametrize(
    ("spec", "built_in"),
    [
        (SPEC, [PCI_ROOT, MOUSE, KEYBOARD]),
        (replace(SPEC, os=OsSpec(machine="pc-i440fx-7.2")), [PCI_ROOT, MOUSE, KEYBOARD]),
        (Q35, [SATA, PCIE_ROOT, MOUSE, KEYBOARD]),
        (replace(SPEC, os=OsSpec(machine="pc-q35-7.2", arch="i686")), [SATA, PCIE_ROOT, MOUSE, KEYBOARD]),
        (replace(SPEC, os=OsSpec(machine="microvm")), []),
        (replace(SPEC, os=OsSpec(machine="virt", arch="aarch64")), []),
    ],
)
def test_a_machine_has_what_it_has_anyway(spec: DomainSpec, built_in: list[Device]) -> None:
    assert devices(spec) == built_in
    assert devices(spec, *built_in) == built_in


def test_a_pc_has_an_ide_controller_where_a_disk_is_on_it() -> None:
    disk = Disk(source="/d", target="hda", bus=DiskBus.IDE)
    assert devices(SPEC, disk) == [disk, PCI_ROOT, IDE, MOUSE, KEYBOARD]


def test_controllers_get_an_index_and_a_model() -> None:
    assert devices(SPEC, usb(index=None))[0] == usb("piix3-uhci")
    assert devices(Q35, usb())[0] == usb("qemu-xhci")
    assert devices(SPEC, usb("none"))[0] == usb("none")
    assert devices(Q35, port(3), port(4, "9"))[:2] == [port(3, "3"), port(4, "9")]


@pytest.mark.parametrize(
    ("given", "bus", "controllers"),
    [
        (Input(type=InputType.TABLET), InputBus.USB, [usb("piix3-uhci")]),
        (Input(type=InputType.MOUSE), InputBus.PS2, []),
        (Input(type=InputType.MOUSE, bus=InputBus.VIRTIO), InputBus.VIRTIO, []),
    ],
)
def test_inputs_get_a_bus_and_that_its_controller(given: Input, bus: InputBus, controllers: list[Device]) -> None:
    filled = devices(SPEC, given)
    assert filled[0] == replace(given, bus=bus)
    assert filled[1 : 1 + len(controllers)] == controllers


def test_a_console_on_virtio_gets_its_controller_once() -> None:
    controller = Controller(type=ControllerType.VIRTIO_SERIAL, index=0)
    assert devices(SPEC, VIRTIO, VIRTIO)[:3] == [VIRTIO, VIRTIO, controller]
    own = replace(controller, ports=4)
    assert devices(SPEC, own, VIRTIO)[:2] == [own, VIRTIO]
    assert controller not in devices(SPEC, own, VIRTIO)


@given(domains, st.builds(Capabilities, has_kvm=st.booleans()))
def test_what_is_said_stays_and_filling_twice_is_filling_once(spec: DomainSpec, capabilities: Capabilities) -> None:
    filled = fill(spec, capabilities)
    assert [device.tag for device in filled.devices[: len(spec.devices)]] == [device.tag for device in spec.devices]
    assert fill(filled, capabilities) == filled
    for before, after in zip(spec.devices, filled.devices, strict=False):
        for field in before.__struct_fields__:
            assert getattr(before, field) in (None, getattr(after, field)) or field == "target"


@pytest.mark.parametrize("name", ["pc", "q35"])
def test_what_libvirt_wrote_is_filled_already(name: str) -> None:
    from aiovirt.libvirtxml import parse

    spec = parse(libvirt(name))
    assert fill(spec, NONE) == spec
    check(spec)


@pytest.mark.parametrize(
    ("spec", "given", "words"),
    [
        (SPEC, [usb("none"), Input(type=InputType.TABLET)], r"input\[1\]/@bus .*no USB"),
        (SPEC, [Input(type=InputType.TABLET, bus=InputBus.PS2)], "no tablets on PS/2"),
        (SPEC, [usb("piix3-uhci"), usb("ehci")], r"controller\[2\]/@index .*two controllers of type usb have the index 0"),
        (SPEC, [usb("no-such-model")], "model='no-such-model'"),
        (SPEC, [port(1)], "no such ports"),
        (Q35, [port(100)], "index='100'"),
        (SPEC, [PCIE_ROOT], "a machine 'pc' has a pci-root"),
        (Q35, [PCI_ROOT], "a machine 'q35' has a pcie-root"),
        (SPEC, [Controller(type=ControllerType.IDE, index=1)], "type='ide' index='1'"),
        (SPEC, [Controller(type=ControllerType.VIRTIO_SERIAL, model="xen")], "type='virtio-serial'"),
        (SPEC, [replace(VIRTIO, port=3)], "port=3"),
        (replace(SPEC, os=OsSpec(arch="aarch64", machine="virt")), [usb("qemu-xhci")], "a machine of aarch64"),
    ],
)
def test_what_cannot_be_given_is_refused_where_it_stands(spec: DomainSpec, given: list[Device], words: str) -> None:
    with pytest.raises(ConfigUnsupported, match=words):
        check(fill(replace(spec, devices=tuple(given)), NONE))
