from __future__ import annotations

from collections.abc import Callable, Iterable

import anyio
import pytest

from aiovirt.events.types import DeviceEvent, DeviceInitialized, NetdevAdded, NetdevChanged, PCIAdded
from aiovirt.hostdev import udev
from aiovirt.hostdev.functions import Functions
from aiovirt.hostdev.links import Links
from aiovirt.hostdev.turns import Bell
from aiovirt.hostdev.udev import UdevWatch
from aiovirt.model.pci import PCIDevice
from aiovirt.system.netlink import Overrun
from aiovirt.system.udev import UdevMonitor, UdevWord
from aiovirt.wire.rtnetlink import LinkMessage
from aiovirt.wire.uevent import Uevent

pytestmark = pytest.mark.anyio

CARD = "0000:03:00.0"
MADE = {"ID_NET_DRIVER": "veth"}


class Monitor(UdevMonitor):
    """Says what it is given; None is a hole."""

    def __init__(self) -> None:
        super().__init__(receive_buffer=0)
        self.says: list[UdevWord | None] = []
        self._news = anyio.Event()

    def say(self, *words: UdevWord | None) -> None:
        self.says += words
        self._news.set()

    async def run(self, readable: Callable[[], object]) -> None:
        while True:
            await self._news.wait()
            self._news = anyio.Event()
            while self.says:
                readable()

    def receive_nowait(self) -> UdevWord | None:
        if not self.says:
            return None
        if (word := self.says.pop(0)) is None:
            raise Overrun("ENOBUFS")
        return word


class Watched:
    """udev's watch; ``waiting`` is what the kernel said and nobody took yet."""

    def __init__(self) -> None:
        self.monitor, self.links, self.functions = Monitor(), Links(udev=True), Functions()
        self.told: list[DeviceEvent] = []
        self.waiting: list[LinkMessage | Uevent] = []
        self._news = anyio.Event()
        self.watch = UdevWatch(self.monitor, self.tell, self.catch_up, self.links, self.functions, Bell())

    def tell(self, events: Iterable[DeviceEvent]) -> None:
        self.told += events
        self._news.set()
        self._news = anyio.Event()

    async def catch_up(self) -> None:
        for said in self.waiting:
            if isinstance(said, LinkMessage):
                self.tell(self.links.message(said))
            else:
                self.links.hint(said)
        self.waiting.clear()

    async def until(self, holds: Callable[[], object]) -> None:
        with anyio.fail_after(60):
            while not holds():
                await self._news.wait()

    def told_in_short(self) -> list[tuple[type[DeviceEvent], str]]:
        return [(type(event), event.device.subject) for event in self.told]


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> list[list[UdevWord]]:
    """What udev's database has, one reading after another."""
    readings: list[list[UdevWord]] = []

    async def read() -> list[UdevWord]:
        return readings.pop(0) if readings else []

    monkeypatch.setattr(udev, "read_database", read)
    return readings


def link(ifindex: int, name: str = "a", *, removed: bool = False) -> LinkMessage:
    return LinkMessage(ifindex=ifindex, family=0, removed=removed, interrupted=False, flags=0, name=name, kind="veth", link=1)


def added(ifindex: int, seqnum: int) -> Uevent:
    return Uevent(action="add", devpath="/devices/virtual/net/a", subsystem="net", seqnum=seqnum, env={"IFINDEX": str(ifindex)})


def word(ifindex: int | None, seqnum: int, action: str = "add", properties: dict[str, str] = MADE) -> UdevWord:
    subsystem, name = ("net", "a") if ifindex is not None else ("pci", CARD)
    return UdevWord(action=action, subsystem=subsystem, name=name, ifindex=ifindex, seqnum=seqnum, properties=properties)


