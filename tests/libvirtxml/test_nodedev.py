"""nodedev XML of values: what is said of which, and that it stays XML whatever a device is called."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from aiovirt.libvirtxml.nodedev import nodedev_xml
from aiovirt.libvirtxml.nodedev_names import bus_name, nodedev_name, nodedev_parent
from aiovirt.model.busdevice import BusDevice
from aiovirt.model.details import DeviceDetails, PCIExpress, PCILink
from aiovirt.model.netdev import Netdev, OperState
from aiovirt.model.pci import SRIOV, PCIDevice

PF, VF, OTHER = "0000:3b:00.0", "0000:3b:10.2", "0000:03:00.0"
NOTHING = DeviceDetails()
ETH0 = Netdev(ifindex=2, name="eth0", mac="52:54:00:12:34:56", operstate=OperState.UP)


def find(xml: str, path: str) -> list[str]:
    found = etree.fromstring(xml).xpath(path)
    assert isinstance(found, list)
    return [str(one) for one in found]


@pytest.mark.parametrize(
    ("device", "name"),
    [
        (ETH0, "net_eth0_52_54_00_12_34_56"),
        (Netdev(ifindex=2, name="we.i-rd@0", mac="00:00:00:00:00:00"), "net_we_i_rd_0_00_00_00_00_00_00"),
        (Netdev(ifindex=2, name="tun0"), "net_tun0"),
        (Netdev(ifindex=2, name="é"), "net___"),
        (PCIDevice(address="0000:00:03.0"), "pci_0000_00_03_0"),
        (PCIDevice(address="10000:e0:1f.7"), "pci_10000_e0_1f_7"),
    ],
)
def test_names_are_libvirts(device: Netdev | PCIDevice, name: str) -> None:
    assert nodedev_name(device) == name


@pytest.mark.parametrize(
    ("device", "parent"),
    [
        (ETH0, "computer"),
        (Netdev(ifindex=2, name="eth0", parent="virtio2", pci="0000:00:03.0"), "pci_0000_00_03_0"),
        (PCIDevice(address=PF), "computer"),
        (PCIDevice(address=PF, parent="0000:00:01.0"), "pci_0000_00_01_0"),
    ],
)
def test_parents_of_the_inventory(device: Netdev | PCIDevice, parent: str) -> None:
    assert nodedev_parent(device) == parent
    assert f"<parent>{parent}</parent>" in nodedev_xml(device, NOTHING, {})


def test_what_was_read_of_the_parent_comes_first() -> None:
    device = Netdev(ifindex=2, name="eth0", pci="0000:00:14.0")
    usb = DeviceDetails(path="/sys/devices/x", parent=BusDevice(bus="usb", name="1-1:1.0"))
    assert "<parent>usb_1_1_1_0</parent>" in nodedev_xml(device, usb, {})
    assert "<parent>computer</parent>" in nodedev_xml(device, DeviceDetails(path="/sys/devices/virtual/net/eth0"), {})
    assert bus_name(BusDevice(bus="usb", name="1-1:1.0")) == "usb_1_1_1_0"


@pytest.mark.parametrize(
    ("operstate", "known", "read", "said"),
    [
        (OperState.UP, None, 1000, ["1000"]),
        (OperState.UP, 1000, None, ["1000"]),
        (OperState.UP, None, -1, ["4294967295"]),
        (OperState.UP, None, 0, []),
        (OperState.UP, None, None, []),
        (OperState.DOWN, 1000, 1000, []),
    ],
)
def test_speed(operstate: OperState, known: int | None, read: int | None, said: list[str]) -> None:
    device = Netdev(ifindex=2, name="eth0", operstate=operstate, speed=known)
    xml = nodedev_xml(device, DeviceDetails(speed=read), {})
    assert find(xml, "//link/@speed") == said
    assert find(xml, "//link/@state") == [str(operstate)]


def test_a_whole_network_device() -> None:
    details = DeviceDetails(path="/sys/devices/virtual/net/eth0", features=("rx", "gro"), wireless=True, speed=10)
    assert nodedev_xml(ETH0, details, {}) == (
        "<device>\n"
        "  <name>net_eth0_52_54_00_12_34_56</name>\n"
        "  <path>/sys/devices/virtual/net/eth0</path>\n"
        "  <parent>computer</parent>\n"
        "  <capability type='net'>\n"
        "    <interface>eth0</interface>\n"
        "    <address>52:54:00:12:34:56</address>\n"
        "    <link speed='10' state='up'/>\n"
        "    <feature name='rx'/>\n"
        "    <feature name='gro'/>\n"
        "    <capability type='80211'/>\n"
        "  </capability>\n"
        "</device>\n"
    )


def test_virtual_functions_that_are_left_are_told_without_the_others() -> None:
    pf = PCIDevice(address=PF, sriov=SRIOV(total=7, current=4), vfs=(None, None, VF, OTHER))
    xml = nodedev_xml(pf, DeviceDetails(), {PF: pf})
    functions = xml.partition("virt_functions")[2].partition("</capability>")[0]
    assert functions.count("<address") == 2


def test_a_whole_physical_function() -> None:
    pf = PCIDevice(address=PF, pci_class=0x20000, vendor=0x8086, device=0x10C9, driver="igb", iommu_group=14, numa_node=1)
    pf = PCIDevice(**{name: getattr(pf, name) for name in pf.__struct_fields__} | {"sriov": SRIOV(total=7, current=1), "vfs": (VF,)})
    vf, other = PCIDevice(address=VF, iommu_group=14, physfn=PF), PCIDevice(address=OTHER, iommu_group=1)
    link = PCILink(speed=3, width=8)
    details = DeviceDetails(vendor_name="A & B", header_type=1, express=PCIExpress(port=3, capable=link, status=PCILink(speed=9, width=4)))
    xml = nodedev_xml(pf, details, {device.address: device for device in (vf, other, pf)})
    assert xml == (
        "<device>\n"
        "  <name>pci_0000_3b_00_0</name>\n"
        "  <parent>computer</parent>\n"
        "  <driver>\n"
        "    <name>igb</name>\n"
        "  </driver>\n"
        "  <capability type='pci'>\n"
        "    <class>0x020000</class>\n"
        "    <domain>0</domain>\n"
        "    <bus>59</bus>\n"
        "    <slot>0</slot>\n"
        "    <function>0</function>\n"
        "    <product id='0x10c9'/>\n"
        "    <vendor id='0x8086'>A &amp; B</vendor>\n"
        "    <capability type='virt_functions' maxCount='7'>\n"
        "      <address domain='0x0000' bus='0x3b' slot='0x10' function='0x2'/>\n"
        "    </capability>\n"
        "    <capability type='pci-bridge'/>\n"
        "    <iommuGroup number='14'>\n"
        "      <address domain='0x0000' bus='0x3b' slot='0x00' function='0x0'/>\n"
        "      <address domain='0x0000' bus='0x3b' slot='0x10' function='0x2'/>\n"
        "    </iommuGroup>\n"
        "    <numa node='1'/>\n"
        "    <pci-express>\n"
        "      <link validity='cap' port='3' speed='8' width='8'/>\n"
        "      <link validity='sta' width='4'/>\n"
        "    </pci-express>\n"
        "  </capability>\n"
        "</device>\n"
    )
    assert find(nodedev_xml(vf, NOTHING, {}), "//capability[@type='phys_function']/address/@bus") == ["0x3b"]


names = st.text(st.characters(codec="utf-8"), max_size=20)


@given(name=names, mac=names, path=names, parent=names)
def test_a_network_device_of_any_name_is_xml(name: str, mac: str, path: str, parent: str) -> None:
    details = DeviceDetails(path=path, parent=BusDevice(bus="pci", name=parent))
    xml = nodedev_xml(Netdev(ifindex=2, name=name, mac=mac), details, {})
    said = find(xml, "//interface/text()")
    assert said in ([name], []) or any(ord(letter) < 0x20 or ord(letter) > 0xD7FF for letter in name)


@given(address=names, driver=names, vendor=names, header=st.integers(0, 127), link=st.integers(0, 15))
def test_a_pci_function_of_any_name_is_xml(address: str, driver: str, vendor: str, header: int, link: int) -> None:
    express = PCIExpress(capable=PCILink(speed=link, width=link))
    details = DeviceDetails(vendor_name=vendor, device_name=vendor, header_type=header, express=express)
    device = PCIDevice(address=address, driver=driver, physfn=address, vfs=(address,), iommu_group=1)
    assert find(nodedev_xml(device, details, {address: device}), "/device/capability/domain/text()")
