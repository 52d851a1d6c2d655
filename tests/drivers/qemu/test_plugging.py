"""The steps by which a device comes into a QEMU that runs, as plain values."""

from __future__ import annotations

import pytest

from aiovirt.drivers.qemu.devices import Context, plugging_steps
from aiovirt.errors import OperationInvalid
from aiovirt.model.devices.console import Console, ConsoleTarget
from aiovirt.model.devices.device import Device
from aiovirt.model.devices.disk import Disk
from aiovirt.model.devices.input import Input, InputBus, InputType
from aiovirt.model.devices.memballoon import MemBalloon, MemBalloonModel
from aiovirt.model.devices.rng import Rng, RngBackend
from aiovirt.model.devices.serial import Chardev, Serial
from aiovirt.model.devices.watchdog import Watchdog, WatchdogModel
from aiovirt.model.spec import DomainSpec
from aiovirt.model.units import MiB

SPEC = DomainSpec(name="web", memory=64 * MiB)


def names(device: Device) -> list[tuple[str, str]]:
    return [(step.do.name, step.undo.name) for step in plugging_steps(device, Context(SPEC, 1))]


@pytest.mark.parametrize(
    ("device", "commands"),
    [
        (
            Disk(source="/d", target="vdb"),
            [("blockdev-add", "blockdev-del"), ("blockdev-add", "blockdev-del"), ("device_add", "device_del")],
        ),
        (Rng(backend=RngBackend.BUILTIN), [("object-add", "object-del"), ("device_add", "device_del")]),
        (Console(target=ConsoleTarget.VIRTIO), [("chardev-add", "chardev-remove"), ("device_add", "device_del")]),
        (Input(type=InputType.TABLET, bus=InputBus.USB), [("device_add", "device_del")]),
        (MemBalloon(model=MemBalloonModel.VIRTIO), [("device_add", "device_del")]),
        (Watchdog(model=WatchdogModel.I6300ESB), [("device_add", "device_del")]),
    ],
)
def test_each_part_of_it_is_a_step(device: Device, commands: list[tuple[str, str]]) -> None:
    assert names(device) == commands


@pytest.mark.parametrize(
    ("console", "backend"),
    [
        (Console(target=ConsoleTarget.VIRTIO), {"type": "null", "data": {}}),
        (Console(target=ConsoleTarget.VIRTIO, type=Chardev.PTY), {"type": "pty", "data": {}}),
        (
            Console(target=ConsoleTarget.VIRTIO, type=Chardev.FILE, path="/a,b", append=True),
            {"type": "file", "data": {"out": "/a,b", "append": True}},
        ),
        (
            Console(target=ConsoleTarget.VIRTIO, type=Chardev.UNIX, path="/s,id=x"),
            {"type": "socket", "data": {"addr": {"type": "unix", "data": {"path": "/s,id=x"}}, "server": True, "wait": False}},
        ),
        (
            Console(target=ConsoleTarget.VIRTIO, type=Chardev.UNIX, path="/s", listen=False),
            {"type": "socket", "data": {"addr": {"type": "unix", "data": {"path": "/s"}}, "server": False}},
        ),
    ],
)
def test_what_stands_behind_a_console_is_said_in_qapis_words(console: Console, backend: dict[str, object]) -> None:
    step = plugging_steps(console, Context(SPEC, 1))[0]
    assert step.do.arguments == {"id": "console1", "backend": backend}
    assert step.undo.arguments == {"id": "console1"}


@pytest.mark.parametrize("device", [Input(type=InputType.MOUSE, bus=InputBus.PS2), MemBalloon(model=MemBalloonModel.NONE)])
def test_what_is_part_of_the_machine_is_not_plugged_in(device: Device) -> None:
    with pytest.raises(OperationInvalid, match="part of the machine"):
        plugging_steps(device, Context(SPEC, 0))


def test_what_could_not_be_unplugged_is_not_plugged_in() -> None:
    with pytest.raises(OperationInvalid, match="no id to unplug it by"):
        plugging_steps(Serial(), Context(SPEC, 0))


def test_a_first_watchdog_has_an_action_which_is_said_at_a_start_only() -> None:
    watchdog = Watchdog(model=WatchdogModel.I6300ESB)
    spec = DomainSpec(name="web", memory=64 * MiB, devices=[watchdog])
    with pytest.raises(OperationInvalid, match="-action"):
        plugging_steps(watchdog, Context(spec, 0))
