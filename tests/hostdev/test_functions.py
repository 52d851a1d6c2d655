from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec import structs

from aiovirt.events.state import HostState
from aiovirt.events.types import DeviceEvent, DeviceInitialized, DriverBound, DriverEvent, DriverUnbound, PCIAdded, PCIChanged, PCIRemoved
from aiovirt.hostdev.functions import Functions, address_of, described
from aiovirt.model.pci import SRIOV, PCIDevice
from aiovirt.wire.uevent import Uevent

CARD = "0000:03:00.0"
BRIDGE = "0000:00:02.0"
VF0, VF1 = "0000:03:00.1", "0000:03:00.2"


def function(address: str = CARD, **values: object) -> PCIDevice:
    return structs.replace(PCIDevice(address=address, pci_class=0x020000, vendor=0x15B3, device=0x1007), **values)


def vf(address: str = VF0, index: int = 0, **values: object) -> PCIDevice:
    return function(address, device=0x1004, physfn=CARD, vf_index=index, **values)


def told(events: Iterable[DeviceEvent]) -> list[tuple[type[DeviceEvent], str]]:
    return [(type(event), event.device.name if isinstance(event, DriverEvent) else event.device.subject[4:]) for event in events]


def knowing(*functions: PCIDevice) -> Functions:
    """A table that was read once, of a quiet host."""
    table = Functions()
    table.resynced({one.address: one for one in functions}, [one.address for one in functions])
    return table


def test_a_virtual_function_that_was_read_before_the_kernel_said_whose_it_is_is_read_again() -> None:
    table = knowing(function())
    assert table.added(function(VF0, device=0x1004), 1) == [PCIAdded(device=function(VF0, device=0x1004))]
    table.changed(CARD)
    assert table.take_dirty() == {CARD}
    card = function(sriov=SRIOV(total=8, current=1), vfs=(VF0,))
    assert told(table.refreshed({CARD: card})) == [(PCIChanged, CARD)]
    assert table.take_dirty() == {VF0}
    assert table.refreshed({VF0: vf()}) == [PCIChanged(old=function(VF0, device=0x1004), new=vf())]
    table.changed(CARD)
    table.take_dirty()
    assert table.refreshed({CARD: card}) == []
    assert table.take_dirty() == set()


# -- functions that come and go ----------------------------------------------------------------


def test_a_function_that_comes_has_no_driver_yet() -> None:
    table = Functions()
    assert table.added(function(driver="mlx4_core"), 1) == [PCIAdded(device=function())]
    assert table.get(CARD) == function()
    assert list(table) == [function()]


def test_the_driver_that_it_had_when_it_was_read_is_told_when_the_kernel_tells_it() -> None:
    table = Functions()
    table.added(function(driver="mlx4_core"), 1)
    (bound,) = table.bound(CARD, "mlx4_core")
    assert isinstance(bound, DriverBound)
    assert (bound.device.bus, bound.device.name, bound.device.driver, bound.before) == ("pci", CARD, "mlx4_core", None)
    assert table.get(CARD) == function(driver="mlx4_core")
    assert table.bound(CARD, "mlx4_core") == []


def test_a_function_that_comes_is_known_already() -> None:
    """A look found it before its uevent was read."""
    table = knowing(function(driver="mlx4_core"))
    assert table.added(function(), 1) == []
    assert table.get(CARD) == function(driver="mlx4_core")
    assert table.dirty == {CARD}


def test_another_function_at_the_same_address() -> None:
    table = knowing(function(driver="mlx4_core"))
    assert table.added(function(device=0x1003), 1) == [
        PCIRemoved(device=function(driver="mlx4_core")),
        PCIAdded(device=function(device=0x1003)),
    ]


def test_a_function_that_goes_is_told_as_it_was() -> None:
    table = knowing(function(driver="mlx4_core"))
    assert table.removed(CARD) == [PCIRemoved(device=function(driver="mlx4_core"))]
    assert table.get(CARD) is None
    assert table.removed(CARD) == []


def test_a_function_that_went_is_not_read_again() -> None:
    table = knowing(function())
    table.changed(CARD)
    table.removed(CARD)
    assert table.dirty == set()


@pytest.mark.parametrize("comes", [True, False])
def test_whose_virtual_functions_come_and_go_is_read_again(comes: bool) -> None:  # noqa: FBT001
    table = knowing(function(), vf())
    if comes:
        table.added(vf(VF1, 1), 1)
    else:
        table.removed(VF0)
    assert table.take_dirty() == {CARD}


