"""libvirt's nodedev driver and we see the same devices: those of this sandbox, and those of a sysfs made up for both.

The driver runs in a libvirtd of its own, with no other driver. Where sysfs is made up, it lies over /sys for that libvirtd.
"""

from __future__ import annotations

import builtins
import errno
import fcntl
import gzip
import json
import os
import shlex
import signal
import socket
import struct
import subprocess
import tempfile
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest
from lxml import etree

from aiovirt.cli.nodedevs import tree_lines
from aiovirt.errors import NoSuchDevice, SystemFailure
from aiovirt.libvirtxml.nodedev import nodedev_xml
from aiovirt.libvirtxml.nodedev_names import COMPUTER, nodedev_name, nodedev_parent
from aiovirt.model.details import PCIExpress
from aiovirt.model.netdev import Netdev, OperState
from aiovirt.model.pci import PCIDevice
from aiovirt.system.again import is_passing
from aiovirt.system.nodedev import DetailsReader, express_of, names_of
from aiovirt.system.pci import PCIBus
from tests.lab import sandbox

pytestmark = pytest.mark.anyio

DRIVER = "libvirt_driver_nodedev.so"
DRIVERS = next(Path("/usr").glob(f"lib*/**/libvirt/connection-driver/{DRIVER}"), Path("/usr/lib/libvirt/connection-driver", DRIVER))
SCHEMA = "/usr/share/libvirt/schemas/nodedev.rng"
ITS_FOLDERS = ["/var/lib/libvirt", "/var/cache/libvirt", "/var/log/libvirt", "/etc/libvirt"]
IDS = b"""#\tA list of names
8086  Intel "<&>' Corporation
\t10c9  82576 Gigabit \xc3\xa9
\t\t8086 a03c  no device but a card
\t10ca  Virtual Function
1af4  Red Hat, Inc.
\t1041  Virtio network device
ffff  Nobody
"""
Virsh = Callable[..., str]


@pytest.fixture(autouse=True)
def only_lo() -> Iterator[None]:
    yield
    for link in links():
        if link["ifname"] != "lo":
            subprocess.run(["ip", "link", "del", str(link["ifname"])], check=False, capture_output=True)


@pytest.fixture(autouse=True, scope="module")
def pci_ids() -> Iterator[None]:
    """The same names of PCI devices for both, whatever the system has."""
    sandbox.require()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "pci.ids").write_bytes(IDS)
        Path("/usr/share/misc").mkdir(exist_ok=True)
        subprocess.run(["mount", "--bind", folder, "/usr/share/misc"], check=True)
        yield
        subprocess.run(["umount", "/usr/share/misc"], check=True)


@contextmanager
def libvirtd(sys: Path | None = None) -> Iterator[Virsh]:
    """A libvirtd with nothing but the nodedev driver, over the folder ``sys`` in place of /sys; and its virsh."""
    with tempfile.TemporaryDirectory(prefix="aiovirt-") as folder:
        Path(folder, DRIVER).symlink_to(DRIVERS)
        pid = Path(folder, "pid")
        lines = [f"mount -t tmpfs tmpfs {place}" for place in ITS_FOLDERS]
        lines += [f"mount --rbind {sys} /sys"] if sys else []
        lines += [f"libvirtd --daemon --pid-file {pid}"]  # returns when it listens
        command = ["unshare", "--mount", "sh", "-ec", "\n".join(lines)]
        places = {"LIBVIRT_DRIVER_DIR": folder, "SYSTEMD_DEVICE_VERIFY_SYSFS": "0", "LIBVIRT_LOG_OUTPUTS": f"1:file:{folder}/log"}
        subprocess.run(command, env=os.environ | places, check=True)
        try:
            yield virsh
        finally:
            os.kill(int(pid.read_text()), signal.SIGKILL)


