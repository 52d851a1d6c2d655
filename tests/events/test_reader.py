from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator

import anyio
import pytest

from aiovirt.errors import EventGap, HostGone, InvalidArgument
from aiovirt.events import DomainEvent, DomainLifecycle, Event, Events, NetdevAdded, NetdevChanged, NetdevEvent, NetdevRemoved, Resync
from aiovirt.events.bus import Bus
from aiovirt.events.reader import Subscription
from tests.events import samples
from tests.events.samples import netdev, started

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]


Way = Callable[[Subscription[Event]], Awaitable[list[Event]]]


async def one(stream: Subscription[Event]) -> list[Event]:
    return [await stream.receive()]


async def by_loop(stream: Subscription[Event]) -> list[Event]:
    async for event in stream:
        return [event]
    raise AssertionError("a loop ended without a word")


async def a_batch(stream: Subscription[Event]) -> list[Event]:
    return list(await stream.receive_batch())


async def at_once(stream: Subscription[Event]) -> list[Event]:
    return [stream.receive_nowait()]


WAYS = [one, by_loop, a_batch]
EACH_WAY = pytest.mark.parametrize("read", WAYS)


@pytest.fixture
def bus() -> Iterator[Bus]:
    bus = Bus(host=samples.HOST, capacity=64)
    yield bus
    assert (bus.index.parked, bus.index.waiting(), len(bus.index._interests)) == (0, 0, 0), "who has ended leaves nothing behind"


@pytest.fixture
def events(bus: Bus) -> Events:
    return Events(bus)


async def test_it_begins_where_it_was_entered(bus: Bus, events: Events) -> None:
    bus.publish(started(0))
    stream = events.subscribe()
    bus.publish(started(1))
    async with stream:
        wanted = bus.publish(started(2))
        assert stream.receive_nowait() is wanted
        with pytest.raises(anyio.WouldBlock):
            stream.receive_nowait()


async def test_it_resumes_after_a_cursor(bus: Bus, events: Events) -> None:
    published = [bus.publish(started(0)) for _ in range(5)]
    async with events.subscribe(after=published[1].cursor) as stream:
        assert [stream.receive_nowait() for _ in range(3)] == published[2:]
        assert stream.cursor == bus.cursor


async def test_types_and_subjects_narrow_it_down(bus: Bus, events: Events) -> None:
    async with (
        events.subscribe(NetdevEvent) as devices,
        events.subscribe(subject=f"domain/{samples.UUIDS[1]}") as one,
        events.subscribe(DomainEvent, NetdevAdded, subject="netdev/") as prefix,
        events.subscribe(subject=netdev(1)) as by_value,
    ):
        first, second, added = bus.publish(started(0)), bus.publish(started(1)), bus.publish(NetdevAdded(device=netdev(1)))
        assert devices.receive_nowait() is added
        assert one.receive_nowait() is second
        assert prefix.receive_nowait() is added
        assert by_value.receive_nowait() is added
        assert first.subject == f"domain/{samples.UUIDS[0]}"
        for stream in (devices, one, prefix, by_value):
            with pytest.raises(anyio.WouldBlock):
                stream.receive_nowait()
            assert stream.cursor == bus.cursor


@pytest.mark.parametrize("subject", ["web", "", 3, object()])
async def test_what_is_no_subject_is_refused(events: Events, subject: object) -> None:
    with pytest.raises(InvalidArgument):
        events.subscribe(subject=subject)  # type: ignore[call-overload]


async def test_what_is_no_event_type_is_refused(events: Events) -> None:
    with pytest.raises(InvalidArgument):
        events.subscribe(int)  # type: ignore[type-var]


