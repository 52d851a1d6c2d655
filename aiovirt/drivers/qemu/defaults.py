"""What a domain has that its definition leaves open. Pure: it decides by the host's capabilities, and asks for nothing.

What cannot be given is not looked at here: see :mod:`aiovirt.drivers.qemu.command_line`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from msgspec.structs import replace

from aiovirt.drivers.qemu import devices
from aiovirt.drivers.qemu.devices.placement import is_i440fx, is_q35
from aiovirt.model.devices.audio import Audio, AudioType
from aiovirt.model.devices.controller import Controller, ControllerType
from aiovirt.model.devices.device import Device
from aiovirt.model.devices.disk import Disk, DiskBus
from aiovirt.model.devices.input import Input, InputBus, InputType
from aiovirt.model.devices.sound import Sound
from aiovirt.model.spec import DomainSpec, VirtType

__all__ = ["Capabilities", "fill"]


class Capabilities(NamedTuple):
    """What decides about defaults: whether /dev/kvm can be opened here."""

    has_kvm: bool = False


def fill(spec: DomainSpec, capabilities: Capabilities) -> DomainSpec:
    """``spec`` with all that it leaves open, as it will run. What it says stays as it is, and where it is.

    Its type is the best that the host has. Its devices get their own defaults; behind them stand the controllers that they
    need, and what every machine of its kind has. Filling what is filled changes nothing.
    """
    chosen = spec if spec.type else replace(spec, type=VirtType.KVM if capabilities.has_kvm else VirtType.QEMU)
    known = tuple(devices.filled(chosen))
    needed = tuple(_missing(known, devices.needed(replace(chosen, devices=known))))
    built_in = tuple(_missing((*known, *needed), _built_in(chosen)))
    return replace(chosen, devices=(*known, *needed, *built_in))


def _missing(there: tuple[Device, ...], wanted: Iterator[Device]) -> Iterator[Device]:
    """Those of ``wanted`` in whose place there is nothing yet, each once."""
    taken = {_place(device) for device in there}
    for device in wanted:
        if _place(device) not in taken:
            taken.add(_place(device))
            yield device


def _place(device: Device) -> tuple[object, ...]:
    """What only one device is: a controller by its type and index, a keyboard by its bus."""
    match device:
        case Controller():
            return device.tag, device.type, device.index
        case Input():
            return device.tag, device.type, device.bus
        case _:
            return (device.tag,)


PCI_ROOT: Final = Controller(type=ControllerType.PCI, index=0, model="pci-root")
PCIE_ROOT: Final = Controller(type=ControllerType.PCI, index=0, model="pcie-root")
IDE: Final = Controller(type=ControllerType.IDE, index=0)
SATA: Final = Controller(type=ControllerType.SATA, index=0)
NO_AUDIO: Final = Audio(type=AudioType.NONE)
MOUSE: Final = Input(type=InputType.MOUSE, bus=InputBus.PS2)
KEYBOARD: Final = Input(type=InputType.KEYBOARD, bus=InputBus.PS2)


def _built_in(spec: DomainSpec) -> Iterator[Device]:
    """What a PC has without being asked for it, as libvirt lists it: its IDE controller only where a disk is on it."""
    if spec.of(Sound):
        yield NO_AUDIO
    if is_q35(spec):
        yield from (SATA, PCIE_ROOT, MOUSE, KEYBOARD)
    elif is_i440fx(spec):
        yield PCI_ROOT
        if any(disk.bus is DiskBus.IDE for disk in spec.of(Disk)):
            yield IDE
        yield from (MOUSE, KEYBOARD)
