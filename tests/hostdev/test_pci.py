from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

import anyio
import pytest
from msgspec import structs

from aiovirt.errors import SystemFailure
from aiovirt.events.types import DeviceEvent, DriverBound, DriverUnbound, PCIAdded, PCIChanged, PCIRemoved
from aiovirt.hostdev.pci import PCIWatch
from aiovirt.model.pci import SRIOV, PCIDevice
from aiovirt.system.pci import PCIBus
from aiovirt.wire.uevent import Uevent

pytestmark = pytest.mark.anyio

CARD, VF = "0000:03:00.0", "0000:03:10.0"


class Bus(PCIBus):
    """Functions as they are; those that are ``stuck`` cannot be read in time."""

    def __init__(self, *functions: PCIDevice) -> None:
        super().__init__()
        self.there = {function.address: function for function in functions}
        self.stuck: set[str] = set()
        self.overrides_stuck = False
        self.unlocked = anyio.Event()
        self.unlisted = False
        self.meanwhile: Callable[[], None] = lambda: None
        self.reads: list[str] = []

    async def addresses(self) -> list[str]:
        if self.unlisted:
            raise SystemFailure("cannot list")
        return list(self.there)

    async def read(self, addresses: Iterable[str]) -> dict[str, PCIDevice]:
        self.reads += (wanted := list(addresses))
        found = {address: self.there[address] for address in wanted if address in self.there and address not in self.stuck}
        self.meanwhile()
        return {address: structs.replace(function, driver_override=None) for address, function in found.items()}

    async def read_overrides(self, addresses: Iterable[str]) -> tuple[dict[str, str | None], bool]:
        if self.overrides_stuck:
            return {}, True
        return {address: self.there[address].driver_override for address in addresses if address in self.there}, False

    async def read_numvfs(self, addresses: Iterable[str]) -> tuple[dict[str, int], bool]:
        if self.overrides_stuck:
            return {}, True
        there = {address: self.there[address].sriov for address in addresses if address in self.there}
        return {address: sriov.current for address, sriov in there.items() if sriov is not None}, False

    async def wait_for_locks(self) -> None:
        await self.unlocked.wait()


class Watched:
    """A watch over such a bus, and the uevents that wait for it."""

    def __init__(self, bus: Bus, *known: PCIDevice) -> None:
        self.bus = bus
        self.told: list[DeviceEvent] = []
        self.waiting: list[Uevent] = []
        self.unlocked: list[str] = []
        self.watch = PCIWatch(self.tell, self.catch_up, bus, self.unlocked.extend, known)
        self._seqnum = 0
        self._news = anyio.Event()

    def tell(self, events: Iterable[DeviceEvent]) -> None:
        self.told += events
        self._news.set()
        self._news = anyio.Event()

    def heard(self, action: str, address: str, **env: str) -> Uevent:
        self._seqnum += 1
        return Uevent(action=action, devpath=f"/devices/pci0000:00/{address}", subsystem="pci", seqnum=self._seqnum, env=env)

    async def take(self, action: str, address: str, **env: str) -> None:
        await self.watch.take(self.heard(action, address, **env), address)

    async def catch_up(self) -> None:
        while self.waiting:
            heard = self.waiting.pop(0)
            await self.watch.take(heard, heard.devpath.rpartition("/")[2])

    def kinds(self) -> list[type[DeviceEvent]]:
        return [type(event) for event in self.told]

    async def until(self, holds: Callable[[], object]) -> None:
        with anyio.fail_after(60):
            while not holds():
                await self._news.wait()


@asynccontextmanager
async def asking(*functions: PCIDevice) -> AsyncIterator[tuple[Watched, Bus]]:
    """A watch that has looked once, and asks from then on."""
    bus = Bus(*functions)
    watched = Watched(bus)
    await watched.watch.resync()
    watched.told.clear()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watched.watch.ask)
        tasks.start_soon(watched.watch.await_locks)
        yield watched, bus
        tasks.cancel_scope.cancel()


def function(address: str = CARD, **values: object) -> PCIDevice:
    return structs.replace(PCIDevice(address=address, pci_class=0x020000, vendor=0x8086, device=0x10C9), **values)


async def test_a_function_comes_is_bound_and_goes() -> None:
    async with asking() as (watched, bus):
        bus.there[CARD] = function(driver="igb")
        await watched.take("add", CARD)
        await watched.take("bind", CARD, DRIVER="igb")
        await watched.take("unbind", CARD)
        await watched.take("remove", CARD)
        assert watched.kinds() == [PCIAdded, DriverBound, DriverUnbound, PCIRemoved]
        assert list(watched.watch.functions) == []


async def test_what_changed_is_read() -> None:
    async with asking(function()) as (watched, bus):
        bus.there[CARD] = new = function(vfs=(VF,), sriov=SRIOV(total=7, current=1))
        await watched.take("change", CARD)
        await watched.until(lambda: watched.told)
        assert watched.told == [PCIChanged(old=function(), new=new)]


