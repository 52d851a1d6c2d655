"""The watch over a real kernel's network devices, in this process's own network namespace (tests/lab/sandbox.py)."""

from __future__ import annotations

import errno
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import cast

import anyio
import pytest
from msgspec import structs

import aiovirt
from aiovirt.cli.main import main
from aiovirt.errors import NoSuchDevice, SystemFailure
from aiovirt.events.types import (
    DeviceEvent,
    DriverBound,
    DriverEvent,
    DriverUnbound,
    NetdevAdded,
    NetdevChanged,
    NetdevEvent,
    NetdevLeft,
    NetdevRemoved,
    NetdevRenamed,
    NetdevReturned,
    PCIAdded,
    SourceMissing,
    SourceResynced,
    WatcherLost,
)
from aiovirt.hostdev import links, survey, watcher
from aiovirt.hostdev.links import Survey
from aiovirt.hostdev.source import HostDevices
from aiovirt.hostdev.survey import Questions
from aiovirt.hostdev.watcher import Watch
from aiovirt.model.busdevice import BusDevice
from aiovirt.model.netdev import Netdev, OperState
from aiovirt.system import netlink
from aiovirt.system.sysfs import Attachment, Sysfs
from aiovirt.wire import rtnetlink, uevent
from aiovirt.wire.rtnetlink import LinkMessage
from aiovirt.wire.uevent import Uevent
from tests.lab import sandbox, watched
from tests.lab.links import as_known, as_told_by_ip
from tests.lab.watched import Heard, ip, run, watching

pytestmark = pytest.mark.anyio

MACHINE = {f"pci/{entry.name}" for entry in Path("/sys/bus/pci/devices").iterdir()}


@pytest.fixture(autouse=True, scope="module")
def inside() -> None:
    sandbox.require()


@pytest.fixture(autouse=True)
def only_lo() -> Iterator[None]:
    """Each test finds and leaves a namespace with lo alone."""
    with watched.only_lo():
        yield
    ip("set lo mtu 65536")


def output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def at_first(heard: Heard) -> int:
    """How many events tell of the PCI functions of this machine, which are there before all else."""
    return len([event for event in heard.events if isinstance(event, PCIAdded | DriverBound) and event.device.subject in MACHINE])


# -- what there is and what comes and goes -----------------------------------------------------


async def test_the_first_inventory_is_there_at_the_start() -> None:
    ip("add v0 type veth peer name v1", "add br0 type bridge", "set v0 master br0")
    async with watching() as heard:
        assert as_known(heard.state.netdevs.values()) == as_told_by_ip()
        assert all(isinstance(event, NetdevAdded | PCIAdded | DriverBound | SourceMissing) for event in heard.events)
        kinds = [type(event) for event in heard.events]
        assert kinds.index(NetdevAdded) > max(n for n, kind in enumerate(kinds) if kind is PCIAdded)
        names = [event.device.name for event in heard.of(NetdevAdded)]
        assert names.index("br0") < names.index("v0")


async def test_devices_come_and_go() -> None:
    async with watching() as heard:
        ip("add v0 type veth peer name v1")
        await heard.until(lambda: heard.names() == ["lo", "v0", "v1"])
        device = heard.netdev("v0")
        assert device is not None
        assert (device.kind, device.parent, device.driver, device.phys_port_id) == ("veth", None, None, None)
        ip("del v0")
        await heard.until(lambda: heard.names() == ["lo"])
        assert sorted(event.device.name for event in heard.of(NetdevRemoved)) == ["v0", "v1"]


async def test_a_rename_is_one_event_and_the_same_device() -> None:
    ip("add v0 type veth peer name v1")
    async with watching() as heard:
        ip("set v0 name w0")
        await heard.until_is("w0")
        (renamed,) = heard.of(NetdevRenamed)
        assert renamed.old.changes_to(renamed.new) == {"name": ("v0", "w0")}


@pytest.mark.parametrize(
    ("change", "attribute", "new"),
    [("set v0 mtu 1400", "mtu", 1400), ("set v0 address 52:54:00:aa:00:00", "mac", "52:54:00:aa:00:00")],
)
async def test_a_change_tells_old_and_new(change: str, attribute: str, new: object) -> None:
    ip("add v0 type veth peer name v1")
    async with watching() as heard:
        before = heard.netdev("v0")
        ip(change)
        await heard.until(lambda: heard.of(NetdevChanged))
        (changed,) = heard.of(NetdevChanged)
        assert changed.changes == {attribute: (getattr(before, attribute), new)}


async def test_carrier_follows_the_peer() -> None:
    ip("add v0 type veth peer name v1", "set v0 up")
    async with watching() as heard:
        for peer, carrier, state in [("up", True, OperState.UP), ("down", False, OperState.LOWERLAYERDOWN)]:
            ip(f"set v1 {peer}")
            device = await heard.until_is("v0", operstate=state)
            assert device.carrier is carrier


