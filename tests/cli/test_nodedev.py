"""The verbs about devices, over ``test:///default`` and a card that is added to it."""

from __future__ import annotations

import io
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import pytest
from msgspec.structs import replace

import aiovirt
from aiovirt.cli import nodedevs
from aiovirt.cli.nodedevs import tree_lines
from aiovirt.cli.output import Output
from aiovirt.cli.parser import parse
from aiovirt.errors import AmbiguousDevice, NoSuchDevice
from aiovirt.events import BusDevice, DriverBound, Event, NetdevAdded, NetdevChanged, NetdevLeft, NetdevRemoved, NetdevRenamed, decode
from aiovirt.events.types import PCIAdded, PCIChanged, PCIRemoved
from aiovirt.model.netdev import Netdev, OperState
from aiovirt.model.pci import SRIOV, PCIDevice
from aiovirt.model.ports import KnownBy, Port, ScalableFunction, VirtualFunction
from aiovirt.testing import control
from tests.support.command import run

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

BRIDGE = PCIDevice(address="0000:3a:00.0", pci_class=0x060400)
PF = PCIDevice(
    address="0000:3b:00.0", parent=BRIDGE.address, driver="igb", sriov=SRIOV(total=7, current=2), vfs=("0000:3b:10.0", "0000:3b:10.2")
)
VFS = tuple(
    PCIDevice(address=address or "", parent=BRIDGE.address, physfn=PF.address, vf_index=index) for index, address in enumerate(PF.vfs)
)

ETH = Netdev(id="9.1", ifindex=9, name="eth9", mac="52:54:00:00:00:09", operstate=OperState.UP, pci=PF.address, phys_port_id="c0ffee")
ETHV0 = Netdev(id="10.1", ifindex=10, name="eth9v0", mac="52:54:00:00:00:0a", pci=VFS[0].address, phys_port_id="c0ffee")
CARD: list[Event] = [PCIAdded(device=device) for device in (BRIDGE, PF, *VFS)]
CARD += [NetdevAdded(device=ETH), NetdevAdded(device=ETHV0)]


def publish(host: aiovirt.Host, event: Event) -> Event:
    """Published is a copy: an event is numbered only once."""
    return host.engine.bus.publish(replace(event))


@pytest.fixture
async def host() -> AsyncIterator[aiovirt.Host]:
    """One with what its own inventory has taken away, and the card."""
    async with aiovirt.connect("test:///default") as connected:
        for device in connected.devices.netdevs():
            publish(connected, NetdevRemoved(device=device))
        for function in connected.devices.pci():
            publish(connected, PCIRemoved(device=function))
        for event in CARD:
            publish(connected, event)
        yield connected


async def said(host: aiovirt.Host, *arguments: str) -> str:
    """What the verb prints."""
    args = parse(arguments)
    stream = io.StringIO()
    await args.verb.run(host, args, Output(json=args.json, stream=stream))
    return stream.getvalue()


NET = ["net_eth9_52_54_00_00_00_09", "net_eth9v0_52_54_00_00_00_0a"]
PCI = ["pci_0000_3a_00_0", "pci_0000_3b_00_0", "pci_0000_3b_10_0", "pci_0000_3b_10_2"]


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ([], ["computer", *NET, *PCI]),
        (["--cap", "net"], NET),
        (["--cap", "pci"], PCI),
        (["--cap", "system"], ["computer"]),
        (["--cap", "pci,system"], ["computer", *PCI]),
        (["--cap", "usb,mdev"], []),
    ],
)
async def test_names_are_listed_in_virshs_order(host: aiovirt.Host, arguments: list[str], names: list[str]) -> None:
    assert (await said(host, "nodedev-list", *arguments)).split("\n") == [*names, "", ""]
    objects = [json.loads(line) for line in (await said(host, "nodedev-list", "--json", *arguments)).splitlines()]
    assert [one["nodedev"] for one in objects] == names


async def test_the_tree_is_drawn_as_virsh_does(host: aiovirt.Host) -> None:
    assert (await said(host, "nodedev-list", "--tree")).split("\n") == [
        "computer",
        "  |",
        "  +- pci_0000_3a_00_0",
        "      |",
        "      +- pci_0000_3b_00_0",
        "      |   |",
        "      |   +- net_eth9_52_54_00_00_00_09",
        "      |     ",
        "      +- pci_0000_3b_10_0",
        "      |   |",
        "      |   +- net_eth9v0_52_54_00_00_00_0a",
        "      |     ",
        "      +- pci_0000_3b_10_2",
        "        ",
        "",
        "",
    ]


async def test_what_leads_nowhere_hangs_from_the_root() -> None:
    assert list(tree_lines({"b": "gone", "A": "root"}, "root")) == ["root", "  |", "  +- A", "  +- b", "    "]
    assert list(tree_lines({}, "root")) == ["root", ""]


