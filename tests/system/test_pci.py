from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import anyio
import pytest
from msgspec import structs

from aiovirt.errors import SystemFailure
from aiovirt.model.pci import PCI_ADDRESS, SRIOV, PCIDevice
from aiovirt.system.again import is_passing
from aiovirt.system.pci import PCIBus

pytestmark = pytest.mark.anyio

BRIDGE, PF, VF0, VF1 = "0000:00:02.0", "0000:03:00.0", "0000:03:10.0", "0000:03:10.2"
IDS = {
    "class": "0x020000",
    "vendor": "0x8086",
    "device": "0x10c9",
    "subsystem_vendor": "0x8086",
    "subsystem_device": "0xa03c",
    "revision": "0x01",
    "numa_node": "-1",
}


class Tree:
    """A made-up /sys: a bridge, a card behind it, and two virtual functions of that."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.functions = root / "bus" / "pci" / "devices"
        self.functions.mkdir(parents=True)
        top = root / "devices" / "pci0000:00" / BRIDGE
        self.bridge = self.add(top, **(IDS | {"class": "0x060400"}))
        self.card = self.add(top / PF, sriov_totalvfs="7", sriov_numvfs="2", driver_override="(null)", **IDS)
        self.vfs = [self.add(top / address, device="0x10ca", **{k: v for k, v in IDS.items() if k != "device"}) for address in (VF0, VF1)]
        for index, vf in enumerate(self.vfs):
            (vf / "physfn").symlink_to(f"../{PF}")
            (self.card / f"virtfn{index}").symlink_to(f"../{vf.name}")
        self.link(self.card, "driver", "bus/pci/drivers/igb")
        self.link(self.card, "iommu_group", "kernel/iommu_groups/17")

    def add(self, path: Path, **attributes: str) -> Path:
        path.mkdir(parents=True)
        for attribute, value in attributes.items():
            (path / attribute).write_text(f"{value}\n")
        (self.functions / path.name).symlink_to(os.path.relpath(path, self.functions))
        return path

    def link(self, path: Path, name: str, target: str) -> None:
        (self.root / target).mkdir(parents=True, exist_ok=True)
        (path / name).symlink_to(os.path.relpath(self.root / target, path))

    async def read(self, address: str) -> PCIDevice | None:
        return (await PCIBus(self.root).read([address])).get(address)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


CARD = PCIDevice(
    address=PF,
    parent=BRIDGE,
    pci_class=0x020000,
    vendor=0x8086,
    device=0x10C9,
    subsystem_vendor=0x8086,
    subsystem_device=0xA03C,
    revision=1,
    driver="igb",
    iommu_group=17,
    sriov=SRIOV(total=7, current=2),
    vfs=(VF0, VF1),
)
VF = structs.replace(CARD, address=VF0, device=0x10CA, driver=None, iommu_group=None, sriov=None, vfs=(), physfn=PF, vf_index=0)
ROOT = structs.replace(CARD, address=BRIDGE, parent=None, pci_class=0x060400, driver=None, iommu_group=None, sriov=None, vfs=())


async def test_every_function_as_it_is(tree: Tree) -> None:
    bus = PCIBus(tree.root)
    addresses = await bus.addresses()
    assert sorted(addresses) == [BRIDGE, PF, VF0, VF1]
    assert await bus.read(addresses) == {BRIDGE: ROOT, PF: CARD, VF0: VF, VF1: structs.replace(VF, address=VF1, vf_index=1)}


async def test_what_is_no_function_is_not_listed(tree: Tree) -> None:
    for name in ("0000:00:02.8", "0000:00:20.0", "pci0000:00", "README", "0000:03:00.0:pcie001", "0000:03:00.0\n"):
        (tree.functions / name).mkdir()
    assert sorted(await PCIBus(tree.root).addresses()) == [BRIDGE, PF, VF0, VF1]


async def test_a_host_without_a_pci_bus(tmp_path: Path) -> None:
    bus = PCIBus(tmp_path)
    assert await bus.addresses() == []
    assert await bus.read([PF]) == {}
    assert await bus.read_overrides([PF]) == ({}, False)


async def test_a_bus_that_cannot_be_listed(tmp_path: Path) -> None:
    (tmp_path / "bus" / "pci").mkdir(parents=True)
    (tmp_path / "bus" / "pci" / "devices").write_text("")
    with pytest.raises(SystemFailure, match=r"cannot list .*devices: Not a directory"):
        await PCIBus(tmp_path).addresses()


async def test_virtual_functions_are_in_the_order_of_their_indexes(tree: Tree) -> None:
    for index in range(2, 12):
        (tree.card / f"virtfn{index}").symlink_to(f"../0000:03:{16 + index:02x}.0")
    for name in ("virtfn", "virtfnx", "virtfn_count"):
        (tree.card / name).write_text("")
    (tree.card / "virtfn99").mkdir()  # where a link should be
    card = await tree.read(PF)
    assert card is None
    (tree.card / "virtfn99").rmdir()
    card = await tree.read(PF)
    assert card is not None
    assert card.vfs == (VF0, VF1, *(f"0000:03:{16 + index:02x}.0" for index in range(2, 12)))
    assert card.sriov == SRIOV(total=7, current=12)


async def test_a_virtual_function_keeps_its_number_when_those_before_it_are_gone(tree: Tree) -> None:
    for index in (0, 1):
        (tree.card / f"virtfn{index}").rename(tree.card / f"virtfn{index + 2}")
    for name in ("virtfn65535", "virtfn99999999999999999999", "virtfn\u0661"):
        (tree.card / name).symlink_to("../0000:03:1f.0")
    card, vf = await tree.read(PF), await tree.read(VF0)
    assert card is not None
    assert vf is not None
    assert (card.vfs, vf.vf_index) == ((None, None, VF0, VF1), 2)


async def test_how_many_virtual_functions_there_are_is_the_kernel_s_word(tree: Tree) -> None:
    (tree.card / "sriov_numvfs").write_text("4\n")
    (tree.vfs[0] / "sriov_numvfs").write_text("many\n")
    assert await PCIBus(tree.root).read_numvfs([PF, BRIDGE, VF0]) == ({PF: 4}, False)


async def test_a_physical_function_that_is_gone_leaves_its_virtual_one_without_an_index(tree: Tree) -> None:
    (tree.card / "virtfn0").unlink()
    vf = await tree.read(VF0)
    assert vf is not None
    assert (vf.physfn, vf.vf_index) == (PF, None)


async def test_functions_without_what_others_have(tree: Tree) -> None:
    for attribute in IDS:
        (tree.bridge / attribute).unlink()
    assert await tree.read(BRIDGE) == PCIDevice(address=BRIDGE)
    (tree.card / "sriov_totalvfs").write_text("0\n")
    (tree.card / "numa_node").write_text("1\n")
    assert await tree.read(PF) == structs.replace(CARD, sriov=None, numa_node=1)


@pytest.mark.parametrize(
    ("attribute", "text"),
    [("class", "network"), ("vendor", "0x"), ("device", "\xff"), ("numa_node", "one"), ("sriov_totalvfs", "7 of 8"), ("revision", "-")],
)
async def test_a_number_that_is_none_leaves_its_function_out_and_no_other(tree: Tree, attribute: str, text: str) -> None:
    (tree.card / attribute).write_text(f"{text}\n")
    assert sorted(await PCIBus(tree.root).read([BRIDGE, PF, VF0, "0000:04:00.0"])) == [BRIDGE, VF0]


async def test_a_link_that_is_no_number_leaves_its_function_out(tree: Tree) -> None:
    (tree.card / "iommu_group").unlink()
    tree.link(tree.card, "iommu_group", "kernel/iommu_groups/none")
    assert await tree.read(PF) is None


async def test_an_attribute_that_cannot_be_read_leaves_its_function_out(tree: Tree) -> None:
    (tree.card / "vendor").unlink()
    (tree.card / "vendor").mkdir()
    assert sorted(await PCIBus(tree.root).read([BRIDGE, PF])) == [BRIDGE]


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOMEM])
@pytest.mark.parametrize("part", [PF, "vendor", "."])
async def test_a_shortage_is_raised_and_leaves_no_function_out(tree: Tree, monkeypatch: pytest.MonkeyPatch, part: str, number: int) -> None:
    real = os.open

    def short(path: str | Path, *args: int, **keys: int | None) -> int:
        if Path(path).name == Path(part).name:
            raise OSError(number, "made up", str(path))
        return real(path, *args, **keys)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", short)
    with pytest.raises(SystemFailure, match=f"cannot read PCI function {PF}: made up") as raised:
        await PCIBus(tree.root).read([PF])
    assert is_passing(raised.value)


async def test_a_shortage_does_not_say_who_may_bind_a_function(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    def short(*_: object, **__: object) -> int:
        raise OSError(errno.EMFILE, "made up")

    monkeypatch.setattr(os, "open", short)
    bus = PCIBus(tree.root)
    with pytest.raises(SystemFailure, match="made up"):
        await bus.read_overrides([PF])
    monkeypatch.undo()
    assert await bus.read_overrides([PF]) == ({PF: None}, False)


@pytest.mark.parametrize("name", ["driver", "physfn"])
async def test_a_file_where_a_link_should_be_leaves_its_function_out(tree: Tree, name: str) -> None:
    (tree.bridge / name).write_text("")
    assert await tree.read(BRIDGE) is None


async def test_who_may_bind_a_function(tree: Tree) -> None:
    (tree.bridge / "driver_override").write_text("\n")
    (tree.vfs[0] / "driver_override").write_text("vfio-pci\n")
    overrides = await PCIBus(tree.root).read_overrides([BRIDGE, PF, VF0, VF1])
    assert overrides == ({BRIDGE: None, PF: None, VF0: "vfio-pci"}, False)


async def test_reads_that_hang_are_left_behind_and_the_others_told(tree: Tree) -> None:
    """Who may bind a function is read in a lane of its own, as the device's lock may be held for long."""
    (tree.card / "driver_override").unlink()
    os.mkfifo(tree.card / "driver_override")
    (tree.bridge / "driver_override").write_text("vfio-pci\n")
    bus = PCIBus(tree.root, deadline=0.05)
    before = threading.active_count()
    try:
        for _ in range(4):
            assert await bus.read_overrides([BRIDGE, PF, VF0]) in (({BRIDGE: "vfio-pci"}, True), ({}, True))
            assert await bus.read([PF]) == {PF: CARD}
        assert threading.active_count() - before <= 6
    finally:
        os.close(os.open(tree.card / "driver_override", os.O_RDWR | os.O_NONBLOCK))