async def test_what_the_kernel_said_is_taken_before_what_udev_says_of_it(database: list[list[UdevWord]]) -> None:
    assert database == []
    watched = Watched()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watched.watch.run)
        watched.waiting += [link(3), added(3, 5)]
        watched.monitor.say(word(3, 5))
        await watched.until(lambda: len(watched.told) == 2)
        assert watched.told_in_short() == [(NetdevAdded, "netdev/3.1"), (DeviceInitialized, "netdev/3.1")]
        tasks.cancel_scope.cancel()


async def test_what_the_kernel_said_is_taken_before_what_the_database_says_of_it(database: list[list[UdevWord]]) -> None:
    database.append([word(3, 0), word(None, 0)])
    watched = Watched()
    watched.waiting += [link(3), added(3, 5)]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watched.watch.run)
        await watched.until(lambda: len(watched.told) == 2)
        assert watched.told_in_short() == [(NetdevAdded, "netdev/3.1"), (DeviceInitialized, "netdev/3.1")]
        tasks.cancel_scope.cancel()


async def test_what_went_while_the_database_was_read_is_not_initialized(
    database: list[list[UdevWord]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert database == []
    watched = Watched()
    watched.tell(watched.links.message(link(3)))

    async def read() -> list[UdevWord]:
        watched.waiting += [link(3, removed=True), link(3), link(4)]
        return [word(3, 0), word(4, 0)]

    monkeypatch.setattr(udev, "read_database", read)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watched.watch.run)
        await watched.until(lambda: watched.told_in_short()[-1:] == [(DeviceInitialized, "netdev/4.1")])
        assert (DeviceInitialized, "netdev/3.2") not in watched.told_in_short()
        tasks.cancel_scope.cancel()


async def test_a_removal_on_request_does_not_take_back_what_came_with_it(database: list[list[UdevWord]]) -> None:
    assert database == []
    watched = Watched()
    watched.tell(watched.links.message(link(3)))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watched.watch.run)
        await anyio.wait_all_tasks_blocked()
        watched.monitor.say(word(3, 1), word(3, 2, "remove"))
        await watched.until(lambda: (DeviceInitialized, "netdev/3.1") in watched.told_in_short())
        tasks.cancel_scope.cancel()


async def test_what_udev_said_while_the_database_was_read_is_later(database: list[list[UdevWord]], monkeypatch: pytest.MonkeyPatch) -> None:
    """However late what was read is told."""
    assert database == []
    watched = Watched()
    watched.tell([*watched.links.message(link(3)), *watched.links.message(link(4))])
    later = MADE | {"ID_NET_NAME": "a"}

    async def read() -> list[UdevWord]:
        watched.monitor.say(word(3, 1, properties=later))
        await anyio.wait_all_tasks_blocked()  # it is told
        assert watched.told_in_short()[-1:] == [(DeviceInitialized, "netdev/3.1")]
        return [word(3, 0), word(4, 0)]

    monkeypatch.setattr(udev, "read_database", read)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watched.watch.run)
        await watched.until(lambda: (DeviceInitialized, "netdev/4.1") in watched.told_in_short())
        assert (netdev := watched.links.table.get(3)) is not None
        assert netdev.properties == later
        tasks.cancel_scope.cancel()


