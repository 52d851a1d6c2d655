"""A card that no emulator has, as umockdev makes it up in a process of its own (tests/real/umock_connectx.py)."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import msgspec
import pytest

from aiovirt.model.netdev import Netdev
from aiovirt.model.pci import SRIOV, PCIDevice
from aiovirt.system.sysfs import Attachment
from aiovirt.system.udev import UdevWord

PF, VF0, VF1 = (f"0000:03:00.{number}" for number in range(3))
BRIDGE = "0000:00:02.0"
PORT_IDS = ("f452140300a1b2c1", "f452140300a1b2c2")
Told = dict[str, Any]


@pytest.fixture(scope="module", params=["asyncio", "uvloop", "trio"])
def told(request: pytest.FixtureRequest) -> Told:
    command = ["umockdev-wrapper", sys.executable, "-m", "tests.real.umock_connectx", request.param]
    found: Told = msgspec.json.decode(subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=60).stdout)
    return found


def functions(told: Told) -> dict[str, PCIDevice]:
    return msgspec.convert(told["pci"], dict[str, PCIDevice])


def function(address: str, **values: Any) -> PCIDevice:  # noqa: ANN401
    plain = PCIDevice(address=address, pci_class=0x020000, vendor=0x15B3, subsystem_vendor=0x15B3, subsystem_device=0x55)
    return msgspec.structs.replace(plain, parent=BRIDGE, driver="mlx4_core", numa_node=0, **values)


CARD = {
    BRIDGE: msgspec.structs.replace(function(BRIDGE, pci_class=0x060400, device=0x1901), parent=None, driver=None, numa_node=None),
    PF: function(PF, device=0x1003, iommu_group=31, sriov=SRIOV(total=8, current=2), vfs=(VF0, VF1)),
    VF0: function(VF0, device=0x1004, iommu_group=32, physfn=PF, vf_index=0),
    VF1: function(VF1, device=0x1004, iommu_group=33, physfn=PF, vf_index=1),
}


def test_the_functions_of_the_card(told: Told) -> None:
    assert functions(told["whole"]) == CARD


def test_what_its_network_devices_hang_from(told: Told) -> None:
    assert msgspec.convert(told["whole"]["attachments"], dict[int, Attachment], strict=False) == {
        ifindex: Attachment(parent, "mlx4_core", parent, dev_port)
        for ifindex, parent, dev_port in [(10, PF, 0), (11, PF, 1), (12, VF0, 0), (13, VF0, 1), (14, VF1, 0), (15, VF1, 1)]
    }


def test_its_network_devices(told: Told) -> None:
    netdevs = msgspec.convert(told["whole"]["netdevs"], dict[str, Netdev])
    assert {device.name: (device.phys_port_id, device.pci, device.dev_port) for device in netdevs.values()} == {
        "ens3": (PORT_IDS[0], PF, 0),
        "ens3d1": (PORT_IDS[1], PF, 1),
        "ens3v0": (PORT_IDS[0], VF0, 0),
        "ens3d1v0": (PORT_IDS[1], VF0, 1),
        "ens3v1": (PORT_IDS[0], VF1, 0),
        "ens3d1v1": (PORT_IDS[1], VF1, 1),
    }
    assert (netdevs["10.1"].mac, netdevs["10.1"].mtu, netdevs["10.1"].is_up, netdevs["10.1"].carrier) == (
        "f4:52:14:a1:b2:0a",
        1500,
        True,
        True,
    )


FIRST = {"pf": "ens3", "netdevs": ["ens3", "ens3v0", "ens3v1"], "vfs": {VF0: ["ens3v0"], VF1: ["ens3v1"]}, "known_by": "phys_port_id"}
SECOND = {
    "pf": "ens3d1",
    "netdevs": ["ens3d1", "ens3d1v0", "ens3d1v1"],
    "vfs": {VF0: ["ens3d1v0"], VF1: ["ens3d1v1"]},
    "known_by": "phys_port_id",
}


def test_each_network_device_is_on_the_port_with_its_id(told: Told) -> None:
    assert told["whole"]["ports"] == {
        "ens3": {"port": FIRST, "pf": "NoSuchDevice"},
        "ens3d1": {"port": SECOND, "pf": "NoSuchDevice"},
        "ens3v0": {"port": FIRST, "pf": "ens3"},
        "ens3d1v0": {"port": SECOND, "pf": "ens3d1"},
        "ens3v1": {"port": FIRST, "pf": "ens3"},
        "ens3d1v1": {"port": SECOND, "pf": "ens3d1"},
    }
    assert told["by_id"] == {PORT_IDS[0]: FIRST, PORT_IDS[1]: SECOND}


def test_the_virtual_functions_of_the_card_have_network_devices_on_both_ports(told: Told) -> None:
    assert told["functions"] == {VF0: ["ens3v0", "ens3d1v0"], VF1: ["ens3v1", "ens3d1v1"]}


def test_a_virtual_function_that_is_passed_through_is_on_no_port(told: Told) -> None:
    passed = told["passed_through"]
    assert functions(passed) == CARD | {VF1: msgspec.structs.replace(CARD[VF1], driver="vfio-pci", driver_override="vfio-pci")}
    assert passed["functions"] == {VF0: ["ens3v0", "ens3d1v0"], VF1: []}
    assert {name: (found["port"]["pf"], found["port"]["vfs"]) for name, found in passed["ports"].items()} == {
        "ens3": ("ens3", {VF0: ["ens3v0"]}),
        "ens3v0": ("ens3", {VF0: ["ens3v0"]}),
        "ens3d1": ("ens3d1", {VF0: ["ens3d1v0"]}),
        "ens3d1v0": ("ens3d1", {VF0: ["ens3d1v0"]}),
    }


def test_udevs_words(told: Told) -> None:
    words = msgspec.convert(told["words"], list[UdevWord])
    assert [(word.action, word.subsystem, word.name, word.ifindex, word.properties) for word in words] == [
        ("remove", "net", "ens3v0", 12, {"ID_NET_DRIVER": "mlx4_en"}),
        ("add", "net", "ens3v0", 12, {"ID_NET_DRIVER": "mlx4_en"}),
        ("bind", "pci", VF0, None, {}),
    ]
    assert [word.seqnum for word in words] == sorted({word.seqnum for word in words})


def test_a_database_without_a_udevd_tells_nothing(told: Told) -> None:
    assert told["database"] == []


def test_udevs_own_form_is_not_the_kernels_word(told: Told) -> None:
    assert told["in_udevs_own_form"] is True
