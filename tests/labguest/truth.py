"""What sysfs and ip-link(8) say of the guest's devices, to hold an inventory against."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import aiovirt
from aiovirt.model.netdev import Netdev
from aiovirt.model.pci import PCIDevice
from tests.labguest.heard import Heard
from tests.labguest.topology import NETDEVS, PCI, Topology

__all__ = ["agrees"]

Facts = dict[str, object]


async def agrees(host: aiovirt.Host, heard: Heard, lab: Topology) -> None:
    """Returns when the inventory is as the kernel and its tools have it once udev is done."""
    await lab.settle()
    netdevs, functions = _links(), {folder.name: _function(folder) for folder in PCI.iterdir()}

    def told() -> tuple[dict[str, Facts], dict[str, Facts]]:
        return {device.name: _told_link(device) for device in host.devices.netdevs()}, {
            device.address: _told_function(device) for device in host.devices.pci()
        }

    await heard.until(lambda: told() == (netdevs, functions), why=lambda: _differences(told(), (netdevs, functions)))


def _differences(told: tuple[dict[str, Facts], dict[str, Facts]], there: tuple[dict[str, Facts], dict[str, Facts]]) -> str:
    return "\n".join(
        f"{name}: {fact} is {one.get(name, {}).get(fact)!r}, told {other.get(name, {}).get(fact)!r}"
        for other, one in zip(told, there, strict=True)
        for name in one | other
        for fact in one.get(name, {}) | other.get(name, {})
        if one.get(name, {}).get(fact) != other.get(name, {}).get(fact)
    )


def _links() -> dict[str, Facts]:
    said = subprocess.run(["ip", "-j", "-d", "link"], check=True, stdout=subprocess.PIPE).stdout
    return {link["ifname"]: _link(link) for link in json.loads(said)}


def _link(link: dict[str, Any]) -> Facts:
    folder = NETDEVS / link["ifname"]
    return {
        "ifindex": link["ifindex"],
        "mac": link["address"],
        "mtu": link["mtu"],
        "up": "UP" in link["flags"],
        "operstate": link["operstate"].lower(),
        "parent": link.get("parentdev"),
        "phys_port_id": link.get("phys_port_id"),
        "phys_port_name": link.get("phys_port_name"),
        "phys_switch_id": link.get("phys_switch_id"),
        "driver": _target(folder / "device" / "driver"),
        "dev_port": int((folder / "dev_port").read_text()),
        "vfs": [vf["address"] for vf in link.get("vfinfo_list", ())],
    }


def _told_link(device: Netdev) -> Facts:
    names = ("ifindex", "mac", "mtu", "parent", "phys_port_id", "phys_port_name", "phys_switch_id", "driver", "dev_port")
    own: Facts = {name: getattr(device, name) for name in names}
    return own | {"up": device.is_up, "operstate": str(device.operstate), "vfs": [vf.mac for vf in device.vfs]}


def _function(folder: Path) -> Facts:
    vfs = {int(link.name.removeprefix("virtfn")): _target(link) for link in folder.glob("virtfn*")}
    override = (folder / "driver_override").read_text().strip()
    group = _target(folder / "iommu_group")
    return {
        "class": int((folder / "class").read_text(), 16),
        "ids": tuple(int((folder / name).read_text(), 16) for name in ("vendor", "device")),
        "driver": _target(folder / "driver"),
        "override": override if override not in {"", "(null)"} else None,
        "group": int(group) if group else None,
        "physfn": _target(folder / "physfn"),
        "vfs": tuple(vfs[index] for index in sorted(vfs)),
    }


def _told_function(device: PCIDevice) -> Facts:
    return {
        "class": device.pci_class,
        "ids": (device.vendor, device.device),
        "driver": device.driver,
        "override": device.driver_override,
        "group": device.iommu_group,
        "physfn": device.physfn,
        "vfs": device.vfs,
    }


def _target(link: Path) -> str | None:
    return link.readlink().name if link.is_symlink() else None