async def test_who_read_too_late_hears_when_it_can_be_read(tree: Tree) -> None:
    """Whether that is before one asks for it or after, and however often."""
    (tree.card / "driver_override").unlink()
    os.mkfifo(tree.card / "driver_override")
    bus = PCIBus(tree.root, deadline=0.05)
    for waits_first in (True, False, True):
        assert await bus.read_overrides([PF]) == ({}, True)
        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                if waits_first:
                    tasks.start_soon(bus.wait_for_locks)
                    await anyio.wait_all_tasks_blocked()
                    assert await bus.read_overrides([VF0]) == ({}, False), "what others read is not what is waited for"
                    with anyio.move_on_after(0.05):
                        await bus.wait_for_locks()
                        raise AssertionError("nobody has let go of it")
                os.close(os.open(tree.card / "driver_override", os.O_RDWR | os.O_NONBLOCK))
                await bus.wait_for_locks()


def hold(file: Path) -> None:
    """Whoever reads it waits."""
    file.unlink(missing_ok=True)
    os.mkfifo(file)


def let_go(file: Path, text: str) -> None:
    handle = os.open(file, os.O_RDWR | os.O_NONBLOCK)
    file.unlink()
    file.write_text(text)
    os.close(handle)


async def test_whose_lock_is_held_is_asked_nothing_else_that_needs_it(tree: Tree) -> None:
    hold(card := tree.card / "driver_override")
    bus = PCIBus(tree.root, deadline=0.05)
    try:
        assert await bus.read_overrides([PF]) == ({}, True)
        assert await bus.read_numvfs([PF]) == ({}, True)
    finally:
        let_go(card, "\n")
    with anyio.fail_after(60):
        await bus.wait_for_locks()
    assert await bus.read_numvfs([PF]) == ({PF: 2}, False)