async def test_objects_have_all_that_the_devices_have(host: aiovirt.Host) -> None:
    computer, eth, *_, pf, _, _ = (json.loads(line) for line in (await said(host, "nodedev-list", "--json")).splitlines())
    assert computer == {"capability": "system", "nodedev": "computer", "nodedev_parent": None}
    assert eth.keys() == {*Netdev.__struct_fields__, "capability", "nodedev", "nodedev_parent"}
    assert pf.keys() == {*PCIDevice.__struct_fields__, "capability", "nodedev", "nodedev_parent"}
    assert (eth["capability"], eth["name"], eth["nodedev_parent"]) == ("net", "eth9", PCI[1])
    assert (pf["capability"], pf["sriov"], pf["nodedev_parent"]) == ("pci", {"total": 7, "current": 2}, PCI[0])


async def test_details_are_a_table_of_the_network_devices(host: aiovirt.Host) -> None:
    for cap in ([], ["--cap", "net"]):
        header, _, first, second, *rest = (await said(host, "nodedev-list", "--details", *cap)).splitlines()
        assert header.split() == ["Name", "MAC", "MTU", "State", "phys_port_id", "Parent", "Driver"]
        assert first.split() == ["eth9", "52:54:00:00:00:09", "0", "up", "c0ffee", "-", "-"]
        assert (second.split()[0], rest) == ("eth9v0", [""])
        objects = [json.loads(line) for line in (await said(host, "nodedev-list", "--details", "--json", *cap)).splitlines()]
        assert [one["name"] for one in objects] == ["eth9", "eth9v0"]


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("computer", ["computer", "", "yes", "yes", "yes"]),
        ("eth9", [NET[0], PCI[1], "yes", "no", "no"]),
        (NET[0], [NET[0], PCI[1], "yes", "no", "no"]),
        (PF.address, [PCI[1], PCI[0], "yes", "no", "no"]),
        (PCI[0], [PCI[0], "computer", "yes", "no", "no"]),
    ],
)
async def test_info_is_virshs(host: aiovirt.Host, name: str, fields: list[str]) -> None:
    labels = ["Name:           ", "Parent:         ", "Active:         ", "Persistent:     ", "Autostart:      "]
    assert (await said(host, "nodedev-info", name)).split("\n") == [*map("".join, zip(labels, fields, strict=True)), "", ""]
    assert json.loads(await said(host, "nodedev-info", name, "--json"))["nodedev"] == fields[0]


async def test_one_name_of_libvirts_for_two_devices_is_ambiguous(host: aiovirt.Host) -> None:
    for number, name in enumerate(("a.b", "a-b"), 20):
        publish(host, NetdevAdded(device=replace(ETH, id=f"{number}.1", ifindex=number, name=name)))
    with pytest.raises(AmbiguousDevice) as raised:
        await said(host, "nodedev-info", "net_a_b_52_54_00_00_00_09")
    assert raised.value.candidates == ("netdev/20.1", "netdev/21.1")


@pytest.mark.parametrize("device", ["ens1f0", "net_ens1f0_52_54_00_00_00_00"])
def test_dumpxml(capsys: pytest.CaptureFixture[str], device: str) -> None:
    status, out, _ = run(capsys, "nodedev-dumpxml", device)
    assert (status, out.startswith("<device>\n  <name>net_ens1f0_52_54_00_00_00_00</name>\n")) == (0, True)
    assert out.endswith("</device>\n\n")
    one = json.loads(run(capsys, "nodedev-dumpxml", device, "--json")[1])
    assert one["xml"] == out[:-1]
    assert one["name"] == "ens1f0"


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["nodedev-info", "nope"], 4, "error: no node device with matching name 'nope'"),
        (["nodedev-dumpxml", "nope"], 4, "error: no node device with matching name 'nope'"),
        (["nodedev-dumpxml", "computer"], 1, "error: computer is the host itself"),
        (["nodedev-event", "--device", "nope"], 4, "error: no node device with matching name 'nope'"),
        (["nodedev-list", "--tree", "--cap", "net"], 1, "error: Options --tree and --ports are incompatible with --cap"),
        (["nodedev-list", "--ports", "--cap", "net"], 1, "error: Options --tree and --ports are incompatible with --cap"),
        (["nodedev-list", "--details", "--cap", "pci"], 1, "error: --details is of network devices: --cap net"),
    ],
)
def test_what_goes_wrong(capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, words: str) -> None:
    got, out, err = run(capsys, *arguments)
    assert (got, out, err.startswith(words)) == (status, "", True)