class Held(Watched):
    """What the kernel said first is handed in late."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.free = anyio.Event()

    async def catch_up(self) -> None:
        self.asked += 1
        if self.asked == 1:
            await self.free.wait()
        await super().catch_up()


async def test_what_udev_said_before_its_database_was_read_is_earlier(database: list[list[UdevWord]]) -> None:
    """However late it would be told."""
    watched = Held()
    watched.tell([*watched.links.message(link(3)), *watched.links.message(link(4))])
    later = MADE | {"ID_NET_NAME": "a"}
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watched.watch.run)
        await anyio.wait_all_tasks_blocked()
        watched.monitor.say(word(3, 1))
        await anyio.wait_all_tasks_blocked()
        assert watched.asked == 1
        database.append([word(3, 0, properties=later)])
        watched.monitor.say(None)
        await watched.until(lambda: (DeviceInitialized, "netdev/3.1") in watched.told_in_short())
        watched.free.set()
        watched.monitor.say(word(4, 2))
        await watched.until(lambda: (DeviceInitialized, "netdev/4.1") in watched.told_in_short())
        assert [kind for kind, subject in watched.told_in_short() if subject == "netdev/3.1"] == [NetdevAdded, DeviceInitialized]
        assert (netdev := watched.links.table.get(3)) is not None
        assert netdev.properties == later
        tasks.cancel_scope.cancel()


async def test_two_may_wait_for_what_is_told() -> None:
    watched = Watched()
    async with anyio.create_task_group() as tasks:
        for count in (1, 2):
            tasks.start_soon(watched.until, lambda count=count: len(watched.told) >= count)
        for ifindex in (3, 4):
            await anyio.wait_all_tasks_blocked()
            watched.tell(watched.links.message(link(ifindex)))


async def test_after_a_hole_the_database_is_read_again(database: list[list[UdevWord]]) -> None:
    database += [[word(3, 0)], [word(3, 0), word(4, 0)]]
    watched = Watched()
    for ifindex in (3, 4, 5):
        watched.tell(watched.links.message(link(ifindex)))
    watched.told.clear()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watched.watch.run)
        await watched.until(lambda: watched.told)
        watched.monitor.say(None, word(5, 9))
        await watched.until(lambda: len(watched.told) == 3)
        assert sorted(event.device.subject for event in watched.told) == ["netdev/3.1", "netdev/4.1", "netdev/5.1"]
        tasks.cancel_scope.cancel()


async def test_udev_says_the_same_again_or_more(database: list[list[UdevWord]]) -> None:
    assert database == []
    watched = Watched()
    watched.tell(watched.links.message(link(3)))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watched.watch.run)
        more = MADE | {"ID_NET_NAME": "a"}
        watched.monitor.say(word(3, 1))
        await watched.until(lambda: len(watched.told) == 2)
        watched.monitor.say(word(3, 1), word(3, 2, "change", MADE | {"ID_OUTDATED": "1"}), word(3, 2, "change", more))
        await watched.until(lambda: len(watched.told) == 3)
        watched.monitor.say(word(3, 3, "remove", {}), word(4, 4))
        _, initialized, changed = watched.told
        assert isinstance(initialized, DeviceInitialized)
        assert isinstance(changed, NetdevChanged)
        assert (initialized.properties, changed.changes) == (MADE, {"properties": (MADE, more)})
        tasks.cancel_scope.cancel()


async def test_a_name_that_is_about_to_change_is_not_the_last_word(database: list[list[UdevWord]]) -> None:
    assert database == []
    watched = Watched()
    watched.tell(watched.links.message(link(3)))
    watched.tell(watched.links.message(link(4)))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watched.watch.run)
        watched.monitor.say(word(3, 1, properties=MADE | {"ID_RENAMING": "1"}), word(4, 2))
        await watched.until(lambda: len(watched.told) == 3)
        watched.monitor.say(word(3, 3, "move"))
        await watched.until(lambda: len(watched.told) == 4)
        assert [event.device.subject for event in watched.told[2:]] == ["netdev/4.1", "netdev/3.1"]
        tasks.cancel_scope.cancel()


async def test_functions_are_initialized_too(database: list[list[UdevWord]]) -> None:
    assert database == []
    watched = Watched()
    watched.tell(watched.functions.added(PCIDevice(address=CARD), 5))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watched.watch.run)
        watched.monitor.say(word(None, 4), word(None, 5, "remove"), word(None, 5), word(None, 6, "bind"))
        await watched.until(lambda: len(watched.told) == 2)
        assert watched.told_in_short() == [(PCIAdded, f"pci/{CARD}"), (DeviceInitialized, f"pci/{CARD}")]
        tasks.cancel_scope.cancel()