async def test_a_parked_reader_is_woken_by_its_own_events_only(bus: Bus, events: Events) -> None:
    got: list[Event] = []

    async def read() -> None:
        async with events.subscribe(DomainLifecycle, subject=f"domain/{samples.UUIDS[1]}") as stream:
            got.append(await stream.receive())
            assert stream.cursor == bus.cursor  # what it looked at and did not want is seen, too

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        await anyio.wait_all_tasks_blocked()
        for _ in range(200):  # far more than the ring holds: it has not missed them, it did not want them
            bus.publish(started(0))
        assert bus.statistics().parked == 1
        wanted = bus.publish(started(1))
        assert bus.statistics().parked == 0
        bus.publish(started(0))
    assert got == [wanted]


async def test_a_parked_readers_cursor_moves_on(bus: Bus, events: Events) -> None:
    async with events.subscribe(NetdevEvent) as stream, anyio.create_task_group() as tasks:
        tasks.start_soon(stream.receive)
        await anyio.wait_all_tasks_blocked()
        bus.publish(started(0))
        assert stream.cursor == bus.cursor
        assert stream.statistics().behind == 0
        tasks.cancel_scope.cancel()


@EACH_WAY
async def test_cancelling_a_wait_loses_nothing(bus: Bus, events: Events, read: Way) -> None:
    async with events.subscribe() as stream, events.subscribe(DomainEvent) as other, anyio.create_task_group() as tasks:
        tasks.start_soon(other.receive)
        with anyio.move_on_after(1):
            await read(stream)
        assert bus.statistics().parked == bus.index.parked == 1
        wanted = bus.publish(started(0))
        assert await read(stream) == [wanted]
        assert stream.statistics().delivered == 1


@EACH_WAY
async def test_cancelled_while_being_woken_it_loses_nothing(bus: Bus, events: Events, read: Way) -> None:
    got: list[Event] = []

    async def reader() -> None:
        got.extend(await read(stream))

    async with events.subscribe() as stream:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reader)
            await anyio.wait_all_tasks_blocked()
            wanted = bus.publish(started(0))
            tasks.cancel_scope.cancel()
        if not got:
            assert stream.statistics().delivered == 0
            got.append(stream.receive_nowait())
        assert got == [wanted]


@EACH_WAY
async def test_that_one_of_two_is_cancelled_concerns_the_other_not_at_all(bus: Bus, events: Events, read: Way) -> None:
    got: list[Event] = []
    scope = anyio.CancelScope()

    async def cancelled() -> None:
        with scope:
            await read(first)

    async def other() -> None:
        got.extend(await read(second))

    async with events.subscribe() as first, events.subscribe() as second, anyio.create_task_group() as tasks:
        tasks.start_soon(cancelled)
        tasks.start_soon(other)
        await anyio.wait_all_tasks_blocked()
        assert (bus.index.parked, bus.statistics().parked) == (1, 2)
        scope.cancel()
        await anyio.wait_all_tasks_blocked()
        assert (bus.index.parked, bus.statistics().parked) == (1, 1)
        published = bus.publish(started(0))
        assert first.receive_nowait() is published
    assert got == [published]


async def test_a_gap_is_raised_and_stays(bus: Bus, events: Events) -> None:
    async with events.subscribe() as stream:
        for _ in range(100):
            bus.publish(started(0))
        with pytest.raises(EventGap) as gap:
            await stream.receive()
        assert gap.value.missed == 36
        with pytest.raises(EventGap):
            await stream.receive()
    async with events.subscribe(after=gap.value.resume) as stream:
        assert (await stream.receive()).cursor == gap.value.first_available


async def test_resuming_too_late_is_a_gap_on_entry(bus: Bus, events: Events) -> None:
    first = bus.publish(started(0)).cursor
    for _ in range(100):
        bus.publish(started(0))
    with pytest.raises(EventGap):
        async with events.subscribe(after=first):
            pass


async def test_the_end_of_the_host_is_told_to_all(bus: Bus, events: Events) -> None:
    ends: list[str] = []

    async def read() -> None:
        async with events.subscribe() as stream:
            with pytest.raises(HostGone) as gone:
                async for _ in stream:
                    pass
            ends.append(gone.value.cursor)

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(read)
        await anyio.wait_all_tasks_blocked()
        last = bus.publish(started(0))
        bus.close()
    assert ends == [last.cursor] * 3