@pytest.mark.parametrize(
    "arguments", [["nodedev-list", "--cap", "net,nope"], ["nodedev-list", "--cap", ""], ["nodedev-event", "--event", "x"]]
)
def test_bad_usage_names_what_there_is(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    with pytest.raises(SystemExit):
        run(capsys, *arguments)
    assert "lifecycle" in (err := capsys.readouterr().err) or "usb_device" in err


# -- ports -------------------------------------------------------------------------------------


async def test_ports_are_drawn(host: aiovirt.Host, monkeypatch: pytest.MonkeyPatch) -> None:
    rep = Netdev(id="11.1", ifindex=11, name="rep\x1b0", pci=PF.address)
    lone = Netdev(id="12.1", ifindex=12, name="lone", pci="0000:04:00.0", dev_port=1)
    lost = Netdev(id="13.1", ifindex=13, name="lost", pci=PF.address)
    free = Netdev(id="14.1", ifindex=14, name="free")
    for device in (rep, lone, lost, free):
        publish(host, NetdevAdded(device=device))
    vfs = (
        VirtualFunction(index=0, pci=VFS[0], netdevs=(ETHV0,), known_by=KnownBy.PHYS_PORT_ID),
        VirtualFunction(index=1, pci=replace(VFS[1], driver="vfio-pci")),
    )
    sf = Netdev(id="15.1", ifindex=15, name="sf\x1b4", pci=PF.address, parent="mlx5_core.sf.4")
    sfs = (ScalableFunction(name="mlx5_core.sf.4", netdevs=(sf,), known_by=KnownBy.ONLY_NETDEV),)
    known = {9: KnownBy.PHYS_PORT_ID, 10: KnownBy.PHYS_PORT_ID, 11: KnownBy.PHYS_PORT_NAME}

    def port(nic: Netdev) -> Port:
        if nic.ifindex in known:
            return Port(netdevs=(ETH, ETHV0, rep, sf), pf=ETH, vfs=vfs, representors=(rep,), known_by=known[nic.ifindex], sfs=sfs)
        if nic.name == "lone":
            return Port(netdevs=(lone,), pf=None, vfs=(), representors=(), known_by=KnownBy.DEV_PORT)
        if nic.name == "lost":
            raise AmbiguousDevice("nothing tells")
        raise NoSuchDevice("on no card")

    monkeypatch.setattr(host.devices, "port", port)
    assert (await said(host, "nodedev-list", "--ports")).split("\n") == [
        "port c0ffee",
        "  |",
        "  +- eth9  PF  0000:3b:00.0  (known by phys_port_id)",
        "  |   |",
        "  |   +- VF 0  0000:3b:10.0  eth9v0  (known by phys_port_id)",
        "  |   +- VF 1  0000:3b:10.2  vfio-pci  (unknown)",
        "  |   +- SF mlx5_core.sf.4  sf\\x1b4  (known by only_netdev)",
        "  |     ",
        "  +- rep\\x1b0  representor  0000:3b:00.0  (known by phys_port_name)",
        "    ",
        "port 0000:04:00.0 port 1",
        "  |",
        "  +- lone  0000:04:00.0  (known by dev_port)",
        "    ",
        "lost: nothing tells",
        "",
    ]
    first, second, third = (json.loads(line) for line in (await said(host, "nodedev-list", "--ports", "--json")).splitlines())
    assert first["vfs"] == [
        {"index": 0, "pci": "0000:3b:10.0", "netdevs": ["eth9v0"], "known_by": "phys_port_id"},
        {"index": 1, "pci": "0000:3b:10.2", "netdevs": [], "known_by": None},
    ]
    assert (first["port"], first["pf"], first["representors"]) == ("c0ffee", "eth9", ["rep\x1b0"])
    assert [(one["name"], one["known_by"]) for one in first["netdevs"]] == [
        ("eth9", "phys_port_id"),
        ("eth9v0", "phys_port_id"),
        ("rep\x1b0", "phys_port_name"),
        ("sf\x1b4", None),
    ]
    assert first["sfs"] == [{"name": "mlx5_core.sf.4", "netdevs": ["sf\x1b4"], "known_by": "only_netdev"}]
    assert (second["pf"], third) == (None, {"port": None, "netdevs": ["lost"], "why": "nothing tells"})


# -- events ------------------------------------------------------------------------------------

RENAMED = replace(ETH, name="lan0")
EVENTS: list[tuple[Event, list[str]]] = [
    (NetdevAdded(device=ETH), ["event 'lifecycle' for node device net_eth9_52_54_00_00_00_09: Created"]),
    (NetdevRemoved(device=ETH), ["event 'lifecycle' for node device net_eth9_52_54_00_00_00_09: Deleted"]),
    (NetdevLeft(device=ETH), ["event 'lifecycle' for node device net_eth9_52_54_00_00_00_09: Deleted"]),
    (
        NetdevRenamed(old=ETH, new=RENAMED),
        [
            "event 'lifecycle' for node device net_eth9_52_54_00_00_00_09: Deleted",
            "event 'lifecycle' for node device net_lan0_52_54_00_00_00_09: Created",
        ],
    ),
    (NetdevChanged(old=ETH, new=replace(ETH, mtu=9000)), ["event 'update' for node device net_eth9_52_54_00_00_00_09"]),
    (
        NetdevChanged(old=ETH, new=replace(ETH, mac="52:54:00:00:00:ff")),
        [
            "event 'lifecycle' for node device net_eth9_52_54_00_00_00_09: Deleted",
            "event 'lifecycle' for node device net_eth9_52_54_00_00_00_ff: Created",
        ],
    ),
    (PCIAdded(device=PF), ["event 'lifecycle' for node device pci_0000_3b_00_0: Created"]),
    (PCIRemoved(device=PF), ["event 'lifecycle' for node device pci_0000_3b_00_0: Deleted"]),
    (PCIChanged(old=PF, new=replace(PF, vfs=())), ["event 'update' for node device pci_0000_3b_00_0"]),
    (DriverBound(device=BusDevice(bus="pci", name=PF.address, driver="igb")), ["event 'update' for node device pci_0000_3b_00_0"]),
    (DriverBound(device=BusDevice(bus="virtio", name="virtio0", driver="x")), []),
]


@asynccontextmanager
async def following(host: aiovirt.Host, *arguments: str) -> AsyncIterator[Callable[[], list[str]]]:
    """nodedev-event at work, and a call that takes all lines printed so far."""
    args = parse(["nodedev-event", *arguments])
    stream = io.StringIO()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(nodedevs.follow, host, args, Output(json=args.json, stream=stream))
        await anyio.wait_all_tasks_blocked()
        yield lambda: stream.getvalue().splitlines()
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize(("event", "lines"), EVENTS, ids=[type(event).__name__ for event, _ in EVENTS])
async def test_events_are_virshs(host: aiovirt.Host, event: Event, lines: list[str]) -> None:
    for wanted in ("lifecycle", "update", None):
        async with following(host, "--loop", *(["--event", wanted] if wanted else ["--all"])) as shown:
            publish(host, event)
            await anyio.wait_all_tasks_blocked()
            assert shown() == [line for line in lines if wanted is None or f"'{wanted}'" in line]


async def test_events_as_json_are_whole(host: aiovirt.Host) -> None:
    async with following(host, "--loop", "--json", "--event", "lifecycle") as shown:
        publish(host, NetdevChanged(old=ETH, new=replace(ETH, mtu=9000)))
        published = publish(host, NetdevRenamed(old=ETH, new=RENAMED))
        await anyio.wait_all_tasks_blocked()
        assert [decode(line) for line in shown()] == [published]


async def test_the_first_event_is_enough_without_loop(host: aiovirt.Host) -> None:
    async with following(host, "--timestamp") as shown:
        publish(host, NetdevRenamed(old=ETH, new=RENAMED))
        await anyio.wait_all_tasks_blocked()
        first, *rest = shown()
    assert rest == ["events received: 1", ""]
    stamp, _, words = first.partition(": ")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}\+0000", stamp)
    assert words == "event 'lifecycle' for node device net_eth9_52_54_00_00_00_09: Deleted"


