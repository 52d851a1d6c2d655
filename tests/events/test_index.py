from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aiovirt.events import (
    DeviceEvent,
    DomainEvent,
    DomainLifecycle,
    DomainReboot,
    Event,
    HostEvent,
    NetdevAdded,
    NetdevChanged,
    NetdevEvent,
)
from aiovirt.events.filters import Filter, kinds_of, make_filter
from aiovirt.events.index import Index, Waiters
from aiovirt.events.types import HostStarted
from tests.events import samples
from tests.events.samples import netdev, started

KINDS = [Event, DomainEvent, DomainLifecycle, DomainReboot, DeviceEvent, NetdevEvent, NetdevAdded, HostEvent]
SUBJECTS = [None, "host", "domain/", "netdev/", "netdev/1", *(f"domain/{uuid}" for uuid in samples.UUIDS[:2]), "netdev/1.1", "domain/x/"]
EVENTS = [
    started(0),
    started(1),
    DomainReboot(uuid=samples.UUIDS[0], name="d0", by_guest=True),
    NetdevAdded(device=netdev(1)),
    NetdevChanged(old=netdev(1), new=netdev(1, mtu=3)),
    NetdevAdded(device=netdev(11)),
    HostStarted(),
]


class Reader:
    """As a stream is: its waker stands in its place while it is parked."""

    def __init__(self, index: Index, wanted: Filter, *, alone: bool = False) -> None:
        self.index = index
        self.wanted = wanted
        self.place = index.enter(wanted, alone=alone)
        self.among: Waiters | None = None
        self.wakes = 0

    @property
    def parked(self) -> bool:
        return self.among is not None and not self.among.woken

    def park(self) -> None:
        if self.among is None:
            self.among = self.index.park(self.place, self)

    def unpark(self) -> int:
        """Where it was woken; 0 when it was not."""
        among, self.among = self.among, None
        return 0 if among is None else self.index.unpark(among, self)

    async def wait(self) -> None:
        raise NotImplementedError

    def wake(self) -> None:
        self.wakes += 1


def wanted(kinds: list[type[Event]], subject: str | None) -> Filter:
    """Also what :func:`make_filter` refuses, as it can never be."""
    found = tuple(dict.fromkeys(kinds)) or (Event,)
    return Filter(found, kinds_of(found), subject or "")


filters = st.builds(wanted, st.lists(st.sampled_from(KINDS), max_size=3), st.sampled_from(SUBJECTS))
few = st.sampled_from(
    [
        make_filter((), None),
        make_filter((DomainReboot, DomainLifecycle), None),
        make_filter((DomainEvent,), f"domain/{samples.UUIDS[0]}"),
        make_filter((DomainEvent,), "domain/"),
        make_filter((NetdevEvent,), "netdev/1"),
    ]
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("enter"), filters),
        st.tuples(st.sampled_from(["enter", "enter alone"]), few),  # so that some want the same
        st.tuples(st.sampled_from(["park", "unpark", "leave"]), st.integers(0, 100)),
        st.tuples(st.just("wake"), st.sampled_from(EVENTS)),
    ),
    max_size=40,
)


@given(steps)
def test_it_wakes_whom_asking_everyone_would_wake(steps: list[tuple[str, object]]) -> None:
    index = Index()
    readers: list[Reader] = []
    for position, (step, what) in enumerate(steps, 1):
        if isinstance(what, Filter):
            readers.append(Reader(index, what, alone=step == "enter alone"))
        elif isinstance(what, Event):
            before = {id(reader): reader.wakes for reader in readers}
            expected = [reader for reader in readers if reader.parked and reader.wanted.matches(what)]
            index.wake(what, position)
            assert [reader for reader in readers if reader.wakes != before[id(reader)]] == expected
            assert all(reader.wakes == before[id(reader)] + 1 for reader in expected)
            assert all(reader.unpark() == position for reader in expected)
        elif readers and isinstance(what, int):
            reader = readers[what % len(readers)]
            if step == "park":
                reader.park()
            else:
                reader.unpark()
            if step == "leave":
                index.leave(reader.place)
                readers.remove(reader)
        assert index.waiting() == sum(reader.parked for reader in readers)
        assert index.parked == len({reader.place for reader in readers if reader.parked})
    parked = [reader for reader in readers if reader.parked]
    index.wake_all(1000)
    assert [reader for reader in readers if reader.unpark() == 1000] == parked
    assert index.waiting() == index.parked == 0


def test_who_is_woken_reads_on_there_whatever_comes_after() -> None:
    index = Index()
    reader = Reader(index, make_filter((DomainReboot, DomainLifecycle), None))
    reader.park()
    index.wake(EVENTS[2], 1)
    assert not reader.parked
    index.wake(EVENTS[0], 2)
    assert (reader.unpark(), index.parked) == (1, 0)


@given(st.lists(filters, max_size=20))
def test_who_left_leaves_nothing_behind(wanted: list[Filter]) -> None:
    index = Index()
    readers = [Reader(index, one) for one in wanted]
    for reader in readers:
        index.leave(reader.place)
    assert not index._interests
    assert not index._shared
    assert all(not shelf.any and not shelf.subjects and not shelf.prefixes for shelf in index._by_types.values())


def test_who_wants_the_same_has_the_same_place_but_for_who_is_to_be_alone() -> None:
    index, wanted = Index(), make_filter((DomainReboot, DomainLifecycle), "domain/")
    first, alone = index.enter(wanted), index.enter(wanted, alone=True)
    second = index.enter(make_filter((DomainReboot, DomainLifecycle), "domain/"))
    assert first is second
    assert first is not alone
    index.leave(first)
    assert index.enter(wanted) is second
    index.leave(alone)
    assert index.enter(wanted) is second


def test_who_wants_a_subject_and_who_wants_its_prefix_are_both_woken() -> None:
    index = Index()
    readers = [Reader(index, make_filter((), subject)) for subject in (f"domain/{samples.UUIDS[0]}", "domain/", "netdev/")]
    for reader in readers:
        reader.park()
    index.wake(EVENTS[0], 7)
    assert [reader.unpark() for reader in readers] == [7, 7, 0]


def test_that_one_leaves_a_place_wakes_nobody_else() -> None:
    index, wanted = Index(), make_filter((DomainEvent,), None)
    readers = [Reader(index, wanted) for _ in range(2)]
    for reader in readers:
        reader.park()
    assert readers[0].unpark() == 0
    assert (index.parked, index.waiting()) == (1, 1)
    index.wake(EVENTS[0], 3)
    assert [reader.wakes for reader in readers] == [0, 1]
    assert readers[1].unpark() == 3
    assert (index.parked, index.waiting()) == (0, 0)