async def test_where_runs_in_the_reader_and_ends_only_its_stream(bus: Bus, events: Events) -> None:
    def explode(_: Event) -> bool:
        raise ZeroDivisionError

    async with events.subscribe(where=explode) as bad, events.subscribe(where=lambda event: event.subject.endswith("2")) as good:
        bus.publish(started(0))
        wanted = bus.publish(started(1))
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                await bad.receive()
        assert await good.receive() is wanted


@EACH_WAY
async def test_closing_ends_a_wait(bus: Bus, events: Events, read: Way) -> None:
    async with events.subscribe() as stream, anyio.create_task_group() as tasks:

        async def reader() -> None:
            with pytest.raises(anyio.ClosedResourceError):
                await read(stream)

        tasks.start_soon(reader)
        await anyio.wait_all_tasks_blocked()
        await stream.aclose()
    assert bus.statistics().parked == 0


@EACH_WAY
@pytest.mark.parametrize("intrude", [*WAYS, at_once])
async def test_one_task_reads_a_stream_and_who_tries_too_takes_nothing_from_it(bus: Bus, events: Events, read: Way, intrude: Way) -> None:
    got: list[Event] = []

    async def reader() -> None:
        got.extend(await read(stream))

    async with events.subscribe() as stream, anyio.create_task_group() as tasks:
        tasks.start_soon(reader)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(anyio.BusyResourceError):
            await intrude(stream)
        assert bus.statistics().parked == 1
        published = bus.publish(started(0))
        with pytest.raises(anyio.BusyResourceError):
            await intrude(stream)  # it is woken, and it will be its turn
    assert got == [published]


async def test_a_loop_that_finds_another_reader_takes_nothing_from_it(bus: Bus, events: Events) -> None:
    got: list[Event] = []

    async def reader() -> None:
        got.append(await stream.receive())

    async with events.subscribe() as stream, anyio.create_task_group() as tasks:
        bus.publish(started(0))
        with pytest.raises(anyio.BusyResourceError):
            async for _ in stream:
                tasks.start_soon(reader)
                await anyio.wait_all_tasks_blocked()
        published = bus.publish(started(1))
    assert got == [published]


async def test_a_reader_of_many_types_reads_on_where_it_was_woken_first(bus: Bus, events: Events) -> None:
    got: list[Event] = []

    async def read() -> None:
        async with events.subscribe(DomainLifecycle, NetdevEvent) as stream:
            got.extend([await stream.receive() for _ in range(3)])

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        await anyio.wait_all_tasks_blocked()
        published: list[Event] = [bus.publish(NetdevAdded(device=netdev(1))), bus.publish(started(0)), bus.publish(started(1))]
    assert got == published
    assert bus.statistics().parked == 0


async def test_a_stream_is_entered_before_it_is_read(events: Events) -> None:
    with pytest.raises(RuntimeError, match="enter"):
        await events.subscribe().receive()


async def test_a_long_backlog_lets_others_run(bus: Bus, events: Events) -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    async with events.subscribe() as stream, anyio.create_task_group() as tasks:
        tasks.start_soon(count)
        while not turns:
            await anyio.lowlevel.checkpoint()
        before = turns
        for _ in range(4):
            for _ in range(64):
                bus.publish(started(0))
            for _ in range(64):
                await stream.receive()
        assert turns > before
        tasks.cancel_scope.cancel()


# -- watch -------------------------------------------------------------------------------------


async def test_a_watch_is_the_state_and_then_its_changes(bus: Bus, events: Events) -> None:
    bus.publish(NetdevAdded(device=netdev(1)))
    async with events.watch(NetdevEvent) as watch:
        assert set(watch.snapshot.netdevs) == {"1.1"}
        assert watch.snapshot.cursor == bus.cursor
        added = bus.publish(NetdevAdded(device=netdev(2)))
        assert await watch.receive() is added


