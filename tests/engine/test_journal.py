from __future__ import annotations

import os
import resource
import threading
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING
from uuid import UUID

import anyio
import pytest
from anyio.lowlevel import checkpoint

from aiovirt.engine import journal as journals
from aiovirt.engine import opening, segments
from aiovirt.engine.journal import Journal, Whose
from aiovirt.engine.opening import Opened, open_journal
from aiovirt.engine.segments import Limits
from aiovirt.errors import EventGap, SystemFailure, Unsupported
from aiovirt.events import ClockJumped, Event, Events, JournalDegraded, NetdevAdded, NetdevEvent, WatcherLost
from aiovirt.events import bus as buses
from aiovirt.events.bus import Bus
from aiovirt.events.cursor import parse_cursor
from aiovirt.events.segment import HEADER_SIZE, Ending, decode_header, encode_event, encode_record
from aiovirt.system.appender import Appender
from tests.crash.engines import HUGE, SMALL, Host, Told, drop, engine, fold, gap_after, open_engine, read_after, turn_over
from tests.events import samples
from tests.events.samples import netdev, started

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

pytestmark = pytest.mark.anyio


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture(autouse=True)
def no_gathering(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journals, "SYNC_EVERY", 0.001)
    monkeypatch.setattr(journals, "FIRST_PAUSE", 3600.0)  # a disk that failed is left alone but where it is tried again


@asynccontextmanager
async def kept(folder: Path, limits: Limits = SMALL, *, capacity: int = 64) -> AsyncIterator[tuple[Bus, Journal]]:
    """An engine whose journal is kept in the background, as it really is."""
    bus, opened = await open_engine(folder, "boot", limits, capacity)
    assert opened.journal
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(opened.journal.keep, bus)
        with anyio.fail_after(60):
            yield bus, opened.journal
        tasks.cancel_scope.cancel()
    bus.close()
    await opened.journal.close(bus)


async def until(condition: Callable[[], bool]) -> None:
    """Lets others work until it holds; a test that waits for ever is ended by its deadline."""
    while not condition():
        await checkpoint()