# -- drivers -----------------------------------------------------------------------------------


def test_drivers_come_and_go() -> None:
    table = knowing(function(driver="mlx4_core"))
    (unbound,) = table.bound(CARD, None)
    assert isinstance(unbound, DriverUnbound)
    assert (unbound.device.driver, unbound.before) == (None, "mlx4_core")
    assert table.bound(CARD, None) == []
    (bound,) = table.bound(CARD, "vfio-pci")
    assert isinstance(bound, DriverBound)
    assert (bound.device.driver, bound.before) == ("vfio-pci", None)
    assert table.dirty == {CARD}


def test_drivers_of_unknown_functions_are_told_and_nothing_else() -> None:
    table = Functions()
    (bound,) = table.bound(CARD, "vfio-pci")
    (unbound,) = table.bound(CARD, None)
    assert isinstance(bound, DriverBound)
    assert isinstance(unbound, DriverUnbound)
    assert (bound.device.name, bound.device.driver, unbound.device.driver) == (CARD, "vfio-pci", None)
    assert list(table) == []


# -- what was read -----------------------------------------------------------------------------


def test_what_is_read_is_what_changed() -> None:
    table = knowing(function(driver="mlx4_core"))
    table.changed(CARD)
    assert table.take_dirty() == {CARD}
    read = function(driver="mlx4_core", driver_override="mlx4_core", vfs=(VF0,), sriov=SRIOV(total=8, current=1))
    assert table.refreshed({CARD: read}) == [PCIChanged(old=function(driver="mlx4_core"), new=read)]
    assert table.refreshed({CARD: read}) == []
    assert table.dirty == set()


def test_a_driver_that_a_read_finds_is_told_apart() -> None:
    """Its uevent was lost, or has yet to come: then that tells nothing."""
    table = knowing(function(driver="mlx4_core"))
    table.take_dirty()
    assert told(table.refreshed({CARD: function(driver="vfio-pci", iommu_group=7)})) == [(PCIChanged, CARD), (DriverBound, CARD)]
    assert table.get(CARD) == function(driver="vfio-pci", iommu_group=7)
    assert table.bound(CARD, "vfio-pci") == []
    table.take_dirty()
    assert told(table.refreshed({CARD: function(iommu_group=7)})) == [(DriverUnbound, CARD)]


def test_what_was_read_before_a_uevent_is_read_again() -> None:
    table = knowing(function())
    table.changed(CARD)
    table.take_dirty()
    table.bound(CARD, "vfio-pci")  # while it is read
    assert table.refreshed({CARD: function()}) == []
    assert table.get(CARD) == function(driver="vfio-pci")
    assert table.take_dirty() == {CARD}
    assert table.refreshed({CARD: function(driver="vfio-pci")}) == []


def test_what_went_while_it_was_read_does_not_come_back() -> None:
    table = knowing(function())
    table.changed(CARD)
    table.take_dirty()
    table.removed(CARD)
    assert table.refreshed({CARD: function()}) == []
    assert list(table) == []


def test_what_went_and_came_while_it_was_read_is_read_again() -> None:
    table = knowing(function())
    table.changed(CARD)
    table.take_dirty()
    table.removed(CARD)
    table.added(function(), 2)
    assert table.refreshed({CARD: function(driver="mlx4_core")}) == []
    assert table.take_dirty() == {CARD}
    assert told(table.refreshed({CARD: function(driver="mlx4_core")})) == [(DriverBound, CARD)]


def test_what_could_not_be_read_stays_as_it_is() -> None:
    table = knowing(function(driver="mlx4_core"))
    table.changed(CARD)
    table.take_dirty()
    assert table.refreshed({}) == []
    assert table.get(CARD) == function(driver="mlx4_core")


def test_a_function_whose_coming_was_lost_is_found_when_it_is_read() -> None:
    """Its other uevents gave reason to, and those overtook the look that would have found it."""
    table = Functions()
    table.take_dirty()
    table.bound(CARD, "mlx4_core")
    assert table.resynced({CARD: function()}, [CARD]) == []
    assert table.take_dirty() == {CARD}
    assert told(table.refreshed({CARD: function(driver="mlx4_core")})) == [(PCIAdded, CARD), (DriverBound, CARD)]


