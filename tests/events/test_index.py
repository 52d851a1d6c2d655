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
from aiovirt.events.filters import Filter, make_filter
from aiovirt.events.index import Index
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
    """As a stream is: it stands in its places while it is parked."""

    def __init__(self, index: Index, wanted: Filter) -> None:
        self.wanted = wanted
        self.places = index.enter(wanted)
        self.woken: list[int] = []
        self.parked = False

    def park(self) -> None:
        self.parked = True
        for place in self.places:
            place.add(self)

    def leave_places(self) -> None:
        self.parked = False
        for place in self.places:
            place.discard(self)

    def wake(self, position: int) -> None:
        self.woken.append(position)
        self.parked = False
        if len(self.places) > 1:  # the place that it was woken in has let go of it
            for place in self.places:
                place.discard(self)


filters = st.builds(
    lambda kinds, subject: make_filter(tuple(kinds), subject), st.lists(st.sampled_from(KINDS), max_size=3), st.sampled_from(SUBJECTS)
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("enter"), filters),
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
            readers.append(Reader(index, what))
        elif isinstance(what, Event):
            expected = [reader for reader in readers if reader.parked and reader.wanted.matches(what)]
            index.wake(what, position)
            assert [reader for reader in readers if reader.woken[-1:] == [position]] == expected
            assert all(reader.woken.count(position) == 1 for reader in expected)
        elif readers and isinstance(what, int):
            reader = readers[what % len(readers)]
            if step == "park":
                reader.park()
            else:
                reader.leave_places()
            if step == "leave":
                index.leave(reader.wanted)
                readers.remove(reader)
        assert len(index._everyone()) == sum(reader.parked for reader in readers)
    parked = [reader for reader in readers if reader.parked]
    index.wake_all(1000)
    assert [reader for reader in readers if 1000 in reader.woken] == parked
    assert not index._everyone()


@given(st.lists(filters, max_size=20))
def test_who_left_leaves_nothing_behind(wanted: list[Filter]) -> None:
    index = Index()
    readers = [Reader(index, one) for one in wanted]
    for reader in readers:
        index.leave(reader.wanted)
    assert all(not shelf.subjects and not shelf.prefixes for shelf in index._shelves.values())