def virsh(*arguments: str) -> str:
    done = subprocess.run(["virsh", "-c", "nodedev:///system", *arguments], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def links() -> list[dict[str, object]]:
    said = subprocess.run(["ip", "-j", "link"], check=True, capture_output=True, text=True).stdout
    found: list[dict[str, object]] = json.loads(said, strict=False)  # a name may hold control characters
    return found


def netdevs() -> dict[str, Netdev]:
    found = {}
    for link in links():
        name = str(link["ifname"])
        state = OperState(str(link["operstate"]).lower())
        found[name] = Netdev(ifindex=int(str(link["ifindex"])), name=name, mac=str(link.get("address", "")), operstate=state)
    return found


def settle(**states: OperState) -> None:
    """Returns when these devices are in these states: the kernel gets to it in its own time."""
    deadline = time.monotonic() + 30
    while {name: device.operstate for name, device in netdevs().items() if name in states} != states:
        assert time.monotonic() < deadline, netdevs()
        time.sleep(0.02)


def ip(*lines: str) -> None:
    for line in lines:
        subprocess.run(["ip", *shlex.split(line)], check=True)


def check_schema(xml: str) -> None:
    schema = etree.RelaxNG(etree.parse(SCHEMA))
    schema.assertValid(etree.fromstring(xml))


# -- network devices ---------------------------------------------------------------------------

DEVICES = (
    "link add v0 type veth peer name v1",
    "link add v2 type veth peer name 'p\"<&'",
    "link set v0 up",
    "link set v1 up",
    "link set v2 up",
    "link add mac0 link v0 type macvlan",
    "link set mac0 up",
    "link add 'we.i-rd@0' type ifb",
    "link add 'a\x01b' type ifb",
    "tuntap add tap0 mode tap",
    "tuntap add tun0 mode tun",
    "link set tun0 up",
    "link add v3 type veth peer name 'ünï-ö'",
)


async def test_network_devices_are_virshs() -> None:
    ip(*DEVICES)
    settle(v0=OperState.UP, v1=OperState.UP, mac0=OperState.UP, v2=OperState.LOWERLAYERDOWN, tun0=OperState.DOWN)
    reader = DetailsReader()
    with libvirtd() as virsh:
        theirs = [name for name in virsh("nodedev-list", "--cap", "net").splitlines() if name]
        ours = {nodedev_name(device): device for device in netdevs().values()}
        assert sorted(ours) == theirs
        assert len(ours) == len(links()) == 12
        for name, device in ours.items():
            xml = nodedev_xml(device, await reader.read(device), {})
            assert xml.strip() == virsh("nodedev-dumpxml", name).strip()
            check_schema(xml)


@pytest.mark.parametrize("orders", [("tx", "off"), ("gro", "on"), ("rxvlan", "off"), ("tso", "off"), ("rx", "off"), ("txudptnl", "off")])
async def test_features_that_are_switched_are_virshs(orders: tuple[str, str]) -> None:
    ip("link add v0 type veth peer name v1", "link set v0 up", "link set v1 up")
    settle(v0=OperState.UP)
    feature, wanted = orders
    before = await DetailsReader().read(netdevs()["v0"])
    switch("v0", feature, on=wanted == "on")
    device = netdevs()["v0"]
    details = await DetailsReader().read(device)
    assert (feature in before.features, feature in details.features) == (wanted == "off", wanted == "on")
    assert details.speed == 10000
    with libvirtd() as virsh:
        assert nodedev_xml(device, details, {}).strip() == virsh("nodedev-dumpxml", nodedev_name(device)).strip()


def switch(name: str, feature: str, *, on: bool) -> None:
    """What ``ethtool -K`` does, by the questions' own ioctls (linux/ethtool.h)."""
    setters = {"rx": 0x15, "tx": 0x17, "tso": 0x1F, "gro": 0x2C}
    if feature in setters:
        ethtool(name, setters[feature], on)
    elif feature == "txudptnl":
        ethtool(name, 0x3B, 2, 1 << 25, on << 25, 0, 0)
    else:
        ethtool(name, 0x26, ethtool(name, 0x25, 0)[1] & ~(1 << 8))


def ethtool(name: str, *words: int) -> array[int]:
    asked = array("I", words)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        fcntl.ioctl(channel, 0x8946, struct.pack("16sP16x", name.encode(), asked.buffer_info()[0]))
    return asked


async def test_what_libvirt_leaves_out_has_xml_that_its_schema_takes() -> None:
    ip("link add br0 type bridge", "link set br0 up")
    device = netdevs()["br0"]
    xml = nodedev_xml(device, await DetailsReader().read(device), {})
    check_schema(xml)
    assert "<path>/sys/devices/virtual/net/br0</path>" in xml
    with libvirtd() as virsh:
        assert "br0" not in virsh("nodedev-list")


async def test_a_device_is_found_by_its_number_and_missed_when_it_is_gone() -> None:
    ip("link add v0 type veth peer name v1")
    device = netdevs()["v0"]
    ip("link set v0 name other")
    assert (await DetailsReader().read(device)).path == "/sys/devices/virtual/net/other"
    ip("link del other", "link add v0 type ifb")
    with pytest.raises(NoSuchDevice, match="is gone"):
        await DetailsReader().read(device)


async def test_a_name_that_went_to_another_device_in_between_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    ip("link add v0 type veth peer name v1")
    monkeypatch.setattr(socket, "if_indextoname", lambda _: "v1")
    with pytest.raises(NoSuchDevice, match="is gone"):
        await DetailsReader().read(netdevs()["v0"])


# -- PCI functions -----------------------------------------------------------------------------


class Sys:
    """A sysfs made up of a few PCI functions."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for folder in ("bus/pci/devices", "bus/pci/drivers/igb", "class/net", "kernel"):
            (root / folder).mkdir(parents=True)

    def plant(self, path: str, *, pci_class: int, ids: tuple[int, int], config: bytes, **more: str) -> Path:
        """A function with what every one has, and ``more`` attributes."""
        folder = self.root / "devices" / path
        folder.mkdir(parents=True)
        texts = {
            "uevent": f"PCI_CLASS={pci_class:X}\nPCI_ID={ids[0]:04X}:{ids[1]:04X}\nPCI_SLOT_NAME={folder.name}",
            "class": f"0x{pci_class:06x}",
            "vendor": f"0x{ids[0]:04x}",
            "device": f"0x{ids[1]:04x}",
            "numa_node": "-1",
        }
        for name, text in (texts | more).items():
            (folder / name).write_text(f"{text}\n")
        (folder / "config").write_bytes(config)
        self.link(folder / "subsystem", self.root / "bus" / "pci")
        self.link(self.root / "bus" / "pci" / "devices" / folder.name, folder)
        return folder

    def link(self, link: Path, target: Path) -> None:
        link.symlink_to(os.path.relpath(target, link.parent))

    def group(self, number: int, *members: Path) -> None:
        devices = self.root / "kernel" / "iommu_groups" / str(number) / "devices"
        devices.mkdir(parents=True)
        for member in members:
            self.link(devices / member.name, member)
            self.link(member / "iommu_group", devices.parent)


def config(
    kind: int | None = 0, *, header: int = 0, port: int = 0, capable: tuple[int, int] = (0, 0), now: tuple[int, int] = (0, 0)
) -> bytes:
    """A configuration space: a capability before PCI Express's, which has the device type ``kind``; None for neither."""
    space = bytearray(256)
    space[0x0E] = header | 0x80
    if kind is not None:
        space[0x06], space[0x34], space[0x40], space[0x41], space[0x60] = 0x10, 0x40, 0x05, 0x60, 0x10
        struct.pack_into("<H", space, 0x62, kind << 4 | 2)
        struct.pack_into("<I", space, 0x6C, port << 24 | capable[1] << 4 | capable[0])
        struct.pack_into("<H", space, 0x72, now[1] << 4 | now[0])
    return bytes(space)


NIC, BRIDGE = 0x020000, 0x060400


@pytest.fixture
def made_up(tmp_path: Path) -> Sys:
    """A root port, a card with two VFs behind it, one that is inside the root complex, a CardBus bridge, an old card, a far domain."""
    sys = Sys(tmp_path / "sys")
    root = "pci0000:00"
    port = sys.plant(
        f"{root}/0000:00:01.0", pci_class=BRIDGE, ids=(0x8086, 1), config=config(4, header=1, port=3, capable=(5, 16), now=(4, 8))
    )
    behind = f"{root}/0000:00:01.0"
    card = config(capable=(3, 8), now=(1, 4), port=255)
    pf = sys.plant(
        f"{behind}/0000:3b:00.0", pci_class=NIC, ids=(0x8086, 0x10C9), config=card, sriov_totalvfs="7", sriov_numvfs="2", numa_node="1"
    )
    vfs = [sys.plant(f"{behind}/0000:3b:10.{2 * n}", pci_class=NIC, ids=(0x8086, 0x10CA), config=config()) for n in range(2)]
    for index, vf in enumerate(vfs):
        sys.link(pf / f"virtfn{index}", vf)
        sys.link(vf / "physfn", pf)
    sys.link(pf / "driver", sys.root / "bus" / "pci" / "drivers" / "igb")
    sys.group(14, pf, *vfs)
    sys.group(0, port)
    idle = sys.plant(f"{root}/0000:00:02.0", pci_class=NIC, ids=(0x15B3, 0x1019), config=config(9), sriov_totalvfs="16", numa_node="0")
    sys.group(3, idle)
    sys.plant(f"{root}/0000:00:03.0", pci_class=0x060700, ids=(0x8086, 2), config=config(None, header=2))
    sys.plant(f"{root}/0000:00:04.0", pci_class=0, ids=(0x1AF4, 0x1041), config=config(None))
    sys.plant(f"{root}/0000:00:05.0", pci_class=0x060000, ids=(0x8086, 3), config=config(None) + bytes(3840))
    sys.plant("pci0001:ff/0001:ff:1f.7", pci_class=0xFFFFFF, ids=(0xFFFF, 0xFFFF), config=config(0xA))
    return sys


async def read_all(root: Path) -> dict[str, PCIDevice]:
    bus = PCIBus(root)
    return await bus.read(await bus.addresses())


@pytest.mark.parametrize("ids", ["pci.ids", "pci.ids.gz"])
async def test_pci_functions_of_a_made_up_sysfs_are_virshs(made_up: Sys, ids: str) -> None:
    functions = await read_all(made_up.root)
    reader = DetailsReader(made_up.root)
    shared = Path("/usr/share/misc")
    packed = ids.endswith(".gz")
    if packed:
        (shared / "pci.ids.gz").write_bytes(gzip.compress(IDS.replace(b"Intel", b"Packed")))
    try:
        with libvirtd(made_up.root) as virsh:
            names = virsh("nodedev-list", "--cap", "pci").split()
            assert sorted(map(nodedev_name, functions.values())) == names
            assert len(names) == 9
            for device in functions.values():
                xml = nodedev_xml(device, await reader.read(device), functions)
                check_schema(xml)
                assert "Intel" not in xml if packed else "Packed" not in xml
                assert sorted_groups(xml) == sorted_groups(virsh("nodedev-dumpxml", nodedev_name(device)))
    finally:
        (shared / "pci.ids.gz").unlink(missing_ok=True)


def sorted_groups(xml: str) -> str:
    """The XML with the members of an IOMMU group in order: libvirt has them as the folder lists them."""
    device = etree.fromstring(xml)
    for group in device.iter("iommuGroup"):
        group[:] = sorted(group, key=lambda address: sorted(address.attrib.items()))
    return etree.tostring(device, method="c14n").decode()


async def test_the_tree_is_virshs(made_up: Sys) -> None:
    functions = await read_all(made_up.root)
    parents = {nodedev_name(device): nodedev_parent(device) for device in functions.values()}
    with libvirtd(made_up.root) as virsh:
        assert [*tree_lines(parents, COMPUTER), ""] == virsh("nodedev-list", "--tree").splitlines()


async def test_pci_functions_of_this_machine_are_virshs() -> None:
    functions = await read_all(Path("/sys"))
    reader = DetailsReader()
    with libvirtd() as virsh:
        assert sorted(map(nodedev_name, functions.values())) == virsh("nodedev-list", "--cap", "pci").split()
        for device in functions.values():
            xml = nodedev_xml(device, await reader.read(device), functions)
            assert sorted_groups(xml) == sorted_groups(virsh("nodedev-dumpxml", nodedev_name(device)))


async def test_a_function_that_is_gone(made_up: Sys) -> None:
    reader = DetailsReader(made_up.root)
    for address in ("0000:77:00.0", "../../../etc"):
        with pytest.raises(NoSuchDevice):
            await reader.read(PCIDevice(address=address))


async def test_a_read_that_hangs_has_a_deadline(made_up: Sys) -> None:
    path = made_up.root / "bus" / "pci" / "devices" / "0000:00:04.0" / "config"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(SystemFailure, match="did not answer in time"), anyio.fail_after(60):
        await DetailsReader(made_up.root, deadline=0.1).read(PCIDevice(address="0000:00:04.0"))
    path.open("wb").close()  # lets the thread go


@pytest.mark.parametrize("part", ["subsystem", "resource", "infiniband", "speed", "pci.ids"])
async def test_a_shortage_is_raised_and_says_nothing_of_what_a_device_has(made_up: Sys, monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    address = "0000:00:02.0"
    folder = made_up.root / "devices/pci0000:00" / address / "net/eth0"
    for there in (folder / "device", made_up.root / "class/infiniband/mlx5_0/device"):
        there.mkdir(parents=True)
        (there / "resource").write_text("0x1 0x2 0x3\n")
    for name, text in (("ifindex", "1"), ("uevent", "INTERFACE=eth0"), ("speed", "1000")):
        (folder / name).write_text(f"{text}\n")
    made_up.link(made_up.root / "class/net/eth0", folder)
    monkeypatch.setattr(socket, "if_indextoname", lambda _: "eth0")
    device = PCIDevice(address=address) if part == "pci.ids" else Netdev(ifindex=1, name="eth0")
    reader = DetailsReader(made_up.root)
    await reader.read(device)

    def short(real: Callable[..., object]) -> Callable[..., object]:
        def call(path: object, *rest: object, **more: object) -> object:
            if str(path).partition("/class/")[2].endswith(part) or str(path).endswith((f"/{part}", f"/{part}.gz")):
                raise OSError(errno.EMFILE, "made up", str(path))
            return real(path, *rest, **more)

        return call

    for module, name in ((os, "open"), (os, "listdir"), (os, "readlink"), (builtins, "open")):
        monkeypatch.setattr(module, name, short(getattr(module, name)))
    with pytest.raises(SystemFailure, match="made up") as raised:
        await reader.read(device)
    assert is_passing(raised.value)


async def test_a_netdevs_parent_is_the_nearest_on_a_bus(made_up: Sys, monkeypatch: pytest.MonkeyPatch) -> None:
    usb = made_up.root / "devices/pci0000:00/0000:00:04.0/usb1/1-1/1-1:1.0"
    for name, folder in (("wlan0", usb / "net"), ("eth0", made_up.root / "devices/pci0000:00/0000:00:02.0/virtio3/net")):
        (folder / name / "device").mkdir(parents=True)
        (folder / name / "ifindex").write_text("1\n")
        (folder / name / "uevent").write_text(f"DEVTYPE=wlan\nINTERFACE={name}\n" if name == "wlan0" else f"INTERFACE={name}\n")
        made_up.link(made_up.root / "class" / "net" / name, folder / name)
    (made_up.root / "bus/usb").mkdir()
    made_up.link(usb / "subsystem", made_up.root / "bus/usb")
    rdma = made_up.root / "class/infiniband/mlx5_0/device"
    rdma.mkdir(parents=True)
    for device in (rdma, made_up.root / "class/net/eth0/device"):
        (device / "resource").write_text("0x1 0x2 0x3\n")

    async def xml_of(name: str) -> str:
        monkeypatch.setattr(socket, "if_indextoname", lambda _: name)
        device = Netdev(ifindex=1, name=name)
        return nodedev_xml(device, await DetailsReader(made_up.root).read(device), {})

    wlan0, eth0 = await xml_of("wlan0"), await xml_of("eth0")
    assert "<parent>usb_1_1_1_0</parent>" in wlan0
    assert "<capability type='80211'/>" in wlan0
    assert "rdma" not in wlan0
    assert "<parent>pci_0000_00_02_0</parent>" in eth0
    assert "<feature name='rdma'/>" in eth0


# -- bytes from outside ------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 0x34, 0x3F, 0x40, 0x61, 0x73])
async def test_of_a_configuration_space_that_is_cut_short_the_size_tells(size: int) -> None:
    cut = config(capable=(3, 8))[:size]
    assert express_of(cut, 256) is None
    assert express_of(cut, 4096) == PCIExpress()


async def test_a_capability_list_that_goes_in_circles_ends() -> None:
    space = bytearray(config())
    space[0x60] = 0x05
    space[0x61] = 0x40
    assert express_of(bytes(space), 4096) is None
    assert express_of(config(9), 256) == PCIExpress()


async def test_names_of_pci_devices() -> None:
    assert names_of(IDS, 0x8086, 0x10CA) == ("Intel \"<&>' Corporation", "Virtual Function")
    assert names_of(IDS, 0x8086, 0x1041) == ("Intel \"<&>' Corporation", None)
    assert names_of(IDS, 0x8086, 0x8086) == ("Intel \"<&>' Corporation", None)
    assert names_of(IDS, 0x10CA, 0x10CA) == (None, None)
    assert names_of(b"8086  \xff\n\t0001  \x00", 0x8086, 1) == ("\\xff", "\x00")
    assert names_of(b"", 0, 0) == (None, None)
