from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import anyio
import pytest

from aiovirt.errors import NoSuchDevice, SystemFailure
from aiovirt.model.netdev import Unreadable
from aiovirt.system.again import is_passing
from aiovirt.system.sysfs import Attachment, Sysfs

pytestmark = pytest.mark.anyio


class Tree:
    """A made-up /sys with one PCI network card."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.card = root / "devices" / "pci0000:00" / "0000:00:03.0"
        self.netdevs = root / "class" / "net"
        self.netdevs.mkdir(parents=True)
        driver = root / "bus" / "pci" / "drivers" / "igb"
        driver.mkdir(parents=True)
        self.card.mkdir(parents=True)
        (self.card / "driver").symlink_to(driver)
        self.nic = self.add("eth0", 3, parent=self.card)

    def add(self, name: str, ifindex: int, *, parent: Path | None = None, **attributes: str) -> Path:
        folder = (parent or self.root / "devices" / "virtual") / "net" / name
        folder.mkdir(parents=True)
        for attribute, value in {"ifindex": str(ifindex), **attributes}.items():
            (folder / attribute).write_text(f"{value}\n")
        if parent:
            (folder / "device").symlink_to(parent)
        (self.netdevs / name).symlink_to(os.path.relpath(folder, self.netdevs))
        return folder

    def rename(self, old: str, new: str) -> None:
        (self.netdevs / old).rename(self.netdevs / new)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


async def test_attributes_are_values_or_none_or_unreadable(tree: Tree) -> None:
    (tree.nic / "phys_port_id").write_text("026c6e0001000000\n")
    (tree.nic / "phys_port_name").mkdir()  # as good an error as any
    (tree.nic / "alias").write_bytes(b"a\xff\n")
    wanted = ("phys_port_id", "phys_switch_id", "phys_port_name", "alias")
    found = await Sysfs(tree.root).read_netdev("eth0", 3, wanted)
    assert list(found) == list(wanted)
    assert (found["phys_port_id"], found["phys_switch_id"], found["alias"]) == ("026c6e0001000000", None, "a\\xff")
    unreadable = found["phys_port_name"]
    assert isinstance(unreadable, Unreadable)
    assert unreadable.why == "EISDIR"


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOMEM])
@pytest.mark.parametrize("part", ["eth0", "phys_port_id", "dev_port"])
async def test_a_shortage_is_raised_and_says_nothing_of_a_device(
    tree: Tree, monkeypatch: pytest.MonkeyPatch, part: str, number: int
) -> None:
    real = os.open

    def short(path: str | Path, *args: int, **keys: int | None) -> int:
        if Path(path).name == part:
            raise OSError(number, "made up", str(path))
        return real(path, *args, **keys)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", short)
    sysfs = Sysfs(tree.root)
    with pytest.raises(SystemFailure, match="made up") as raised:
        await (sysfs.read_attachments({3: "eth0"}) if part == "dev_port" else sysfs.read_netdev("eth0", 3, ("phys_port_id",)))
    assert is_passing(raised.value)
    if part == "eth0":
        with pytest.raises(SystemFailure, match="made up"):
            await sysfs.indexes(["eth0"])


async def test_another_device_of_the_same_name_is_not_read(tree: Tree) -> None:
    with pytest.raises(NoSuchDevice, match="another network device"):
        await Sysfs(tree.root).read_netdev("eth0", 4, ("phys_port_id",))


@pytest.mark.parametrize("name", ["eth1", "", ".", "..", "../net/eth0", "eth0/../eth0", "a\0b", "bonding_masters"])
async def test_names_that_no_device_has(tree: Tree, name: str) -> None:
    (tree.netdevs / "bonding_masters").write_text("\n")
    with pytest.raises(NoSuchDevice):
        await Sysfs(tree.root).read_netdev(name, None, ())
    with pytest.raises(NoSuchDevice):
        await Sysfs(tree.root).read_phys_port_id(name)


async def test_a_phys_port_id_is_asked_for(tree: Tree) -> None:
    sysfs = Sysfs(tree.root)
    assert await sysfs.read_phys_port_id("eth0") is None
    (tree.nic / "phys_port_id").write_text("0badcafe\n")
    assert await sysfs.read_phys_port_id("eth0") == "0badcafe"
    (tree.nic / "phys_port_id").unlink()
    (tree.nic / "phys_port_id").mkdir()
    with pytest.raises(SystemFailure, match="phys_port_id of eth0: EISDIR"):
        await sysfs.read_phys_port_id("eth0")


async def test_a_device_that_goes_while_it_is_read_has_no_attributes(tree: Tree) -> None:
    """What is not there any more must not be taken for what the driver has not."""
    sysfs = Sysfs(tree.root)
    os.mkfifo(tree.nic / "gate")

    def while_it_reads() -> None:
        with (tree.nic / "gate").open("w"):
            (tree.nic / "ifindex").unlink()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anyio.to_thread.run_sync, while_it_reads)
        with pytest.raises(NoSuchDevice):
            await sysfs.read_netdev("eth0", 3, ("gate", "phys_port_id"))


async def test_what_hangs_from_what(tree: Tree) -> None:
    tree.add("veth0", 4)
    tree.add("unbound", 5, parent=tree.root / "devices" / "pci0000:00" / "0000:00:04.0")
    found = await Sysfs(tree.root).read_attachments({3: "eth0", 4: "veth0", 5: "unbound", 6: "eth0", 7: "gone"})
    assert found == {
        3: Attachment("0000:00:03.0", "igb", "0000:00:03.0"),
        4: Attachment(None, None),
        5: Attachment("0000:00:04.0", None, "0000:00:04.0"),
    }


async def test_names_and_numbers(tree: Tree) -> None:
    tree.add("lo", 1)
    (tree.netdevs / "bonding_masters").write_text("\n")
    sysfs = Sysfs(tree.root)
    assert sorted(await sysfs.names()) == ["bonding_masters", "eth0", "lo"]
    assert await sysfs.indexes(["bonding_masters", "eth0", "lo", "gone"]) == {3: "eth0", 1: "lo"}
    assert await Sysfs(tree.root / "nowhere").names() == []


@pytest.mark.parametrize("text", ["three", "", "-3", "2147483648", "3" * 4000])
async def test_an_ifindex_that_is_none_is_an_error(tree: Tree, text: str) -> None:
    (tree.nic / "ifindex").write_text(f"{text}\n")
    with pytest.raises(SystemFailure, match=f"is not one: '{text[:40]}'"):
        await Sysfs(tree.root).read_netdev("eth0", 3, ())


# -- reads that do not come back ---------------------------------------------------------------


class Stuck:
    """An attribute whose reads do not come back before it is let go: a FIFO that nobody writes to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)

    def let_go(self) -> None:
        os.close(os.open(self.path, os.O_RDWR | os.O_NONBLOCK))