async def test_leaving_a_bridge_is_not_the_end() -> None:
    ip("add v0 type veth peer name v1", "add br0 type bridge")
    async with watching() as heard:
        bridge = heard.netdev("br0")
        assert bridge is not None
        ip("set v0 master br0")
        await heard.until_is("v0", master=bridge.ifindex)
        ip("set v0 nomaster", "set v0 mtu 1400")
        device = await heard.until_is("v0", mtu=1400)
        assert device.master is None
        assert heard.of(NetdevRemoved) == []


@pytest.mark.parametrize("end", ["del v0", "set v0 netns elsewhere"])
async def test_a_device_that_goes_leaves_its_bridge_first(end: str, elsewhere: Callable[..., None]) -> None:  # noqa: ARG001
    """Of a device that is taken away no message says so."""
    ip("add v0 type veth peer name v1", "add br0 type bridge", "set v0 master br0 up")
    async with watching() as heard:
        bridge = heard.netdev("br0")
        assert bridge is not None
        ip(end)
        await heard.until(lambda: "v0" not in heard.names())
        about = [event for event in heard.events if isinstance(event, NetdevChanged | NetdevRemoved) and event.device.name == "v0"]
        (left,) = [event for event in about if isinstance(event, NetdevChanged) and "master" in event.changes]
        assert left.changes["master"] == (bridge.ifindex, None)
        assert isinstance(about[-1], NetdevRemoved)
        assert about[-1].device.master is None


@pytest.mark.parametrize("mode", ["passthru", "bridge"])
async def test_what_lies_upon_a_device_with_another_address_is_as_the_kernel_has_it(mode: str) -> None:
    """A macvtap in passthru mode has the address of what it lies upon, and no message tells that it is another one."""
    ip("add v0 type veth peer name v1", f"add link v0 name tap0 type macvtap mode {mode}")
    async with watching() as heard:
        ip("set v0 address 52:54:00:aa:00:00")
        await heard.until_is("v0", mac="52:54:00:aa:00:00")
        if mode == "passthru":
            await heard.until_is("tap0", mac="52:54:00:aa:00:00")
        await heard.until_as_the_kernel()


async def test_a_device_of_the_same_name_is_another_device() -> None:
    ip("add v0 type veth peer name v1")
    async with watching() as heard:
        first = heard.netdev("v0")
        ip("del v0", "add v0 type veth peer name v1")
        await heard.until(lambda: len(heard.of(NetdevAdded)) == 5)
        second = heard.netdev("v0")
        assert first is not None
        assert second is not None
        assert first.id != second.id
        about = [event for event in heard.events if isinstance(event, NetdevEvent) and event.device.id in (first.id, second.id)]
        kinds = [type(event) for event in about]
        assert kinds.index(NetdevRemoved) < len(kinds) - 1 - kinds[::-1].index(NetdevAdded)


async def test_a_device_of_the_same_number_is_another_device() -> None:
    ip("add v0 index 7777 type veth peer name v1")
    async with watching() as heard:
        ip("del v0", "add br0 index 7777 type bridge")
        device = await heard.until_is("br0")
        assert device.id == "7777.2"
        assert [event.device.id for event in heard.of(NetdevRemoved) if event.device.name == "v0"] == ["7777.1"]


async def test_a_hint_that_changes_nothing_says_nothing() -> None:
    async with watching() as heard:
        before = list(heard.events)
        await anyio.Path("/sys/class/net/lo/uevent").write_text("change")
        ip("add v0 type veth peer name v1")
        await heard.until(lambda: heard.names() == ["lo", "v0", "v1"])
        assert [type(event) for event in heard.events[len(before) :] if isinstance(event, NetdevEvent)] == [NetdevAdded, NetdevAdded]


LONG = "a-name-that-is-longer-than-a-name-of-a-device-may-be"


@pytest.mark.parametrize("name", ["wan0", LONG, "m\u00e5ne"])
async def test_an_altname_of_a_device_that_is_down_is_found_and_known_from_then_on(name: str) -> None:
    """The kernel tells of it by no message and no uevent."""
    ip("add v0 type veth peer name v1")
    async with watching() as heard:
        before = len(heard.events)
        run("ip", "link", "property", "add", "dev", "v0", "altname", name)
        await heard.watch.refresh(f"name/{name}")
        (changed,) = heard.events[before:]
        assert isinstance(changed, NetdevChanged)
        assert (changed.device.name, changed.changes) == ("v0", {"altnames": ((), (name,))})
        await heard.watch.refresh("name/v1")
        assert heard.watch.name_of(name) == "v0"
        assert heard.events[before:] == [changed]


async def test_whoever_asks_for_such_an_altname_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ip("add v0 type veth peer name v1")
    for place in ("config", "state", "runtime"):
        monkeypatch.setenv(f"AIOVIRT_{place.upper()}_DIR", str(tmp_path / place))
    uri = "qemu:///session"
    async with aiovirt.connect(uri) as host:
        run("ip", "link", "property", "add", "dev", "v0", "altname", "wan0")
        with pytest.raises(NoSuchDevice):
            host.devices.netdev("wan0")
        assert (await host.devices.refresh("wan0")).name == "v0"
        assert host.devices.netdev("wan0").altnames == ("wan0",)
        run("ip", "link", "property", "add", "dev", "v1", "altname", "wan1")
        assert await anyio.to_thread.run_sync(main, ["-c", uri, "nodedev-dumpxml", "wan1"]) == 0
        assert "<interface>v1</interface>" in capsys.readouterr().out
        with pytest.raises(NoSuchDevice):
            await host.devices.refresh("wan2")