def some_of(told: Told) -> range:
    return range(0, len(told.events), len(told.events) // 10 + 1)


def paths(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.journal"))


def ending(path: Path) -> Ending:
    return decode_header(path.read_bytes()[:HEADER_SIZE]).ending


def is_on_file(folder: Path, event: Event) -> bool:
    record = encode_record(parse_cursor(event.cursor)[1], event)
    return any(record in path.read_bytes() for path in paths(folder))


def degraded(events: list[Event]) -> list[Event]:
    return [event for event in events if isinstance(event, JournalDegraded)]


# -- what is seen is written -------------------------------------------------------------------


async def test_no_reader_sees_an_event_before_it_is_in_the_file(folder: Path) -> None:
    async with engine(folder, "boot") as (bus, _), Events(bus).subscribe() as log, Events(bus).watch() as watch:
        event = bus.publish(started(0))
        assert not is_on_file(folder, event)
        assert log.receive_nowait() is event
        assert is_on_file(folder, event)
        event = bus.publish(started(1))
        assert [watch.receive_nowait() for _ in range(2)][1] is event
        assert is_on_file(folder, event)


async def test_no_parked_reader_sees_an_event_before_it_is_in_the_file(folder: Path) -> None:
    seen: list[bool] = []

    async def read(bus: Bus) -> None:
        async with Events(bus).subscribe() as log:
            seen.extend([is_on_file(folder, await log.receive()) for _ in range(3)])

    async with engine(folder, "boot") as (bus, _), anyio.create_task_group() as tasks:
        tasks.start_soon(read, bus)
        await until(lambda: bus.statistics().parked == 1)
        for number in range(3):
            bus.publish(started(number))
    assert seen == [True] * 3


@pytest.mark.parametrize("look", ["cursor", "state", "head", "snapshot", "seek"])
async def test_whoever_looks_sees_what_is_in_the_file(folder: Path, look: str) -> None:
    async with engine(folder, "boot") as (bus, _):
        event = bus.publish(started(0))
        if look == "snapshot":
            bus.snapshot()
        elif look == "seek":
            bus.seek(event.cursor)
        else:
            getattr(bus, look)
        assert is_on_file(folder, event)


# -- reading the past --------------------------------------------------------------------------


async def test_the_past_is_read_over_all_segments_and_into_the_present(folder: Path) -> None:
    async with kept(folder, HUGE, capacity=8) as (bus, journal):
        before = bus.chain.cursor(bus.head - 1)
        published: list[Event] = []
        while len(journal._segments) < 4:
            published += [bus.publish(started(0)) for _ in range(10)]
            await anyio.sleep(0.001)  # for a disk
        found: list[Event] = []
        async with Events(bus).subscribe(after=before) as log:
            while len(found) <= len(published):
                found.append(await log.receive())
                if len(found) % 10 == 0 and len(found) < 100:
                    published.append(bus.publish(started(1)))
        assert found[1:] == published


async def test_a_filter_reads_the_past_too(folder: Path) -> None:
    async with engine(folder, "boot", HUGE, capacity=8) as (bus, opened):
        assert opened.journal
        wanted: list[Event] = []
        after = bus.cursor
        for number in range(1, 100):
            bus.publish(started(0))
            if number % 7 == 0:
                wanted.append(bus.publish(NetdevAdded(device=netdev(number))))
            await turn_over(opened.journal, bus)
        async with Events(bus).subscribe(NetdevEvent, after=after) as log:
            assert [await log.receive() for _ in wanted] == wanted


async def test_an_event_longer_than_what_is_read_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "CHUNK", 100)
    async with engine(folder, "boot", HUGE, capacity=2) as (bus, opened):
        assert opened.journal
        told = Told()
        told.tell([opened.started])
        for _ in range(30):
            told.tell([bus.publish(started(0))])
            await turn_over(opened.journal, bus)
        await told.check(bus)


async def test_a_slow_reader_of_the_past_holds_nobody_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, reading = threading.Event(), threading.Event()
    read = segments.read_some

    def slow_read(*arguments: object) -> object:
        reading.set()
        go_on.wait(30)
        return read(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(segments, "read_some", slow_read)
    async with kept(folder, HUGE, capacity=8) as (bus, journal):
        first = bus.cursor
        for _ in range(20):
            bus.publish(started(0))
        found: list[Event] = []

        async def read_old() -> None:
            found.extend(await read_after(bus, first))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read_old)
            await until(reading.is_set)
            async with Events(bus).subscribe() as log:
                while len(journal._segments) < 3:  # the writer's thread is not one of theirs
                    event = bus.publish(started(1))
                    assert await log.receive() is event
            go_on.set()
        assert len(found) >= 20
        assert [parse_cursor(event.cursor)[1] for event in found] == list(range(2, len(found) + 2))


async def test_a_reader_may_be_cancelled_anywhere(folder: Path) -> None:
    async with engine(folder, "boot", HUGE, capacity=4) as (bus, opened):
        assert opened.journal
        for _ in range(60):
            bus.publish(started(0))
            await turn_over(opened.journal, bus)
        expected = await read_after(bus)
        for steps in range(12):
            found: list[Event] = []
            async with Events(bus).subscribe(after=bus.chain.cursor(0)) as log, anyio.create_task_group() as tasks:

                async def cancel(scope: anyio.CancelScope, steps: int = steps) -> None:
                    for _ in range(steps):
                        await checkpoint()
                    scope.cancel()

                tries = 0
                while log.cursor != bus.cursor:
                    tries += 1
                    with anyio.CancelScope() as scope:
                        if tries < 20:
                            tasks.start_soon(cancel, scope)
                        while log.cursor != bus.cursor:
                            found.append(await log.receive())
            assert found == expected


async def test_what_is_gone_while_it_is_read_is_a_gap(folder: Path) -> None:
    async with engine(folder, "boot", HUGE, capacity=4) as (bus, opened):
        assert opened.journal
        first = bus.cursor
        while len(opened.journal._segments) < 4:
            bus.publish(started(0))
            await turn_over(opened.journal, bus)
        paths(folder)[0].unlink()
        gap = await gap_after(bus, first)
        assert gap.missed == parse_cursor(gap.first_available)[1] - 2
        assert (await read_after(bus, gap.resume))[0].cursor == gap.first_available


@pytest.mark.parametrize("kept_bytes", [HEADER_SIZE, 700, 0])
async def test_a_file_that_became_shorter_is_a_gap(folder: Path, kept_bytes: int) -> None:
    async with engine(folder, "boot", HUGE, capacity=4) as (bus, opened):
        assert opened.journal
        while len(opened.journal._segments) < 3:
            bus.publish(started(0))
            await turn_over(opened.journal, bus)
        os.truncate(paths(folder)[0], kept_bytes)
        with anyio.fail_after(60), pytest.raises(EventGap):
            await read_after(bus)


# -- what is kept ------------------------------------------------------------------------------


async def test_no_more_bytes_are_kept_than_allowed(folder: Path) -> None:
    async with engine(folder, "boot", capacity=8) as (bus, opened):
        assert opened.journal
        told = Told()
        told.tell([opened.started])
        for _ in range(300):
            told.tell([bus.publish(started(0))])
            await turn_over(opened.journal, bus)
        sizes = [path.stat().st_size for path in paths(folder)]
        assert SMALL.bytes - SMALL.segment - 500 <= sum(sizes) <= SMALL.bytes + SMALL.segment
        await told.check(bus, range(0, 300, 11))


async def test_what_is_too_old_goes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    up = set_up_time(monkeypatch)
    async with engine(folder, "boot", Limits(age=80.0)) as (bus, opened):
        assert opened.journal
        for _ in range(30):
            up.seconds += 5
            bus.publish(started(0))
            await turn_over(opened.journal, bus)
        began = [decode_header(path.read_bytes()[:HEADER_SIZE]).clock for path in paths(folder)]
        assert 5 <= len(began) <= 10
        assert began[1] >= (up.seconds - 1000 - 80) * 10**9
        assert len(await read_after(bus)) < 30


def set_up_time(monkeypatch: pytest.MonkeyPatch, seconds: float = 1000) -> SimpleNamespace:
    """Since when this host is up, in the hands of the test."""
    up = SimpleNamespace(seconds=seconds)
    for module in (journals, opening):
        monkeypatch.setattr(module, "boottime_ns", lambda: int(up.seconds * 10**9))
    return up


@pytest.mark.parametrize("jump", [50 * 365 * 86_400, 8 * 86_400, -8 * 86_400])
@pytest.mark.parametrize("how", ["running", "between", "boot"])
async def test_a_clock_that_jumps_deletes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch, jump: int, how: str) -> None:
    """The age of events is the time for which this host was up, whatever its clock says."""
    up, wall = set_up_time(monkeypatch), SimpleNamespace(ns=1_700_000_000 * 10**9)
    for module in (journals, opening):
        monkeypatch.setattr(module, "time", SimpleNamespace(time_ns=lambda: wall.ns))
    told = Told()

    async def some(bus: Bus, opened: Opened) -> None:
        assert opened.journal
        for _ in range(30):
            up.seconds += 600
            told.tell([bus.publish(started(0))])
            await turn_over(opened.journal, bus)

    async with engine(folder, "boot", HUGE) as (bus, opened):
        told.tell([opened.started])
        await some(bus, opened)
        if how == "running":
            wall.ns += jump * 10**9
            await some(bus, opened)
    if how != "running":
        wall.ns += jump * 10**9
        up.seconds = 5 if how == "boot" else up.seconds
    async with engine(folder, "boot 2" if how == "boot" else "boot", HUGE) as (bus, opened):
        told.tell([opened.started])
        await some(bus, opened)
        assert await read_after(bus) == told.events