@pytest.mark.parametrize("device", ["eth9", NET[0], PF.address, PCI[1]])
async def test_events_of_one_device(host: aiovirt.Host, device: str) -> None:
    async with following(host, "--loop", "--device", device) as shown:
        for event, _ in EVENTS[3:]:
            publish(host, event)
        publish(host, NetdevRemoved(device=ETHV0))
        await anyio.wait_all_tasks_blocked()
        kind = "eth9|lan0" if "eth9" in device else "pci_0000_3b_00_0"
        assert shown() == [line for _, lines in EVENTS[3:] for line in lines if re.search(kind, line)]


async def test_a_deadline_is_an_error_only_when_nothing_came(host: aiovirt.Host) -> None:
    async with following(host, "--loop", "--timeout", "5") as shown:
        publish(host, PCIRemoved(device=PF))
        await anyio.wait_all_tasks_blocked()
        before = len(shown())
        await anyio.sleep(6)
        assert shown()[before:] == ["event loop timed out", "events received: 1", ""]
    with pytest.raises(TimeoutError):
        await said(host, "nodedev-event", "--timeout", "5")


async def test_a_test_host_tells_what_is_done_to_it() -> None:
    async with aiovirt.connect("test:///default") as host, following(host, "--loop") as shown:
        control(host).rename_netdev("ens1f0", "lan0")
        await anyio.wait_all_tasks_blocked()
        assert len(shown()) == 2