async def test_whoever_watches_such_an_altname_watches_its_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ip("add v0 type veth peer name v1")
    for place in ("config", "state", "runtime"):
        monkeypatch.setenv(f"AIOVIRT_{place.upper()}_DIR", str(tmp_path / place))
    uri = "qemu:///session"
    command = [sys.executable, "-m", "aiovirt", "-c", uri]
    async with aiovirt.connect(uri) as host:
        for arguments in (["watch", "wan0"], ["watch", "--json", "wan1"], ["event", "--since", host.events.cursor, "--subject", "wan2"]):
            run("ip", "link", "property", "add", "dev", "v0", "altname", arguments[-1])
            async with await anyio.open_process([*command, *arguments]) as watcher:
                assert watcher.stdout
                assert b"v0" in await watcher.stdout.receive()
                if arguments[0] == "watch":
                    watcher.send_signal(signal.SIGINT)
                assert await watcher.wait() == 0
        for arguments in (["watch", "wan3"], ["event", "--subject", "wan3"]):
            done = await anyio.run_process([*command, *arguments], check=False)
            assert done.returncode == 4
            assert b"neither a domain nor a network device nor a PCI function 'wan3'" in done.stderr


@pytest.mark.parametrize("name", ["wan0", "", "x" * 127, "x" * 128, "a\0b", "\udc80"])
async def test_what_no_device_is_named_is_told(name: str) -> None:
    async with watching() as heard:
        with pytest.raises(NoSuchDevice, match="no network device is named"):
            await heard.watch.refresh(f"name/{name}")


async def test_a_name_that_cannot_be_asked_for_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    async with watching() as heard:
        monkeypatch.setattr(rtnetlink, "get_link_named", lambda _, sequence: rtnetlink._request(5, sequence, 0))  # by no name
        with pytest.raises(SystemFailure, match="EINVAL"):
            await heard.watch.refresh("name/lo")


async def test_phys_port_id_of_an_altname() -> None:
    run("ip", "link", "property", "add", "dev", "lo", "altname", "self0")
    try:
        async with watching() as heard:
            await heard.until_is("lo", altnames=("self0",))
            devices = HostDevices(heard.publish)
            devices._watch = heard.watch
            assert await devices.read_phys_port_id("self0") is None
    finally:
        run("ip", "link", "property", "del", "dev", "lo", "altname", "self0")


@pytest.mark.parametrize("action", ["add", "remove", "move", "bind", "unbind", "change"])
@pytest.mark.parametrize("arguments", ["", " 4ae4cb8b-1b5c-4c25-8b4f-5f6f9d6a1f11 A=b"])
async def test_a_uevent_that_was_sent_on_request_is_no_news(action: str, arguments: str) -> None:
    """The kernel marks each of them as such, whoever asked for it and however."""
    ip("add v0 type veth peer name v1")
    async with watching() as heard:
        taken: list[Uevent] = []
        before, take = len(heard.events), watcher.Watch._take

        async def watched(watch: Watch, uevent: Uevent) -> None:
            await take(watch, uevent)
            taken.append(uevent)
            heard._news.set()

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(watcher.Watch, "_take", watched)
            await anyio.Path("/sys/class/net/v0/uevent").write_text(f"{action}{arguments}")
            await heard.until(lambda: taken)
        assert [(uevent.action, uevent.is_synthetic) for uevent in taken] == [(action, True)]
        ip("set v0 mtu 1400")
        await heard.until_is("v0", mtu=1400)
        assert [type(event) for event in heard.events[before:]] == [NetdevChanged]


# -- to another namespace and back -------------------------------------------------------------


@pytest.fixture
def elsewhere() -> Iterator[Callable[..., None]]:
    """Another namespace, and what carries out ip-link there."""
    run("ip", "netns", "add", "elsewhere")
    yield lambda *words: run("ip", "-n", "elsewhere", "link", *words)
    run("ip", "netns", "del", "elsewhere")


def nsid_of_elsewhere() -> int:
    (found,) = [space["id"] for space in json.loads(output("ip", "-j", "netns", "list")) if space["name"] == "elsewhere"]
    return int(found)


async def test_who_stays_knows_that_the_other_went_and_that_it_is_back(elsewhere: Callable[..., None]) -> None:
    """No message tells a veth's peer, or what lies upon it, that it is in another namespace, or back."""
    ip("add v0 type veth peer name v1", "add link v0 name upon type macvlan")
    async with watching() as heard:
        number = cast("Netdev", heard.netdev("v0")).ifindex
        assert [cast("Netdev", heard.netdev(name)).link for name in ("v1", "upon")] == [number, number]
        for _ in range(2):
            ip("set v0 netns elsewhere")
            for name in ("v1", "upon"):
                await heard.until_is(name, link=None)
            await heard.until_as_the_kernel()
            elsewhere("set", "v0", "netns", "1")
            for name in ("v1", "upon"):
                await heard.until_is(name, link=number)
            await heard.until_as_the_kernel()


