"""Events to publish in tests, and strategies for them."""

from __future__ import annotations

from uuid import UUID

from hypothesis import strategies as st
from msgspec.structs import replace

from aiovirt.events import (
    BusDevice,
    ClockJumped,
    Detail,
    DeviceInitialized,
    DomainChanged,
    DomainLifecycle,
    DomainQMP,
    DomainReboot,
    DriverBound,
    DriverUnbound,
    Event,
    HostStarted,
    JournalDegraded,
    JournalRestored,
    Lifecycle,
    MonitorLost,
    MonitorResumed,
    MonitorStalled,
    NetdevAdded,
    NetdevChanged,
    NetdevLeft,
    NetdevRemoved,
    NetdevRenamed,
    NetdevReturned,
    PCIAdded,
    PCIChanged,
    PCIRemoved,
    SourceMissing,
    SourceResynced,
    WatcherLost,
)
from aiovirt.model.machine import Job, Machine
from aiovirt.model.netdev import VF, Duplex, Netdev, OperState, Unreadable, VFLinkState
from aiovirt.model.pci import SRIOV, PCIDevice
from aiovirt.model.state import DomainState, Reason

HOST = UUID("00000000-0000-4000-8000-000000000001")
UUIDS = [UUID(int=number + 1) for number in range(3)]


def netdev(number: int = 1, **attributes: object) -> Netdev:
    device = Netdev(id=f"{number}.1", ifindex=number, name=f"eth{number}")
    return replace(device, **attributes)


def started(number: int = 0) -> DomainLifecycle:
    return lifecycle(number, Lifecycle.STARTED, Detail.BOOTED, DomainState.RUNNING, Reason.BOOTED)


def lifecycle(
    number: int, kind: Lifecycle, detail: Detail, state: DomainState, reason: Reason, *, persistent: bool = True
) -> DomainLifecycle:
    return DomainLifecycle(
        uuid=UUIDS[number],
        name=f"d{number}",
        kind=kind,
        detail=detail,
        state=state,
        reason=reason,
        id=number + 1 if state.is_active else None,
        persistent=persistent,
    )