def test_a_function_that_went_unknown_is_not_found_by_a_look_that_is_older() -> None:
    """Its coming was lost; a look was on its way when it went."""
    table = Functions()
    table.take_dirty()
    assert table.removed(CARD) == []
    assert table.resynced({CARD: function()}, [CARD]) == []
    assert list(table) == []


def test_a_virtual_function_that_was_gone_before_it_could_be_read_has_a_physical_one_too() -> None:
    """A uevent does not tell whose it is; the physical one was read while it was there."""
    table = knowing(function(sriov=SRIOV(total=8, current=0)))
    table.changed(CARD)
    table.take_dirty()
    table.added(function(VF0, device=0x1004), 1)
    table.removed(VF0)
    assert table.refreshed({CARD: function(sriov=SRIOV(total=8, current=1), vfs=(VF0,))}) == []
    assert table.take_dirty() == {CARD}


def test_whose_virtual_function_goes_is_read_again_though_nobody_knew_whose_it_was() -> None:
    table = Functions()
    table.added(function(VF0, device=0x1004), 1)
    table.added(function(vfs=(VF0,)), 2)
    table.take_dirty()
    table.removed(VF0)
    assert table.take_dirty() == {CARD}


# -- all of them -------------------------------------------------------------------------------


def test_the_first_look_tells_bridges_before_what_is_behind_them_and_physical_functions_before_their_virtual_ones() -> None:
    bridge, far = function(BRIDGE, pci_class=0x060400), function("0000:02:00.0", parent="0000:04:00.0")
    near = function("0000:04:00.0", parent=BRIDGE)
    early = vf("0000:01:00.0", parent=BRIDGE)
    card = function(parent=BRIDGE, vfs=("0000:01:00.0",), driver="mlx4_core")
    all_of_them = (early, far, near, card, bridge)
    table = Functions()
    events = table.resynced({one.address: one for one in all_of_them}, [one.address for one in all_of_them])
    assert told(events) == [
        (PCIAdded, BRIDGE),
        (PCIAdded, CARD),
        (DriverBound, CARD),
        (PCIAdded, "0000:04:00.0"),
        (PCIAdded, "0000:01:00.0"),
        (PCIAdded, "0000:02:00.0"),
    ]


def test_another_look_tells_what_went_first_and_from_the_far_end() -> None:
    bridge = function(BRIDGE)
    table = knowing(bridge, function(parent=BRIDGE, vfs=(VF0,)), vf(parent=BRIDGE))
    table.take_dirty()
    new = function("0000:05:00.0")
    events = table.resynced({BRIDGE: structs.replace(bridge, numa_node=1), new.address: new}, [BRIDGE, new.address])
    assert told(events) == [(PCIRemoved, VF0), (PCIRemoved, CARD), (PCIChanged, BRIDGE), (PCIAdded, "0000:05:00.0")]


def test_a_look_that_was_overtaken() -> None:
    """Of a function whose uevent came during the look, that is the truth: it is neither gone nor as it was read."""
    table = knowing(function())
    table.take_dirty()
    table.removed(CARD)
    table.added(vf(), 2)
    table.bound(VF0, "mlx4_core")
    assert table.resynced({CARD: function()}, [CARD]) == []
    assert list(table) == [vf(driver="mlx4_core")]
    assert VF0 in table.dirty


def test_a_function_that_is_listed_and_cannot_be_read_stays() -> None:
    table = knowing(function(driver="mlx4_core"))
    table.take_dirty()
    assert table.resynced({}, [CARD]) == []
    assert list(table) == [function(driver="mlx4_core")]


def test_a_table_that_goes_on_tells_what_differs() -> None:
    table = Functions([function(driver="mlx4_core"), vf(), vf(VF1, 1)])
    read = {CARD: function(driver="vfio-pci"), VF0: vf(), "0000:05:00.0": function("0000:05:00.0")}
    assert told(table.resynced(read, read)) == [(PCIRemoved, VF1), (DriverBound, CARD), (PCIAdded, "0000:05:00.0")]


@given(st.integers(1, 40))
def test_bridges_in_a_ring_come_to_an_end(size: int) -> None:
    ring = [function(f"0000:{bus:02x}:00.0", parent=f"0000:{(bus + 1) % size:02x}:00.0") for bus in range(size)]
    table = Functions()
    assert len(table.resynced({one.address: one for one in ring}, [one.address for one in ring])) == size


# -- udev --------------------------------------------------------------------------------------