async def test_age_goes_on_over_restarts_and_not_over_another_boot(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    up = set_up_time(monkeypatch)
    limits = Limits(age=1000.0)

    async def age(boot: str) -> int:
        async with engine(folder, boot, limits) as (bus, opened):
            assert opened.journal
            bus.publish(started(0))
            return opened.journal._clock.now() // 10**9

    assert await age("boot") == 0
    up.seconds += 100
    assert await age("boot") == 100
    up.seconds = 7
    assert await age("another") == 100
    up.seconds += 50
    assert await age("another") == 150


async def test_segments_take_over_while_events_come(folder: Path) -> None:
    told = Told()
    async with kept(folder, HUGE) as (bus, journal):
        told.tell(await read_after(bus))
        while len(journal._segments) < 5:
            told.tell([bus.publish(started(0))])
            assert bus.head == len(told.events)
            await anyio.sleep(0.0001)  # for a disk
        await told.check(bus, some_of(told))
        await until(lambda: all(ending(path) is Ending.SEALED for path in paths(folder)[:-1]))
    assert ending(paths(folder)[-1]) is Ending.CLEAN
    async with engine(folder, "another boot", HUGE) as (bus, opened):
        told.tell([opened.started])
        assert (opened.started.clean, opened.started.resumed) == (True, True)
        await told.check(bus, some_of(told))


@pytest.mark.parametrize("steps", range(10))
async def test_it_is_kept_to_the_end_of_a_rotation(folder: Path, steps: int) -> None:
    handles = len(list(Path("/proc/self/fd").iterdir()))
    bus, opened = await open_engine(folder, "boot", HUGE)
    assert opened.journal
    for _ in range(20):
        bus.publish(started(0))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(opened.journal.keep, bus)
        await until(lambda: len(paths(folder)) == 2)
        for _ in range(steps):
            await checkpoint()
        tasks.cancel_scope.cancel()
    bus.close()
    await opened.journal.close(bus)
    assert [ending(path) for path in paths(folder)] == [Ending.SEALED, Ending.CLEAN]
    assert len(list(Path("/proc/self/fd").iterdir())) == handles


async def test_the_state_is_never_ahead_of_what_is_on_disk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_checkpoint = segments.write_checkpoint
    synced: list[bool] = []

    def check(where: Path, checkpoint: object) -> None:
        *before, last = paths(folder)
        is_rotating = last.stat().st_size == HEADER_SIZE
        synced.append(ending(before[-1]) is Ending.SEALED if is_rotating else ending(last) is Ending.CLEAN)
        write_checkpoint(where, checkpoint)  # type: ignore[arg-type]

    async with engine(folder, "boot", HUGE) as (bus, opened):
        assert opened.journal
        monkeypatch.setattr(segments, "write_checkpoint", check)
        while len(opened.journal._segments) < 3:
            bus.publish(started(0))
            await turn_over(opened.journal, bus)
        bus.publish(started(0))
    assert synced == [True] * 3


# -- a disk that fails -------------------------------------------------------------------------


def refuse(monkeypatch: pytest.MonkeyPatch, name: str, after: int) -> None:
    """The call of this name after so many fails, and all that follow."""
    real = getattr(Appender, name)
    calls = 0

    def call(self: Appender, *arguments: object) -> object:
        nonlocal calls
        calls += 1
        if calls > after:
            raise SystemFailure("no space left") if name == "write" else OSError(28, "no space left", str(self))
        return real(*arguments) if name == "create" else real(self, *arguments)

    monkeypatch.setattr(Appender, name, classmethod(call) if name == "create" else call)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["write", "sync", "create", "write_head"])
