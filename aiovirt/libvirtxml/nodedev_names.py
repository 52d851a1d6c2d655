"""The names that libvirt gives to host devices: ``computer``, ``pci_0000_00_03_0``, ``net_eth0_52_54_00_12_34_56``. Pure."""

from __future__ import annotations

import re
from typing import Final

from aiovirt.model.busdevice import BusDevice
from aiovirt.model.netdev import Netdev
from aiovirt.model.pci import PCIDevice

__all__ = ["COMPUTER", "bus_name", "nodedev_name", "nodedev_parent"]

COMPUTER: Final = "computer"
"""The root of all devices."""

_NOT_ALNUM: Final = re.compile(rb"[^0-9A-Za-z]")


def nodedev_name(device: Netdev | PCIDevice) -> str:
    """libvirt's name for it: of a network device its name and MAC address. It changes with both, and need not be unique."""
    if isinstance(device, PCIDevice):
        return bus_name(BusDevice(bus="pci", name=device.address))
    return _plain("_".join(part for part in ("net", device.name, device.mac) if part))


def bus_name(device: BusDevice) -> str:
    """libvirt's name for a device by its bus and its name there: ``usb_1_1_1_0``."""
    return _plain(f"{device.bus}_{device.name}")


def nodedev_parent(device: Netdev | PCIDevice) -> str:
    """The name of what it hangs from, as far as the inventory goes: a PCI function, or the computer."""
    above = device.parent if isinstance(device, PCIDevice) else device.pci
    return COMPUTER if above is None else bus_name(BusDevice(bus="pci", name=above))


def _plain(text: str) -> str:
    """``text`` with a ``_`` for each byte (of its UTF-8) that is no ASCII letter or digit."""
    return _NOT_ALNUM.sub(b"_", text.encode(errors="backslashreplace")).decode("ascii")