def test_udev_finishes_with_a_function_once() -> None:
    table = Functions()
    table.added(function(), 5)
    table.bound(CARD, "mlx4_core")
    (initialized,) = table.initialized(CARD, 5, {"ID_MODEL_ID": "0x1007"})
    assert isinstance(initialized, DeviceInitialized)
    assert (initialized.netdev, initialized.properties) == (None, {"ID_MODEL_ID": "0x1007"})
    assert initialized.bus_device is not None
    assert (initialized.bus_device.name, initialized.bus_device.driver) == (CARD, "mlx4_core")
    assert table.initialized(CARD, 6, {}) == []


def test_udev_is_late_for_the_function_of_before() -> None:
    table = Functions()
    table.added(function(), 5)
    assert table.initialized(CARD, 4, {}) == []
    table.removed(CARD)
    table.added(function(), 9)
    assert table.initialized(CARD, 8, {}) == []
    assert told(table.initialized(CARD, 9, {})) == [(DeviceInitialized, CARD)]


def test_udev_finishes_with_the_next_function_too() -> None:
    table = Functions()
    table.added(function(), 5)
    table.initialized(CARD, 5, {})
    table.removed(CARD)
    table.added(function(), 9)
    assert len(table.initialized(CARD, 9, {})) == 1


def test_udev_speaks_of_a_function_that_is_gone() -> None:
    table = Functions()
    assert table.initialized(CARD, 5, {}) == []
    table.added(function(), 1)
    table.removed(CARD)
    assert table.initialized(CARD, 5, {}) == []


def test_udev_is_late_for_a_function_that_was_replaced_unseen() -> None:
    """The one of before is known from a look; the uevent that tells of the next one is the first of this address."""
    table = knowing(function())
    table.initialized(CARD, 3, {})
    table.removed(CARD)
    table.added(function(), 9)
    assert table.initialized(CARD, 7, {}) == []


# -- uevents -----------------------------------------------------------------------------------


def uevent(action: str = "add", subsystem: str = "pci", devpath: str = f"/devices/pci0000:00/{BRIDGE}/{CARD}", **env: str) -> Uevent:
    return Uevent(action=action, devpath=devpath, subsystem=subsystem, seqnum=1, env=env)


def test_whom_a_uevent_is_about() -> None:
    assert address_of(uevent()) == CARD
    assert address_of(uevent(devpath="/devices/pci10000:00/10000:00:1f.7")) == "10000:00:1f.7"


@pytest.mark.parametrize(
    "other",
    [
        uevent(subsystem="net", devpath="/devices/x/0000:03:00.0"),
        uevent(devpath="/bus/pci"),
        uevent(devpath="/devices/pci0000:00/0000:03:00.8"),
        uevent(devpath="/devices/pci0000:00/0000:03:20.0"),
        uevent(devpath="/devices/pci0000:00/0000:03:00.0:pcie001"),
        uevent(devpath="/devices/pci0000:00/0000:03:00.0\n"),
        uevent(subsystem="pci_express"),
    ],
)
def test_uevents_that_are_about_no_function(other: Uevent) -> None:
    assert address_of(other) is None


def test_what_a_uevent_says_of_a_function_that_cannot_be_read_any_more() -> None:
    heard = uevent(PCI_CLASS="20000", PCI_ID="15B3:1007", PCI_SUBSYS_ID="15B3:0055", PCI_SLOT_NAME=CARD)
    assert described(heard, CARD) == function(parent=BRIDGE, subsystem_vendor=0x15B3, subsystem_device=0x0055)


def test_a_function_on_a_root_bus_has_no_parent() -> None:
    assert described(uevent(devpath=f"/devices/pci0000:00/{BRIDGE}"), BRIDGE).parent is None
    assert described(uevent(devpath=BRIDGE), BRIDGE) == PCIDevice(address=BRIDGE)


@pytest.mark.parametrize("text", ["", "x", "15B3", ":", "15B3:", "-1:+2", "0x15:1_0", "1" * 9 + ":0", "\u0661:0", " 1:1 "])
def test_ids_that_are_none_are_zero(text: str) -> None:
    seen = described(uevent(PCI_ID=text, PCI_CLASS=text), CARD)
    assert seen.vendor in (0, 0x15B3)
    assert (seen.device, seen.pci_class) == (0, 0x15B3 if text == "15B3" else 0)


