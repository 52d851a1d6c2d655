"""The journal on disk: segments in a folder, written by one engine, read by any of its readers.

The loop's thread only writes into the page cache; everything that may wait for a disk (opening,
fdatasync in batches, rotation, reading what memory has dropped) runs in worker threads of its own.
What bytes mean is in ``events/segment``, what is done with whole files in ``segments`` and ``retention``, and how a
journal is taken up in ``opening``.

A disk that fails for a while costs nothing but the promise that events outlive this process, for that while: they are
kept in memory, put on disk when it takes them again, and a new epoch goes on from there.
"""

from __future__ import annotations

import errno
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeVar, TypeVarTuple
from uuid import UUID

import anyio
import anyio.lowlevel
from anyio import CapacityLimiter
from msgspec import Struct

from aiovirt.engine import retention, segments
from aiovirt.engine.segments import Limits, Segment, Some
from aiovirt.errors import SystemFailure
from aiovirt.events.bus import Bus
from aiovirt.events.dropped import ANYTHING, Dropped, Kind
from aiovirt.events.past import PastReader
from aiovirt.events.ring import Ring
from aiovirt.events.segment import (
    HEADER_SIZE,
    DamagedError,
    Ending,
    Header,
    encode_dropped,
    encode_header,
    encode_record,
    payload_of,
)
from aiovirt.events.types import Event, JournalRestored
from aiovirt.system import files, to_thread
from aiovirt.system.again import Backoff, words_of
from aiovirt.system.appender import Appender
from aiovirt.system.background import shielded
from aiovirt.system.clock import boottime_ns
from aiovirt.system.inotify import IN_DELETE, IN_DELETE_SELF, IN_MOVE_SELF, IN_MOVED_FROM, FolderWatch
from aiovirt.system.log import get_logger

__all__ = ["Begun", "Clock", "Journal", "Whose"]

SYNC_EVERY: Final = 0.05
"""Seconds for which events are gathered before the disk is waited for."""
FIRST_PAUSE: Final = 0.25
LONGEST_PAUSE: Final = 30.0
"""Seconds before a disk that failed is tried again: twice as long each time, up to this."""
AT_ONCE: Final = 256
"""Events that are encoded and written on the loop's thread at the end of a restoration; the others are in a worker thread."""
ROUNDS: Final = 16
WRITES_KEPT: Final = 16
"""Writes whose records are still in memory, for the clients that they are sent to."""

_SHORTAGES: Final = (OSError, SystemFailure, MemoryError)
"""What a disk, descriptors, threads or memory that are used up come as."""

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
log = get_logger("engine")


class Whose(Struct, frozen=True, kw_only=True):
    """Which journal it is, and who opens it. ``mark`` and ``seen`` are files elsewhere; see :func:`opening.open_journal`."""

    folder: Path
    host: UUID
    boot_id: str
    uri: str
    limits: Limits
    mark: Path | None = None
    seen: Path | None = None


class Clock:
    """The journal's own clock: nanoseconds for which this host was up, from ``begin`` on. Nobody can set it."""

    def __init__(self, begin: int) -> None:
        self._begin = begin - boottime_ns()

    def now(self) -> int:
        """The time by it."""
        return self._begin + boottime_ns()


class Begun(Struct, frozen=True):
    """A new file, its header, and which of the segments before it are there."""

    appender: Appender
    header: Header
    before: list[Segment]


Begin = Callable[[Whose, str], Begun]
"""Begins a journal that could not be opened at first, with the epoch that memory has. Blocks; raises OSError, SystemFailure."""


