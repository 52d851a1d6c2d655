from __future__ import annotations

from collections import Counter
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiovirt.errors import EventGap
from aiovirt.events import DomainEvent, DomainLifecycle, DomainQMP, Event, Events, NetdevAdded, NetdevEvent, Resync
from aiovirt.events import ring as rings
from aiovirt.events.bus import Bus
from aiovirt.events.filters import Filter, make_filter
from aiovirt.events.ring import BATCH, Ring
from aiovirt.events.types import HostStarted
from tests.events import samples
from tests.events.samples import netdev, started

FILTERS = [
    make_filter((), None),
    make_filter((DomainEvent,), None),
    make_filter((DomainLifecycle,), None),
    make_filter((NetdevEvent,), None),
    make_filter((), f"domain/{samples.UUIDS[0]}"),
    make_filter((DomainQMP,), f"domain/{samples.UUIDS[0]}"),
    make_filter((), "netdev/"),
]


def said(number: int, size: int) -> DomainQMP:
    return DomainQMP.made(uuid=samples.UUIDS[number], name=f"d{number}", event="E", data={"text": "x" * size})


def make(choice: tuple[int, int]) -> Event:
    kind, size = choice
    made: list[Event] = [started(0), said(0, size), said(1, size), NetdevAdded(device=netdev(size + 1)), HostStarted()]
    return made[kind]


# One domain speaks more often than others, so that there is something to drop early.
events = st.tuples(st.sampled_from([0, 1, 1, 1, 1, 2, 3, 4]), st.integers(0, 3000)).map(make)


def is_kept(ring: Ring, position: int) -> bool:
    return ring.get(position) is not None or any(at == position for at, *_ in ring._spilled)


def check_against(history: list[Event], ring: Ring, wanted: Filter, start: int) -> None:
    """What the ring says of the events from ``start`` on, beside the whole history (whose first has position 1)."""
    before = [(at, history[at - 1]) for at in range(start, ring.first)]
    matching = [(at, event) for at, event in before if wanted.matches(event)]
    found = ring.spilled(start, wanted)
    if found is not None:
        assert found == [event for _, event in matching]
    else:
        assert start < ring.floor or any(not is_kept(ring, at) for at, _ in matching)


@given(
    st.integers(1, 60),
    st.integers(1, 7),
    st.integers(0, 2000),
    st.integers(500, 3000),
    st.lists(events, max_size=200),
    st.data(),
)
def test_chunks_of_any_length_are_one_sequence(
    capacity: int, batch: int, head: int, grain: int, said: list[Event], data: st.DataObject
) -> None:
    with patch.object(rings, "BATCH", batch):
        ring = Ring(capacity, capacity * grain, head)
    for position, event in enumerate(said, head + 1):
        assert ring.append(event) == position
        assert ring.get(position) is event
    assert ring.head == head + len(said)
    assert ring.get(ring.first - 1) is ring.get(ring.head + 1) is None
    if not said:
        return
    assert [ring.get(position) for position in range(ring.first, ring.head + 1)] == said[ring.first - head - 1 :]
    first = data.draw(st.integers(ring.first, ring.head))
    last = data.draw(st.integers(first, ring.head))
    assert ring.span(first, last) == said[first - head - 1 : last - head]
    assert len(ring._chunks) <= capacity // ring._batch + 3
    kept = {at: event for at, event in enumerate(said, head + 1) if at >= ring.first} | {at: event for at, event, _ in ring._spilled}
    dropped_early = sum(gone.count for gone in ring.dropped_early.values())
    assert len(kept) + dropped_early >= ring.head - ring.floor + 1, "what is neither kept nor counted is before the floor"