async def test_what_lies_upon_a_device_that_had_left_before_the_start_knows_that_it_is_back(elsewhere: Callable[..., None]) -> None:
    ip("add v0 type veth peer name v1", "add link v0 name upon type macvlan", "set v0 netns elsewhere")
    async with watching() as heard:
        assert cast("Netdev", heard.netdev("upon")).link is None
        for name in ("v0", "w0"):
            elsewhere("set", "v0", "name", name, "netns", "1")
            device = await heard.until_is(name)
            await heard.until_is("upon", link=device.ifindex)
            await heard.until_as_the_kernel()
            ip(f"set {name} name v0 netns elsewhere")
            await heard.until_is("upon", link=None)


async def test_one_that_comes_for_the_first_time_is_known_to_its_other_end(elsewhere: Callable[..., None]) -> None:
    elsewhere("add", "v0", "type", "veth", "peer", "name", "v1", "netns", "1")
    async with watching() as heard:
        assert cast("Netdev", heard.netdev("v1")).link is None
        elsewhere("set", "v0", "netns", "1")
        device = await heard.until_is("v0")
        await heard.until_is("v1", link=device.ifindex)


async def test_a_device_that_leaves_and_returns_is_the_same(elsewhere: Callable[..., None]) -> None:
    ip("add v0 type veth peer name v1")
    async with watching() as heard:
        first = heard.netdev("v0")
        assert first is not None
        ip("set v0 netns elsewhere")
        await heard.until(lambda: heard.of(NetdevRemoved))
        assert heard.of(NetdevRemoved) == [NetdevLeft(device=first, nsid=nsid_of_elsewhere(), new_ifindex=first.ifindex)]
        elsewhere("set", "v0", "name", "w0", "mtu", "1400")
        elsewhere("set", "w0", "netns", "1")
        second = await heard.until_is("w0", mtu=1400)
        assert heard.of(NetdevReturned) == [NetdevReturned(device=structs.replace(first, name="w0", mtu=1400))]
        assert second.id == first.id
        await heard.until_as_the_kernel()


async def test_a_device_that_gets_another_number_elsewhere(elsewhere: Callable[..., None]) -> None:
    ip("add v0 index 7780 type veth peer name v1")
    elsewhere("add", "there", "index", "7780", "type", "bridge")
    async with watching() as heard:
        ip("set v0 netns elsewhere")
        await heard.until(lambda: heard.of(NetdevLeft))
        (left,) = heard.of(NetdevLeft)
        assert left.new_ifindex == json.loads(output("ip", "-n", "elsewhere", "-j", "link", "show", "v0"))[0]["ifindex"] != 7780


async def test_who_comes_with_another_address_has_not_returned(elsewhere: Callable[..., None]) -> None:
    ip("add v0 type veth peer name v1")
    async with watching() as heard:
        first = heard.netdev("v0")
        assert first is not None
        ip("set v0 netns elsewhere")
        elsewhere("set", "v0", "address", "52:54:00:aa:00:00")
        elsewhere("set", "v0", "netns", "1")
        second = await heard.until_is("v0", mac="52:54:00:aa:00:00")
        assert (first.id, second.id) == (f"{first.ifindex}.1", f"{first.ifindex}.2")
        assert heard.of(NetdevReturned) == []


async def test_a_device_that_returns_while_messages_are_lost(elsewhere: Callable[..., None]) -> None:
    ip("add v0 type veth peer name v1")
    async with watching(receive_buffer=4096) as heard:
        first = heard.netdev("v0")
        assert first is not None
        ip("set v0 netns elsewhere")
        await heard.until(lambda: heard.of(NetdevLeft))
        ip(*(f"add s{n} type veth peer name t{n}" for n in range(30)))
        elsewhere("set", "v0", "netns", "1")
        await heard.until(lambda: heard.of(SourceResynced))
        await heard.until_as_the_kernel()
        assert [event.device.id for event in heard.of(NetdevReturned)] == [first.id]


@pytest.mark.usefixtures("nics_hang_from_a_card")
async def test_a_nic_that_leaves_while_it_waits_for_its_driver(elsewhere: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher, "ATTACH_WAIT", 30)  # however long the commands take that move it
    card = Card()
    async with watching(sysfs=card) as heard:
        ip("add nic0 type ifb", "set nic0 netns elsewhere")
        await heard.until(lambda: heard.of(NetdevLeft))
        elsewhere("set", "nic0", "netns", "1")
        card.answers.set()
        nic = await heard.until_is("nic0")
        about = [(type(event), event.device.driver) for event in heard.of(NetdevEvent) if event.device.id == nic.id]
        assert about == [(NetdevAdded, None), (NetdevLeft, None), (NetdevReturned, "igb")]


# -- devices of a bus --------------------------------------------------------------------------