@given(st.dictionaries(st.sampled_from(["PCI_ID", "PCI_CLASS", "PCI_SUBSYS_ID"]), st.text(max_size=12)), st.text(max_size=40))
def test_any_uevent_describes_something(env: dict[str, str], devpath: str) -> None:
    heard = uevent(devpath=devpath, **env)
    assert described(heard, CARD).address == CARD
    assert address_of(heard) is None or address_of(heard) == devpath.rpartition("/")[2]


# -- against a kernel --------------------------------------------------------------------------

PLACES = (CARD, VF0, VF1, BRIDGE)
DRIVERS = ("mlx4_core", "vfio-pci")


@dataclass
class Kernel:
    """Functions as they are; each change is told by uevents, which are heard later."""

    functions: dict[str, PCIDevice] = field(default_factory=dict)
    born: dict[str, int] = field(default_factory=dict)  # address -> seqnum of the uevent that tells of it, where that is heard
    queue: list[tuple[int, Uevent]] = field(default_factory=list)
    seqnum: int = 0

    def emit(self, action: str, address: str, **env: str) -> None:
        self.seqnum += 1
        heard = uevent(action, devpath=f"/devices/pci0000:00/{address}", **env)
        self.queue.append((self.seqnum, structs.replace(heard, seqnum=self.seqnum)))

    def add(self, address: str, device: int) -> None:
        is_vf = address in (VF0, VF1)
        self.functions[address] = function(address, device=device, physfn=CARD if is_vf else None)
        self.emit("add", address, PCI_ID=f"15B3:{device:04X}", PCI_CLASS="20000")
        self.born[address] = self.seqnum
        self._count()

    def remove(self, address: str) -> None:
        if self.functions[address].driver is not None:
            self.drive(address, None)
        del self.functions[address]
        self.emit("remove", address)
        self._count()

    def drive(self, address: str, driver: str | None) -> None:
        self.functions[address] = structs.replace(self.functions[address], driver=driver)
        self.emit("bind" if driver else "unbind", address, **({"DRIVER": driver} if driver else {}))

    def alter(self, address: str, numa_node: int) -> None:
        self.functions[address] = structs.replace(self.functions[address], numa_node=numa_node)
        self.emit("change", address)

    def _count(self) -> None:
        """A physical function shows its virtual ones; no uevent of its own tells that."""
        if card := self.functions.get(CARD):
            self.functions[CARD] = structs.replace(card, vfs=tuple(a for a in (VF0, VF1) if a in self.functions))


@dataclass(frozen=True)
class Question:
    """A question on its way: what sysfs said, at one time or another while it was asked."""

    read: dict[str, PCIDevice]
    listed: tuple[str, ...] | None


