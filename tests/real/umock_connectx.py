"""A made-up ConnectX-3 with two ports and two virtual functions, and what aiovirt reads of it, as JSON.

    umockdev-wrapper python -m tests.real.umock_connectx asyncio|uvloop|trio

The second virtual function is passed through: it is vfio-pci's, and has no network devices.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import anyio
import msgspec
from msgspec import structs

from aiovirt.errors import AmbiguousDevice, NoSuchDevice
from aiovirt.hostdev.links import ATTRIBUTES, reading_of_sysfs
from aiovirt.hostdev.ports import by_phys_port, netdev_pf, port, virtual_functions
from aiovirt.model.netdev import Netdev
from aiovirt.model.pci import PCIDevice
from aiovirt.model.ports import Port
from aiovirt.system import netlink, udev
from aiovirt.system.netlink import NetlinkSocket
from aiovirt.system.pci import PCIBus
from aiovirt.system.sysfs import Attachment, Sysfs
from aiovirt.system.udev import UdevMonitor, UdevWord
from aiovirt.wire import uevent
from tests.lab.umock import Bed

ROOT = "/devices/pci0000:00"
BRIDGE = f"{ROOT}/0000:00:02.0"
PF, VF0, VF1 = (f"{BRIDGE}/0000:03:00.{number}" for number in range(3))
NETDEVS = {  # ifindex -> name, function, dev_port
    10: ("ens3", PF, 0),
    11: ("ens3d1", PF, 1),
    12: ("ens3v0", VF0, 0),
    13: ("ens3d1v0", VF0, 1),
    14: ("ens3v1", VF1, 0),
    15: ("ens3d1v1", VF1, 1),
}
PORT_IDS = ("f452140300a1b2c1", "f452140300a1b2c2")
IDS = {
    "vendor": "0x15b3",
    "subsystem_vendor": "0x15b3",
    "subsystem_device": "0x0055",
    "revision": "0x00",
    "class": "0x020000",
    "numa_node": "0",
}
PCI = {"SUBSYSTEM": "pci"}


def build(bed: Bed) -> None:
    bed.add(BRIDGE, PCI, IDS | {"class": "0x060400", "device": "0x1901", "numa_node": "-1"}, {})
    vfs = {f"virtfn{index}": f"../{vf.rpartition('/')[2]}" for index, vf in enumerate((VF0, VF1))}
    bed.add(PF, PCI, IDS | {"device": "0x1003", "sriov_totalvfs": "8"}, hung("mlx4_core", 31) | vfs)
    add_vf(bed, VF0, "mlx4_core", 32)
    add_vf(bed, VF1, "mlx4_core", 33)
    for ifindex in NETDEVS:
        add_netdev(bed, ifindex)


def add_vf(bed: Bed, vf: str, driver: str, group: int, override: str = "(null)") -> None:
    bed.add(vf, PCI, IDS | {"device": "0x1004", "driver_override": override}, hung(driver, group) | {"physfn": "../0000:03:00.0"})


def hung(driver: str, group: int) -> dict[str, str]:
    up = "../../../.."
    return {"driver": f"{up}/bus/pci/drivers/{driver}", "iommu_group": f"{up}/kernel/iommu_groups/{group}"}


def add_netdev(bed: Bed, ifindex: int) -> None:
    name, function, number = NETDEVS[ifindex]
    bed.add(
        f"{function}/net/{name}",
        {"SUBSYSTEM": "net", "INTERFACE": name, "IFINDEX": str(ifindex), "ID_NET_DRIVER": "mlx4_en"},
        {
            "ifindex": str(ifindex),
            "iflink": str(ifindex),
            "address": f"f4:52:14:a1:b2:{ifindex:02x}",
            "mtu": "1500",
            "flags": "0x1003",
            "operstate": "up",
            "carrier": "1",
            "carrier_changes": "2",
            "dev_port": str(number),
            "phys_port_id": PORT_IDS[number],
        },
        {"device": f"../../../{function.rpartition('/')[2]}"},
    )


def pass_through(bed: Bed) -> None:
    """The second virtual function, as it is once vfio-pci has it."""
    for name, function, _ in NETDEVS.values():
        if function == VF1:
            bed.remove(f"{function}/net/{name}")
    bed.remove(VF1)
    add_vf(bed, VF1, "vfio-pci", 33, "vfio-pci")


# -- what is read of it ------------------------------------------------------------------------


@dataclass
class Inventory:
    """What :mod:`aiovirt.hostdev.ports` reads."""

    netdevs: dict[str, Netdev]
    pci: dict[str, PCIDevice]


async def read() -> tuple[Inventory, dict[int, Attachment]]:
    sysfs, bus = Sysfs(), PCIBus()
    addresses = await bus.addresses()
    functions, (overrides, _) = await bus.read(addresses), await bus.read_overrides(addresses)
    pci = {address: structs.replace(function, driver_override=overrides.get(address)) for address, function in functions.items()}
    names = await sysfs.indexes(await sysfs.names())
    attachments = await sysfs.read_attachments(names)
    netdevs: dict[str, Netdev] = {}
    for ifindex, name in names.items():
        hangs = attachments[ifindex]
        reading = reading_of_sysfs(ifindex, name, None, hangs.parent, await sysfs.read_netdev(name, ifindex, ATTRIBUTES))
        identity = f"{ifindex}.1"
        netdevs[identity] = structs.replace(reading, id=identity, driver=hangs.driver, pci=hangs.pci, dev_port=hangs.dev_port)
    return Inventory(netdevs, pci), attachments


def ports_of(inventory: Inventory) -> dict[str, object]:
    """Each network device's port, and its PF's network device; the name of the error where there is none."""
    found: dict[str, object] = {}
    for device in inventory.netdevs.values():
        found[device.name] = {"port": summary(port(inventory, device)), "pf": pf_of(inventory, device)}
    return found


def summary(port: Port) -> dict[str, object]:
    return {
        "pf": port.pf.name if port.pf else None,
        "netdevs": sorted(device.name for device in port.netdevs),
        "vfs": {vf.pci.address: sorted(device.name for device in vf.netdevs) for vf in port.vfs},
        "known_by": str(port.known_by),
    }


def pf_of(inventory: Inventory, device: Netdev) -> str:
    try:
        return netdev_pf(inventory, device).name
    except (NoSuchDevice, AmbiguousDevice) as error:
        return type(error).__name__


async def hear(bed: Bed) -> tuple[list[UdevWord], bool]:
    """udev's words about a network device that goes and comes; and whether they reach those who listen to the kernel."""
    words: list[UdevWord] = []
    heard: list[bytes] = []
    enough = anyio.Event()
    async with (
        UdevMonitor(receive_buffer=1 << 20) as monitor,
        NetlinkSocket(netlink.KOBJECT_UEVENT, netlink.UEVENT_KERNEL) as kernel,
        anyio.create_task_group() as tasks,
    ):

        def readable() -> None:
            while (word := monitor.receive_nowait()) is not None:
                words.append(structs.replace(word, properties=dict(word.properties)))
            if len(words) == 3:
                enough.set()

        tasks.start_soon(monitor.run, readable)
        gone = f"{VF0}/net/ens3v0"
        bed.uevent(gone, "remove")
        bed.remove(gone)
        add_netdev(bed, 12)
        bed.uevent(VF0, "bind")
        with anyio.fail_after(60):
            await enough.wait()
        tasks.cancel_scope.cancel()
        heard.extend([datagram] if (datagram := kernel.receive_nowait()) else [])
    return words, [uevent.parse(datagram) for datagram in heard] == [None]