async def test_a_watch_that_fell_behind_gets_a_fresh_state(bus: Bus, events: Events) -> None:
    async with events.watch() as watch:
        for number in range(100):
            bus.publish(NetdevAdded(device=netdev(number + 1)))
        item = await watch.receive()
        assert isinstance(item, Resync)
        assert len(item.snapshot.netdevs) == 100
        assert item.cursor == bus.cursor
        removed = bus.publish(NetdevRemoved(device=netdev(1)))
        assert await watch.receive() is removed


async def test_a_folded_backlog_keeps_what_matters(bus: Bus, events: Events) -> None:
    one, two = netdev(1), netdev(1, mtu=2)
    async with events.watch(fold=True) as watch:
        bus.publish(NetdevChanged(old=one, new=two))
        bus.publish(started(0))
        bus.publish(NetdevChanged(old=two, new=netdev(1, mtu=3)))
        bus.close()
        first, second = await watch.receive(), await watch.receive()
        assert isinstance(first, DomainLifecycle)
        assert isinstance(second, NetdevChanged)
        assert second.changes == {"mtu": (0, 3)}
        assert second.cursor == bus.cursor
        with pytest.raises(HostGone):
            await watch.receive()


async def test_the_cursor_of_a_folded_backlog_never_runs_ahead(bus: Bus, events: Events) -> None:
    async with events.watch(fold=True) as watch:
        published = [bus.publish(started(0)) for _ in range(3)]
        bus.publish(NetdevChanged(old=netdev(1), new=netdev(1, mtu=2)))
        bus.publish(NetdevChanged(old=netdev(1, mtu=2), new=netdev(1, mtu=3)))
        for event in published:
            await watch.receive()
            assert watch.cursor == event.cursor
    async with events.subscribe(after=published[1].cursor) as again:
        assert again.receive_nowait() is published[2]


# -- expect ------------------------------------------------------------------------------------


async def test_expect_is_armed_before_the_order(bus: Bus, events: Events) -> None:
    async with events.expect(DomainLifecycle, subject=f"domain/{samples.UUIDS[1]}") as seen:
        bus.publish(started(0))
        wanted = bus.publish(started(1))
    assert seen.value is wanted


async def test_expect_waits_for_nothing_when_its_body_failed(events: Events) -> None:
    with pytest.raises(ZeroDivisionError):
        async with events.expect(DomainLifecycle):
            raise ZeroDivisionError


# -- cursors are always safe to go on from -----------------------------------------------------


async def test_what_made_where_raise_is_still_to_be_read(bus: Bus, events: Events) -> None:
    def second(event: Event) -> bool:
        if event.cursor.endswith("2"):
            raise ZeroDivisionError
        return True

    async with events.subscribe(where=second) as log, events.watch(where=second, fold=True) as watch:
        published = [bus.publish(started(number)) for number in range(3)]
        for stream in (log, watch):
            assert await stream.receive() is published[0]
            with pytest.raises(ZeroDivisionError):
                await stream.receive()
            assert stream.cursor == published[0].cursor


async def test_an_interrupted_where_loses_nothing_of_a_backlog(bus: Bus, events: Events) -> None:
    def interrupted(event: Event) -> bool:
        if event.cursor.endswith("2"):
            raise KeyboardInterrupt
        return True

    async with events.watch(where=interrupted, fold=True) as watch:
        before = bus.cursor
        for number in range(3):
            bus.publish(started(number))
        with pytest.raises(KeyboardInterrupt):
            watch.receive_nowait()
        assert watch.cursor == before


async def test_the_cursor_waits_for_the_oldest_part_of_what_was_merged(bus: Bus, events: Events) -> None:
    one = netdev(1)
    async with events.watch(fold=True) as watch:
        before = bus.cursor
        bus.publish(NetdevChanged(old=one, new=netdev(1, mtu=2)))
        other = bus.publish(started(0))
        bus.publish(NetdevChanged(old=netdev(1, mtu=2), new=netdev(1, mtu=3)))
        assert await watch.receive() is other
        assert watch.cursor == before
        await watch.receive()
        assert watch.cursor == bus.cursor
        assert watch.statistics().folded == 1