@pytest.mark.parametrize("after", [0, 1, 2])
async def test_a_disk_that_fails_is_told_and_events_go_on_in_memory(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, after: int
) -> None:
    told = Told()
    async with kept(folder, HUGE, capacity=10_000) as (bus, _):
        told.tell(await read_after(bus))
        refuse(monkeypatch, name, after)
        async with Events(bus).subscribe() as log:
            while not degraded(told.events):
                for _ in range(10):
                    bus.publish(started(0))
                for _ in range(10):
                    told.tell([await log.receive()])
                await anyio.sleep(0.001)  # for a disk
            while log.cursor != bus.cursor:
                told.tell([await log.receive()])
            told.tell([bus.publish(started(1)), await log.receive()])
        assert len(degraded(told.events)) == 1
        assert bus.head == len(told.events)
        assert not bus.is_durable
        assert len(bus.chain.eras) == 2
        await told.check(bus, some_of(told))
        first_epoch = bus.chain.eras[0].epoch
    monkeypatch.undo()
    memory = [event for event in told.events if parse_cursor(event.cursor)[0] != first_epoch]
    told.survive(len(told.events) - len(memory))
    async with engine(folder, "boot", HUGE) as (bus, opened):
        found = await read_after(bus)
        assert found[: len(told.events)] == told.events
        told.tell([*found[len(told.events) :]])  # what was written though the disk said no is numbered as before
        await told.check(bus, some_of(told))
        assert opened.started.clean is False