async def test_a_read_that_hangs_is_left_behind_with_what_was_read(tree: Tree) -> None:
    (tree.nic / "address").write_text("52:54:00:aa:00:00\n")
    stuck = Stuck(tree.nic / "phys_port_id")
    sysfs = Sysfs(tree.root, deadline=0.05)
    try:
        found = await sysfs.read_netdev("eth0", 3, ("address", "phys_port_id", "mtu"))
        assert found["address"] == "52:54:00:aa:00:00"
        assert [str(found["phys_port_id"]), str(found["mtu"])] == ["unreadable (ETIMEDOUT)"] * 2
        with pytest.raises(SystemFailure, match="ETIMEDOUT"):
            await sysfs.read_phys_port_id("eth0")
    finally:
        stuck.let_go()


async def test_reads_that_hang_hold_two_threads_and_no_more(tree: Tree) -> None:
    stuck = Stuck(tree.nic / "phys_port_id")
    sysfs = Sysfs(tree.root, deadline=0.05)
    before = threading.active_count()
    try:
        for _ in range(6):
            await sysfs.read_netdev("eth0", 3, ("phys_port_id",))
        assert threading.active_count() - before <= 4  # two hang, and two wait for theirs at most until the deadline
        assert await sysfs.read_attachments({3: "eth0"}) == {3: Attachment("0000:00:03.0", "igb", "0000:00:03.0")}
    finally:
        stuck.let_go()


async def test_cancelling_a_read_that_hangs_does_not_wait(tree: Tree) -> None:
    stuck = Stuck(tree.nic / "phys_port_id")
    try:
        with anyio.move_on_after(0.05) as scope:
            await Sysfs(tree.root, deadline=3600).read_netdev("eth0", 3, ("phys_port_id",))
        assert scope.cancelled_caught
    finally:
        stuck.let_go()
