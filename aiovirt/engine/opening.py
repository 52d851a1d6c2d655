"""How a journal is taken up where it was left: what is found, what is made of it, and the state that it leads to.

What to make of it is decided in ``events/recovery``. Blocks, but for :func:`open_journal`.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from aiovirt.engine.journal import Begun, Clock, Journal, Whose
from aiovirt.engine.segments import CHECKPOINT, SEGMENT_LIMIT, Limits, Segment, ended, path_of, read_some, write_checkpoint
from aiovirt.errors import AccessDenied, InvalidArgument, SystemFailure, Unsupported
from aiovirt.events.chain import Chain, Era
from aiovirt.events.recovery import Found, Plan, Scan, make_plan, scan
from aiovirt.events.segment import (
    HEADER_SIZE,
    DamagedError,
    Ending,
    Header,
    decode_checkpoint,
    decode_header,
    encode_header,
)
from aiovirt.events.state import Checkpoint, HostState
from aiovirt.events.types import Event, HostStarted
from aiovirt.system import files, to_thread
from aiovirt.system.again import is_passing
from aiovirt.system.appender import Appender
from aiovirt.system.background import shielded
from aiovirt.system.clock import boottime_ns
from aiovirt.system.log import get_logger

__all__ = ["Opened", "open_journal"]

CHECKPOINT_LIMIT: Final = 256 * 1024 * 1024
SEEN_LIMIT: Final = 100
log = get_logger("engine")


class Opened(Struct, frozen=True, kw_only=True):
    """A journal, and what there was in it before: all that a Bus goes on from, and what to say of it.

    ``journal`` is None when the disk does not do, for the reason ``failure``; then ``later`` is the journal that is to be
    kept, and begins when the disk does.
    """

    journal: Journal | None
    chain: Chain
    head: int = 0
    state: HostState
    time: int = 0
    started: HostStarted
    failure: str = ""
    later: Journal | None = None


async def open_journal(  # noqa: PLR0913 - the last three have a value that does
    folder: Path,
    *,
    host: UUID,
    boot_id: str,
    uri: str,
    limits: Limits | None = None,
    mark: Path | None = None,
    seen: Path | None = None,
) -> Opened:
    """Takes the journal up where it was left.

    ``mark`` is a file elsewhere (on no disk, if there is such a place) that is made when this disk
    fails: while it is there, what the disk shows is not believed to be all that was seen. ``seen`` is one there that has the
    cursor of a late event: a disk that does not have that event is a copy, or was put back.

    Raises Unsupported when a newer aiovirt wrote it. A disk that fails is no error: the journal is
    None then, and ``failure`` says why.
    """
    whose = Whose(folder=folder, host=host, boot_id=boot_id, uri=uri, limits=limits or Limits(), mark=mark, seen=seen)
    return await shielded(to_thread.run_sync(_open, whose))


def _open(whose: Whose) -> Opened:
    try:
        return _open_existing(whose)
    except (AccessDenied, SystemFailure) as error:
        failure = str(error)
    except OSError as error:
        failure = f"{error.filename or whose.folder}: {error.strerror}"
    started = HostStarted(uri=whose.uri, boot_id=whose.boot_id)
    later = Journal(whose, [], None, 0, Clock(0), _begin_late)
    return Opened(journal=None, chain=Chain.fresh(), state=HostState(), started=started, failure=failure, later=later)


def _begin_late(whose: Whose, epoch: str) -> Begun:
    """A journal that could not be opened begins, with the epoch of what was in memory meanwhile; what was before is kept beside it."""
    found = _find(whose)
    plan = make_plan(found, whose.boot_id, failed=True)
    segments = _kept(whose.folder, plan)
    if segments:
        _seal_last(segments[-1], plan, segments[-1].header.clock)
    _drop(whose.folder, plan)
    clock = _clock(segments, whose.boot_id)
    appender, header = _begin(whose, plan, segments, replace(plan.chain.current, epoch=epoch), clock)
    return Begun(appender, header, [])


def _find(whose: Whose) -> list[Found]:
    folder = whose.folder
    files.make_private(folder)
    found = [_look(path) for path in files.ending_in(".journal", folder) if path.stem.isdecimal()]
    if any(segment.header and segment.header.host != whose.host for segment in found):
        return _set_aside(folder, found, whose.host)
    return found


def _open_existing(whose: Whose) -> Opened:
    folder, mark = whose.folder, whose.mark
    found = _find(whose)
    checkpoint = _read_checkpoint(folder)
    plan = make_plan(found, whose.boot_id, failed=mark is not None and mark.exists())
    if plan.go_on and _is_copy(whose, plan):
        plan = make_plan(found, whose.boot_id, is_copy=True)
    segments = _kept(folder, plan)
    clock = _clock(segments, whose.boot_id)
    appender = _prepare(whose, plan, segments, clock)
    state = _restore(checkpoint, plan, segments) if checkpoint else None
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
        write_checkpoint(folder, _first_checkpoint(state, plan, started))
    if mark:
        files.remove(mark)
    return Opened(
        journal=Journal(whose, segments, appender, plan.time, clock),
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
    away = files.move_away(folder, str(other))
    log.warning("the journal is of another host; it is moved away", host=str(other), folder=str(away))
    files.make_private(folder)
    return []


def _is_copy(whose: Whose, plan: Plan) -> bool:
    """Whether others may have seen events that are not here: it is another file than the one written, or a later cursor is known."""
    last = plan.keep[-1]
    assert last.header
    path = path_of(whose.folder, last.number)
    if last.header.inode and path.stat().st_ino != last.header.inode:
        log.warning("the journal is a copy; what comes now is of a new epoch", file=str(path))
        return True
    if _has(whose.seen, plan):
        return False
    log.warning("the journal lacks events that were seen; what comes now is of a new epoch", file=str(path))
    return True


def _has(seen: Path | None, plan: Plan) -> bool:
    """Whether the event is there whose cursor was noted elsewhere, or nothing of use was. Raises OSError in a shortage."""
    if seen is None:
        return True
    try:
        position = plan.chain.position(files.read_bounded(seen, SEEN_LIMIT).decode("ascii", "replace"))
    except (OSError, SystemFailure, InvalidArgument) as error:
        if is_passing(error):
            raise  # it may well be of a copy
        return True
    return position is not None and position <= plan.head


def _clock(segments: list[Segment], boot_id: str) -> Clock:
    """Goes on from where the last segment left it. Time in which this host was down, or another boot of it, does not count."""
    if not segments:
        return Clock(0)
    header = segments[-1].header
    if header.boot_id == boot_id != "" and 0 < header.boottime <= boottime_ns():
        return Clock(header.clock + boottime_ns() - header.boottime)
    return Clock(max(header.clock, header.stopped))


def _kept(folder: Path, plan: Plan) -> list[Segment]:
    """The segments that the plan keeps."""
    bases = {era.epoch: era.base for era in plan.chain.eras}
    segments: list[Segment] = []
    for kept in plan.keep:
        assert kept.header
        assert kept.scan
        path = path_of(folder, kept.number)
        segments.append(Segment(path, kept.header, bases[kept.header.epoch], last=kept.scan.last, end=kept.scan.end))
    return segments


def _prepare(whose: Whose, plan: Plan, segments: list[Segment], clock: Clock) -> Appender:
    """Makes the files what the plan says; afterwards the last one can be written."""
    if segments and not plan.go_on:
        _seal_last(segments[-1], plan, clock.now())
    _drop(whose.folder, plan)
    if plan.go_on:
        return _go_on(segments[-1], whose.boot_id, clock, clean=bool(plan.clean))
    appender, header = _begin(whose, plan, segments, plan.chain.current, clock)
    segments.append(Segment(appender.path, header, plan.chain.current.base, last=0, end=appender.size))
    return appender


def _drop(folder: Path, plan: Plan) -> None:
    for number in plan.drop:
        files.remove(path_of(folder, number))


def _seal_last(last: Segment, plan: Plan, clock: int) -> None:
    """Its epoch is at an end. That is on disk before anything is taken away: what is left must never look as if nothing had been."""
    last.header = ended(last, Ending.SEALED, plan.time, clock)
    appender = Appender.open(last.path, last.end)
    try:
        appender.write_head(encode_header(last.header))
        appender.cut()
    finally:
        appender.close()


def _go_on(last: Segment, boot_id: str, clock: Clock, *, clean: bool) -> Appender:
    """The last file is open again. That is on disk before anything is added: else a power loss would look like a clean end."""
    appender = Appender.open(last.path, last.end)
    appender.cut()
    if clean:
        if last.header.boot_id != boot_id or not last.header.boottime:  # else its clock goes on since it was made
            last.header = replace(last.header, boot_id=boot_id, clock=clock.now(), boottime=boottime_ns())
        last.header = replace(last.header, ending=Ending.OPEN, last=0, end=0, ended=0, stopped=0)
        appender.write_head(encode_header(last.header))
    return appender


def _begin(whose: Whose, plan: Plan, segments: list[Segment], era: Era, clock: Clock) -> tuple[Appender, Header]:
    """A new epoch in a new file."""
    previous, hole = None, 0
    number = max((*plan.drop, *(kept.number for kept in plan.keep)), default=0) + 1
    if segments:
        last = segments[-1]
        previous, hole = (last.header.epoch, last.last - last.base), plan.head - last.last
    appender = Appender.create(path_of(whose.folder, number))
    header = Header(
        host=whose.host,
        epoch=era.epoch,
        first=1,
        boot_id=whose.boot_id,
        previous=previous,
        hole=hole,
        began=time.time_ns(),
        clock=clock.now(),
        boottime=boottime_ns(),
        inode=appender.inode,
    )
    try:
        appender.write(encode_header(header))
        appender.sync()
    except BaseException:
        appender.close()
        raise
    return appender, header


def _first_checkpoint(state: HostState | None, plan: Plan, started: HostStarted) -> Checkpoint:
    """What is put down before anything is published, as what was put down before may be retired soon.

    A state that begins anew is that after ``started``: should that never be written, the next engine begins anew as well.
    """
    if state is not None:
        return state.checkpoint(plan.previous_cursor or plan.chain.cursor(plan.head))
    anew = HostState()
    anew.apply(started)
    return anew.checkpoint(plan.chain.cursor(plan.head + 1))


def _read_checkpoint(folder: Path) -> Checkpoint | None:
    """The state that was put down last, if it can be read; raises Unsupported when it is of a newer version."""
    try:
        return decode_checkpoint(files.read_bounded(folder / CHECKPOINT, CHECKPOINT_LIMIT))
    except FileNotFoundError:
        return None
    except DamagedError as error:
        log.warning("the state beside the journal is not used", error=str(error))
        return None
    except Unsupported as error:
        raise Unsupported(f"{folder / CHECKPOINT}: {error}") from error


def _restore(checkpoint: Checkpoint, plan: Plan, segments: list[Segment]) -> HostState | None:
    """The state as the journal left it: what was put down, and all events since; None where some of those are missing."""
    position = plan.chain.position(checkpoint.cursor)
    if position is None or not segments[0].first - 1 <= position <= plan.head:
        return None
    state = HostState(checkpoint)
    try:
        if checkpoint.behind:
            _catch_up(state, checkpoint, plan, segments)
        for event in _replay(segments, position + 1, plan.head):
            state.apply(event)
    except (OSError, DamagedError) as error:
        log.warning("the state beside the journal is not used", error=str(error))
        return None
    return state


def _catch_up(state: HostState, checkpoint: Checkpoint, plan: Plan, segments: list[Segment]) -> None:
    """Folds into the tables that are behind what whoever did not know them has left out. Raises OSError, DamagedError."""
    since, until = plan.chain.position(checkpoint.newer_as_of), plan.chain.position(checkpoint.cursor)
    if since is None or until is None or since < segments[0].first - 1:
        raise DamagedError(f"events about {', '.join(kind.name for kind in checkpoint.behind)} are gone")
    tables = {kind: checkpoint.tables[kind] for kind in checkpoint.behind}
    behind = HostState(replace(checkpoint, tables=tables, behind=frozenset(), boot_id=""))  # of which boot it is, nobody knows
    for event in _replay(segments, since + 1, until):
        if event.table in checkpoint.behind or isinstance(event, HostStarted):
            event.fold(behind)
    for kind in checkpoint.behind:
        state.table(kind).update(behind.table(kind))


def _replay(segments: list[Segment], position: int, head: int) -> list[Event]:
    events: list[Event] = []
    for segment in segments:
        while segment.first <= position <= min(segment.last, head):
            some = read_some(segment.path, HEADER_SIZE, segment.end, segment.header.first, position - segment.base)
            if not (some.events or (some.dropped is not None and some.dropped.changes_nothing)):
                raise DamagedError(f"{segment.path} has no position {position}")
            events += some.events
            position = segment.base + some.next
    return events
