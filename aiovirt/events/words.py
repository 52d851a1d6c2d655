"""Values in words: the parts of an event's line for people. Pure."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import cast

from aiovirt.model.machine import Machine
from aiovirt.model.netdev import VF, LinkFlags, Netdev
from aiovirt.model.pci import SRIOV, PCIDevice
from aiovirt.model.units import KiB

__all__ = ["changes", "clock", "duration", "machine_summary", "pci_summary", "show", "summary"]


def clock(time_ns: int) -> str:
    """``time_ns`` as local wall time with milliseconds: ``14:03:12.345``."""
    moment = datetime.datetime.fromtimestamp(time_ns // 1_000_000_000)  # noqa: DTZ006 - local time, for people
    return f"{moment:%H:%M:%S}.{time_ns // 1_000_000 % 1000:03d}"


def duration(time_ns: int) -> str:
    """A span of time in its largest unit: ``250 ms``, ``12 s``, ``3 h``."""
    seconds = time_ns / 1e9
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds * 1000:.0f} ms"


def show(attribute: str, value: object) -> str:
    """An attribute's value for people; what the driver does not have is ``unsupported``."""
    if value is None:
        return "unsupported" if attribute.startswith("phys_") else "none"
    if attribute == "balloon" and isinstance(value, int):
        return f"{value // KiB} KiB"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return ",".join(_item(item) for item in cast("tuple[object, ...]", value)) or "none"
    if isinstance(value, SRIOV):
        return f"{value.current} of {value.total}"
    return str(value)


def _item(item: object) -> str:
    """One of several values, ``-`` where there is none of its number; of a VF, what is set for it."""
    if not isinstance(item, VF):
        return "-" if item is None else str(item)
    known = {name: getattr(item, name) for name in VF.__struct_fields__ if name != "index"}
    return f"vf {item.index} (" + " ".join(f"{name} {show(name, value)}" for name, value in known.items() if value is not None) + ")"


def changes(moved: Mapping[str, tuple[object, object]]) -> str:
    """attribute -> (old, new), in one line."""
    return _inline({name: _change(name, *values) for name, values in moved.items()})


def _change(attribute: str, old: object, new: object) -> str:
    """How an attribute moved: ``1500 -> 9000``; of flags, those that came and went: ``+up -running``."""
    if attribute == "flags" and isinstance(old, int) and isinstance(new, int):
        moved = [flag for flag in LinkFlags if (old ^ new) & flag]
        return " ".join(f"{'+' if new & flag else '-'}{str(flag.name).lower()}" for flag in moved) or f"{old:#x} -> {new:#x}"
    return f"{show(attribute, old)} -> {show(attribute, new)}"


def summary(device: Netdev) -> str:
    """A network device for people, in one line: what it has, and its phys_port_id in any case."""
    names = ["mac", "mtu", "operstate", "phys_port_id"]
    names += [n for n in ("phys_port_name", "phys_switch_id", "parent", "driver") if getattr(device, n) is not None]
    return _inline({name: show(name, getattr(device, name)) for name in names if getattr(device, name) != ""})


def pci_summary(device: PCIDevice) -> str:
    """A PCI function for people, in one line."""
    parts = {"class": f"{device.pci_class:06x}", "id": f"{device.vendor:04x}:{device.device:04x}"}
    parts |= {n: show(n, getattr(device, n)) for n in ("driver", "iommu_group", "physfn", "sriov") if getattr(device, n) is not None}
    return _inline(parts)


def machine_summary(machine: Machine) -> str:
    """A running domain's machine for people, in one line."""
    names = ("vcpus", *(name for name in ("balloon", "devices", "jobs") if getattr(machine, name)))
    return _inline({name: show(name, getattr(machine, name)) for name in names})


def _inline(parts: dict[str, str]) -> str:
    return "  ".join(f"{name} {value}" for name, value in parts.items())