async def test_a_virtual_function_that_is_held_while_the_others_go_keeps_the_numbers_of_all() -> None:
    """As the kernel takes away four: it waits for whoever has the second, and holds the lock of the physical one as long."""
    vfs = tuple(f"0000:03:10.{number}" for number in range(4))
    four = function(vfs=vfs, sriov=SRIOV(total=7, current=4))
    virtual = [function(address, physfn=CARD, vf_index=index) for index, address in enumerate(vfs)]
    async with asking(four, *virtual) as (watched, bus):
        bus.overrides_stuck = True
        left: tuple[str | None, ...] = (None, None, *vfs[2:])
        bus.there[CARD] = function(vfs=left, sriov=SRIOV(total=7, current=2))  # as many as are seen
        bus.there[vfs[1]] = function(vfs[1])  # its links are gone, it is not
        del bus.there[vfs[0]]
        await watched.take("remove", vfs[0])
        await watched.until(lambda: PCIChanged in watched.kinds())
        assert watched.told[1:] == [PCIChanged(old=four, new=function(vfs=left, sriov=SRIOV(total=7, current=4)))]
        await watched.watch.refresh(vfs[1])
        assert watched.watch.functions.get(vfs[1]) == virtual[1]
        bus.overrides_stuck = False
        bus.there = {CARD: function(sriov=SRIOV(total=7, current=0))}
        for address in vfs[1:]:
            await watched.take("remove", address)
        bus.unlocked.set()
        await watched.until(lambda: watched.watch.functions.get(CARD) == bus.there[CARD])
        assert [known.address for known in watched.watch.functions] == [CARD]


@pytest.mark.parametrize("physfn", [CARD, None])
async def test_a_virtual_function_is_one_until_it_is_gone(physfn: str | None) -> None:
    async with asking(function(VF, physfn=CARD, vf_index=0)) as (watched, bus):
        bus.there[VF] = function(VF, physfn=physfn, numa_node=1)
        await watched.watch.refresh(VF)
        assert watched.watch.functions.get(VF) == function(VF, physfn=CARD, vf_index=0, numa_node=1)


async def test_another_function_where_a_virtual_one_was_is_none() -> None:
    async with asking(function(VF, physfn=CARD, vf_index=0)) as (watched, bus):
        bus.there[VF] = new = function(VF, device=0x1234)
        await watched.watch.refresh(VF)
        assert watched.watch.functions.get(VF) == new


@pytest.mark.parametrize("action", ["add", "remove", "bind", "unbind", "move", "change", "online"])
async def test_a_uevent_that_was_sent_on_request_tells_only_what_is_so(action: str) -> None:
    async with asking(function(driver="igb")) as (watched, bus):
        await watched.take(action, CARD, DRIVER="other", SYNTH_UUID="0")
        await watched.until(lambda: bus.reads.count(CARD) == 2)
        await anyio.wait_all_tasks_blocked()
        assert watched.told == []
        assert watched.watch.functions.get(CARD) == function(driver="igb")
        bus.there[CARD] = function(driver="vfio-pci")
        await watched.take(action, CARD, SYNTH_UUID="0")
        await watched.until(lambda: watched.told)
        assert watched.kinds() == [DriverBound]


async def test_a_uevent_that_was_sent_on_request_finds_a_function_that_was_missed() -> None:
    async with asking() as (watched, bus):
        bus.there[CARD] = function(driver="igb")
        await watched.take("change", CARD, SYNTH_UUID="0")
        await watched.until(lambda: len(watched.told) == 2)
        assert watched.kinds() == [PCIAdded, DriverBound]


async def test_whose_virtual_function_comes_is_read() -> None:
    async with asking(function()) as (watched, bus):
        bus.there = {CARD: function(vfs=(VF,)), VF: function(VF, physfn=CARD, vf_index=0)}
        await watched.take("add", VF)
        await watched.until(lambda: len(watched.told) == 2)
        assert watched.kinds() == [PCIAdded, PCIChanged]


async def test_a_function_that_could_not_be_read_in_time_is_told_as_its_uevent_says_and_read_again() -> None:
    async with asking() as (watched, bus):
        bus.there[VF] = function(VF, physfn=CARD, vf_index=0)
        bus.stuck.add(VF)
        await watched.take("add", VF, PCI_CLASS="20000", PCI_ID="8086:10C9")
        assert watched.told == [PCIAdded(device=function(VF))]
        bus.stuck.clear()
        await watched.until(lambda: len(watched.told) == 2)
        assert watched.told[1] == PCIChanged(old=function(VF), new=bus.there[VF])


async def test_a_uevent_that_comes_while_it_is_read_is_taken_first() -> None:
    async with asking(function()) as (watched, bus):

        def bind() -> None:
            bus.meanwhile = lambda: None
            bus.there[CARD] = function(driver="vfio-pci", numa_node=1)
            watched.waiting.append(watched.heard("bind", CARD, DRIVER="vfio-pci"))

        bus.meanwhile = bind
        await watched.take("change", CARD)
        await watched.until(lambda: len(watched.told) == 2)
        assert watched.kinds() == [DriverBound, PCIChanged]
        assert watched.watch.functions.get(CARD) == bus.there[CARD]