class Card(Sysfs):
    """A sysfs in which every network device hangs from one card, and that answers only when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = anyio.Event()
        self.driver = "igb"

    async def read_attachments(self, netdevs: Mapping[int, str]) -> dict[int, Attachment]:
        driver = self.driver
        await self.answers.wait()
        return {ifindex: Attachment("card", driver) for ifindex in netdevs}


@pytest.fixture
def nics_hang_from_a_card(monkeypatch: pytest.MonkeyPatch) -> None:
    """No virtual device hangs from a bus: those named nic… are made to say that they do."""
    told = links.reading_of_link

    def reading(message: LinkMessage, known: Netdev | None = None) -> Netdev:
        read = told(message, known)
        return structs.replace(read, parent="card") if read.name.startswith("nic") else read

    monkeypatch.setattr(links, "reading_of_link", reading)
    monkeypatch.setattr(survey, "reading_of_link", reading)


@pytest.mark.usefixtures("nics_hang_from_a_card")
async def test_a_nic_is_announced_with_its_driver_and_nobody_waits_for_it() -> None:
    card = Card()
    async with watching(sysfs=card) as heard:
        ip("add nic0 type bridge", "add br0 type bridge", "set nic0 mtu 1400")
        await heard.until_is("br0")
        assert heard.netdev("nic0") is None
        card.answers.set()
        await heard.until_is("nic0")
        (added,) = [event.device for event in heard.of(NetdevAdded) if event.device.name == "nic0"]
        assert (added.parent, added.driver, added.mtu) == ("card", "igb", 1400)


@pytest.mark.usefixtures("nics_hang_from_a_card")
async def test_a_driver_that_takes_too_long_to_read_comes_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher, "ATTACH_WAIT", 0.01)
    card = Card()
    async with watching(sysfs=card) as heard:
        ip("add nic0 type bridge")
        await heard.until_is("nic0")
        card.answers.set()
        await heard.until(lambda: heard.of(NetdevChanged))
        assert [event.changes for event in heard.of(NetdevChanged)] == [{"driver": (None, "igb")}]


@pytest.mark.usefixtures("nics_hang_from_a_card")
async def test_a_uevent_has_the_driver_read_again() -> None:
    ip("add nic0 type bridge")
    card = Card()
    card.answers.set()
    async with watching(sysfs=card) as heard:
        assert [netdev.driver for netdev in heard.state.netdevs.values()] == [None, "igb"]
        card.driver = "vfio-pci"
        await anyio.Path("/sys/class/net/nic0/uevent").write_text("change")
        await heard.until(lambda: heard.of(NetdevChanged))
        assert [event.changes for event in heard.of(NetdevChanged)] == [{"driver": ("igb", "vfio-pci")}]


# -- drivers of devices of a bus ---------------------------------------------------------------


@pytest.fixture
def taken_at_their_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """Uevents that are sent on request count like those that come of themselves: no driver is taken from a device of this machine."""
    monkeypatch.setattr(uevent, "_SYNTHETIC", "no such key")


@pytest.fixture
def bus_device() -> Path:
    """A real device of this machine that a driver has, to be written to: the kernel then says that it was (un)bound."""
    if "4294967295" not in Path("/proc/self/uid_map").read_text():
        pytest.skip("in a user namespace: of bus devices the kernel tells only the initial one's network namespaces")
    buses = [Path("/sys/bus", bus, "devices") for bus in ("platform", "virtio", "pci")]
    return next(device.resolve() for bus in buses if bus.exists() for device in sorted(bus.iterdir()) if (device / "driver").exists())


def as_bound(device: Path) -> BusDevice:
    return BusDevice(bus=(device / "subsystem").resolve().name, name=device.name, driver=(device / "driver").resolve().name)


def told_of(device: Path, heard: Heard) -> list[DriverEvent]:
    """Of others this machine may tell at any time."""
    return [event for event in heard.of(DriverEvent) if event.device.name == device.name]


async def test_no_driver_comes_or_goes_on_request(bus_device: Path) -> None:
    async with watching() as heard:
        for action in ("bind", "unbind", "remove"):
            (bus_device / "uevent").write_text(action)
        await heard.watch._catch_up_uevents()
        assert told_of(bus_device, heard) == []


@pytest.mark.usefixtures("taken_at_their_word")
async def test_a_driver_that_takes_a_device_and_lets_go(bus_device: Path) -> None:
    async with watching() as heard:
        for action in ("bind", "change", "unbind", "bind"):
            (bus_device / "uevent").write_text(action)
        await heard.until(lambda: len(told_of(bus_device, heard)) == 3)
        bound = as_bound(bus_device)
        unbound = structs.replace(bound, driver=None)
        assert told_of(bus_device, heard) == [DriverBound(device=bound), DriverUnbound(device=unbound), DriverBound(device=bound)]


@pytest.mark.usefixtures("taken_at_their_word")
async def test_what_links_did_before_is_told_before_what_a_driver_did(bus_device: Path) -> None:
    ip("add br0 type bridge")
    async with watching() as heard:
        ip(*(f"set br0 mtu {mtu}" for mtu in range(1000, 1300)))  # while the watch, on this same thread, cannot read
        (bus_device / "uevent").write_text("unbind")
        await heard.until(lambda: told_of(bus_device, heard))
        (unbound,) = told_of(bus_device, heard)
        before = heard.events[: heard.events.index(unbound)]
        assert len([event for event in before if isinstance(event, NetdevChanged)]) == 300


# -- gone on with ------------------------------------------------------------------------------


async def test_what_changed_while_nobody_was_there_is_missed() -> None:
    ip("add v0 type veth peer name v1", "add br0 type bridge", "add br1 type bridge")
    async with watching() as before:
        assert not any(event.missed for event in before.events)
    ip("del br0", "set v0 mtu 1400", "set br1 name br2", "add br3 type bridge")
    async with watching(known=before.state.netdevs.values(), incarnation=5) as heard:
        assert [(type(event), event.device.name) for event in heard.of(NetdevEvent)] == [
            (NetdevRemoved, "br0"),
            (NetdevRenamed, "br2"),
            (NetdevAdded, "br3"),
            (NetdevChanged, "v0"),
        ]
        assert [event.missed for event in heard.of(DeviceEvent)] == [True] * (4 + at_first(heard))
        ids = {netdev.name: netdev.id for netdev in before.state.netdevs.values()}
        new = heard.netdev("br3")
        assert new is not None
        kept = {"lo": ids["lo"], "v0": ids["v0"], "v1": ids["v1"], "br2": ids["br1"]}
        assert {netdev.name: netdev.id for netdev in heard.state.netdevs.values()} == kept | {"br3": f"{new.ifindex}.6"}
        await heard.until_as_the_kernel()
        ip("set v0 mtu 1500")
        await heard.until_is("v0", mtu=1500)
        assert [event.missed for event in heard.of(DeviceEvent)[4 + at_first(heard) :]] == [False]


async def test_news_that_meets_the_first_inventory_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ip("add v0 type veth peer name v1", "add br0 type bridge")
    async with watching() as before:
        pass

    about_all = Questions.about_all

    async def meanwhile(questions: Questions) -> Survey:
        ip("set v0 mtu 1400")
        answer = await about_all(questions)
        ip("del br0")
        return answer

    monkeypatch.setattr(Questions, "about_all", meanwhile)
    async with watching(known=before.state.netdevs.values(), incarnation=1) as heard:
        assert [(type(event), event.device.name, event.missed) for event in heard.of(NetdevEvent)] == [
            (NetdevChanged, "v0", True),
            (NetdevRemoved, "br0", True),
        ]
        await heard.until_as_the_kernel()


@pytest.mark.usefixtures("nics_hang_from_a_card")
async def test_a_nic_that_was_known_is_as_it_was() -> None:
    ip("add nic0 type bridge")
    card = Card()
    card.answers.set()
    async with watching(sysfs=card) as before:
        assert [netdev.driver for netdev in before.state.netdevs.values()] == [None, "igb"]
    async with watching(sysfs=card, known=before.state.netdevs.values(), incarnation=1) as heard:
        ip("set nic0 mtu 1400")
        nic = await heard.until_is("nic0", mtu=1400)
        assert [type(event) for event in heard.of(NetdevEvent)] == [NetdevChanged]
        assert nic.driver == "igb"


async def test_a_beginning_without_what_was_before_says_so_before_it_has_started() -> None:
    ip("add v0 type veth peer name v1")
    async with watching(begins="another boot", incarnation=3) as heard:
        assert [(event.source, event.reason) for event in heard.of(SourceResynced)] == [("rtnetlink", "another boot")]
        assert isinstance(heard.events[-1], SourceResynced)
        assert [netdev.id.partition(".")[2] for netdev in heard.state.netdevs.values()] == ["4", "4", "4"]
        assert not any(event.missed for event in heard.events)


async def test_the_source_hands_on_what_it_begins_with() -> None:
    async with watching() as before:
        (lo,) = before.state.netdevs.values()
    heard = Heard([lo])
    devices = HostDevices(heard.publish, known=iter([lo]), incarnation=8, begins="why")
    async with anyio.create_task_group() as tasks:

        async def watch(*, task_status: anyio.abc.TaskStatus[None]) -> None:
            await devices.watch(task_status=task_status)

        await tasks.start(watch)
        assert heard.events[at_first(heard) + 1 :] == [SourceResynced(source="rtnetlink", reason="why")]
        ip("add br0 type bridge")
        new = await heard.until_is("br0")
        assert new.id == f"{new.ifindex}.9"
        tasks.cancel_scope.cancel()


# -- losses ------------------------------------------------------------------------------------

STORM = [f"add s{n} group 5 type veth peer name t{n}" for n in range(60)]
STORM += (
    [f"set s{n} name r{n}" for n in range(60)] + [f"set t{n} mtu {1400 + n}" for n in range(60)] + [f"set r{n} group 6" for n in range(9)]
)
STORM += ["del group 5"]


async def test_after_a_loss_the_inventory_is_what_is_there() -> None:
    async with watching(receive_buffer=4096) as heard:
        ip(*STORM)  # while the watch, on this same thread, cannot read
        await heard.until(lambda: any(event.source == "rtnetlink" for event in heard.of(SourceResynced)))
        await heard.until_as_the_kernel()
        assert {(event.reason, event.lost) for event in heard.of(SourceResynced)} == {("ENOBUFS", None)}
        ip("add last type bridge")
        await heard.until_is("last")


async def test_the_differences_come_before_the_word_of_the_loss() -> None:
    async with watching(receive_buffer=4096) as heard:
        ip(*(f"add s{n} type veth peer name t{n}" for n in range(30)))
        await heard.until(lambda: heard.of(SourceResynced))
        assert len(heard.names()) == 61


async def test_losses_while_it_asks_again_are_made_good(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer is older than a loss: it must be thrown away and asked for again."""
    asked = 0

    about_all = Questions.about_all

    async def slow(questions: Questions) -> Survey:
        nonlocal asked
        asked += 1
        answer = await about_all(questions)
        if asked == 2:
            ip("del group 5", *(f"add u{n} type veth peer name w{n}" for n in range(30)))
        return answer

    monkeypatch.setattr(Questions, "about_all", slow)
    async with watching(receive_buffer=4096) as heard:
        ip(*(f"add s{n} group 5 type veth peer name t{n}" for n in range(30)))
        await heard.until(lambda: any(event.source == "rtnetlink" for event in heard.of(SourceResynced)))
        assert asked >= 3
        assert heard.names() == ["lo", *sorted(f"{side}{n}" for side in "uw" for n in range(30))]