class Watched(RuleBasedStateMachine):
    """What the watch does with the table, in any order that the kernel and the threads may give it."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = Kernel()
        self.table = Functions()
        self.state = HostState()
        self.alive: set[str] = set()
        self.question: Question | None = None
        self.lost = False
        self.initialized: set[str] = set()

    def tell(self, events: Iterable[DeviceEvent]) -> None:
        """Each event fits what was told before, and none tells what is known."""
        for event in events:
            if isinstance(event, PCIAdded):
                assert event.device.address not in self.alive
                assert event.device.driver is None
                self.alive.add(event.device.address)
            elif isinstance(event, PCIRemoved):
                assert self.state.pci[event.device.address] == event.device
                self.alive.remove(event.device.address)
                self.initialized.discard(event.device.address)
            elif isinstance(event, PCIChanged):
                assert self.state.pci[event.old.address] == event.old != event.new
                assert event.old.driver == event.new.driver
            elif isinstance(event, DriverEvent) and event.device.name in self.state.pci:
                assert event.before == self.state.pci[event.device.name].driver != event.device.driver
            self.state.apply(event)

    @initialize(places=st.sets(st.sampled_from(PLACES)))
    def boot(self, places: set[str]) -> None:
        for address in sorted(places):
            self.kernel.add(address, 1)
        self.kernel.queue.clear()
        self.kernel.born.clear()
        read = dict(self.kernel.functions)
        self.table.take_dirty()
        self.tell(self.table.resynced(read, read))

    # the kernel

    @rule(address=st.sampled_from(PLACES), device=st.integers(1, 2))
    def add_or_remove(self, address: str, device: int) -> None:
        if address in self.kernel.functions:
            self.kernel.remove(address)
        else:
            self.kernel.add(address, device)

    @rule(address=st.sampled_from(PLACES), driver=st.sampled_from(DRIVERS))
    def bind_or_unbind(self, address: str, driver: str) -> None:
        if known := self.kernel.functions.get(address):
            self.kernel.drive(address, None if known.driver else driver)

    @rule(address=st.sampled_from(PLACES), numa_node=st.integers(0, 1))
    def alter(self, address: str, numa_node: int) -> None:
        if address in self.kernel.functions:
            self.kernel.alter(address, numa_node)

    # the watch

    @rule()
    def hear_one(self) -> None:
        if self.kernel.queue:
            self.take(*self.kernel.queue.pop(0))

    @precondition(lambda self: self.kernel.queue)
    @rule()
    def lose_one(self) -> None:
        _, lost = self.kernel.queue.pop(0)
        self.lost = True
        if lost.action == "add" and (address := address_of(lost)):
            self.kernel.born[address] = 0

    @precondition(lambda self: self.question is None)
    @rule(whole=st.booleans())
    def ask(self, whole: bool) -> None:  # noqa: FBT001
        """A question goes out; it is read now, and used later."""
        whole = whole or self.lost
        taken = self.table.take_dirty()
        wanted = tuple(self.kernel.functions) if whole else tuple(taken)
        self.lost &= not whole
        read = {address: known for address in wanted if (known := self.kernel.functions.get(address))}
        self.question = Question(read, wanted if whole else None)

    @precondition(lambda self: self.question is not None)
    @rule(late=st.sets(st.sampled_from(PLACES)))
    def read_again(self, late: set[str]) -> None:
        """Some of it is read only now."""
        assert self.question is not None
        read = dict(self.question.read)
        for address in late & set(self.question.listed or self.question.read):
            read.pop(address, None)
            if known := self.kernel.functions.get(address):
                read[address] = known
        self.question = replace(self.question, read=read)

    @precondition(lambda self: self.question is not None)
    @rule()
    def answer(self) -> None:
        """All uevents that wait are taken first, as a uevent is queued before anybody can read what it tells."""
        assert self.question is not None
        self.hear_all()
        if self.question.listed is None:
            self.tell(self.table.refreshed(self.question.read))
        else:
            self.tell(self.table.resynced(self.question.read, self.question.listed))
        self.question = None

    @rule(address=st.sampled_from(PLACES), back=st.integers(0, 3))
    def udev_finishes(self, address: str, back: int) -> None:
        """With what the kernel told a while ago."""
        seqnum = max(0, self.kernel.seqnum - back)
        self.hear_all()
        events = self.table.initialized(address, seqnum, {})
        if events:
            assert address in self.kernel.functions or self.blind
            assert address in self.alive
            assert address not in self.initialized
            assert self.blind or seqnum >= self.kernel.born.get(address, 0)
            self.initialized.add(address)
        self.tell(events)

    @property
    def blind(self) -> bool:
        """Whether uevents were lost, and it has not been looked at all since."""
        return self.lost or (self.question is not None and self.question.listed is not None)

    def hear_all(self) -> None:
        while self.kernel.queue:
            self.take(*self.kernel.queue.pop(0))

    def take(self, seqnum: int, heard: Uevent) -> None:
        """As the watch does."""
        address = address_of(heard)
        assert address is not None
        match heard.action:
            case "add":
                read = self.kernel.functions.get(address)
                self.tell(self.table.added(read or described(heard, address), seqnum))
            case "remove":
                self.tell(self.table.removed(address))
            case "bind" | "unbind":
                self.tell(self.table.bound(address, heard.env.get("DRIVER")))
            case _:
                self.table.changed(address)

    @invariant()
    def the_fold_is_the_table(self) -> None:
        assert self.state.pci == {one.address: one for one in self.table}
        assert self.alive == self.state.pci.keys()

    def teardown(self) -> None:
        """Once all is heard and asked, the table is what is there."""
        if self.question is not None:
            self.answer()
        self.hear_all()
        while self.table.dirty or self.lost:
            self.ask(whole=False)
            self.answer()
        assert dict(sorted(self.state.pci.items())) == dict(sorted(self.kernel.functions.items()))
        self.the_fold_is_the_table()


TestWatched = Watched.TestCase
TestWatched.settings = settings(max_examples=100, stateful_step_count=30, phases=[Phase.reuse, Phase.generate, Phase.shrink])
