r"""libvirt's nodedev XML (https://libvirt.org/formatnode.html) of network devices and PCI functions. Pure.

For the same device on the same machine it is, byte for byte, what ``virsh nodedev-dumpxml`` prints, and libvirt's own
schema takes it: so nothing is added. What libvirt's XML has no place for (ifindex, mtu, phys_port_id, a network device's
driver) is in :class:`~aiovirt.model.netdev.Netdev`, and on the command line under ``--json``.

What differs, and why:

* a MAC address is that of now; libvirt keeps the one that it saw first, in the device's name too;
* network devices of udev's own types (bridge, bond, vlan, vxlan) have XML like all others; libvirt leaves them out;
* what is above a device but no PCI function and not on USB is passed over; libvirt has scsi, ccw and others too;
* what the configuration space says (bridges, PCI Express) is shown to any user that may read it; libvirt looks only as root;
* while virtual functions are taken away, those that are left are listed; libvirt stops at the first number that is missing;
* the members of an IOMMU group are in order of their address; libvirt has them in the order of a folder;
* a PCI Express link with a speed that is not in the table below has none; libvirt writes ``(null)``;
* the capabilities mdev_types and vpd of a PCI function, and the feature switchdev of a network device, are not there;
* bytes of a name that are no UTF-8 are escaped (``\xff``), in the device's name too; libvirt's XML is then none. Characters
  that XML cannot carry are left out by both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from aiovirt.libvirtxml.nodedev_names import COMPUTER, bus_name, nodedev_name, nodedev_parent
from aiovirt.libvirtxml.tags import NO_XML, Tag, leaf, written
from aiovirt.model.details import DeviceDetails, PCIExpress, PCILink
from aiovirt.model.netdev import Netdev, OperState
from aiovirt.model.pci import PCIDevice

__all__ = ["nodedev_xml"]

_ADDRESS: Final = re.compile(r"([0-9a-f]+):([0-9a-f]+):([0-9a-f]+)\.([0-7])")
_LINK_SPEEDS: Final = {1: "2.5", 2: "5", 3: "8", 4: "16", 5: "32", 6: "64"}
"""PCI Express's numbers -> GT/s, as libvirt writes them."""
_BRIDGES: Final = {1: "pci-bridge", 2: "cardbus-bridge"}
_UINT: Final = 2**32
"""libvirt reads a link's speed into an unsigned int: where sysfs says -1 it writes 4294967295."""


def nodedev_xml(device: Netdev | PCIDevice, details: DeviceDetails, pci: Mapping[str, PCIDevice]) -> str:
    """``device`` as XML; ``pci`` are all PCI functions by address, for those that share its IOMMU group."""
    capability = _net(device, details) if isinstance(device, Netdev) else _pci(device, details, pci)
    driver = device.driver if isinstance(device, PCIDevice) else None
    content = (
        Tag("name", {}, nodedev_name(device)),
        *leaf("path", _carriable(details.path)),
        Tag("parent", {}, _parent(device, details)),
        *((Tag("driver", {}, (Tag("name", {}, _fit(driver)),)),) if driver is not None else ()),
        capability,
    )
    return written(Tag("device", {}, content))


def _parent(device: Netdev | PCIDevice, details: DeviceDetails) -> str:
    if details.parent is not None:
        return bus_name(details.parent)
    return nodedev_parent(device) if details.path is None else COMPUTER


def _fit(text: str) -> str:
    return NO_XML.sub("", text)


def _carriable(text: str | None) -> str | None:
    return None if text is None else _fit(text)


# -- network devices ---------------------------------------------------------------------------


def _net(device: Netdev, details: DeviceDetails) -> Tag:
    content = (
        Tag("interface", {}, _fit(device.name)),
        *leaf("address", _carriable(device.mac or None)),
        Tag("link", {"speed": _speed(device, details), "state": str(device.operstate)}),
        *(Tag("feature", {"name": name}) for name in details.features),
        Tag("capability", {"type": "80211" if details.wireless else "80203"}),
    )
    return Tag("capability", {"type": "net"}, content)


def _speed(device: Netdev, details: DeviceDetails) -> str | None:
    """None where libvirt writes none: for a link that is not up, or a speed of 0."""
    speed = device.speed if details.speed is None else details.speed
    return str(speed % _UINT) if speed and device.operstate is OperState.UP else None


# -- PCI functions -----------------------------------------------------------------------------


def _pci(device: PCIDevice, details: DeviceDetails, pci: Mapping[str, PCIDevice]) -> Tag:
    domain, bus, slot, function = _parts(device.address)
    content = (
        Tag("class", {}, f"0x{device.pci_class:06x}"),
        Tag("domain", {}, str(domain)),
        Tag("bus", {}, str(bus)),
        Tag("slot", {}, str(slot)),
        Tag("function", {}, str(function)),
        Tag("product", {"id": f"0x{device.device:04x}"}, _carriable(details.device_name) or ()),
        Tag("vendor", {"id": f"0x{device.vendor:04x}"}, _carriable(details.vendor_name) or ()),
        *_functions(device),
        *((Tag("capability", {"type": _BRIDGES[details.header_type]}),) if details.header_type in _BRIDGES else ()),
        *_group(device, pci),
        *((Tag("numa", {"node": str(device.numa_node)}),) if device.numa_node is not None else ()),
        *((_express(details.express),) if details.express is not None else ()),
    )
    return Tag("capability", {"type": "pci"}, content)


def _functions(device: PCIDevice) -> Iterable[Tag]:
    if device.physfn is not None:
        yield Tag("capability", {"type": "phys_function"}, (_address(device.physfn),))
    if device.vfs or device.sriov is not None:
        most = str(device.sriov.total) if device.sriov is not None and device.sriov.total else None
        yield Tag("capability", {"type": "virt_functions", "maxCount": most}, tuple(map(_address, filter(None, device.vfs))))


def _group(device: PCIDevice, pci: Mapping[str, PCIDevice]) -> Iterable[Tag]:
    if device.iommu_group is not None:
        others = (address for address, other in pci.items() if other.iommu_group == device.iommu_group)
        members = sorted({device.address, *others}, key=_parts)
        yield Tag("iommuGroup", {"number": str(device.iommu_group)}, tuple(map(_address, members)))


def _express(express: PCIExpress) -> Tag:
    links = (
        *((_link("cap", str(express.port), express.capable),) if express.capable is not None else ()),
        *((_link("sta", None, express.status),) if express.status is not None else ()),
    )
    return Tag("pci-express", {}, links)


def _link(validity: str, port: str | None, link: PCILink) -> Tag:
    return Tag("link", {"validity": validity, "port": port, "speed": _LINK_SPEEDS.get(link.speed), "width": str(link.width)})


def _address(address: str) -> Tag:
    domain, bus, slot, function = _parts(address)
    place = {"domain": f"0x{domain:04x}", "bus": f"0x{bus:02x}", "slot": f"0x{slot:02x}", "function": f"0x{function:x}"}
    return Tag("address", dict(place))


def _parts(address: str) -> tuple[int, int, int, int]:
    """An address's domain, bus, slot and function; zeros for what is no address."""
    found = _ADDRESS.fullmatch(address)
    domain, bus, slot, function = found.groups() if found else "0000"
    return int(domain, 16), int(bus, 16), int(slot, 16), int(function, 16)