async def test_of_two_that_are_held_the_one_that_is_let_go_of_is_read(tree: Tree) -> None:
    card, vf = tree.card / "driver_override", tree.vfs[0] / "driver_override"
    hold(card)
    hold(vf)
    (tree.bridge / "driver_override").write_text("\n")
    bus = PCIBus(tree.root, deadline=0.05)
    try:
        assert await bus.read_overrides([BRIDGE, PF, VF0]) == ({BRIDGE: None}, True)
        let_go(card, "vfio-pci\n")
        with anyio.fail_after(60):
            await bus.wait_for_locks()
        assert await bus.read_overrides([VF0, PF, BRIDGE]) == ({BRIDGE: None, PF: "vfio-pci"}, True)
    finally:
        let_go(vf, "igbvf\n")
    with anyio.fail_after(60):
        await bus.wait_for_locks()
    assert await bus.read_overrides([VF0, PF]) == ({VF0: "igbvf", PF: "vfio-pci"}, False)


async def test_however_often_it_is_asked_one_that_is_held_takes_one_thread(tree: Tree) -> None:
    hold(card := tree.card / "driver_override")
    (tree.bridge / "driver_override").write_text("\n")
    bus = PCIBus(tree.root, deadline=0.05)
    try:
        for _ in range(3):
            assert await bus.read_overrides([PF, BRIDGE]) == ({BRIDGE: None}, True)
    finally:
        let_go(card, "\n")


