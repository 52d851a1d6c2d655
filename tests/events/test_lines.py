"""Every event's line for people."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from aiovirt.events import (
    BusDevice,
    DeviceInitialized,
    DomainQMP,
    DomainReboot,
    DriverBound,
    DriverUnbound,
    Event,
    HostStarted,
    JournalDegraded,
    MonitorLost,
    NetdevAdded,
    NetdevChanged,
    NetdevLeft,
    NetdevRemoved,
    NetdevRenamed,
    PCIAdded,
    PCIChanged,
    PCIRemoved,
    SourceMissing,
    SourceResynced,
)
from aiovirt.model.netdev import VF, OperState, Unreadable
from aiovirt.model.pci import SRIOV, PCIDevice
from tests.events import samples
from tests.events.samples import netdev, started

FUNCTION = PCIDevice(address="0000:3b:00.0", pci_class=0x020000, vendor=0x8086, device=0x10C9, sriov=SRIOV(total=7, current=0))


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (started(0), "d0  started  booted"),
        (DomainReboot(uuid=samples.UUIDS[0], name="d0", by_guest=True), "d0  reboot  by the guest"),
        (MonitorLost(uuid=samples.UUIDS[0], name="d0", why="end of file"), "d0  monitor lost  end of file"),
        (MonitorLost(uuid=samples.UUIDS[0], name="d0", why="held", degraded=True), "d0  monitor degraded  held"),
        (
            NetdevAdded(device=netdev(1, mac="52:54:00:00:00:01", mtu=1500, operstate=OperState.UP, phys_port_id="c0ffee")),
            "eth1  added  mac 52:54:00:00:00:01  mtu 1500  operstate up  phys_port_id c0ffee",
        ),
        (NetdevAdded(device=netdev(1)), "eth1  added  mtu 0  operstate unknown  phys_port_id unsupported"),
        (NetdevRenamed(old=netdev(1), new=netdev(1, name="lan0")), "lan0  renamed  from eth1"),
        (NetdevChanged(old=netdev(1), new=netdev(1, mtu=9000)), "eth1  changed  mtu 0 -> 9000"),
        (NetdevChanged(old=netdev(1), new=netdev(1, flags=0x41)), "eth1  changed  flags +up +running"),
        (
            NetdevChanged(old=netdev(1), new=netdev(1, phys_port_id=Unreadable("EIO"))),
            "eth1  changed  phys_port_id unsupported -> unreadable (EIO)",
        ),
        (SourceResynced(source="rtnetlink", reason="ENOBUFS"), "rtnetlink  resynced  ENOBUFS"),
        (NetdevRemoved(device=netdev(1), missed=True), "eth1  removed  (missed)"),
        (NetdevLeft(device=netdev(1), nsid=3), "eth1  left  for another network namespace"),
        (DriverBound(device=BusDevice(bus="pci", name="0000:3b:00.0", driver="vfio-pci")), "0000:3b:00.0  bound  pci driver vfio-pci"),
        (DriverUnbound(device=BusDevice(bus="pci", name="0000:3b:00.0"), before="igb"), "0000:3b:00.0  unbound  pci driver igb"),
        (PCIAdded(device=FUNCTION), "0000:3b:00.0  added  class 020000  id 8086:10c9  sriov 0 of 7"),
        (PCIRemoved(device=FUNCTION), "0000:3b:00.0  removed"),
        (
            PCIChanged(old=FUNCTION, new=replace(FUNCTION, sriov=SRIOV(total=7, current=1), vfs=("0000:3b:10.0",))),
            "0000:3b:00.0  changed  sriov 0 of 7 -> 1 of 7  vfs none -> 0000:3b:10.0",
        ),
        (
            NetdevChanged(old=netdev(1), new=netdev(1, vfs=(VF(index=0, mac="02:00:00:00:00:01", vlan=7, trust=True),))),
            "eth1  changed  vfs none -> vf 0 (mac 02:00:00:00:00:01 vlan 7 vlan_qos 0 vlan_proto 802.1Q trust on)",
        ),
        (
            DeviceInitialized(netdev=netdev(1, initialized=True), properties={"ID_PATH": "pci-0000:3b:00.0"}),
            "eth1  initialized  ID_PATH pci-0000:3b:00.0",
        ),
        (SourceMissing(source="udev", why="no udevd runs here"), "udev  missing  no udevd runs here"),
        (DriverUnbound(device=BusDevice(bus="usb", name="1-1")), "1-1  unbound  usb device"),
        (
            DomainQMP.made(uuid=samples.UUIDS[0], name="d0", event="WATCHDOG", data={"action": "pause\x1b[2J\nd1"}),
            r"d0  qmp  WATCHDOG action=pause\x1b[2J\nd1",
        ),
        (HostStarted(uri="qemu:///session"), "host  started  qemu:///session"),
        (
            HostStarted(uri="qemu:///session", clean=False, down_for=12_400_000_000, cut=7),
            "host  started  qemu:///session  after an engine that was cut off, 12 s ago, 7 damaged bytes of its journal dropped",
        ),
        (JournalDegraded(why="no space left"), "host  degraded  the journal is kept in memory only: no space left"),
    ],
)
def test_a_line_says_whom_what_and_how(event: Event, words: str) -> None:
    time, _, rest = str(event).partition("  ")
    assert len(time) == len("14:03:12.345")
    assert rest == words
