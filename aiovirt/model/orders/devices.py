"""Questions about the devices of the host. Each is answered by the engine itself, whatever its hypervisor is."""

from __future__ import annotations

from aiovirt.model.busdevice import BusDevice
from aiovirt.model.details import DeviceDetails
from aiovirt.model.orders.rule import Request, Rule, Turn, order

__all__ = ["AskDetails", "Enumerate", "ReadPhysPortId", "Refresh"]


@order(Rule(verb="nodedev-dumpxml", turn=Turn.READ, permissions=("node_device:read",), by_engine=True))
class AskDetails(Request[DeviceDetails], frozen=True, kw_only=True, tag=True):
    """What the inventory does not keep of one device (``netdev/<id>``, ``pci/<address>``), read now."""

    subject: str


@order(Rule(verb="nodedev-list", turn=Turn.READ, permissions=("connect:search_node_devices",), by_engine=True))
class Enumerate(Request[list[BusDevice]], frozen=True, kw_only=True, tag=True):
    """Every device of one of the kernel's subsystems (``usb``, ``block``, ``scsi``), as sysfs and udev have them now."""

    subsystem: str


@order(Rule(verb="refresh", turn=Turn.READ, permissions=("node_device:read",), by_engine=True))
class Refresh(Request[None], frozen=True, kw_only=True, tag=True):
    """Ask the kernel about one device (``netdev/<id>``, ``pci/<address>``) now; what differs is published before it answers.

    ``name/<name>``: about the network device that has this name or altname now, whatever is known of it.
    """

    subject: str


@order(Rule(verb="read_phys_port_id", turn=Turn.READ, permissions=("node_device:read",), by_engine=True))
class ReadPhysPortId(Request[str | None], frozen=True, kw_only=True, tag=True):
    """Read a netdev's phys_port_id now; None when its driver has none."""

    name: str
