"""Controllers: what other devices are plugged into. Some are part of a PC, the others are devices of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from msgspec.structs import replace

from aiovirt.drivers.qemu.devices import Context
from aiovirt.drivers.qemu.devices.placement import check_on_pci, check_x86, is_i440fx, is_q35
from aiovirt.drivers.qemu.words import json_of
from aiovirt.model.devices.controller import Controller, ControllerTarget, ControllerType
from aiovirt.model.devices.device import c_number
from aiovirt.model.spec import DomainSpec

__all__ = ["arguments", "check", "fill"]

_ROOTS: Final = ("pci-root", "pcie-root")
_USB: Final[Mapping[str, str]] = {
    "ehci": "usb-ehci",
    "nec-xhci": "nec-usb-xhci",
    "pci-ohci": "pci-ohci",
    "piix3-uhci": "piix3-usb-uhci",
    "piix4-uhci": "piix4-usb-uhci",
    "qemu-xhci": "qemu-xhci",
}
"""libvirt's models of USB controllers, and QEMU's names of them."""
_NO_USB: Final = "none"
_MOST: Final = 99


def fill(controller: Controller, context: Context) -> Controller:
    """Its index and model, and the chassis of a root port: two ports may not have the same."""
    index, model, target = controller.index, controller.model, controller.target
    if index is None:
        index = 0
    if model is None:
        model = _model_of(controller.type, index, context.spec)
    if model == "pcie-root-port" and (target is None or target.chassis is None):
        target = replace(target or ControllerTarget(), chassis=str(index))
    return replace(controller, index=index, model=model, target=target)


def _model_of(kind: ControllerType, index: int, spec: DomainSpec) -> str | None:
    if kind is ControllerType.USB:
        return "qemu-xhci" if is_q35(spec) else "piix3-uhci"
    if kind is ControllerType.PCI and index == 0:
        return "pcie-root" if is_q35(spec) else "pci-root"
    return None


def check(controller: Controller, context: Context) -> Iterator[tuple[str, str]]:
    """What of it QEMU, or this driver, cannot give."""
    yield from check_x86(context.spec)
    yield from check_on_pci(controller)
    filled = fill(controller, context)
    if wrong := _wrong(filled, context.spec):
        yield "", f"{_said(controller)}: {wrong}" if wrong != _NOT_HERE else _said(controller)
    others = context.spec.of(Controller)[: context.number]
    if any((fill(other, context).type, fill(other, context).index) == (filled.type, filled.index) for other in others):
        yield "@index", f"two controllers of type {filled.type} have the index {filled.index}"


_NOT_HERE: Final = "not here"


def _wrong(filled: Controller, spec: DomainSpec) -> str | None:
    """Why it is not to be had, if it is not."""
    index = filled.index or 0
    match filled.type:
        case ControllerType.PCI if index == 0:
            mine = "pci-root" if is_i440fx(spec) else "pcie-root" if is_q35(spec) else filled.model
            return None if filled.model == mine and mine in _ROOTS else f"a machine {spec.os.machine!r} has a {mine}"
        case ControllerType.PCI if filled.model == "pcie-root-port":
            return "a PC with conventional PCI has no such ports" if is_i440fx(spec) else _NOT_HERE if index > _MOST else None
        case ControllerType.USB:
            return None if filled.model in (*_USB, _NO_USB) and index <= _MOST else _NOT_HERE
        case ControllerType.VIRTIO_SERIAL:
            return None if filled.model is None and index <= _MOST else _NOT_HERE
        case ControllerType.IDE | ControllerType.SATA:
            return None if index == 0 and filled.model is None else _NOT_HERE
        case _:
            return _NOT_HERE


def _said(controller: Controller) -> str:
    said = {"type": controller.type, "index": controller.index, "model": controller.model}
    return " ".join(f"{name}='{value}'" for name, value in said.items() if value is not None)


def arguments(controller: Controller, context: Context) -> Iterator[str]:
    """A ``-device``, save for what a PC has anyway."""
    del context
    if (members := _device(controller)) is not None:
        yield from ("-device", json_of(**members))


def _device(controller: Controller) -> dict[str, object] | None:
    index = controller.index or 0
    match controller.type:
        case ControllerType.USB if driver := _USB.get(controller.model or _NO_USB):
            return {"driver": driver, "id": f"usb{index or ''}"}
        case ControllerType.VIRTIO_SERIAL:
            said = _given(max_ports=controller.ports, vectors=controller.vectors)
            return {"driver": "virtio-serial-pci", "id": f"virtio-serial{index}", **said}
        case ControllerType.PCI if controller.model == "pcie-root-port" and controller.target is not None:
            port = controller.target.port and c_number(controller.target.port)
            said = _given(chassis=c_number(controller.target.chassis), port=port)
            return {"driver": "pcie-root-port", "id": f"pci.{index}", **said, **_slot_of(index - 1)}
        case _:
            return None


def _given(**members: object) -> dict[str, object]:
    """Those that are said."""
    return {name: value for name, value in members.items() if value is not None}


_FIRST_SLOT: Final = 0x10
_FUNCTIONS: Final = 8


def _slot_of(number: int) -> dict[str, object]:
    """Eight ports share a slot; QEMU puts what says no place into the slots before them."""
    slot, function = divmod(number, _FUNCTIONS)
    return {"addr": f"{_FIRST_SLOT + slot:#x}.{function:#x}", "multifunction": function == 0}