@given(st.integers(1, 40), st.integers(500, 3000), st.lists(events, max_size=200), st.integers(0, 40))
def test_it_keeps_the_newest_and_what_a_loud_one_would_have_flushed(capacity: int, grain: int, said: list[Event], ago: int) -> None:
    ring = Ring(capacity, budget := capacity * grain)
    for position, event in enumerate(said, 1):
        assert ring.append(event) == position
        assert ring.get(position) is event
        assert ring.head == position
        batch = min(BATCH, -(-capacity // BATCH))
        assert ring.head - ring.first < capacity + batch
        assert sum(event.weight() for event in ring.span(ring.first, ring.head)[:-batch]) <= max(budget, event.weight())
        assert sum(max(event.weight(), grain) for _, event, _ in ring._spilled) <= budget
    assert not said or ring.span(ring.first, ring.head) == said[ring.first - 1 :]
    gone = [at for at in range(ring.floor, ring.first) if not is_kept(ring, at)]
    told = Counter({key: dropped_early.count for key, dropped_early in ring.dropped_early.items()})
    really = Counter((type(said[at - 1]), said[at - 1].subject) for at in gone)
    assert told >= really
    assert set(told) == set(really) or ring.floor > 1
    for wanted in FILTERS:
        check_against(said, ring, wanted, max(1, ring.first - ago))


@given(st.lists(events, min_size=1, max_size=150))
def test_where_nobody_is_loud_the_oldest_go(said: list[Event]) -> None:
    ring = Ring(10, 10**6 * 10)
    for event in said:
        ring.append(event)
        if ring._noisy:
            return
        assert ring.spilled(ring.floor, FILTERS[0]) is not None


def test_a_million_events_leave_no_more_than_the_budget() -> None:
    ring = Ring(1000, 1000 * 600)
    noisy = [said(0, 100), started(0)]
    others = [said(number, 50) for number in (1, 2)] + [NetdevAdded(device=netdev(number + 1)) for number in range(50)]
    for number in range(1_000_000):
        ring.append(noisy[number & 1] if number % 20 else others[number // 20 % len(others)])
    assert ring.head == 1_000_000
    assert ring.head - ring.first < 1000 + BATCH
    assert 0 < len(ring._spilled) <= 1000
    assert len(ring._loads) <= 60
    assert len(ring.dropped_early) <= 2
    assert sum(len(chunk.events) for chunk in ring._chunks.values()) <= 1000 + BATCH
    assert 940_000 < sum(dropped_early.count for dropped_early in ring.dropped_early.values()) < 950_000


# -- as readers see it -------------------------------------------------------------------------


@pytest.fixture
def bus() -> Bus:
    """Ten devices came, and then a guest spoke without end."""
    bus = Bus(host=samples.HOST, capacity=64)
    for number in range(10):
        bus.publish(NetdevAdded(device=netdev(number + 1)))
    for _ in range(200):
        bus.publish(started(0))
    return bus


@pytest.mark.anyio
@pytest.mark.virtual_time
async def test_who_wants_none_of_it_does_not_notice_a_loud_subject(bus: Bus) -> None:
    async with Events(bus).subscribe(NetdevEvent, after=bus.chain.cursor(0)) as devices:
        found = [await devices.receive() for _ in range(10)]
        assert [event.device.ifindex for event in found if isinstance(event, NetdevAdded)] == list(range(1, 11))
        assert devices.cursor in {found[-1].cursor, bus.chain.cursor(bus.ring.first - 1)}
        late = bus.publish(NetdevAdded(device=netdev(11)))
        assert await devices.receive() is late
        assert devices.cursor == bus.cursor


@pytest.mark.anyio
@pytest.mark.virtual_time
@pytest.mark.parametrize("fold", [False, True])
@pytest.mark.parametrize("last", [0, 1, 2])
async def test_a_watch_does_not_notice_either(*, fold: bool, last: int) -> None:
    bus = Bus(host=samples.HOST, capacity=64)
    async with Events(bus).watch(NetdevEvent, fold=fold) as devices:
        came: list[Event] = []
        for number in range(70 + last):
            bus.publish(started(0))
            bus.publish(started(0))
            came.append(bus.publish(NetdevAdded(device=netdev(number + 1))))
        for _ in range(last):
            bus.publish(started(0))
        found: list[Event | Resync] = [devices.receive_nowait() for _ in came]
        assert found == came
        assert devices.cursor == bus.cursor


@pytest.mark.anyio
@pytest.mark.virtual_time
@pytest.mark.parametrize("kinds", [(), (DomainEvent,), (DomainLifecycle, NetdevEvent)])
async def test_who_wants_what_was_shed_is_told(bus: Bus, kinds: tuple[type[Event], ...]) -> None:
    stream = Events(bus).subscribe(*kinds, after=bus.chain.cursor(3))
    with pytest.raises(EventGap) as gap:
        async with stream:
            pass
    assert gap.value.missed == bus.ring.first - 4
    async with Events(bus).subscribe(*kinds, after=gap.value.resume) as again:
        assert (await again.receive()).cursor == gap.value.first_available


def test_what_was_shed_is_counted(bus: Bus) -> None:
    kept = bus.ring.head - bus.ring.first + 1
    assert bus.statistics().dropped_early == {f"domain/{samples.UUIDS[0]}": 200 - kept}
    assert bus.statistics().kept == kept + 10
    for number in range(10_000):  # quiet again: the noisy one's are gone like all others
        bus.publish(NetdevAdded(device=netdev(number + 1)))
    assert bus.statistics().dropped_early == {}