async def test_who_may_bind_it_stays_as_known_where_that_cannot_be_read() -> None:
    async with asking(function(driver_override="vfio-pci")) as (watched, bus):
        bus.overrides_stuck = True
        bus.there[CARD] = function(driver_override="igb", numa_node=1)
        await watched.watch.refresh(CARD)
        assert watched.watch.functions.get(CARD) == function(driver_override="vfio-pci", numa_node=1)
        bus.overrides_stuck = False
        await watched.watch.refresh(CARD)
        assert watched.watch.functions.get(CARD) == bus.there[CARD]


async def test_whose_lock_was_held_for_long_is_read_again_when_it_is_let_go_of() -> None:
    async with asking(function(), function(VF)) as (watched, bus):
        bus.overrides_stuck = True
        bus.there[CARD] = function(driver_override="igb")
        await watched.take("change", CARD)
        await anyio.wait_all_tasks_blocked()
        assert (watched.told, watched.unlocked) == ([], [])
        bus.overrides_stuck = False
        bus.unlocked.set()
        await watched.until(lambda: watched.told)
        assert watched.told == [PCIChanged(old=function(), new=bus.there[CARD])]
        await anyio.wait_all_tasks_blocked()
        assert watched.unlocked == [CARD]


async def test_who_gives_up_a_refresh_leaves_the_others_to_be_read() -> None:
    async with asking(function(), function(VF)) as (watched, bus):
        entered, forever = anyio.Event(), anyio.Event()
        bus.there = {CARD: function(numa_node=1), VF: function(VF, numa_node=1)}
        read = bus.read

        async def wait(addresses: Iterable[str]) -> dict[str, PCIDevice]:
            bus.read = read  # type: ignore[method-assign]
            entered.set()
            await forever.wait()
            raise AssertionError(addresses)

        bus.read = wait  # type: ignore[method-assign]
        watched.watch.functions.changed(VF)  # and nobody has been told yet that there is something to read
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watched.watch.refresh, CARD)
            await entered.wait()
            tasks.cancel_scope.cancel()
        await watched.until(lambda: len(watched.told) == 2)
        assert watched.kinds() == [PCIChanged, PCIChanged]


async def test_whose_lock_is_held_again_is_waited_for_again() -> None:
    async with asking(function()) as (watched, bus):
        bus.overrides_stuck = True
        waits: list[anyio.Event] = []

        async def wait() -> None:
            waits.append(anyio.Event())
            await waits[-1].wait()

        bus.wait_for_locks = wait  # type: ignore[method-assign]
        await watched.take("change", CARD)
        for number in range(1, 4):
            await anyio.wait_all_tasks_blocked()
            assert (len(waits), watched.unlocked) == (number, [])
            bus.overrides_stuck = number < 3
            waits[-1].set()
        await anyio.wait_all_tasks_blocked()
        assert (len(waits), watched.unlocked) == (3, [CARD])


async def test_a_refresh_that_cannot_be_had_says_so() -> None:
    async with asking(function()) as (watched, bus):
        bus.stuck.add(CARD)
        with pytest.raises(SystemFailure, match=f"cannot read PCI function {CARD}: ETIMEDOUT"):
            await watched.watch.refresh(CARD)


async def test_a_refresh_of_what_is_gone_says_nothing() -> None:
    async with asking(function()) as (watched, bus):
        bus.there.clear()
        bus.meanwhile = lambda: watched.waiting.append(watched.heard("remove", CARD))
        await watched.watch.refresh(CARD)
        assert watched.kinds() == [PCIRemoved]


async def test_a_look_that_fails_changes_nothing() -> None:
    bus = Bus()
    bus.unlisted = True
    watched = Watched(bus, function())
    await watched.watch.resync()
    assert watched.told == []
    assert list(watched.watch.functions) == [function()]


async def test_a_look_goes_on_from_what_was_known() -> None:
    bus = Bus(function(driver="igb"))
    watched = Watched(bus, function(driver="vfio-pci"), function(VF))
    await watched.watch.resync()
    assert watched.kinds() == [PCIRemoved, DriverBound]


async def test_whoever_is_cancelled_leaves_the_reading_to_the_others() -> None:
    bus = Bus(function())
    watched = Watched(bus, function())
    with anyio.CancelScope() as scope:

        def cancel() -> None:
            bus.meanwhile = lambda: None
            bus.there[CARD] = function(numa_node=1)
            scope.cancel()

        async def cancelled() -> None:
            await anyio.lowlevel.checkpoint()

        watched.watch._catch_up = cancelled
        bus.meanwhile = cancel
        watched.watch.functions.changed(CARD)
        await watched.watch.refresh(CARD)
    assert scope.cancelled_caught
    assert watched.watch.functions.dirty == {CARD}


async def test_who_asks_for_the_same_function_at_once_is_answered() -> None:
    watched = Watched(Bus(PCIDevice(address=CARD)))
    await watched.watch.resync()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watched.watch.ask)
        tasks.start_soon(watched.watch.await_locks)
        await watched.take("change", CARD)
        for _ in range(3):
            tasks.start_soon(watched.watch.refresh, CARD)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert watched.bus.reads.count(CARD) >= 4