async def test_a_storm_that_is_kept_up_with_is_told_change_by_change() -> None:
    storm = [*STORM, "del group 6"]
    async with watching() as heard:
        for turn in range(3):
            for start in range(0, len(storm), 20):
                barrier = 60_000 - 1000 * turn - start
                await anyio.to_thread.run_sync(partial(ip, *storm[start : start + 20], f"set lo mtu {barrier}"))
                await heard.until_is("lo", mtu=barrier)
        counts = [len(heard.of(kind)) for kind in (NetdevAdded, NetdevRenamed, NetdevRemoved, SourceResynced)]
        assert counts == [1 + 3 * 120, 3 * 60, 3 * 120, 0]
        assert {frozenset(event.changes) for event in heard.of(NetdevChanged)} <= {
            frozenset({"mtu"}),
            frozenset({"link"}),
            frozenset({"link", "mtu"}),
        }


async def test_what_a_dump_lacks_is_found_in_sysfs(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a driver fails to answer: the kernel's dump ends there, without those behind it."""
    dump = survey._dump
    monkeypatch.setattr(survey, "_dump", lambda channel: survey._Dump({1: dump(channel).readings[1]}))
    ip("add v0 type veth peer name v1")
    async with watching() as heard:
        assert as_known(heard.state.netdevs.values()) == as_told_by_ip()


async def test_a_dump_that_the_kernel_refuses_is_no_empty_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """With strict checks it does so in NLMSG_DONE."""

    def strict(protocol: int, groups: int, receive_buffer: int) -> socket.socket:
        opened = opening(protocol, groups, receive_buffer)
        opened.setsockopt(270, 12, 1)  # SOL_NETLINK, NETLINK_GET_STRICT_CHK
        return opened

    opening = netlink._open
    monkeypatch.setattr(netlink, "_open", strict)
    monkeypatch.setattr(rtnetlink, "dump_links", lambda sequence: rtnetlink._request(0x301, sequence, 1))  # NLM_F_REQUEST | NLM_F_DUMP
    async with watching() as heard:
        (lost,) = heard.of(WatcherLost)
        assert (lost.source, lost.why) == ("rtnetlink", "rtnetlink: links cannot be listed: EINVAL")


async def test_what_rtnetlink_cannot_describe_is_read_from_sysfs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey, "_dump", lambda _: survey._Dump({}))
    monkeypatch.setattr(survey, "_get_each", lambda _, ifindexes: ({}, list(ifindexes)))
    ip("add br0 type bridge", "add v0 type veth peer name v1", "set v0 mtu 1400 master br0 up")
    async with watching() as heard:
        found, there = as_known(heard.state.netdevs.values()), as_told_by_ip()
        for summary in (*found.values(), *there.values()):
            summary["flags"] = "UP" in cast("set[str]", summary["flags"])  # in sysfs what runs has no flag
        assert found == {ifindex: {**summary, "kind": None} for ifindex, summary in there.items()}