async def test_what_was_not_handed_out_is_behind_the_cursor_of_a_closed_stream(bus: Bus, events: Events) -> None:
    async with events.subscribe() as stream:
        published = [bus.publish(started(0)) for _ in range(5)]
        assert await stream.receive() is published[0]
    assert stream.cursor == published[0].cursor
    async with events.subscribe(after=stream.cursor) as again:
        assert await again.receive_batch() == tuple(published[1:])


async def test_a_batch_has_what_is_there(bus: Bus, events: Events) -> None:
    async with events.subscribe(DomainLifecycle) as stream:
        published = [bus.publish(started(0)) for _ in range(3)]
        bus.publish(NetdevAdded(device=netdev(1)))
        assert await stream.receive_batch() == tuple(published)
        assert stream.cursor == bus.cursor
        assert stream.statistics().delivered == 3


async def test_a_stream_that_was_not_entered_has_no_cursor(events: Events) -> None:
    with pytest.raises(RuntimeError, match="enter"):
        _ = events.subscribe().cursor


async def test_a_loop_that_was_left_is_gone_on_with(bus: Bus, events: Events) -> None:
    async with events.subscribe() as stream:
        published = [bus.publish(started(0)) for _ in range(4)]
        async for event in stream:
            assert event is published[0]
            break
        assert await stream.receive() is published[1]
        assert stream.cursor == published[1].cursor
        async for event in stream:
            assert event is published[2]
            break
        assert await stream.receive_batch() == tuple(published[3:])


async def test_neighbours_share_what_they_find_and_not_where_they_are(bus: Bus, events: Events) -> None:
    async with (
        events.subscribe(DomainEvent) as one,
        events.subscribe(DomainEvent) as other,
        events.watch(DomainEvent, fold=True) as folding,
    ):
        published = [bus.publish(started(number)) for number in range(3)]
        batch = await one.receive_batch()
        assert batch == tuple(published)
        assert other.receive_nowait() is published[0]
        assert other.cursor == published[0].cursor
        assert [other.receive_nowait(), other.receive_nowait()] == published[1:]
        assert [folding.receive_nowait() for _ in published] == published


@EACH_WAY
async def test_neighbours_that_were_woken_together_miss_nothing_of_a_burst(bus: Bus, events: Events, read: Way) -> None:
    """Longer than what is looked at in one go."""
    got: dict[int, list[Event]] = {0: [], 1: []}

    async def reader(number: int) -> None:
        async with events.subscribe(DomainEvent) as stream:
            while len(got[number]) < 60:
                got[number] += await read(stream)
            for _ in range(40):
                assert stream.statistics().delivered == len(got[number])
                got[number] += await read(stream)

    async with anyio.create_task_group() as tasks:
        for number in got:
            tasks.start_soon(reader, number)
        published: list[Event] = []
        for burst in (3, 57, 40, 60):
            await anyio.wait_all_tasks_blocked()
            published += [bus.publish(started(0)) for _ in range(burst)]
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    for each in got.values():
        assert each == published[: len(each)]
        assert len(each) >= 100


async def test_what_a_loud_one_pushed_out_is_not_in_the_way_of_who_did_not_want_it(bus: Bus, events: Events) -> None:
    async with events.subscribe(NetdevEvent) as stream, events.watch(NetdevEvent, fold=True) as watch:
        for _ in range(200):
            bus.publish(started(0))
        wanted = bus.publish(NetdevAdded(device=netdev(1)))
        assert stream.receive_nowait() is wanted
        assert watch.receive_nowait() is wanted


async def test_a_gap_ends_where_it_can_be_gone_on_from(bus: Bus, events: Events) -> None:
    """Although some of what is behind its end was spilled for others."""
    before = bus.publish(started(0)).cursor
    for number in range(400):
        for event in (started(0), started(0), NetdevAdded(device=netdev(number + 1))):
            bus.publish(event)
    with pytest.raises(EventGap) as gap:
        await events.subscribe(after=before).__aenter__()
    async with events.subscribe(after=gap.value.resume) as stream:
        assert (await stream.receive()).cursor == gap.value.first_available