async def test_cancelling_a_read_that_hangs_does_not_wait(tree: Tree) -> None:
    (tree.card / "vendor").unlink()
    os.mkfifo(tree.card / "vendor")
    try:
        with anyio.move_on_after(0.05) as scope:
            await PCIBus(tree.root, deadline=3600).read([PF])
        assert scope.cancelled_caught
    finally:
        os.close(os.open(tree.card / "vendor", os.O_RDWR | os.O_NONBLOCK))


# -- against this machine ----------------------------------------------------------------------

SYSFS = Path("/sys/bus/pci/devices")


def plainly(folder: Path) -> PCIDevice:
    """What lspci(8) would read."""

    def number(name: str, base: int = 16) -> int:
        return int((folder / name).read_text(), base)

    def target(name: str) -> str | None:
        return (folder / name).resolve().name if (folder / name).is_symlink() else None

    group, above = target("iommu_group"), folder.resolve().parent.name
    node = number("numa_node", 10) if (folder / "numa_node").exists() else -1
    return PCIDevice(
        address=folder.name,
        parent=above if PCI_ADDRESS.fullmatch(above) else None,
        pci_class=number("class"),
        vendor=number("vendor"),
        device=number("device"),
        subsystem_vendor=number("subsystem_vendor"),
        subsystem_device=number("subsystem_device"),
        revision=number("revision"),
        driver=target("driver"),
        iommu_group=int(group) if group is not None else None,
        numa_node=node if node >= 0 else None,
        sriov=SRIOV(total=number("sriov_totalvfs", 10), current=number("sriov_numvfs", 10))
        if (folder / "sriov_totalvfs").exists()
        else None,
        vfs=tuple(link.resolve().name for link in sorted(folder.glob("virtfn*"), key=lambda link: int(link.name[6:]))),
        physfn=target("physfn"),
    )


async def test_this_machines_functions_as_plain_reads_have_them() -> None:
    bus = PCIBus()
    addresses = await bus.addresses()
    assert sorted(addresses) == sorted(folder.name for folder in SYSFS.glob("*"))
    read = await bus.read(addresses)
    assert {address: structs.replace(function, vf_index=None) for address, function in read.items()} == {
        folder.name: plainly(folder) for folder in SYSFS.glob("*")
    }
    overrides, _ = await bus.read_overrides(addresses)
    plain = {folder.parent.name: folder.read_text().strip() for folder in SYSFS.glob("*/driver_override")}
    assert overrides == {address: None if text in ("", "(null)") else text for address, text in plain.items()}
