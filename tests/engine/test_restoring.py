"""A journal whose disk fails for a while, is taken away, or is put back from a copy."""

from __future__ import annotations

import contextlib
import errno
import itertools
import shutil
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.from_thread
import anyio.lowlevel
import pytest

from aiovirt.engine import journal as journals
from aiovirt.engine.opening import Opened, open_journal
from aiovirt.errors import SystemFailure
from aiovirt.events import ClockJumped, DomainLifecycle, Event, Events, JournalDegraded, JournalRestored
from aiovirt.events.bus import Bus
from aiovirt.events.cursor import parse_cursor
from aiovirt.system import files
from aiovirt.system.appender import Appender
from tests.crash.engines import HUGE, drop, gap_after, open_engine, read_after
from tests.events import samples
from tests.events.samples import started

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

pytestmark = pytest.mark.anyio


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture(autouse=True)
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journals, "SYNC_EVERY", 0.001)
    monkeypatch.setattr(journals, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(journals, "LONGEST_PAUSE", 0.01)


async def begin(folder: Path, boot: str = "boot", capacity: int = 10_000) -> tuple[Bus, Opened]:
    """An engine with all that it keeps beside its journal."""
    opened = await open_journal(
        folder, host=samples.HOST, boot_id=boot, uri="", limits=HUGE, mark=folder.with_name("mark"), seen=folder.with_name("seen")
    )
    bus = Bus(
        host=samples.HOST,
        chain=opened.chain,
        head=opened.head,
        state=opened.state,
        last_time=opened.time,
        journal=opened.journal,
        capacity=capacity,
    )
    bus.publish(opened.started)
    return bus, opened


@asynccontextmanager
async def kept(folder: Path, boot: str = "boot", capacity: int = 10_000) -> AsyncIterator[Bus]:
    bus, opened = await begin(folder, boot, capacity)
    journal = opened.journal or opened.later
    assert journal
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(journal.keep, bus)
        with anyio.fail_after(60):
            yield bus
        tasks.cancel_scope.cancel()
    bus.close()
    await journal.close(bus)


def is_durable(bus: Bus) -> bool:
    return bus.is_durable


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await anyio.lowlevel.checkpoint()


async def publish_until(bus: Bus, kind: type[Event], at_most: int = 2000) -> None:
    """More and more happens, until such an event is among it; not more than the memory holds, however slow the disk is."""
    seen: list[Event] = []
    append = bus.ring.append

    def tap(event: Event) -> int:
        seen.extend([event] if isinstance(event, kind) else [])
        return append(event)

    bus.ring.append = tap  # type: ignore[method-assign]
    with anyio.fail_after(60):
        for number in itertools.count():
            if seen:
                break
            if number < at_most:
                bus.publish(started(0))
            assert bus.head
            await anyio.lowlevel.checkpoint()
    bus.ring.append = append  # type: ignore[method-assign]


class Shortage:
    """Calls of this name fail, while it lasts; ``header`` is the first write into a new file."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str, number: int) -> None:
        self.lasts = False
        if name in {"header", "sync_folder"}:
            self._strike_half_way(monkeypatch, name, number)
            return
        real = getattr(Appender, name)

        def call(appender: object, *arguments: object) -> object:
            if self.lasts:
                words = "made up"
                raise SystemFailure(words) if name == "write" else OSError(number, words, "a file")
            return real(*arguments) if name == "create" else real(appender, *arguments)

        monkeypatch.setattr(Appender, name, classmethod(call) if name == "create" else call)

    def _strike_half_way(self, monkeypatch: pytest.MonkeyPatch, name: str, number: int) -> None:
        """The new file is there by then."""
        write, sync = Appender.write, files.sync_folder

        def write_head(appender: Appender, data: bytes) -> None:
            if self.lasts and not appender.size:
                raise SystemFailure("made up")
            write(appender, data)

        def sync_folder(path: Path) -> None:
            if self.lasts:
                raise OSError(number, "made up", "a folder")
            sync(path)

        if name == "header":
            monkeypatch.setattr(Appender, "write", write_head)
        else:
            monkeypatch.setattr("aiovirt.system.appender.sync_folder", sync_folder)


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("write", errno.ENOSPC),
        ("sync", errno.EIO),
        ("sync", errno.ENOSPC),
        ("create", errno.EMFILE),
        ("write_head", errno.ENOMEM),
        ("sync_folder", errno.EMFILE),
        ("header", errno.ENOSPC),
    ],
)
@pytest.mark.parametrize("meanwhile", [0, 1, 3000])
async def test_a_shortage_that_passes_costs_nothing_for_good(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, number: int, meanwhile: int
) -> None:
    """It is told once, and told again when it is over; nothing that was published meanwhile is lost, then or later."""
    shortage = Shortage(monkeypatch, name, number)
    async with kept(folder) as bus:
        begin = bus.chain.cursor(0)
        bus.publish(started(0))
        shortage.lasts = True
        await publish_until(bus, JournalDegraded)
        for _ in range(meanwhile):
            bus.publish(started(1))
        await until(folder.with_name("mark").exists)
        assert not is_durable(bus)
        shortage.lasts = False
        await publish_until(bus, JournalRestored)
        assert is_durable(bus)
        last = bus.publish(started(2))
        told = await read_after(bus, begin)
        assert told[-1] == last
        assert [type(event) for event in told if isinstance(event, JournalDegraded | JournalRestored)] == [JournalDegraded, JournalRestored]
        restored = next(event for event in told if isinstance(event, JournalRestored))
        assert parse_cursor(restored.cursor)[1] == 1, "a new epoch"
        assert len(bus.chain.eras) == 3
        await until(lambda: not folder.with_name("mark").exists())
    async with kept(folder) as bus:
        assert (await read_after(bus, begin))[: len(told)] == told
        for event in told[:: len(told) // 20 + 1]:
            assert (await read_after(bus, event.cursor))[: len(told) - 1 - told.index(event)] == told[told.index(event) + 1 :]


async def test_what_happens_while_the_next_file_cannot_be_begun_loses_nothing_that_was_before(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is in no file then, and does not count as if it were in the one that is ended."""
    create, failures = Appender.create, [OSError(errno.EMFILE, "made up", "a file")]
    async with kept(folder) as bus:

        def short(path: Path) -> Appender:
            if failures:
                anyio.from_thread.run_sync(bus.publish, started(1))
                raise failures.pop()
            return create(path)

        monkeypatch.setattr(Appender, "create", short)
        begin = bus.chain.cursor(0)
        for _ in range(100):
            bus.publish(started(0))
        await until(lambda: not is_durable(bus))  # nobody looks: what waits goes on waiting
        await until(lambda: is_durable(bus))
        told = await read_after(bus, begin)
    async with kept(folder) as bus:
        assert (await read_after(bus, begin))[: len(told)] == told


async def test_what_memory_lost_meanwhile_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shortage = Shortage(monkeypatch, "write", errno.ENOSPC)
    async with kept(folder, capacity=300) as bus:
        begin = bus.cursor
        shortage.lasts = True
        await publish_until(bus, JournalDegraded)
        degraded = bus.chain.current
        for _ in range(3000):
            bus.publish(started(1))
        shortage.lasts = False
        await publish_until(bus, JournalRestored)
        gap = await gap_after(bus, begin)
        end = bus.cursor
    async with kept(folder) as bus:
        missed, after = 0, begin
        with contextlib.suppress(AssertionError):  # it may have lost some more while others were written
            while True:
                gap = await gap_after(bus, after)
                assert parse_cursor(gap.resume)[0] == degraded.epoch
                missed, after = missed + (gap.missed or 0), gap.resume
        assert missed > 2000
        assert (await read_after(bus, after))[0].cursor >= gap.first_available
        assert bus.chain.position(end)


async def test_an_engine_that_is_killed_meanwhile_gives_no_number_twice(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shortage = Shortage(monkeypatch, "write", errno.ENOSPC)
    bus, opened = await begin(folder)
    assert opened.journal
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(opened.journal.keep, bus)
        shortage.lasts = True
        await publish_until(bus, JournalDegraded)
        seen = bus.publish(started(1)).cursor
        await until(folder.with_name("mark").exists)
        tasks.cancel_scope.cancel()
    drop(opened.journal)
    shortage.lasts = False
    async with kept(folder) as bus:
        assert bus.chain.position(seen) is None
        assert (await gap_after(bus, seen)).missed is None


async def test_a_disk_that_did_not_do_at_first_is_taken_when_it_does(folder: Path) -> None:
    async with kept(folder) as bus:
        before = [bus.publish(started(0)).cursor for _ in range(3)]
    away = folder.with_name("away")
    folder.rename(away)
    folder.write_text("a file is in its place")
    async with kept(folder) as bus:
        assert not is_durable(bus)
        early = [bus.publish(started(1)) for _ in range(5)]
        folder.unlink()
        away.rename(folder)
        await publish_until(bus, JournalRestored)
        assert is_durable(bus)
        assert await read_after(bus, early[0].cursor)
        told = await read_after(bus, bus.chain.cursor(0))
        assert told[1:6] == early
    async with kept(folder) as bus:
        assert bus.chain.position(before[0]) is not None, "what was there before is there again"
        found = await read_after(bus, told[0].cursor)
        assert found[: len(told) - 1] == told[1:]


@pytest.mark.parametrize("how", ["file", "folder", "moved", "another"])
async def test_a_journal_that_is_taken_away_is_told_now(folder: Path, how: str) -> None:
    async with kept(folder) as bus:
        begin = bus.publish(started(0)).cursor
        await until(lambda: not bus.unwritten)
        copy = folder.with_name("copy")
        shutil.copytree(folder, copy)
        async with Events(bus).subscribe(JournalDegraded, JournalRestored) as news:
            if how == "file":
                next(folder.glob("*.journal")).unlink()
            elif how == "folder":
                shutil.rmtree(folder)
            else:
                folder.rename(folder.with_name("elsewhere"))
                if how == "another":
                    copy.rename(folder)
            assert isinstance(await news.receive(), JournalDegraded)  # though nothing else happens
            restored = await news.receive()
        after = bus.publish(started(2))
        end = bus.publish(started(1)).cursor
        assert is_durable(bus)
    async with kept(folder) as bus:
        assert (await read_after(bus, restored.cursor))[0] == after
        assert bus.chain.position(end) is not None
        assert samples.UUIDS[2] in bus.state.domains
    if how == "another":
        assert folder.with_name("journal.replaced").is_dir()
    assert begin


async def test_what_others_have_seen_and_cannot_be_read_in_a_shortage_is_not_taken_for_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with kept(folder) as bus:
        bus.publish(started(0))
        await until(folder.with_name("seen").exists)
    real = files.read_bounded

    def short(path: Path, limit: int) -> bytes:
        if path.name == "seen":
            raise OSError(errno.EMFILE, "made up", str(path))
        return real(path, limit)

    with monkeypatch.context() as patch:
        patch.setattr(files, "read_bounded", short)
        bus, opened = await begin(folder)
    assert (bus.is_durable, opened.journal, opened.failure) == (False, None, f"{folder.with_name('seen')}: made up")
    bus.close()


@pytest.mark.parametrize("how", ["copied", "rolled back"])
@pytest.mark.parametrize("clean", [True, False])
async def test_a_journal_that_is_put_back_gives_no_number_twice(folder: Path, how: str, clean: bool) -> None:  # noqa: FBT001
    """A reader has seen more than the copy has; what it goes on with is not what happened after that."""
    copy = folder.with_name("copy")
    bus, opened = await begin(folder)
    assert opened.journal
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(opened.journal.keep, bus)
        early = bus.publish(started(0)).cursor
        await until(lambda: folder.with_name("seen").exists() and folder.with_name("seen").read_text() == early)
        shutil.copytree(folder, copy)
        seen = [bus.publish(started(1)).cursor for _ in range(3)][-1]
        await until(lambda: folder.with_name("seen").read_text() == seen)
        tasks.cancel_scope.cancel()
    if clean:
        bus.close()
        await opened.journal.close(bus)
    else:
        drop(opened.journal)
    if how == "copied":
        shutil.rmtree(folder)
        copy.rename(folder)
        folder.with_name("seen").unlink()
    else:
        [file] = folder.glob("*.journal")
        file.write_bytes((copy / file.name).read_bytes())  # the same file, as it was
    async with kept(folder) as bus:
        for _ in range(5):
            bus.publish(started(2))
        assert (await gap_after(bus, seen)).missed is None
        assert len(await read_after(bus, early)) == 6
        bus.publish(started(0))
        end = bus.cursor
    async with kept(folder) as bus:
        assert bus.chain.position(end) is not None, "and then it is one's own again"


async def test_no_thread_to_be_had_costs_the_disk_for_a_while_and_no_more(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, short = anyio.to_thread.run_sync, False

    async def run_sync(*arguments: object, **options: object) -> object:
        if short:
            raise RuntimeError("can't start new thread")
        return await real(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("anyio.to_thread.run_sync", run_sync)
    async with kept(folder) as bus:
        short = True
        await publish_until(bus, JournalDegraded)
        short = False
        await publish_until(bus, JournalRestored)


async def test_a_clock_that_is_set_back_begins_an_epoch_in_which_time_is_right(folder: Path) -> None:
    now = 10**18
    opened = await open_journal(folder, host=samples.HOST, boot_id="boot", uri="", limits=HUGE)
    assert opened.journal
    bus = Bus(host=samples.HOST, chain=opened.chain, head=opened.head, journal=opened.journal, clock=lambda: now)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(opened.journal.keep, bus)
        first = bus.publish(started(0))
        now -= 3600 * 10**9
        second = bus.publish(started(1))
        assert second.time == first.time, "within an epoch it never decreases"
        async with Events(bus).subscribe(ClockJumped) as news:
            opened.journal.begin_epoch(lambda: ClockJumped(by=-3600 * 10**9))
            with anyio.fail_after(60):
                jumped = await news.receive()
        third = bus.publish(started(2))
        assert [event.time for event in (first, second, jumped, third)] == [10**18, 10**18, now, now]
        assert [parse_cursor(event.cursor)[1] for event in (jumped, third)] == [1, 2]
        assert [event.cursor for event in (first, second, jumped, third)] == sorted(e.cursor for e in (first, second, jumped, third))
        assert [event for event in await read_after(bus, first.cursor) if isinstance(event, DomainLifecycle)] == [second, third]
        tasks.cancel_scope.cancel()
    bus.close()
    await opened.journal.close(bus)
    bus, again = await open_engine(folder, "boot", HUGE)
    assert await read_after(bus, first.cursor)
    assert again.journal
    drop(again.journal)


def test_what_is_moved_away_takes_no_name_that_is_taken(tmp_path: Path) -> None:
    for name in ("a", "a.replaced", "a.replaced.1"):
        (tmp_path / name).mkdir()
    assert files.move_away(tmp_path / "a") == tmp_path / "a.replaced.2"
    assert not (tmp_path / "a").exists()
