"""A journal's whole life, beside a plain list of all that anybody was told."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import anyio
from anyio.from_thread import start_blocking_portal
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from aiovirt.engine.segments import Limits
from aiovirt.errors import EventGap, HostGone, SystemFailure
from aiovirt.events import DomainEvent, Event, Events, HostEvent, NetdevAdded, NetdevChanged, NetdevEvent, Resync
from aiovirt.events.cursor import parse_cursor
from aiovirt.events.filters import make_filter
from aiovirt.events.segment import HEADER_SIZE, DamagedError, decode_checkpoint, decode_header, encode_record, walk
from aiovirt.events.state import HostState
from tests.crash.engines import Host, Told, drop, fold, open_engine, turn_over
from tests.events import samples

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from aiovirt.engine.opening import Opened
    from aiovirt.events.bus import Bus
    from aiovirt.events.reader import Subscription
    from aiovirt.events.watch import Watch

LIMITS = Limits(segment=2000, bytes=20_000)
CAPACITY = 128
BURST = 60  # so that memory has all that is not written yet, as it really has
FILTERS: list[tuple[tuple[type[Event], ...], str | None]] = [
    ((), None),
    ((DomainEvent,), None),
    ((NetdevEvent, HostEvent), None),
    ((NetdevAdded, NetdevChanged), None),
    ((), f"domain/{samples.UUIDS[0]}"),
    ((), "netdev/"),
]
ENDS = ["clean", "clean, another boot", "killed", "cut", "zeroed", "spared"]


class Reader:
    """A log reader, and how many of the events that there ever were are behind it."""

    def __init__(self, stream: Subscription[Event], at: int) -> None:
        self.stream = stream
        self.at = at


class Follower:
    """Whoever holds the state by a watch: its snapshot, and then what it reads."""

    def __init__(self, watch: Watch[Event | Resync]) -> None:
        self.watch = watch
        self.begin()

    def begin(self) -> None:
        self.state = HostState()
        self.state.domains.update(self.watch.snapshot.domains)
        self.state.netdevs.update(self.watch.snapshot.netdevs)


class JournalMachine(RuleBasedStateMachine):
    """Each rule runs to its end on the loop of one backend."""

    backend: ClassVar[str] = "asyncio"
    bus: Bus
    opened: Opened

    def __init__(self) -> None:
        super().__init__()
        self.top = Path(tempfile.mkdtemp(prefix="journal-"))
        self.folder = self.top / "journal"
        self.told = Told()
        self.pending: list[Event] = []  # published, and seen by nobody
        self.readers: list[Reader] = []
        self.followers: list[Follower] = []
        self.cursors: list[tuple[str, int]] = []  # what readers put down, and how many events were behind them
        self.gone: set[str] = set()  # cursors of these that are past what survived
        self.boots = 0
        self.host = Host(0)
        self._portal_context = start_blocking_portal(self.backend)
        self.portal = self._portal_context.__enter__()
        self.call(self._open)

    def teardown(self) -> None:
        self.call(self._end_readers)
        if self.opened.journal:
            drop(self.opened.journal)
        self._portal_context.__exit__(None, None, None)
        shutil.rmtree(self.top)

    def call(self, work: Callable[..., Coroutine[Any, Any, None]], *arguments: object) -> None:
        self.portal.call(work, *arguments)

    @property
    def all(self) -> list[Event]:
        return [*self.told.events, *self.pending]

    # -- life ------------------------------------------------------------------------------

    async def _open(self) -> None:
        self.bus, self.opened = await open_engine(self.folder, f"boot {self.boots}", LIMITS, CAPACITY)
        assert self.opened.journal
        append = self.bus.ring.append

        def tap(event: Event) -> int:
            self.pending.append(event)
            return append(event)

        self.pending.append(self.opened.started)
        self.bus.ring.append = tap  # type: ignore[method-assign]
        await self.opened.journal._retire()

    async def _end_readers(self) -> None:
        for stream in [*(reader.stream for reader in self.readers), *(follower.watch for follower in self.followers)]:
            await stream.__aexit__(None, None, None)
        self.readers.clear()
        self.followers.clear()

    @initialize(seed=st.integers(0, 2**32))
    def begin(self, seed: int) -> None:
        self.host = Host(seed)

    @rule(how=st.sampled_from(ENDS), share=st.floats(0, 1))
    def restart(self, how: str, share: float) -> None:
        self.call(self._restart, how, share)

    async def _restart(self, how: str, share: float) -> None:
        journal = self.opened.journal
        assert journal
        self._note_cursors()
        self._settle()
        if how.startswith("clean"):
            await self._close()
        await self._end_readers()
        self._settle()  # a reader that ends may write what it had not handed out
        was_durable = self.bus.is_durable
        drop(journal)
        epoch = self.bus.chain.eras[-1 if was_durable else -2].epoch
        lost = [event for event in self.told.events if not was_durable and event.cursor.startswith(self.bus.chain.current.epoch)]
        if how not in {"clean", "killed"}:
            self.boots += 1
        if how in {"cut", "zeroed"}:
            lost += self._damage(how, share)
        unseen, self.pending = self.pending, []
        self._forget(lost)
        began_anew = not self.opened.started.resumed and self.opened.started not in self.told.events
        checkpoint = self._memo_cursor()
        await self._open()
        started = self.opened.started
        assert bool(started.clean) == (how.startswith("clean") and was_durable)
        if self.told.events and started.previous_cursor:
            last = self.bus.chain.position(self.told.events[-1].cursor)
            assert self.bus.chain.position(started.previous_cursor) == self.opened.head
            assert last in {self.opened.head, None}, "the newest that survived is not where this one goes on"
        place = self.bus.chain.position(checkpoint) if checkpoint else None
        can_resume = place is not None and self.bus.first - 1 <= place <= self.opened.head
        assert started.resumed or not can_resume
        assert started.resumed or how in {"cut", "zeroed"} or began_anew  # of which the file has nothing, so it is said again
        goes_on = self.bus.chain.current.epoch == epoch
        assert goes_on == (started.clean or how in {"killed", "clean"})
        assert not {event.cursor for event in unseen} & {event.cursor for event in self.told.events}
        self._check_state()

    async def _close(self) -> None:
        self.bus.close()
        self._settle()
        for reader in self.readers:
            await self._read(reader, len(self.all))
            try:
                await reader.stream.receive()
                raise AssertionError("there is no more")
            except HostGone as gone:
                assert gone.cursor == self.bus.cursor
            except EventGap as gap:
                self._check_gap(reader, gap)
        assert self.opened.journal
        await self.opened.journal.close(self.bus)

    def _damage(self, how: str, share: float) -> list[Event]:
        """Returns whose records are no longer whole."""
        last = max(self.folder.glob("*.journal"))
        data = last.read_bytes()
        at = round(share * len(data))
        last.write_bytes(left := data[:at] if how == "cut" else data[:at].ljust(len(data), b"\0"))
        return [event for event in self.told.events[-1000:] if (record := _record(event)) in data and record not in left]

    def _forget(self, lost: list[Event]) -> None:
        left = min((self.told.events.index(event) for event in lost), default=len(self.told.events))
        assert len(lost) == len(self.told.events) - left
        self.gone |= {cursor for cursor, at in self.cursors if at > left}
        self.told.survive(left)

    def _memo_cursor(self) -> str | None:
        try:
            return decode_checkpoint((self.folder / "state").read_bytes()).cursor
        except (FileNotFoundError, DamagedError):
            return None

    # -- writing ---------------------------------------------------------------------------

    @rule(count=st.integers(1, BURST), rotate=st.booleans())
    def publish(self, count: int, rotate: bool) -> None:  # noqa: FBT001 - hypothesis draws it
        self.call(self._publish, count, rotate)

    async def _publish(self, count: int, rotate: bool) -> None:  # noqa: FBT001
        for _ in range(count):
            self.bus.publish(self.host.next(self.bus.folded))
        if len(self.pending) > BURST:
            cursor = self.bus.cursor
            assert cursor == self.pending[-1].cursor
        self._settle()
        if rotate and self.bus.is_durable and self.opened.journal:
            await turn_over(self.opened.journal, self.bus)
            self._settle()
            *ended, _ = sorted(self.folder.glob("*.journal"))
            assert sum(path.stat().st_size for path in ended) <= LIMITS.bytes or not self.bus.is_durable

    @precondition(lambda self: self.bus.is_durable)
    @rule(rarely=st.integers(0, 3))
    def fail(self, rarely: int) -> None:
        """From now on the disk takes nothing."""
        if not rarely and self.opened.journal:
            self.opened.journal._appender.write = _refuse  # type: ignore[method-assign, union-attr]

    def _settle(self) -> None:
        """What is written, or in memory for good, may have been seen."""
        if not self.bus.unwritten:
            self.told.tell(self.pending)
            self.pending.clear()

    # -- reading ---------------------------------------------------------------------------

    @rule(which=st.integers(0, len(FILTERS) - 1), place=st.none() | st.integers(0, 10_000))
    def subscribe(self, which: int, place: int | None) -> None:
        """From now on, or after what some reader put down."""
        self.call(self._subscribe, which, place)

    async def _subscribe(self, which: int, place: int | None) -> None:
        if len(self.readers) > 4:
            await self.readers.pop(0).stream.__aexit__(None, None, None)
        kinds, subject = FILTERS[which]
        if place is None or not self.cursors:
            stream = Events(self.bus).subscribe(*kinds, subject=subject)
            await stream.__aenter__()
            self._settle()
            self.readers.append(Reader(stream, len(self.all)))
            return
        cursor, at = self.cursors[place % len(self.cursors)]
        stream = Events(self.bus).subscribe(*kinds, subject=subject, after=cursor)
        reader = Reader(stream, at)
        try:
            await stream.__aenter__()
            assert cursor not in self.gone, f"{cursor} names an event that is not there any more"
            self.readers.append(reader)
        except EventGap as gap:
            self._settle()
            if gap.missed is None:
                assert cursor in self.gone or parse_cursor(cursor)[0] not in {era.epoch for era in self.bus.chain.eras}
                self._check_resume(gap)
            else:
                assert cursor not in self.gone
                self._check_gap(reader, gap)
        self._settle()

    @precondition(lambda self: self.readers)
    @rule(which=st.integers(0, 10), count=st.integers(1, 200))
    def read(self, which: int, count: int) -> None:
        self.call(self._read, self.readers[which % len(self.readers)], count)

    async def _read(self, reader: Reader, count: int) -> None:
        for _ in range(count):
            expected = self._next_for(reader)
            if expected is None:
                self._nothing_for(reader)
                return
            try:
                event = await reader.stream.receive()
            except EventGap as gap:
                self._settle()
                self._check_gap(reader, gap)
                if reader in self.readers:
                    self.readers.remove(reader)
                return
            self._settle()
            expected = self._next_for(reader)  # a write that failed meanwhile gives other numbers
            assert expected is not None
            assert event == self.all[expected]
            reader.at = expected + 1

    def _next_for(self, reader: Reader) -> int | None:
        wanted = reader.stream.filter
        present = self.all
        return next((at for at in range(reader.at, len(present)) if wanted.matches(present[at])), None)

    def _nothing_for(self, reader: Reader) -> None:
        """There is nothing for it; should looking have made the disk fail, that is."""
        try:
            event = reader.stream.receive_nowait()
        except (anyio.WouldBlock, HostGone, EventGap):
            self._settle()
            return
        self._settle()
        told = self._next_for(reader)
        assert told is not None, f"{event.cursor} came a second time"
        assert event == self.all[told]
        reader.at = told + 1

    def _check_gap(self, reader: Reader, gap: EventGap) -> None:
        """It says how many it lost, where it goes on, and only because those are really gone."""
        behind = len(self.all) - reader.at
        assert gap.missed is not None
        resume = self.bus.chain.position(gap.resume)
        assert resume is not None
        next_position = self.bus.head - behind + 1
        if given_up := next((range(first, last + 1) for first, last in self._given_up() if last == resume), None):
            lost = range(max(next_position, given_up.start), resume + 1)
            wanted = [
                at for at in range(next_position, resume + 1) if reader.stream.filter.matches(self.all[reader.at + at - next_position])
            ]
            assert (len(wanted), set(wanted) <= set(lost)) == (gap.missed, True)
            self._check_resume(gap)
            return
        assert resume + 1 in {self.bus.first, self.bus.ring.first}
        skipped = resume + 1 - gap.missed - next_position  # what it has looked at and did not want
        assert skipped >= 0
        passed = self.all[reader.at : reader.at + skipped]
        assert not any(reader.stream.filter.matches(event) for event in passed)
        if self.bus.is_durable:
            assert next_position + skipped < self.bus.first
        self._check_resume(gap)

    def _given_up(self) -> Iterator[tuple[int, int]]:
        """The first and the last position of what the journal gave up early for the sake of others."""
        for path in self.folder.glob("*.journal"):
            data = path.read_bytes()
            with contextlib.suppress(DamagedError):  # the one that is written, and what a power loss left
                header = decode_header(data[:HEADER_SIZE])
                for entry in walk(data, HEADER_SIZE, header.first):
                    if entry.dropped:
                        ends = (entry.dropped.first, entry.dropped.last)
                        first, last = (self.bus.chain.position(f"{header.epoch}:{seq:016}") for seq in ends)
                        if first is not None and last is not None:
                            yield first, last

    def _check_resume(self, gap: EventGap) -> None:
        resume = self.bus.chain.position(gap.resume)
        assert resume is not None
        assert self.bus.chain.position(gap.first_available) == resume + 1
        assert self.bus.seek(gap.resume) == resume + 1

    def _note_cursors(self) -> None:
        for reader in self.readers:
            cursor = reader.stream.cursor
            self._settle()
            upcoming = self._next_for(reader)
            position = self.bus.chain.position(cursor)
            assert position is not None
            at = len(self.all) - (self.bus.head - position)
            assert reader.at <= at
            assert upcoming is None or at <= upcoming
            self.cursors.append((cursor, at))

    @rule()
    def put_cursors_down(self) -> None:
        self.portal.call(self._note_cursors)

    @rule(which=st.integers(0, 10_000))
    def keep_an_events_cursor(self, which: int) -> None:
        if self.told.events:
            at = which % len(self.told.events)
            self.cursors.append((self.told.events[at].cursor, at + 1))

    # -- watching --------------------------------------------------------------------------

    @rule(fold=st.booleans(), narrow=st.booleans())
    def watch(self, fold: bool, narrow: bool) -> None:  # noqa: FBT001
        self.call(self._watch, fold, narrow)

    async def _watch(self, fold: bool, narrow: bool) -> None:  # noqa: FBT001
        if len(self.followers) > 2:
            await self.followers.pop(0).watch.__aexit__(None, None, None)
        watch = Events(self.bus).watch(*([NetdevEvent] if narrow else []), fold=fold)
        await watch.__aenter__()
        self._settle()
        self.followers.append(Follower(watch))

    @precondition(lambda self: self.followers)
    @rule(which=st.integers(0, 10), count=st.integers(1, 500))
    def follow(self, which: int, count: int) -> None:
        self.portal.call(self._follow, self.followers[which % len(self.followers)], count)

    def _follow(self, follower: Follower, count: int) -> None:
        for _ in range(count):
            try:
                item = follower.watch.receive_nowait()
            except anyio.WouldBlock:
                self._settle()
                expected = fold(self.all)
                assert follower.state.netdevs == expected.netdevs
                if make_filter((), None).kinds == follower.watch.filter.kinds:
                    assert follower.state.domains == expected.domains
                return
            if isinstance(item, Resync):
                follower.begin()
            else:
                follower.state.apply(item)

    # -- always ----------------------------------------------------------------------------

    @invariant()
    def state_is_the_fold(self) -> None:
        self.portal.call(self._check_state)

    def _check_state(self) -> None:
        expected = fold(self.all)
        assert (self.bus.folded.domains, self.bus.folded.netdevs) == (expected.domains, expected.netdevs)


def _record(event: Event) -> bytes:
    return encode_record(parse_cursor(event.cursor)[1], event)


def _refuse(data: bytes) -> None:
    raise SystemFailure(f"no space left for {len(data)} bytes")


class TrioJournalMachine(JournalMachine):
    backend = "trio"


limits = settings(max_examples=80, stateful_step_count=30, deadline=None)
TestOnAsyncio = JournalMachine.TestCase
TestOnAsyncio.settings = limits
TestOnTrio = TrioJournalMachine.TestCase
TestOnTrio.settings = limits
