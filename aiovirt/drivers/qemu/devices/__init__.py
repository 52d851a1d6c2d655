"""How QEMU gives each kind of device, a file for each kind of ``aiovirt.model.devices``, by the same name. Pure.

Each has ``check`` (what of it QEMU, or this driver, cannot give) and ``arguments`` (the argv that a start needs). It may have
``fill`` (the device, with all that it leaves open) and ``needs`` (the type and index of a controller that it is plugged into).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple, Protocol, cast

from aiovirt.drivers.qemu.devices.plugging import Step, steps
from aiovirt.model.devices.controller import Controller
from aiovirt.model.devices.device import Device
from aiovirt.model.spec import DomainSpec

__all__ = ["Context", "Kind", "arguments", "check", "filled", "needed", "plugging_steps"]


class Context(NamedTuple):
    """What stands around a device: the domain, and its number among the devices of its kind, counted from 0."""

    spec: DomainSpec
    number: int


class Kind(Protocol):
    """The functions of a kind's file."""

    def check(self, device: Any, context: Context) -> Iterator[tuple[str, str]]:  # noqa: ANN401 - of the kind's own class
        """(where, below the device; why) of each thing that is not to be had."""
        ...

    def arguments(self, device: Any, context: Context) -> Iterator[str]:  # noqa: ANN401 - as check
        """The argv."""
        ...


@cache
def _kind_of(cls: type[Device]) -> Kind:
    return cast("Kind", import_module(f"{__name__}.{cls.__module__.rpartition('.')[2]}"))


def _with_context(spec: DomainSpec) -> Iterator[tuple[Kind, Device, Context]]:
    counts: dict[str, int] = {}
    for device in spec.devices:
        number = counts.get(device.tag, 0)
        counts[device.tag] = number + 1
        yield _kind_of(type(device)), device, Context(spec, number)


def check(spec: DomainSpec) -> Iterator[tuple[str, str]]:
    """(path, why) of everything of its devices that is not to be had."""
    for kind, device, context in _with_context(spec):
        for where, why in (*_check_placement(device), *kind.check(device, context)):
            yield "/".join(filter(None, (f"/domain/devices/{device.tag}[{context.number + 1}]", where))), why


def _check_placement(device: Device) -> Iterator[tuple[str, str]]:
    if device.alias is not None and device.alias.startswith("ua-"):
        yield "alias", f"the name {device.alias!r:.80} of the user's own"


def filled(spec: DomainSpec) -> Iterator[Device]:
    """Its devices, with what each leaves open."""
    for kind, device, context in _with_context(spec):
        yield _filled(kind, device, context)


def _filled(kind: Kind, device: Device, context: Context) -> Device:
    fill = getattr(kind, "fill", None)
    return device if fill is None else cast("Device", fill(device, context))


def needed(spec: DomainSpec) -> Iterator[Device]:
    """The controllers that its devices are plugged into, whether they are among them or not."""
    for kind, device, _ in _with_context(spec):
        needs = getattr(kind, "needs", None)
        if needs is not None and (needed := needs(device)) is not None:
            controller = Controller(type=needed[0], index=needed[1])
            yield _filled(_kind_of(Controller), controller, Context(spec, 0))


def arguments(spec: DomainSpec) -> Iterator[str]:
    """The argv of all its devices; the controllers are first, for the others are plugged into them."""
    for kind, device, context in sorted(_with_context(spec), key=lambda each: not isinstance(each[1], Controller)):
        yield from kind.arguments(device, context)


def plugging_steps(device: Device, context: Context) -> list[Step]:
    """How the device, filled in, is plugged in while the guest runs; raises OperationInvalid where it cannot be."""
    return list(steps(device, list(_kind_of(type(device)).arguments(device, context))))