async def test_what_where_raises_ends_the_stream_also_where_it_is_falsy(bus: Bus, events: Events) -> None:
    class EmptyError(Exception):
        def __len__(self) -> int:
            return 0

    def where(_: Event) -> bool:
        raise EmptyError

    async with events.subscribe(where=where) as stream:
        bus.publish(started(0))
        for _ in range(2):
            with pytest.raises(EmptyError):
                await stream.receive()


async def test_after_where_raised_nothing_more_is_handed_out(bus: Bus, events: Events) -> None:
    def where(event: Event) -> bool:
        if event is published[1]:
            raise ZeroDivisionError
        return True

    async with events.subscribe(where=where) as stream:
        published = [bus.publish(started(0)) for _ in range(4)]
        seen: list[Event] = []
        with pytest.raises(ZeroDivisionError):
            async for event in stream:
                seen += [event]
        assert seen == published[:1]
        assert stream.cursor == published[0].cursor
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                await stream.receive()
        assert stream.cursor == published[0].cursor


async def test_a_loop_is_told_that_its_stream_was_closed_while_it_was_busy(bus: Bus, events: Events) -> None:
    bus.publish(started(0))
    async with events.subscribe(after=bus.chain.cursor(0)) as stream:
        with pytest.raises(anyio.ClosedResourceError):
            async for _ in stream:
                await stream.aclose()


async def test_who_leaves_a_block_ends_the_loop_that_waits_in_another_task(events: Events) -> None:
    async with anyio.create_task_group() as tasks, events.subscribe() as stream:

        async def read() -> None:
            with pytest.raises(anyio.ClosedResourceError):
                async for _ in stream:
                    pass

        tasks.start_soon(read)
        await anyio.wait_all_tasks_blocked()


async def test_who_reads_by_two_ways_gets_each_event_once(bus: Bus, events: Events) -> None:
    """In a loop over the stream, and by itself in between."""
    got: list[Event] = []
    published: list[Event] = [bus.publish(started(0))]
    async with events.subscribe(after=bus.chain.cursor(0)) as stream:
        async for event in stream:
            got.append(event)
            if len(got) == 1:
                published += [bus.publish(started(0)) for _ in range(3)]
                got.append(await stream.receive())
            if len(got) == 4:
                published += [bus.publish(started(0)) for _ in range(2)]
                got += await stream.receive_batch()
                break
        published.append(bus.publish(started(1)))
        got.append(await stream.receive())
        published.append(bus.publish(started(2)))
        async for event in stream:
            got.append(event)
            break
        assert got == published
        assert (stream.cursor, stream.statistics().delivered) == (bus.cursor, len(got))


async def test_a_batch_ends_before_what_made_where_raise(bus: Bus, events: Events) -> None:
    def where(event: Event) -> bool:
        if event is published[3]:
            raise ZeroDivisionError
        return True

    async with events.subscribe(where=where) as stream:
        published = [bus.publish(started(0)) for _ in range(5)]
        assert await stream.receive_batch() == tuple(published[:3])
        assert stream.cursor == published[2].cursor
        with pytest.raises(ZeroDivisionError):
            await stream.receive_batch()
        assert (stream.cursor, stream.statistics().delivered) == (published[2].cursor, 3)
    async with events.subscribe(after=stream.cursor) as again:
        assert await again.receive_batch() == tuple(published[3:])


async def test_a_batch_that_is_interrupted_is_still_to_be_read(bus: Bus, events: Events) -> None:
    def where(event: Event) -> bool:
        if event is published[3]:
            raise KeyboardInterrupt
        return True

    async with events.subscribe(where=where) as stream:
        before = bus.cursor
        published = [bus.publish(started(0)) for _ in range(5)]
        with pytest.raises(KeyboardInterrupt):
            await stream.receive_batch()
        assert (stream.cursor, stream.statistics().delivered) == (before, 0)
