from __future__ import annotations

import threading

import pytest

from aiovirt.errors import EventGap, InvalidArgument
from aiovirt.events import NetdevAdded, NetdevChanged, NetdevRemoved, NetdevRenamed
from aiovirt.events.bus import Bus
from aiovirt.events.cursor import format_cursor, new_epoch, parse_cursor
from aiovirt.events.filters import make_filter
from aiovirt.events.past import PastReader
from aiovirt.events.types import Event
from aiovirt.model.state import Detail, DomainState, Lifecycle, MonitorHealth, Reason
from tests.events import samples
from tests.events.samples import lifecycle, netdev, started


@pytest.fixture
def bus() -> Bus:
    return Bus(host=samples.HOST, capacity=8)


def test_events_are_numbered_from_one_without_a_gap(bus: Bus) -> None:
    cursors = [bus.publish(started()).cursor for _ in range(5)]
    assert cursors == [format_cursor(bus.chain.current.epoch, seq) for seq in range(1, 6)]
    assert cursors == sorted(cursors)
    assert bus.cursor == cursors[-1]


def test_time_never_runs_backwards() -> None:
    clock = iter([5, 3, 9])
    bus = Bus(host=samples.HOST, clock=lambda: next(clock))
    assert [bus.publish(started()).time for _ in range(3)] == [5, 5, 9]


def test_an_event_is_stamped_with_its_host(bus: Bus) -> None:
    assert bus.publish(started()).host == samples.HOST


def test_no_event_is_published_twice(bus: Bus) -> None:
    event = bus.publish(started())
    with pytest.raises(RuntimeError, match="before"):
        bus.publish(event)


def test_only_the_loops_thread_publishes(bus: Bus) -> None:
    failures: list[str] = []

    def publish() -> None:
        try:
            bus.publish(started())
        except RuntimeError as error:
            failures.append(str(error))

    thread = threading.Thread(target=publish)
    thread.start()
    thread.join()
    assert failures
    assert "thread" in failures[0]
    assert bus.head == 0


def test_a_closed_bus_keeps_what_it_has_and_takes_no_more(bus: Bus) -> None:
    bus.publish(started())
    bus.close()
    assert bus.ring.get(1) is not None
    with pytest.raises(RuntimeError, match="closed"):
        bus.publish(started())


def test_what_fell_out_of_the_ring_is_told(bus: Bus) -> None:
    for _ in range(20):
        bus.publish(started())
    assert bus.statistics().kept == 8
    gap = bus.gap(5)
    assert gap.missed == 8
    assert gap.first_available == format_cursor(bus.chain.current.epoch, 13)
    assert bus.seek(gap.resume) == 13


def test_seeking(bus: Bus) -> None:
    first = bus.publish(started()).cursor
    bus.publish(started())
    assert bus.seek(first) == 2
    assert bus.seek(bus.cursor) == 3
    assert bus.seek(format_cursor(bus.chain.current.epoch, 0)) == 1


@pytest.mark.parametrize("ahead", [True, False])
def test_a_cursor_of_another_epoch_or_of_the_future_is_a_gap(bus: Bus, *, ahead: bool) -> None:
    cursor = format_cursor(bus.chain.current.epoch, 9) if ahead else format_cursor(new_epoch(), 0)
    with pytest.raises(EventGap) as gap:
        bus.seek(cursor)
    assert gap.value.missed is None


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "3",
        "x:y",
        "01M81ZVW3XKGW4EMTQQQ6K1X6K",
        "01M81ZVW3XKGW4EMTQQQ6K1X6K:1",
        "01M81ZVW3XKGW4EMTQQQ6K1X6K:١٢٣٤٥٦٧٨٩٠١٢٣٤٥٦",
        "a" * 10_000,
    ],
)
def test_what_is_no_cursor_is_refused(bus: Bus, cursor: str) -> None:
    with pytest.raises(InvalidArgument):
        bus.seek(cursor)


def test_epochs_sort_by_time_and_cursors_read_back() -> None:
    epoch = new_epoch()
    assert len(epoch) == 26
    assert epoch[:4] == new_epoch()[:4]
    assert parse_cursor(format_cursor(epoch, 42)) == (epoch, 42)


# -- the fold ----------------------------------------------------------------------------------


def test_domains_come_and_go(bus: Bus) -> None:
    bus.publish(lifecycle(0, Lifecycle.DEFINED, Detail.ADDED, DomainState.SHUTOFF, Reason.UNKNOWN))
    bus.publish(started(0))
    view = bus.state.domains[samples.UUIDS[0]]
    assert (view.state, view.id, view.monitor) == (DomainState.RUNNING, 1, MonitorHealth.CONNECTED)
    assert view.as_of == bus.cursor
    bus.publish(lifecycle(0, Lifecycle.STOPPED, Detail.DESTROYED, DomainState.SHUTOFF, Reason.DESTROYED))
    view = bus.state.domains[samples.UUIDS[0]]
    assert (view.state, view.id, view.monitor) == (DomainState.SHUTOFF, None, None)
    bus.publish(lifecycle(0, Lifecycle.UNDEFINED, Detail.REMOVED, DomainState.SHUTOFF, Reason.DESTROYED))
    assert bus.state.domains == {}