class Journal:
    """See :class:`aiovirt.events.past.Journal`. ``keep`` has to run while it is written.

    One that could not be opened has no ``appender``, and ``begin_late`` opens it.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - what was found, and how to begin where nothing could be
        self, whose: Whose, kept: list[Segment], appender: Appender | None, last_time: int, clock: Clock, begin_late: Begin | None = None
    ) -> None:
        self._whose = whose
        self._folder = whose.folder
        self._limits = whose.limits
        self._segments = kept
        self._begin_late = begin_late
        self._folder_inode = 0 if appender is None else appender.folder_inode
        self._appender = appender
        self._last_time = last_time
        self._clock = clock
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._written: deque[tuple[int, list[bytes]]] = deque(maxlen=WRITES_KEPT)  # the newest records: the first one's position
        self._news = anyio.Event()
        self._is_noted = False
        self._is_unseen = False  # what others have seen could not be noted
        self._epoch_is_due: Callable[[], Event] | None = None
        self._half_made: Path | None = None  # a file that a restoration which failed has left
        self._writer = CapacityLimiter(1)
        self._readers = CapacityLimiter(4)

    # -- writing: on the loop's thread, without waiting ------------------------------------

    @property
    def first(self) -> int:
        """The position of the oldest event kept."""
        return self._segments[0].first

    def append(self, event: Event) -> int:
        """Takes the next event for :meth:`write`; returns how many bytes wait."""
        current = self._segments[-1]
        record = encode_record(current.last + 1 - current.base, event)
        current.last += 1
        self._last_time = event.time
        self._waiting.append(record)
        self._waiting_bytes += len(record)
        return self._waiting_bytes

    def note(self) -> None:
        """Something waits: it is put on disk before long, whoever looks."""
        if not self._is_noted:
            self._is_noted = True
            self._news.set()

    def write(self) -> None:
        """Puts what waits into the file; raises SystemFailure."""
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        current = self._segments[-1]
        assert self._appender is not None
        try:
            self._appender.write(b"".join(waiting))
        except SystemFailure:
            current.last -= len(waiting)
            raise
        current.end = self._appender.size
        self._written.append((current.last + 1 - len(waiting), waiting))

    def payloads(self, first: int, last: int) -> list[bytes] | None:
        """What the file has of the events at ``first`` to ``last``, where all of it was written just now; see Journal in events.past."""
        found: list[bytes] = []
        for begin, records in self._written:
            if begin <= last and first < begin + len(records):
                found += records[max(first - begin, 0) : last + 1 - begin]
        return [payload_of(record) for record in found] if len(found) == last + 1 - first else None

    def begin_epoch(self, first: Callable[[], Event]) -> None:
        """A new epoch is to begin soon, with the event that ``first()`` makes then."""
        self._epoch_is_due = first
        self.note()

    # -- keeping: in threads ---------------------------------------------------------------

    async def keep(self, bus: Bus) -> None:
        """Puts what is written on disk, in batches, and begins new segments, until cancelled. A disk that fails is tried again."""
        while True:
            if bus.is_durable and self._appender is not None:
                await self._keep_on_disk(bus, self._appender)
            await self._restore(bus)

    async def _keep_on_disk(self, bus: Bus, appender: Appender) -> None:
        """Until the disk fails, which is published."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch_folder)
            try:
                await shielded(self._retire())  # a file that was made smaller and is not known as such could not be read
                while bus.is_durable:
                    appender = await self._keep_a_batch(bus, appender)
            except OSError as error:
                bus.degrade(f"{error.filename or self._folder}: {error.strerror}")
            except _SHORTAGES as error:
                bus.degrade(words_of(error))
            except Exception as error:
                log.error("the journal failed unexpectedly", exc_info=error)
                bus.degrade(f"{type(error).__name__}: {error}")
            tasks.cancel_scope.cancel()

    async def _keep_a_batch(self, bus: Bus, appender: Appender) -> Appender:
        with anyio.move_on_after(self._limits.age / retention.PARTS):
            await self._news.wait()
        self._news, self._is_noted = anyio.Event(), False
        with anyio.move_on_after(SYNC_EVERY):
            await anyio.sleep_forever()
        bus.write()
        if bus.is_durable:
            await self._in_thread(self._sync, appender, bus.cursor)
        if bus.is_durable and (self._epoch_is_due is not None or self._is_full(appender)):
            return await shielded(self._rotate(bus, appender))  # half a rotation would leave a file that nobody puts on disk
        return appender

    def _sync(self, appender: Appender, cursor: str) -> None:
        """Raises OSError, also where the file is no longer the one that others would find."""
        appender.sync()
        if not appender.is_at_its_path():
            raise OSError(errno.ESTALE, "the file was taken away, or another one is in its place", str(appender.path))
        if self._whose.seen is not None:
            self._note_seen(self._whose.seen, cursor)

    def _note_seen(self, seen: Path, cursor: str) -> None:
        """By it a copy that is older is noticed."""
        try:
            files.write_over(seen, cursor.encode())
            self._is_unseen = False
        except OSError as error:
            if not self._is_unseen:
                log.warning("how far the journal is cannot be noted for now", file=str(seen), error=str(error))
            self._is_unseen = True

    async def _watch_folder(self) -> None:
        """Has the file looked at when something is taken away from the folder, or the folder itself."""
        backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        while True:
            try:
                with await self._in_thread(FolderWatch, self._folder, IN_DELETE | IN_MOVED_FROM | IN_DELETE_SELF | IN_MOVE_SELF) as watch:
                    self.note()
                    while True:
                        names = await watch.names()
                        if "" in names or self._segments[-1].path.name in names:
                            self.note()
            except _SHORTAGES as error:
                say = log.warning if backoff.is_first else log.debug
                say("a journal that is taken away is noticed with the next event only, for now", error=words_of(error))
            await backoff.wait()  # nothing reports that there are watches again

    def _is_full(self, appender: Appender) -> bool:
        is_old = self._segments[-1].header.clock < self._clock.now() - self._limits.age / retention.PARTS * 1e9
        return appender.size >= self._limits.segment or (is_old and appender.size > HEADER_SIZE)

    async def _rotate(self, bus: Bus, before: Appender) -> Appender:
        """The next segment takes over between two events; the one before is sealed, and what is too old or too much goes."""
        number = int(self._segments[-1].path.stem) + 1
        appender = await self._in_thread(Appender.create, segments.path_of(self._folder, number))
        bus.write()
        if not bus.is_durable:
            await self._in_thread(appender.discard)
            return before
        old, last_time, begin = self._segments[-1], self._last_time, self._epoch_is_due
        try:
            header = self._header_after(old, appender, bus.begin_epoch() if begin else None)
            appender.write(encode_header(header))
        except BaseException:
            await self._in_thread(appender.discard)
            raise
        self._appender = appender
        base = bus.chain.current.base
        self._segments.append(Segment(appender.path, header, base, last=header.first - 1, end=appender.size))
        if begin is not None:
            self._epoch_is_due = None
            bus.publish(begin())
        checkpoint = bus.state.checkpoint(bus.cursor)
        await self._in_thread(segments.finish, before, segments.ended(old, Ending.SEALED, last_time, self._clock.now()))
        await self._in_thread(segments.write_checkpoint, self._folder, checkpoint)
        await self._retire()
        return appender

    def _header_after(self, old: Segment, appender: Appender, epoch: str | None) -> Header:
        last = old.last - old.base
        goes_on = epoch is None
        return Header(
            host=old.header.host,
            boot_id=old.header.boot_id,
            epoch=old.header.epoch if epoch is None else epoch,
            first=last + 1 if goes_on else 1,
            previous=old.header.previous if goes_on else (old.header.epoch, last),
            hole=old.header.hole if goes_on else 0,
            began=time.time_ns(),
            time=self._last_time,
            clock=self._clock.now(),
            boottime=boottime_ns(),
            inode=appender.inode,
        )

    # -- what is too old, or too much --------------------------------------------------------

    async def _retire(self) -> None:
        oldest = self._clock.now() - int(self._limits.age * 1e9)
        while len(self._segments) > 1 and self._segments[1].header.clock < oldest:
            await self._give_away(self._segments.pop(0))
        while len(self._segments) > 1 and sum(segment.end for segment in self._segments) > self._limits.bytes:
            if not await self._give_up_some_of_the_loud():
                await self._give_away(self._segments.pop(0))

    async def _give_away(self, segment: Segment) -> None:
        """From now on it is not read any more."""
        await self._in_thread(files.remove, segment.path)

    async def _give_up_some_of_the_loud(self) -> bool:
        """Makes the oldest segment smaller that has something of a subject which has more than its share; False where none has."""
        for segment in self._segments[:-1]:
            if segment.loads is None:
                try:
                    segment.loads = await self._in_thread(retention.measure, segment)
                except (DamagedError, SystemFailure, FileNotFoundError) as error:
                    self._give_up(segment, error)
                    return False
        ended = self._segments[:-1]
        noisy = retention.find_noisy(ended, self._limits)
        if noisy is None:
            return False
        smaller = next(segment for segment in ended if segment.loads and (noisy.subject, noisy.is_qmp) in segment.loads)
        at = ended.index(smaller)
        self._segments[at] = made = await self._in_thread(retention.compacted, smaller, noisy)
        log.info("events were dropped early", subject=noisy.subject, file=made.path.name, bytes=smaller.end - made.end)
        if at > 0 and (one := await self._in_thread(retention.joined, self._segments[at - 1], made, self._limits)) is not None:
            self._segments[at - 1 : at + 1] = [one]
            await self._in_thread(files.remove, made.path)
        return True

    # -- a disk that failed ------------------------------------------------------------------

    async def _restore(self, bus: Bus) -> None:
        """Goes on when the disk takes events again: what memory has of those since then comes first, and then a new epoch."""
        log.warning("the journal goes on in memory until its disk takes it again", folder=str(self._folder))
        backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        is_marked = False
        while not bus.is_durable:
            self._let_go_of_what_waits()
            try:
                if not is_marked:
                    is_marked = await shielded(self._in_thread(segments.put_mark, self._whose.mark))
                await backoff.wait()  # nothing reports that a disk has room again
                await shielded(self._go_on_disk(bus))
            except Exception as error:
                known = isinstance(error, _SHORTAGES)
                log.info("the journal cannot go on yet", error=words_of(error), exc_info=None if known else error)
                await anyio.lowlevel.checkpoint()

    def _let_go_of_what_waits(self) -> None:
        """The bus has numbered it anew, in memory: to the file it was never added."""
        if self._waiting:
            self._segments[-1].last -= len(self._waiting)
            self._waiting, self._waiting_bytes = [], 0

    async def _go_on_disk(self, bus: Bus) -> None:
        era = bus.chain.current
        begun = await self._in_thread(self._begin_again, era.epoch)
        appender, written = begun.appender, era.base
        try:
            for _ in range(ROUNDS):  # while events come faster than they are written, there is no last one
                if bus.ring.head - written <= AT_ONCE:
                    break
                upto = bus.ring.head
                await self._in_thread(_Missing(era.base, written, upto, bus.ring).write, appender)
                written = upto
            await self._in_thread(appender.sync)  # a disk that fails to do that is not back
            _Missing(era.base, written, bus.ring.head, bus.ring).write(appender)
        except BaseException:
            appender.close()
            raise
        made = Segment(appender.path, begun.header, era.base, last=bus.ring.head - era.base, end=appender.size)
        self._half_made, self._appender, self._segments = None, appender, [*begun.before, made]
        self._folder_inode = appender.folder_inode
        self._waiting, self._waiting_bytes = [], 0
        bus.go_on_disk(self)
        self._epoch_is_due = self._epoch_is_due or JournalRestored
        try:
            self._appender = await self._rotate(bus, appender)
        except OSError as error:
            bus.degrade(f"{error.filename or self._folder}: {error.strerror}")
            raise
        except BaseException as error:
            bus.degrade(words_of(error))
            raise
        if bus.is_durable and self._whose.mark is not None:
            await self._in_thread(files.remove, self._whose.mark)

    def _begin_again(self, epoch: str) -> Begun:
        """The file of what is in memory; what was written before is ended as far as it is there. Blocks."""
        if self._half_made is not None:
            files.remove(self._half_made)
        if self._appender is None:
            assert self._begin_late is not None
            begun = self._begin_late(self._whose, epoch)
            self._half_made = begun.appender.path
            return begun
        self._appender.close()
        before = self._end_what_is_there()
        old = self._segments[-1]
        number = max(int(path.stem) for path in (old.path, *files.ending_in(".journal", self._folder)) if path.stem.isdecimal()) + 1
        appender = Appender.create(segments.path_of(self._folder, number))
        self._half_made = appender.path
        try:
            header = self._header_after(old, appender, epoch)
            appender.write(encode_header(header))
        except BaseException:
            appender.close()
            raise
        return Begun(appender, header, before)

    def _end_what_is_there(self) -> list[Segment]:
        """The segments before, where they are still there; files that took their place are moved away, whole."""
        if not files.is_folder(self._folder, self._folder_inode):
            if files.ending_in(".journal", self._folder):
                away = files.move_away(self._folder)
                log.warning("another journal took the place of this one; it is moved away", folder=str(away))
            files.make_private(self._folder)
            return []
        before = self._segments
        while before and not all(segment.path.exists() for segment in before):
            before = before[1:]
        old = self._segments[-1]
        if before and old.header.ending is Ending.OPEN:
            header = segments.ended(old, Ending.SEALED, self._last_time, self._clock.now())
            appender = Appender.open(old.path, old.end)
            appender.cut()
            segments.finish(appender, header)
            old.header = header
        return list(before)

    async def close(self, bus: Bus) -> None:
        """Ends it in order, so that the next engine goes on with the same epoch; to be called once the bus is closed."""
        if self._appender is None:
            return
        if not bus.is_durable:
            self._appender.close()
            return
        try:
            header = segments.ended(self._segments[-1], Ending.CLEAN, self._last_time, self._clock.now())
            await shielded(to_thread.run_anyhow(segments.finish, self._appender, header))
            checkpoint = bus.folded.checkpoint(bus.cursor)
            await shielded(to_thread.run_anyhow(segments.write_checkpoint, self._folder, checkpoint))  # never ahead of what is on disk
        except OSError as error:
            log.error("the journal was not closed in order", file=error.filename, error=error.strerror)

    async def _in_thread(self, work: Callable[[*Ts], T], *arguments: *Ts) -> T:
        return await to_thread.run_sync(work, *arguments, limiter=self._writer)

    # -- reading ---------------------------------------------------------------------------

    def read_from(self, position: int) -> PastReader:
        """A reader of the events from ``position`` on."""
        return _Reader(self, position)

    async def read(self, position: int, place: tuple[Segment, int, int] | None) -> tuple[Some, Segment]:
        """Some events from ``position`` on, and the file that has them.

        ``place`` is where a number begins: a file, a byte of it, and the number. Raises LookupError for what is not kept,
        SystemFailure.
        """
        while True:
            segment = self._find(position)
            start, seq = (place[1], place[2]) if place and place[0] is segment else (HEADER_SIZE, segment.header.first)
            try:
                some = await to_thread.run_sync(
                    segments.read_some,
                    segment.path,
                    start,
                    segment.end,
                    seq,
                    position - segment.base,
                    limiter=self._readers,
                    abandon_on_cancel=True,
                )
            except (FileNotFoundError, DamagedError) as error:
                if segment not in self._segments and self._segments[0].first <= position:
                    continue  # a smaller one took its place meanwhile
                self._give_up(segment, error)
                raise LookupError(str(error)) from error
            except OSError as error:
                raise SystemFailure(f"{segment.path}: {error.strerror}") from error
            return some, segment

    def _find(self, position: int) -> Segment:
        for segment in reversed(self._segments):
            if segment.first <= position:
                return segment
        raise LookupError(f"position {position} is not kept any more")

    def _give_up(self, damaged: Segment, error: Exception) -> None:
        """What cannot be read is not kept, nor what was before it."""
        if damaged in self._segments[:-1]:
            del self._segments[: self._segments.index(damaged) + 1]
            log.error("a part of the journal cannot be read", file=str(damaged.path), error=str(error))