# -- beginning and end -------------------------------------------------------------------------


async def test_cancelling_closes_what_it_opened() -> None:
    async with watching():
        pass
    before = open_files()
    for _ in range(3):
        async with watching() as heard:
            ip("add v0 type veth peer name v1")
            await heard.until_is("v0")
            ip("del v0")
    assert open_files() == before


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_a_watch_that_cannot_begin_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher, "KOBJECT_UEVENT", 31)
    async with watching() as heard:
        (lost,) = heard.of(WatcherLost)
        assert (lost.source, "protocol 31" in lost.why) == ("uevent", True)


@pytest.mark.parametrize(("protocol", "source"), [(netlink.ROUTE, "rtnetlink"), (netlink.KOBJECT_UEVENT, "uevent")])
async def test_a_watch_whose_source_fails_says_so_and_returns(monkeypatch: pytest.MonkeyPatch, protocol: int, source: str) -> None:
    heard = Heard()
    async with anyio.create_task_group() as tasks:

        async def watch(*, task_status: anyio.abc.TaskStatus[None]) -> None:
            await Watch(heard.publish).run(task_status=task_status)

        await tasks.start(watch)

        receive = netlink._receive

        def broken(opened: socket.socket) -> tuple[bytes, bool]:
            if opened.proto == protocol:
                raise OSError(5, "Input/output error")
            return receive(opened)

        monkeypatch.setattr(netlink, "_receive", broken)
        ip("add v0 type veth peer name v1")
    (lost,) = heard.of(WatcherLost)
    assert (lost.source, lost.why) == (source, "netlink: cannot receive: Input/output error")