async def test_a_file_that_must_not_grow(folder: Path) -> None:
    told = Told()
    with limited_files(5000):
        async with engine(folder, "boot", HUGE, capacity=1000) as (bus, opened):
            told.tell([opened.started])
            async with Events(bus).subscribe() as log:
                while not degraded(told.events):
                    bus.publish(started(0))
                    bus.publish(started(0))
                    told.tell([await log.receive() for _ in range(2)])
                told.tell([log.receive_nowait() for _ in range(bus.head - len(told.events))])
            await told.check(bus)
            lost = bus.chain.eras[0].end
    assert lost
    told.survive(lost)
    async with engine(folder, "boot", HUGE) as (bus, opened):
        assert opened.started.cut
        told.tell([*(await read_after(bus))[lost:]])
        await told.check(bus)


@contextmanager
def limited_files(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_an_event_is_encoded_once_for_the_journal_and_for_who_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with engine(folder, "boot") as (bus, _):
        for number in range(12):
            bus.publish(NetdevAdded(device=netdev(number + 1)))
            if number % 5 == 0:
                bus.write()
        first, last = bus.head - 11, bus.head
        expected = [encode_event(event) for event in bus.ring.span(first, last)]
        monkeypatch.setattr(buses, "encode_event", None)  # nobody does it again
        assert bus.payloads(first, last) == expected
        assert bus.payloads(first + 4, last - 3) == expected[4:-3]
        assert bus.payloads(last, last) == expected[-1:]


async def test_what_was_written_a_while_ago_or_never_is_encoded_anew(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with engine(folder, "boot") as (bus, opened):
        journal = opened.journal
        assert journal is not None
        first = bus.head + 1
        for number in range(journals.WRITES_KEPT + 3):
            bus.publish(started(number % 3))
            bus.write()
        assert journal.payloads(first, bus.head) is None
        assert bus.payloads(first, bus.head) == [encode_event(event) for event in bus.ring.span(first, bus.head)]
        refuse(monkeypatch, "write", 0)
        bus.publish(started(0))
        bus.write()
        assert not bus.is_durable
        assert journal.payloads(bus.head - 1, bus.head) is None
        assert bus.payloads(first, bus.head) == [encode_event(event) for event in bus.ring.span(first, bus.head)]


async def test_events_that_nobody_saw_take_new_numbers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with engine(folder, "boot") as (bus, _):
        seen = bus.cursor
        refuse(monkeypatch, "write", 0)
        event = bus.publish(started(0))
        view = bus.state.domains[samples.UUIDS[0]]
        assert view.as_of == event.cursor
        assert parse_cursor(event.cursor) == (bus.chain.current.epoch, 1)
        assert (await read_after(bus, seen))[0] is event


@pytest.mark.parametrize("look", ["bus", "log", "parked"])
async def test_a_cursor_that_made_the_disk_fail_is_of_the_new_epoch(folder: Path, monkeypatch: pytest.MonkeyPatch, look: str) -> None:
    async with (
        engine(folder, "boot") as (bus, _),
        Events(bus).subscribe(NetdevEvent) as log,
        anyio.create_task_group() as tasks,
    ):
        if look == "parked":
            tasks.start_soon(log.receive)
            await until(lambda: bus.statistics().parked == 1)
        refuse(monkeypatch, "write", 0)
        bus.publish(started(0))
        cursor = bus.cursor if look == "bus" else log.cursor
        tasks.cancel_scope.cancel()
        if look != "log":
            assert parse_cursor(cursor) == (bus.chain.current.epoch, 2)
            assert bus.seek(cursor) == bus.head + 1
        else:
            assert bus.seek(cursor) == bus.head - 1


# -- opening -----------------------------------------------------------------------------------


async def open_once(folder: Path, host: UUID = samples.HOST) -> Opened:
    opened = await open_journal(folder, host=host, boot_id="boot", uri="test:///", limits=SMALL)
    if opened.journal:
        drop(opened.journal)
    return opened


async def test_a_folder_that_cannot_be_had_is_told(folder: Path) -> None:
    folder.write_text("a file")
    bus, opened = await open_engine(folder, "boot")
    assert opened.journal is None
    assert str(folder) in opened.failure
    assert (opened.started.resumed, opened.started.previous_cursor) == (False, None)
    assert bus.publish(started(0)).cursor.endswith("2")


async def test_a_folder_that_is_not_only_ours_is_told(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o777)
    opened = await open_once(folder)
    assert opened.journal is None
    assert str(folder) in opened.failure


async def test_it_is_only_ours(folder: Path) -> None:
    async with engine(folder, "boot", HUGE) as (bus, opened):
        assert opened.journal
        while len(opened.journal._segments) < 3:
            bus.publish(started(0))
            await turn_over(opened.journal, bus)
    assert folder.stat().st_mode & 0o7777 == 0o700
    assert {path.stat().st_mode & 0o7777 for path in folder.iterdir()} == {0o600}
    assert {path.name for path in folder.iterdir()} == {"00000001.journal", "00000002.journal", "00000003.journal", "state"}


@pytest.mark.parametrize("name", ["00000001.journal", "state"])
async def test_what_a_newer_version_wrote_is_left_alone(folder: Path, name: str) -> None:
    async with engine(folder, "boot") as (bus, _):
        bus.publish(started(0))
    data = bytearray((folder / name).read_bytes())
    data[8] = 3
    (folder / name).write_bytes(data)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(Unsupported, match="newer"):
        await open_once(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


async def test_the_journal_of_another_host_is_moved_away(folder: Path) -> None:
    async with engine(folder, "boot") as (bus, _):
        first = bus.publish(started(0)).cursor
    other = UUID(int=7)
    opened = await open_once(folder, other)
    assert opened.started.clean is None
    assert opened.chain.position(first) is None
    away = folder.with_name(f"journal.{samples.HOST}")
    assert [path.name for path in paths(away)] == ["00000001.journal"]
    assert (await open_once(folder)).journal  # and back
    assert (await open_once(folder, other)).journal, "what was moved away once is in the way"


async def test_a_header_that_cannot_be_read_is_no_first_start(folder: Path) -> None:
    async with engine(folder, "boot") as (bus, _):
        bus.publish(started(0))
    [path] = paths(folder)
    size = path.stat().st_size
    path.write_bytes(b"\0" * size)
    said = (await open_once(folder)).started
    assert (said.clean, said.cut, said.resumed, said.previous_cursor, said.down_for) == (False, size, False, None, None)


async def test_a_header_that_is_cut_is_none(folder: Path) -> None:
    async with engine(folder, "boot") as (bus, _):
        bus.publish(started(0))
    [path] = paths(folder)
    os.truncate(path, HEADER_SIZE - 1)
    assert (await open_once(folder)).started.cut == HEADER_SIZE - 1


async def test_a_segment_without_events_has_a_time(folder: Path) -> None:
    async with engine(folder, "boot", clean=False) as (bus, opened):
        assert opened.journal
        while len(opened.journal._segments) < 2:
            bus.publish(started(0))
            await turn_over(opened.journal, bus)
        last = bus.cursor
    said = (await open_once(folder)).started
    assert said.previous_cursor == last
    assert said.down_for is not None
    assert said.down_for < 3600 * 10**9


async def test_a_state_that_is_lost_is_told_even_if_the_first_engine_to_say_so_never_did(folder: Path) -> None:
    async with engine(folder, "boot") as (bus, _):
        bus.publish(started(0))
    (folder / "state").unlink()
    assert not (await open_once(folder)).started.resumed
    assert not (await open_once(folder)).started.resumed
    async with engine(folder, "boot", clean=False) as (bus, opened):
        assert not opened.started.resumed
        bus.publish(started(1))
        assert bus.head
    async with engine(folder, "boot") as (bus, opened):
        assert opened.started.resumed
        assert set(bus.state.domains) == {samples.UUIDS[1]}


async def test_a_state_is_not_retired_with_what_it_goes_on_from(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 10**18
    monkeypatch.setattr(journals, "time", SimpleNamespace(time_ns=lambda: now))
    told = Told()
    for boot in range(5):
        now += 8 * 86_400 * 10**9
        async with engine(folder, f"{boot}", Limits(), clean=False) as (bus, opened):
            told.tell([opened.started, bus.publish(started(boot % 3))])
            assert bus.state.domains == fold(told.events).domains
            assert opened.started.resumed == (boot > 0)


async def test_it_goes_on_where_it_was_left(folder: Path) -> None:
    told, host = Told(), Host(1)
    for clean, boot in [(True, "a"), (True, "b"), (False, "b"), (False, "b"), (True, "c"), (True, "c")]:
        async with engine(folder, boot, HUGE, clean=clean) as (bus, opened):
            told.tell([opened.started])
            for _ in range(30):
                told.tell([bus.publish(host.next(bus.state))])
                await checkpoint()
            await told.check(bus, some_of(told))
            expected = fold(told.events)
            assert (bus.state.domains, bus.state.netdevs) == (expected.domains, expected.netdevs)
    epochs = [parse_cursor(event.cursor)[0] for event in told.events]
    assert len(set(epochs)) == 2  # killed, and then another boot
    assert epochs == sorted(epochs)


# -- what nobody would think of ------------------------------------------------------------------


async def test_an_event_that_is_no_text_is_made_one(folder: Path) -> None:
    async with engine(folder, "boot") as (bus, _), Events(bus).subscribe() as log:
        before = bus.publish(started(0))
        odd = bus.publish(WatcherLost(source="rtnetlink", why="cannot open /tmp/\udcff" + "x" * 20_000_000))
        after = bus.publish(started(1))
        assert [await log.receive() for _ in range(3)] == [before, odd, after]
        assert odd.why.startswith("cannot open /tmp/\\udcff")
        assert len(odd.why) < 5000
        assert bus.seek(after.cursor) == bus.head + 1
        cursors = [event.cursor for event in (before, odd, after)]
    async with engine(folder, "boot") as (bus, opened):
        assert opened.started.clean is not None
        assert opened.started.cut == 0
        assert [event.cursor for event in await read_after(bus, bus.chain.cursor(1))][:3] == cursors


async def test_an_event_that_no_journal_can_hold_takes_no_number(folder: Path) -> None:
    async with engine(folder, "boot") as (bus, _):
        before = bus.publish(started(0))
        huge = ClockJumped(by=2**70)
        with pytest.raises(ValueError, match="written"):
            bus.publish(huge)
        after = bus.publish(started(1))
        assert parse_cursor(after.cursor)[1] == parse_cursor(before.cursor)[1] + 1
        assert bus.seek(after.cursor) == bus.head + 1


async def test_after_a_disk_failed_what_it_shows_is_not_believed(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within one boot, too: what could not be put on disk may be gone from memory."""
    mark = tmp_path / "mark"
    whose = {"host": samples.HOST, "boot_id": "boot", "uri": ""}

    async def begin() -> tuple[Bus, Opened]:
        opened = await open_journal(folder, **whose, mark=mark)  # type: ignore[arg-type]
        bus = Bus(host=samples.HOST, chain=opened.chain, head=opened.head, journal=opened.journal)
        bus.publish(opened.started)
        return bus, opened

    bus, opened = await begin()
    assert opened.journal
    first, durable = bus.cursor, paths(folder)[0].stat().st_size
    event = bus.publish(started(0))
    seen = bus.cursor

    def fail(_: Appender) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(Appender, "sync", fail)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(opened.journal.keep, bus)
            with anyio.fail_after(60):
                await until(mark.exists)
            tasks.cancel_scope.cancel()
    assert not bus.is_durable
    bus.close()
    await opened.journal.close(bus)
    os.truncate(paths(folder)[0], durable)
    bus, opened = await begin()
    assert not mark.exists()
    bus.publish(started(1))
    assert event.cursor == seen
    assert opened.started.clean is False
    assert (await gap_after(bus, seen)).missed is None
    gap = await gap_after(bus, first)
    assert gap.missed == 1
    assert bus.seek(gap.resume) == bus.head - 1
    assert opened.journal
    bus.close()
    await opened.journal.close(bus)
    bus, opened = await begin()
    assert opened.started.resumed
    assert (await gap_after(bus, first)).missed == 1


async def test_a_crash_while_a_damaged_tail_is_cut_gives_no_number_twice(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with engine(folder, "boot", clean=False) as (bus, _):
        seen = [bus.publish(started(0)).cursor for _ in range(10)]
        assert bus.cursor == seen[-1]
    file = paths(folder)[0]
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.write_bytes(bytes(data))

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    for step in ("cut", "write_head", "close"):
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(Appender, step, crash)
            await anyio.to_thread.run_sync(open_now, folder)
    bus, _ = await open_engine(folder, "boot", HUGE)
    bus.publish(started(1))
    assert bus.chain.position(seen[-1]) is None
    assert bus.cursor[:26] > seen[-1][:26]


def open_now(folder: Path) -> None:
    whose = Whose(folder=folder, host=samples.HOST, boot_id="boot", uri="", limits=HUGE, mark=None)
    opening._open(whose)


@pytest.mark.parametrize("errno", [24, 5])
async def test_a_reader_that_finds_no_handle_costs_nobody_else_anything(folder: Path, monkeypatch: pytest.MonkeyPatch, errno: int) -> None:
    async with engine(folder, "boot", HUGE, capacity=8) as (bus, opened):
        journal = opened.journal
        assert journal
        first = bus.publish(started(0)).cursor
        for _ in range(20):
            bus.publish(started(1))
        before = journal.first

        def fail(*_: object) -> None:
            raise OSError(errno, "no")

        async with Events(bus).subscribe(after=first) as log:
            with monkeypatch.context() as patched:
                patched.setattr(segments, "read_some", fail)
                with pytest.raises(SystemFailure):
                    await log.receive()
            assert journal.first == before
            assert (await log.receive()).cursor > first


async def test_who_closes_a_stream_that_reads_the_past_ends_it(folder: Path) -> None:
    async with engine(folder, "boot", HUGE, capacity=8) as (bus, _):
        first = bus.publish(started(0)).cursor
        for _ in range(20):
            bus.publish(started(1))
        async with Events(bus).subscribe(after=first) as log, anyio.create_task_group() as tasks:

            async def read() -> None:
                with pytest.raises(anyio.ClosedResourceError):
                    await log.receive()

            tasks.start_soon(read)
            await until(lambda: log._reading)
            await log.aclose()
        assert log.cursor == first


@pytest.mark.parametrize("what", ["pipe", "link"])
async def test_what_is_no_file_holds_nobody_up(folder: Path, tmp_path: Path, what: str) -> None:
    folder.mkdir(mode=0o700)
    if what == "pipe":
        os.mkfifo(folder / "00000001.journal")
    else:
        (folder / "00000001.journal").symlink_to(tmp_path / "elsewhere")
    with anyio.fail_after(60):
        _, opened = await open_engine(folder, "boot", HUGE)
    assert opened.journal is None
    assert opened.failure