async def main() -> None:
    udev._udevd_listens = lambda: True  # udevd is made up, too
    with Bed() as bed:
        build(bed)
        inventory, attachments = await read()
        words, in_udevs_own_form = await hear(bed)
        whole = {"pci": inventory.pci, "netdevs": inventory.netdevs, "attachments": attachments, "ports": ports_of(inventory)}
        by_function = {vf.pci.address: [device.name for device in vf.netdevs] for vf in virtual_functions(inventory, "0000:03:00.0")}
        by_id = {phys_port_id: summary(by_phys_port(inventory, phys_port_id, None)) for phys_port_id in PORT_IDS}
        database = await udev.read_database()
        pass_through(bed)
        passed, _ = await read()
        after = {"pci": passed.pci, "netdevs": passed.netdevs, "ports": ports_of(passed)}
        after |= {"functions": {vf.pci.address: [device.name for device in vf.netdevs] for vf in virtual_functions(passed, "0000:03:00.0")}}
    told = {"whole": whole, "functions": by_function, "by_id": by_id, "words": words, "database": database, "passed_through": after}
    print(msgspec.json.encode(told | {"in_udevs_own_form": in_udevs_own_form}).decode())


if __name__ == "__main__":
    backend = sys.argv[1]
    anyio.run(main, backend="trio" if backend == "trio" else "asyncio", backend_options={"use_uvloop": True} if backend == "uvloop" else {})
