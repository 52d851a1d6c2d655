"""What the journal gives up early, and of whom."""

from __future__ import annotations

from pathlib import Path

import anyio
import anyio.lowlevel
import msgspec
import pytest
from msgspec import Raw
from msgspec.structs import replace

from aiovirt.engine import journal as journals
from aiovirt.engine import opening
from aiovirt.engine.retention import joined
from aiovirt.engine.segments import Limits, Segment
from aiovirt.errors import EventGap
from aiovirt.events import DomainEvent, DomainLifecycle, DomainQMP, Event, Events, NetdevEvent
from aiovirt.events.bus import Bus
from aiovirt.events.replica import Replica
from aiovirt.events.segment import HEADER_SIZE, Ending, Header, decode_header, encode_header, encode_record
from aiovirt.events.state import HostState
from tests.crash.engines import engine, turn_over
from tests.events import samples

pytestmark = pytest.mark.anyio

LIMITS = Limits(segment=4000, bytes=40_000)
LOUD, QUIET = samples.UUIDS[0], samples.UUIDS[1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture(autouse=True)
def no_gathering(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journals, "SYNC_EVERY", 0.001)


def said(number: int) -> DomainQMP:
    return DomainQMP.made(uuid=LOUD, name="noisy", event="DEVICE_TRAY_MOVED" if number % 3 else "RTC_CHANGE", data={"n": number})


async def shout(bus: Bus, opened: opening.Opened, count: int, every: int = 100) -> tuple[list[Event], list[Event]]:
    """A guest says so much, and now and then something else happens; returns what the guest said, and the rest."""
    noisy: list[Event] = []
    others: list[Event] = [opened.started]
    assert opened.journal
    for number in range(count):
        if number % every == 0:
            others.append(bus.publish(samples.started(1)))
            others.append(bus.publish(samples.started(0)))  # of the noisy one, and no noise
        noisy.append(bus.publish(said(number)))
        await turn_over(opened.journal, bus)
    return noisy, others


async def all_of(bus: Bus, *types: type[Event], subject: str | None = None) -> tuple[list[Event], list[EventGap]]:
    """What a reader gets of all that was, until it waits for more, and the gaps that it is told of on the way."""
    found: list[Event] = []
    gaps: list[EventGap] = []

    async def read() -> None:
        after = bus.chain.cursor(bus.first - 1)
        while True:
            try:
                async with Events(bus).subscribe(*types, subject=subject, after=after) as stream:
                    while True:
                        found.append(await stream.receive())
            except EventGap as gap:
                gaps.append(gap)
                after = gap.resume

    others = bus.statistics().parked
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        with anyio.fail_after(60):
            while bus.statistics().parked == others:
                await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    return found, gaps


async def test_a_guest_that_says_too_much_flushes_nobody_elses_past(folder: Path) -> None:
    async with engine(folder, "boot", LIMITS, capacity=16) as (bus, opened):
        noisy, others = await shout(bus, opened, 3000)
        end = bus.publish(samples.started(2))
        size = sum(path.stat().st_size for path in folder.glob("*.journal"))
        assert size <= LIMITS.bytes + 2 * LIMITS.segment
        assert len(list(folder.glob("*.journal"))) <= LIMITS.bytes / LIMITS.segment + 3, "small files are put together"

        quiet = [event for event in (*others, end) if not (isinstance(event, DomainEvent) and event.uuid == LOUD)]
        assert await all_of(bus, subject=f"domain/{QUIET}") == ([e for e in quiet if isinstance(e, DomainEvent) and e.uuid == QUIET], [])
        assert await all_of(bus, DomainLifecycle) == ([e for e in (*others, end) if isinstance(e, DomainLifecycle)], [])
        assert await all_of(bus, NetdevEvent) == ([], [])

        found, gaps = await all_of(bus)
        assert all(gap.missed for gap in gaps)
        kept = [event for event in found if isinstance(event, DomainQMP)]
        assert kept == noisy[-len(kept) :], "of the noisy one the newest are kept"
        assert sum(gap.missed or 0 for gap in gaps) == len(noisy) - len(kept)
        assert sum(len(encode_record(1, event)) for event in kept) > LIMITS.bytes // LIMITS.share - 2 * LIMITS.segment
        assert [event for event in found if not isinstance(event, DomainQMP)] == [*others, end]


async def test_what_is_left_out_is_counted_by_what_it_was(folder: Path) -> None:
    async with engine(folder, "boot", LIMITS, capacity=16) as (bus, opened):
        await shout(bus, opened, 1500, every=10_000)
        assert bus.journal
        reader = bus.journal.read_from(bus.first)
        while isinstance(dropped := await reader.read(), list):
            pass
        counts = {kind.name: kind.count for kind in dropped.kinds}
        assert {(kind.topic, kind.subject) for kind in dropped.kinds} == {("domain.qmp", f"domain/{LOUD}")}
        assert dropped.last - dropped.first + 1 == sum(counts.values())
        assert abs(counts["DEVICE_TRAY_MOVED"] - 2 * counts["RTC_CHANGE"]) <= 2
        assert dropped.changes_nothing


async def test_it_is_as_left_for_the_next_engine_and_its_state(folder: Path) -> None:
    async with engine(folder, "boot", LIMITS, capacity=16, clean=False) as (bus, opened):
        await shout(bus, opened, 3000)
        before = await all_of(bus)
        assert bus.cursor
        state = bus.state.checkpoint("")
    async with engine(folder, "boot", LIMITS, capacity=16) as (bus, opened):
        assert opened.started.resumed
        assert opened.state.checkpoint("").tables == state.tables
        found, gaps = await all_of(bus)
        assert found[:-1] == before[0]
        assert [(gap.missed, gap.resume) for gap in gaps] == [(gap.missed, gap.resume) for gap in before[1]]
        await shout(bus, opened, 500)


async def test_what_changes_the_state_goes_only_behind_a_state_and_after_what_does_not(folder: Path) -> None:
    """A guest that is stopped and started without end: its events are given up as well, and the state is right all the same."""
    async with engine(folder, "boot", LIMITS, capacity=16, clean=False) as (bus, opened):
        assert opened.journal
        quiet = bus.publish(samples.started(1))
        for number in range(1000):
            bus.publish(samples.started(0))
            bus.publish(said(number))
            await turn_over(opened.journal, bus)
        found, gaps = await all_of(bus)
        assert found[:2] == [opened.started, quiet]
        assert sum(gap.missed or 0 for gap in gaps) == 2002 - len(found)
        assert len([event for event in found if isinstance(event, DomainLifecycle)]) > len([e for e in found if isinstance(e, DomainQMP)])
        view = bus.state.domains[LOUD]
    async with engine(folder, "boot", LIMITS) as (bus, opened):
        assert bus.state.domains[LOUD] == view


async def test_a_crash_while_two_files_become_one_loses_nothing(folder: Path) -> None:
    async with engine(folder, "boot", LIMITS, capacity=16, clean=False) as (bus, opened):
        await shout(bus, opened, 1200)
        before, files = await all_of(bus), {path.name: path.read_bytes() for path in folder.iterdir()}
        while {path.name for path in folder.glob("*.journal")} >= {name for name in files if name.endswith("journal")}:
            before, files = await all_of(bus), {path.name: path.read_bytes() for path in folder.iterdir()}
            bus.publish(said(1))
            assert opened.journal
            await turn_over(opened.journal, bus)
        bus.write()
    taken = min(set(files) - {path.name for path in folder.iterdir()})
    (folder / taken).write_bytes(files[taken])  # it was not taken away yet
    (folder / taken).chmod(0o600)
    async with engine(folder, "boot", LIMITS) as (bus, opened):
        assert opened.started.resumed
        found, gaps = await all_of(bus)
        assert [event for event in found if not isinstance(event, DomainQMP)][:-1] == [e for e in before[0] if not isinstance(e, DomainQMP)]
        assert sum(gap.missed or 0 for gap in gaps) + len(found) == bus.head
        assert not (folder / taken).exists()


async def test_who_follows_passes_over_what_changes_nothing(folder: Path) -> None:
    async with engine(folder, "boot", LIMITS, capacity=16) as (bus, opened):
        quiet = bus.publish(samples.started(1))
        assert opened.journal
        replica = Replica(
            host=samples.HOST, chain=bus.chain, head=bus.head, state=HostState(bus.state.checkpoint(bus.cursor)), past=opened.journal
        )
        async with Events(replica).subscribe(DomainLifecycle) as lifecycle, Events(replica).subscribe(DomainQMP) as qmp:
            begin = bus.head + 1
            noisy, _ = await shout(bus, opened, 2000, every=10_000)
            reader = opened.journal.read_from(begin)
            replica.take(bus_events(await reader.read()))
            found: list[Event] = []
            while reader.position <= bus.head:
                some = await reader.read()
                if isinstance(some, list):
                    replica.take(some)
                    found += some
                else:
                    replica.skip(some)
            assert replica.cursor == bus.cursor
            assert isinstance(await lifecycle.receive(), DomainLifecycle)
            with pytest.raises(EventGap) as gap:
                await qmp.receive()
            assert gap.value.first_available <= noisy[-1].cursor
            assert dict(replica.state.domains) == dict(bus.state.domains)
            assert quiet.cursor < gap.value.resume


def test_two_that_become_one_keep_what_a_later_version_wrote_in_either(tmp_path: Path) -> None:
    """Of what both have, that of the first."""

    def segment(number: int, **newer: object) -> Segment:
        record = encode_record(number, replace(samples.started(), cursor=f"{'0' * 26}:{number:016}"))
        header = Header(
            host=samples.HOST,
            epoch="0" * 26,
            first=number,
            boot_id="b",
            began=1,
            ending=Ending.SEALED,
            last=number,
            end=HEADER_SIZE + len(record),
            is_complete=False,
            newer={name: Raw(msgspec.msgpack.encode(value)) for name, value in newer.items()},
        )
        path = tmp_path / f"{number}.journal"
        path.write_bytes(encode_header(header) + record)
        return Segment(path, header, 0, last=number, end=header.end)

    made = joined(segment(1, codec="zstd", both=1), segment(2, keys=[1], both=2), LIMITS)
    assert made
    header = decode_header(made.path.read_bytes()[:HEADER_SIZE])
    assert {name: msgspec.msgpack.decode(value) for name, value in header.newer.items()} == {"codec": "zstd", "keys": [1], "both": 1}
    assert (header.first, header.last) == (1, 2)


def bus_events(some: object) -> list[Event]:
    assert isinstance(some, list)
    return some