@pytest.mark.parametrize(("protocol", "source"), [(netlink.ROUTE, "rtnetlink"), (netlink.KOBJECT_UEVENT, "uevent")])
@pytest.mark.parametrize("in_vain", [0, 2])
async def test_a_source_that_is_lost_is_opened_again_and_what_was_missed_is_told(
    monkeypatch: pytest.MonkeyPatch, protocol: int, source: str, in_vain: int
) -> None:
    """Real sockets; only that one of them fails for a moment, and that there is none for another, is made up."""
    heard, receive, opening = Heard(), netlink._receive, netlink._open
    refused: list[int] = []

    def broken(opened: socket.socket) -> tuple[bytes, bool]:
        if opened.proto == protocol and not refused:
            refused.append(0)
            raise OSError(errno.ENOMEM, "Cannot allocate memory")
        return receive(opened)

    def short(wanted: int, groups: int, receive_buffer: int) -> socket.socket:
        if groups and 0 < len(refused) <= in_vain:
            refused.append(0)
            ip(f"add m{len(refused)} type bridge")
            raise SystemFailure("netlink: cannot listen") from OSError(errno.EMFILE, "Too many open files")
        return opening(wanted, groups, receive_buffer)

    before = open_files()
    async with anyio.create_task_group() as tasks:
        ip("add v0 type veth peer name v1")
        await tasks.start(lambda *, task_status: HostDevices(heard.publish).watch(task_status=task_status))
        known = {netdev.id for netdev in heard.state.netdevs.values()}
        monkeypatch.setattr(netlink, "_receive", broken)
        monkeypatch.setattr(netlink, "_open", short)
        ip("del v0")
        ip("add br0 type bridge")
        await heard.until(lambda: any(event.source == source for event in heard.of(SourceResynced)))
        await heard.until_as_the_kernel()
        (lost,) = heard.of(WatcherLost)
        assert (lost.source, "Cannot allocate memory" in lost.why) == (source, True)
        now = {netdev.name: netdev.id for netdev in heard.state.netdevs.values()}
        assert len({*known, *now.values()}) == len(known) + 1 + in_vain, "who was there has his id, and nobody else has it"
        assert {"br0", *(f"m{n + 2}" for n in range(in_vain))} <= now.keys()
        ip("set br0 mtu 1400")  # and it goes on
        await heard.until_as_the_kernel()
        tasks.cancel_scope.cancel()
    assert open_files() == before


async def test_a_watch_that_cannot_begin_says_so_and_begins_when_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    heard, opening, refused = Heard(), netlink._open, list[int]()

    def short(wanted: int, groups: int, receive_buffer: int) -> socket.socket:
        if groups and len(refused) < 2:
            refused.append(0)
            raise SystemFailure("netlink: cannot listen") from OSError(errno.EMFILE, "Too many open files")
        return opening(wanted, groups, receive_buffer)

    monkeypatch.setattr(netlink, "_open", short)
    async with anyio.create_task_group() as tasks:
        await tasks.start(lambda *, task_status: HostDevices(heard.publish).watch(task_status=task_status))
        assert [type(event) for event in heard.events] == [WatcherLost]
        await heard.until(lambda: any(event.source == "rtnetlink" for event in heard.of(SourceResynced)))
        await heard.until_as_the_kernel()
        tasks.cancel_scope.cancel()


async def test_uevents_that_pile_up_are_given_up_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher, "MOST_UEVENTS", 8)
    async with watching() as heard:
        ip(*(f"add s{n} type veth peer name t{n}" for n in range(30)))  # while the watch, on this same thread, takes none
        await heard.until(lambda: any((event.source, event.reason) == ("uevent", "QUEUE") for event in heard.of(SourceResynced)))
        await heard.until_as_the_kernel()
        assert heard.state.resyncs["uevent"] == len([event for event in heard.of(SourceResynced) if event.source == "uevent"])


async def test_a_watch_that_is_over_refreshes_nothing() -> None:
    heard = Heard()
    watch = Watch(heard.publish)
    async with anyio.create_task_group() as tasks:
        await tasks.start(lambda *, task_status: watch.run(task_status=task_status))
        await watch.refresh("netdev/1.1")
        tasks.cancel_scope.cancel()
    for subject in ("netdev/1.1", *sorted(MACHINE)[:1]):
        with pytest.raises(SystemFailure, match="not watched any more"):
            await watch.refresh(subject)


async def test_phys_port_id_of_a_device_that_has_none() -> None:
    assert await Sysfs().read_phys_port_id("lo") is None