class _Missing:
    """What memory has of the events behind position ``after`` up to ``upto``, taken on the loop's thread, to be written on any."""

    def __init__(self, base: int, after: int, upto: int, ring: Ring) -> None:
        self._base = base
        self._after = after
        self._first = min(max(after + 1, ring.first), upto + 1)
        self._events = ring.span(self._first, upto) if self._first <= upto else []

    def write(self, appender: Appender) -> None:
        """One record for each; one for all that memory has lost. Raises SystemFailure."""
        appender.write(b"".join(self._records()))

    def _records(self) -> Iterator[bytes]:
        first, base = self._first, self._base
        if first > self._after + 1:
            yield _lost(self._after + 1 - base, first - 1 - base, Kind(ANYTHING, "", "", first - 1 - self._after))
        for seq, event in enumerate(self._events, first - base):
            try:
                yield encode_record(seq, event)
            except ValueError:
                yield _lost(seq, seq, Kind(event.topic, event.subject, "", 1))


def _lost(first: int, last: int, kind: Kind) -> bytes:
    return encode_dropped(Dropped(first, last, (kind,)))


class _Reader:
    """Where a reader is in the journal."""

    def __init__(self, journal: Journal, position: int) -> None:
        self.position = position
        self._journal = journal
        self._place: tuple[Segment, int, int] | None = None

    async def read(self) -> list[Event] | Dropped:
        """See :class:`aiovirt.events.past.PastReader`."""
        some, segment = await self._journal.read(self.position, self._place)
        self._place = segment, some.end, some.next
        if some.events or some.dropped:
            self.position = segment.base + some.next
        return some.events if some.dropped is None else some.dropped.moved(segment.base)