text = st.text(max_size=20)
phys = st.none() | st.text("0123456789abcdef", min_size=1, max_size=64) | st.builds(Unreadable, st.sampled_from(["EIO", "ENODEV"]))
strings = st.dictionaries(text, text, max_size=3)
vfs = st.builds(
    VF,
    index=st.integers(0, 255),
    mac=text,
    vlan=st.integers(0, 4094),
    trust=st.none() | st.booleans(),
    link_state=st.none() | st.sampled_from(VFLinkState),
    max_tx_rate=st.none() | st.integers(0, 2**32 - 1),
)
netdevs = st.builds(
    Netdev,
    id=st.from_regex(r"[1-9][0-9]{0,4}\.[1-9]", fullmatch=True),
    ifindex=st.integers(1, 2**31 - 1),
    name=text,
    mac=text,
    mtu=st.integers(0, 2**32 - 1),
    flags=st.integers(0, 2**32 - 1),
    operstate=st.sampled_from(OperState),
    carrier=st.none() | st.booleans(),
    kind=st.none() | text,
    master=st.none() | st.integers(1, 2**31 - 1),
    parent=st.none() | text,
    driver=st.none() | text,
    phys_port_id=phys,
    phys_port_name=phys,
    phys_switch_id=phys,
    netns=st.integers(0, 2**32 - 1),
    altnames=st.lists(text, max_size=3).map(tuple),
    perm_mac=st.none() | text,
    carrier_changes=st.integers(0, 2**32 - 1),
    speed=st.none() | st.integers(0, 2**32 - 2),
    duplex=st.none() | st.sampled_from(Duplex),
    link=st.none() | st.integers(1, 2**31 - 1),
    pci=st.none() | text,
    dev_port=st.integers(0, 65535),
    vfs=st.lists(vfs, max_size=2).map(tuple),
    initialized=st.none() | st.booleans(),
    properties=strings,
)
functions = st.builds(
    PCIDevice,
    address=st.from_regex(r"[0-9a-f]{4}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]", fullmatch=True),
    parent=st.none() | text,
    pci_class=st.integers(0, 0xFFFFFF),
    vendor=st.integers(0, 0xFFFF),
    driver=st.none() | text,
    driver_override=st.none() | text,
    iommu_group=st.none() | st.integers(0, 2**31),
    numa_node=st.none() | st.integers(0, 1023),
    sriov=st.none() | st.builds(SRIOV, total=st.integers(1, 256), current=st.integers(0, 256)),
    vfs=st.lists(text, max_size=3).map(tuple),
    physfn=st.none() | text,
    vf_index=st.none() | st.integers(0, 255),
)
machines = st.builds(
    Machine,
    balloon=st.none() | st.integers(0, 2**62),
    vcpus=st.integers(0, 4096),
    devices=st.lists(text, max_size=3).map(tuple),
    jobs=st.lists(st.builds(Job, id=text, type=text, status=text, error=st.none() | text), max_size=2).map(tuple),
)
bus_devices = st.builds(BusDevice, bus=text, name=text, driver=st.none() | text)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=5,
)
domains = {"uuid": st.uuids(), "name": text}
common = {
    "cursor": st.from_regex(r"[0-9A-HJKMNP-TV-Z]{26}:[0-9]{16}", fullmatch=True).filter(str.isascii),
    "time": st.integers(0, 2**62),
    "host": st.uuids(),
    "source_time": st.none() | st.integers(0, 2**62),
    "cause": st.none() | st.text(min_size=1, max_size=20),
    "missed": st.booleans(),
}
BUILDERS: dict[type[Event], st.SearchStrategy[Event]] = {
    DomainLifecycle: st.builds(
        DomainLifecycle,
        kind=st.sampled_from(Lifecycle),
        detail=st.sampled_from(Detail),
        state=st.sampled_from(DomainState),
        reason=st.sampled_from(Reason),
        id=st.none() | st.integers(1, 2**31),
        persistent=st.booleans(),
        **domains,
        **common,
    ),
    DomainChanged: st.builds(DomainChanged, old=st.none() | machines, new=machines, **domains, **common),
    DomainReboot: st.builds(DomainReboot, by_guest=st.booleans(), **domains, **common),
    DomainQMP: st.builds(
        DomainQMP.made, event=text, data=st.dictionaries(text, json_values, max_size=3), omitted=st.integers(0, 2**31), **domains, **common
    ),
    MonitorLost: st.builds(MonitorLost, why=text, degraded=st.booleans(), **domains, **common),
    MonitorStalled: st.builds(MonitorStalled, why=text, **domains, **common),
    MonitorResumed: st.builds(MonitorResumed, why=text, **domains, **common),
    NetdevAdded: st.builds(NetdevAdded, device=netdevs, **common),
    NetdevRemoved: st.builds(NetdevRemoved, device=netdevs, **common),
    NetdevRenamed: st.builds(NetdevRenamed, old=netdevs, new=netdevs, **common),
    NetdevChanged: st.builds(NetdevChanged, old=netdevs, new=netdevs, **common),
    NetdevLeft: st.builds(
        NetdevLeft, device=netdevs, nsid=st.none() | st.integers(0, 2**31 - 1), new_ifindex=st.none() | st.integers(1, 2**31 - 1), **common
    ),
    NetdevReturned: st.builds(NetdevReturned, device=netdevs, **common),
    DriverBound: st.builds(DriverBound, device=bus_devices, before=st.none() | text, **common),
    DriverUnbound: st.builds(DriverUnbound, device=bus_devices, before=st.none() | text, **common),
    DeviceInitialized: st.builds(DeviceInitialized, netdev=netdevs, properties=strings, **common)
    | st.builds(DeviceInitialized, bus_device=bus_devices, properties=strings, **common),
    PCIAdded: st.builds(PCIAdded, device=functions, **common),
    PCIRemoved: st.builds(PCIRemoved, device=functions, **common),
    PCIChanged: st.builds(PCIChanged, old=functions, new=functions, **common),
    SourceMissing: st.builds(SourceMissing, source=text, why=text, **common),
    HostStarted: st.builds(
        HostStarted,
        uri=text,
        boot_id=text,
        previous_cursor=st.none() | text,
        clean=st.none() | st.booleans(),
        down_for=st.none() | st.integers(0, 2**62),
        cut=st.integers(0, 2**31),
        resumed=st.booleans(),
        **common,
    ),
    JournalDegraded: st.builds(JournalDegraded, why=text, **common),
    JournalRestored: st.builds(JournalRestored, **common),
    ClockJumped: st.builds(ClockJumped, by=st.integers(-(2**62), 2**62), **common),
    WatcherLost: st.builds(WatcherLost, source=text, why=text, **common),
    SourceResynced: st.builds(SourceResynced, source=text, reason=text, lost=st.none() | st.integers(0, 2**31), **common),
}
covered = frozenset(BUILDERS)
any_event: st.SearchStrategy[Event] = st.one_of(*BUILDERS.values())