def test_a_transient_domain_is_forgotten_when_it_stops(bus: Bus) -> None:
    bus.publish(lifecycle(0, Lifecycle.STARTED, Detail.BOOTED, DomainState.RUNNING, Reason.BOOTED, persistent=False))
    bus.publish(lifecycle(0, Lifecycle.STOPPED, Detail.SHUTDOWN, DomainState.SHUTOFF, Reason.SHUTDOWN, persistent=False))
    assert bus.state.domains == {}


def test_a_running_domain_survives_its_definition(bus: Bus) -> None:
    bus.publish(started(0))
    bus.publish(lifecycle(0, Lifecycle.UNDEFINED, Detail.REMOVED, DomainState.RUNNING, Reason.BOOTED, persistent=False))
    assert bus.state.domains[samples.UUIDS[0]].persistent is False


def test_devices_follow_their_events(bus: Bus) -> None:
    one, renamed = netdev(1), netdev(1, name="lan0")
    bus.publish(NetdevAdded(device=one))
    bus.publish(NetdevRenamed(old=one, new=renamed))
    bus.publish(NetdevChanged(old=renamed, new=netdev(1, name="lan0", mtu=9000)))
    assert bus.state.netdevs == {"1.1": netdev(1, name="lan0", mtu=9000)}
    bus.publish(NetdevRemoved(device=netdev(1, name="lan0", mtu=9000)))
    assert bus.state.netdevs == {}


def test_a_snapshot_never_changes(bus: Bus) -> None:
    bus.publish(started(0))
    bus.publish(NetdevAdded(device=netdev(1)))
    before = bus.snapshot()
    bus.publish(started(1))
    bus.publish(NetdevRemoved(device=netdev(1)))
    assert set(before.domains) == {samples.UUIDS[0]}
    assert set(before.netdevs) == {"1.1"}
    assert set(bus.snapshot().domains) == set(samples.UUIDS[:2])
    assert bus.snapshot().cursor == bus.cursor


# -- with a journal ----------------------------------------------------------------------------


class Kept:
    """A journal that writes down what it is asked to do; ``failures`` are what its next records meet with."""

    first = 1

    def __init__(self, *failures: BaseException | None) -> None:
        self.asked: list[str] = []
        self.failures = list(failures)

    def append(self, event: Event) -> int:
        failure = self.failures.pop(0) if self.failures else None
        if failure is not None:
            raise failure
        self.asked.append(f"append {int(event.cursor[-3:])}")
        return 100

    def payloads(self, first: int, last: int) -> list[bytes] | None:
        raise NotImplementedError

    def note(self) -> None:
        self.asked.append("note")

    def write(self) -> None:
        self.asked.append("write")

    def read_from(self, position: int) -> PastReader:
        raise NotImplementedError


class Listed:
    """A waker that writes down when it is woken."""

    def __init__(self, asked: list[str]) -> None:
        self._asked = asked

    async def wait(self) -> None:
        raise NotImplementedError

    def wake(self) -> None:
        self._asked.append("wake")


def test_who_waits_is_woken_before_who_writes_and_that_one_is_told_once() -> None:
    journal = Kept()
    bus = Bus(host=samples.HOST, journal=journal)
    bus.index.park(bus.index.enter(make_filter((), None)), Listed(journal.asked))
    bus.publish(started())
    bus.publish(started())
    assert journal.asked == ["append 1", "wake", "note", "append 2"]
    bus.write()
    bus.publish(started())
    assert journal.asked[4:] == ["write", "append 3", "note"]


@pytest.mark.parametrize("before", [0, 998, 999, 1000])
@pytest.mark.parametrize("failures", [[MemoryError()], [ValueError(), MemoryError()], [KeyboardInterrupt()]])
def test_an_event_that_was_not_taken_has_no_number(before: int, failures: list[BaseException]) -> None:
    """Also where the next number would begin a thousand, or end one."""
    bus = Bus(host=samples.HOST, journal=Kept(*[None] * before, *failures))
    for _ in range(before):
        bus.publish(started())
    refused = started()
    with pytest.raises(type(failures[-1])):
        bus.publish(refused)
    assert refused.cursor == ""
    assert bus.publish(started()).cursor == format_cursor(bus.chain.current.epoch, before + 1)
    assert bus.publish(refused).cursor == format_cursor(bus.chain.current.epoch, before + 2)
