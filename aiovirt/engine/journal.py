"""The journal on disk: segments in a folder, written by one engine, read by any of its readers.

The loop's thread only writes into the page cache; everything that may wait for a disk (opening,
fdatasync in batches, rotation, reading what memory has given up) runs in worker threads of its own.
What bytes mean is in ``events/segment``, what to make of what is found in ``events/recovery``.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar, TypeVarTuple
from uuid import UUID

import anyio
from anyio import CapacityLimiter, to_thread
from msgspec import Struct
from msgspec.structs import replace

from aiovirt.errors import AccessDenied, SystemFailure, Unsupported
from aiovirt.events.bus import Bus
from aiovirt.events.chain import Chain
from aiovirt.events.past import PastReader
from aiovirt.events.recovery import Found, Plan, Scan, make_plan, scan
from aiovirt.events.segment import (
    HEADER_SIZE,
    CutError,
    DamagedError,
    Ending,
    Header,
    decode_event,
    decode_header,
    decode_memo,
    encode_header,
    encode_memo,
    encode_record,
    walk,
)
from aiovirt.events.state import HostState, Memo
from aiovirt.events.types import Event, HostStarted
from aiovirt.system import files
from aiovirt.system.appender import Appender
from aiovirt.system.background import shielded
from aiovirt.system.log import get_logger

__all__ = ["Journal", "Limits", "Opened", "open_journal"]

SYNC_EVERY: Final = 0.05
"""Seconds for which events are gathered before the disk is waited for."""
PARTS: Final = 8
"""A segment covers at most one part in so many of the age to which events are kept."""
CHUNK: Final = 256 * 1024
SEGMENT_LIMIT: Final = 256 * 1024 * 1024
MEMO_LIMIT: Final = 256 * 1024 * 1024
MEMO: Final = "state"

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
log = get_logger("engine")


class Limits(Struct, frozen=True, kw_only=True):
    """What is kept: ``bytes`` in all, ``age`` in seconds; ``segment`` bytes in one file."""

    bytes: int = 64 * 1024 * 1024
    age: float = 7 * 86_400.0
    segment: int = 4 * 1024 * 1024


class Opened(Struct, frozen=True, kw_only=True):
    """A journal, and what there was in it before: all that a Bus goes on from, and what to say of it.

    ``journal`` is None when the disk does not do, for the reason ``failure``.
    """

    journal: Journal | None
    chain: Chain
    head: int = 0
    state: HostState
    time: int = 0
    started: HostStarted
    failure: str = ""


class _Segment:
    """A file: its events have the positions ``first`` to ``last``, and it ends at ``end`` bytes. The newest one grows."""

    def __init__(self, path: Path, header: Header, base: int, *, last: int, end: int) -> None:
        self.path = path
        self.header = header
        self.base = base  # the position before its epoch's first
        self.first = base + header.first
        self.last = base + last
        self.end = end


class _Whose(Struct, frozen=True, kw_only=True):
    """Which journal it is, and who opens it."""

    folder: Path
    host: UUID
    boot_id: str
    uri: str
    limits: Limits
    mark: Path | None


class Journal:
    """See :class:`aiovirt.events.past.Journal`. ``keep`` has to run while it is written."""

    def __init__(self, whose: _Whose, segments: list[_Segment], appender: Appender, last_time: int) -> None:
        self._folder = whose.folder
        self._limits = whose.limits
        self._mark = whose.mark
        self._segments = segments
        self._appender = appender
        self._last_time = last_time
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._news = anyio.Event()
        self._is_noted = False
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
        try:
            self._appender.write(b"".join(waiting))
        except SystemFailure:
            current.last -= len(waiting)
            raise
        current.end = self._appender.size

    # -- keeping: in threads ---------------------------------------------------------------

    async def keep(self, bus: Bus) -> None:
        """Puts what is written on disk, in batches, and begins new segments, until cancelled or the disk fails."""
        try:
            await self._retire()
            while bus.is_durable:
                with anyio.move_on_after(self._limits.age / PARTS):
                    await self._news.wait()
                self._news, self._is_noted = anyio.Event(), False
                with anyio.move_on_after(SYNC_EVERY):
                    await anyio.sleep_forever()
                bus.write()
                await self._in_thread(self._appender.sync)
                if bus.is_durable and self._is_full():
                    await shielded(self._rotate(bus))  # half a rotation would leave a file that nobody puts on disk
        except OSError as error:
            bus.degrade(f"{error.filename or self._folder}: {error.strerror}")
        except SystemFailure as error:
            bus.degrade(str(error))
        await shielded(self._in_thread(_put_mark, self._mark))

    def _is_full(self) -> bool:
        is_old = self._segments[-1].header.began < time.time_ns() - self._limits.age / PARTS * 1e9
        return self._appender.size >= self._limits.segment or (is_old and self._appender.size > HEADER_SIZE)

    async def _rotate(self, bus: Bus) -> None:
        """The next segment takes over between two events; the one before is sealed, and what is too old or too much goes."""
        number = int(self._segments[-1].path.stem) + 1
        appender = await self._in_thread(Appender.create, _path(self._folder, number))
        bus.write()
        if not bus.is_durable:
            appender.close()
            return
        old, before = self._segments[-1], self._appender
        header = replace(old.header, first=old.last + 1 - old.base, began=time.time_ns(), time=self._last_time, ending=Ending.OPEN)
        try:
            appender.write(encode_header(header))
        except BaseException:
            appender.close()
            raise
        self._appender = appender
        self._segments.append(_Segment(appender.path, header, old.base, last=old.last - old.base, end=appender.size))
        memo = bus.state.memo(bus.cursor)
        await self._in_thread(_finish, before, _ended(old, Ending.SEALED, header.time))
        await self._in_thread(_put_down, self._folder, memo)
        await self._retire()

    async def _retire(self) -> None:
        for path in self._take_outdated():
            await self._in_thread(files.remove, path)

    def _take_outdated(self) -> list[Path]:
        """The files that are too much or too old; from now on they are not read any more."""
        oldest = time.time_ns() - int(self._limits.age * 1e9)
        total = sum(segment.end for segment in self._segments)
        taken: list[Path] = []
        while len(self._segments) > 1 and (total > self._limits.bytes or self._segments[1].header.began < oldest):
            gone = self._segments.pop(0)
            total -= gone.end
            taken.append(gone.path)
        return taken

    async def close(self, bus: Bus) -> None:
        """Ends it in order, so that the next engine goes on with the same epoch; to be called once the bus is closed."""
        if not bus.is_durable:
            self._appender.close()
            return
        try:
            await shielded(self._in_thread(_finish, self._appender, _ended(self._segments[-1], Ending.CLEAN, self._last_time)))
            await shielded(self._in_thread(_put_down, self._folder, bus.folded.memo(bus.cursor)))  # never ahead of what is on disk
        except OSError as error:
            log.error("the journal was not closed in order", file=error.filename, error=error.strerror)

    async def _in_thread(self, work: Callable[[*Ts], T], *arguments: *Ts) -> T:
        return await to_thread.run_sync(work, *arguments, limiter=self._writer)

    # -- reading ---------------------------------------------------------------------------

    def read_from(self, position: int) -> PastReader:
        """A reader of the events from ``position`` on."""
        return _Reader(self, position)

    async def read(self, position: int, offset: int) -> tuple[list[Event], int]:
        """Some events from ``position`` on, which begins at ``offset`` of its file if that is not 0, and where the next one begins."""
        segment = self._find(position)
        start, seq = (offset, position - segment.base) if offset else (HEADER_SIZE, segment.header.first)
        skip = position - segment.base - seq
        try:
            read = to_thread.run_sync(_read, segment.path, start, segment.end, seq, skip, limiter=self._readers, abandon_on_cancel=True)
            events, end = await read
        except (FileNotFoundError, DamagedError) as error:
            self._give_up(segment, error)
            raise LookupError(str(error)) from error
        except OSError as error:
            raise SystemFailure(f"{segment.path}: {error.strerror}") from error
        return events, end if position + len(events) <= segment.last else 0

    def _find(self, position: int) -> _Segment:
        for segment in reversed(self._segments):
            if segment.first <= position:
                return segment
        raise LookupError(f"position {position} is not kept any more")

    def _give_up(self, damaged: _Segment, error: Exception) -> None:
        """What cannot be read is not kept, nor what was before it."""
        if damaged in self._segments[:-1]:
            del self._segments[: self._segments.index(damaged) + 1]
            log.error("a part of the journal cannot be read", file=str(damaged.path), error=str(error))


class _Reader:
    """Where a reader is in the journal."""

    def __init__(self, journal: Journal, position: int) -> None:
        self._journal = journal
        self._position = position
        self._offset = 0

    async def read(self) -> list[Event]:
        """See :class:`aiovirt.events.past.PastReader`."""
        events, self._offset = await self._journal.read(self._position, self._offset)
        self._position += len(events)
        return events


def _read(path: Path, start: int, end: int, seq: int, skip: int) -> tuple[list[Event], int]:
    """Some events of a file from byte ``start`` on, where ``seq`` begins, but for the first ``skip``; and where they end."""
    events: list[Event] = []
    with path.open("rb") as file:
        while not events and start < end:
            file.seek(start)
            data = file.read(min(CHUNK, end - start))
            if not data:
                raise CutError("it ends before its end")
            done = 0
            try:
                for done, payload in walk(data, 0, seq):  # noqa: B007 - where the last whole one ends
                    seq += 1
                    if skip:
                        skip -= 1
                    else:
                        events.append(decode_event(payload))
            except CutError:
                if not done:  # a record that is longer than a chunk
                    file.seek(start)
                    data = file.read(end - start)
                    done, payload = next(walk(data, 0, seq))
                    seq += 1
                    events += [] if skip else [decode_event(payload)]
                    skip = max(0, skip - 1)
            start += done
    return events, start


def _ended(segment: _Segment, ending: Ending, last_time: int) -> Header:
    return replace(
        segment.header,
        ending=ending,
        last=segment.last - segment.base,
        end=segment.end,
        time=last_time,
        ended=time.time_ns(),
    )


def _finish(appender: Appender, header: Header) -> None:
    try:
        appender.write_head(encode_header(header))
    finally:
        appender.close()


def _put_mark(mark: Path | None) -> None:
    if mark:
        with contextlib.suppress(OSError):  # one more disk that fails: nothing is left to be done
            files.write_whole(mark, b"")


def _put_down(folder: Path, memo: Memo) -> None:
    files.write_whole(folder / MEMO, encode_memo(memo))


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number:08}.journal"


# -- opening -----------------------------------------------------------------------------------


async def open_journal(  # noqa: PLR0913 - the last two have a value that does
    folder: Path, *, host: UUID, boot_id: str, uri: str, limits: Limits | None = None, mark: Path | None = None
) -> Opened:
    """Takes the journal up where it was left.

    ``mark`` is a file elsewhere (on no disk, if there is such a place) that is made when this disk
    fails: while it is there, what the disk shows is not believed to be all that was seen.

    Raises Unsupported when a newer aiovirt wrote it. A disk that fails is no error: the journal is
    None then, and ``failure`` says why.
    """
    whose = _Whose(folder=folder, host=host, boot_id=boot_id, uri=uri, limits=limits or Limits(), mark=mark)
    return await shielded(to_thread.run_sync(_open, whose))


def _open(whose: _Whose) -> Opened:
    try:
        return _take_up(whose)
    except (AccessDenied, SystemFailure) as error:
        failure = str(error)
    except OSError as error:
        failure = f"{error.filename or whose.folder}: {error.strerror}"
    started = HostStarted(uri=whose.uri, boot_id=whose.boot_id)
    return Opened(journal=None, chain=Chain.fresh(), state=HostState(), started=started, failure=failure)


def _take_up(whose: _Whose) -> Opened:
    folder, mark = whose.folder, whose.mark
    files.make_private(folder)
    found = [_look(path) for path in sorted(folder.glob("*.journal")) if path.stem.isdecimal()]
    if any(segment.header and segment.header.host != whose.host for segment in found):
        found = _set_aside(folder, found, whose.host)
    memo = _read_memo(folder)
    plan = make_plan(found, whose.boot_id, failed=mark is not None and mark.exists())
    segments, appender = _prepare(folder, plan, whose.host, whose.boot_id)
    state = _restore(memo, plan, segments) if memo else None
    started = HostStarted(
        uri=whose.uri,
        boot_id=whose.boot_id,
        previous_cursor=plan.previous_cursor,
        clean=plan.clean,
        down_for=max(0, time.time_ns() - plan.alive) if plan.alive else None,
        cut=plan.cut,
        resumed=state is not None,
    )
    if plan.cut:
        log.warning("the journal's damaged end was cut", bytes=plan.cut, cursor=plan.previous_cursor)
    if not plan.clean or state is None:
        appender.sync()
        _put_down(folder, _first_memo(state, plan, started))
    if mark:
        files.remove(mark)
    return Opened(
        journal=Journal(whose, segments, appender, plan.time),
        chain=plan.chain,
        head=plan.head,
        state=state or HostState(),
        time=plan.time,
        started=started,
    )


def _look(path: Path) -> Found:
    """What a segment is; its records are looked at unless it was sealed, which is done once they are on disk."""
    number, size = int(path.stem), path.stat().st_size
    with files.open_regular(path) as file:
        try:
            header = decode_header(file.read(HEADER_SIZE))
            if header.ending is Ending.SEALED and header.end <= size:
                return Found(number, header.end, header, Scan(header.last, header.end, header.time, damaged=False))
            found = scan(bytes(HEADER_SIZE) + file.read(SEGMENT_LIMIT), header, HEADER_SIZE)
            ended_elsewhere = header.ending is not Ending.OPEN and found.last != header.last
            return Found(number, size, header, replace(found, damaged=found.damaged or ended_elsewhere))
        except DamagedError:
            return Found(number, size, None, None)
        except Unsupported as error:
            raise Unsupported(f"{path}: {error}") from error


def _set_aside(folder: Path, found: list[Found], host: UUID) -> list[Found]:
    """The journal of another host (a copied disk) is none of ours: it is moved away, whole."""
    other = next(segment.header.host for segment in found if segment.header and segment.header.host != host)
    names = (f"{folder.name}.{other}" + (f".{number}" if number else "") for number in itertools.count())
    away = next(path for path in map(folder.with_name, names) if not path.exists())
    log.warning("the journal is of another host; it is moved away", host=str(other), folder=str(away))
    folder.rename(away)
    files.make_private(folder)
    return []


def _prepare(folder: Path, plan: Plan, host: UUID, boot_id: str) -> tuple[list[_Segment], Appender]:
    """Makes the files what the plan says; afterwards the last one can be written."""
    bases = {era.epoch: era.base for era in plan.chain.eras}
    segments: list[_Segment] = []
    for kept in plan.keep:
        assert kept.header
        assert kept.scan
        path = _path(folder, kept.number)
        segments.append(_Segment(path, kept.header, bases[kept.header.epoch], last=kept.scan.last, end=kept.scan.end))
    if segments and not plan.go_on:
        _seal_last(segments[-1], plan)
    for number in plan.drop:
        files.remove(_path(folder, number))
    if plan.go_on:
        return segments, _go_on(segments[-1], boot_id, clean=bool(plan.clean))
    return segments, _begin(folder, plan, segments, host, boot_id)


def _seal_last(last: _Segment, plan: Plan) -> None:
    """Its epoch is at an end. That is on disk before anything is taken away: what is left must never look as if nothing had been."""
    last.header = _ended(last, Ending.SEALED, plan.time)
    appender = Appender.open(last.path, last.end)
    try:
        appender.write_head(encode_header(last.header))
        appender.cut()
    finally:
        appender.close()


def _go_on(last: _Segment, boot_id: str, *, clean: bool) -> Appender:
    """The last file is open again. That is on disk before anything is added: else a power loss would look like a clean end."""
    appender = Appender.open(last.path, last.end)
    appender.cut()
    if clean:
        last.header = replace(last.header, ending=Ending.OPEN, boot_id=boot_id, last=0, end=0, ended=0)
        appender.write_head(encode_header(last.header))
    return appender


def _begin(folder: Path, plan: Plan, segments: list[_Segment], host: UUID, boot_id: str) -> Appender:
    """A new epoch in a new file."""
    previous, hole = None, 0
    number = max((*plan.drop, *(kept.number for kept in plan.keep)), default=0) + 1
    if segments:
        last = segments[-1]
        previous, hole = (last.header.epoch, last.last - last.base), plan.head - last.last
    era = plan.chain.current
    header = Header(host=host, epoch=era.epoch, first=1, boot_id=boot_id, previous=previous, hole=hole, began=time.time_ns())
    appender = Appender.create(_path(folder, number))
    appender.write(encode_header(header))
    appender.sync()
    segments.append(_Segment(appender.path, header, era.base, last=0, end=appender.size))
    return appender


def _first_memo(state: HostState | None, plan: Plan, started: HostStarted) -> Memo:
    """What is put down before anything is published, as what was put down before may be retired soon.

    A state that begins anew is that after ``started``: should that never be written, the next engine begins anew as well.
    """
    if state is not None:
        return state.memo(plan.previous_cursor or plan.chain.cursor(plan.head))
    anew = HostState()
    anew.apply(started)
    return anew.memo(plan.chain.cursor(plan.head + 1))


def _read_memo(folder: Path) -> Memo | None:
    """The state that was put down last, if it can be read; raises Unsupported when it is of a newer version."""
    try:
        return decode_memo(files.read_bounded(folder / MEMO, MEMO_LIMIT))
    except FileNotFoundError:
        return None
    except DamagedError as error:
        log.warning("the state beside the journal is not used", error=str(error))
        return None
    except Unsupported as error:
        raise Unsupported(f"{folder / MEMO}: {error}") from error


def _restore(memo: Memo, plan: Plan, segments: list[_Segment]) -> HostState | None:
    """The state as the journal left it: what was put down, and all events since; None where some of those are missing."""
    position = plan.chain.position(memo.cursor)
    if position is None or not segments[0].first - 1 <= position <= plan.head:
        return None
    state = HostState(memo)
    try:
        for event in _replay(segments, position + 1, plan.head):
            state.apply(event)
    except (OSError, DamagedError) as error:
        log.warning("the state beside the journal is not used", error=str(error))
        return None
    return state


def _replay(segments: list[_Segment], position: int, head: int) -> list[Event]:
    events: list[Event] = []
    for segment in segments:
        while segment.first <= position <= min(segment.last, head):
            read, _ = _read(segment.path, HEADER_SIZE, segment.end, segment.header.first, position - segment.first)
            if not read:
                raise DamagedError(f"{segment.path} has no position {position}")
            events += read
            position += len(read)
    return events
