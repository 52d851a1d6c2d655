"""Controllers: those that every PC has, and sockets that libvirt adds to every guest and that stay empty."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from aiovirt.drivers.qemu.devices import Context
from aiovirt.drivers.qemu.devices.placement import check_on_pci, check_x86
from aiovirt.model.devices.controller import Controller, ControllerType

__all__ = ["arguments", "check"]

_PARTS_OF_A_PC: Final = {
    (ControllerType.PCI, 0, "pci-root"),
    (ControllerType.PCI, 0, "pcie-root"),
    (ControllerType.IDE, 0, None),
    (ControllerType.SATA, 0, None),
}
_EMPTY_SOCKETS: Final = {(ControllerType.USB, 0, model) for model in (None, "none", "piix3-uhci", "qemu-xhci")}
_MOST: Final = 99


def check(controller: Controller, context: Context) -> Iterator[tuple[str, str]]:
    """What this driver does not have."""
    yield from check_x86(context.spec)
    index = 0 if controller.index is None and controller.type is ControllerType.USB else controller.index
    if not ((controller.type, index, controller.model) in _PARTS_OF_A_PC | _EMPTY_SOCKETS or _is_root_port(controller)):
        said = {"type": controller.type, "index": controller.index, "model": controller.model}
        yield "", " ".join(f"{name}='{value}'" for name, value in said.items() if value is not None)
    yield from check_on_pci(controller)


def _is_root_port(controller: Controller) -> bool:
    is_numbered = controller.index is not None and 1 <= controller.index <= _MOST
    return controller.type is ControllerType.PCI and is_numbered and controller.model == "pcie-root-port"


def arguments(controller: Controller, context: Context) -> Iterator[str]:
    """None: they are there, or stay empty."""
    del controller, context
    return iter(())
