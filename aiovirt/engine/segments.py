"""The journal's files, one by one: names, headers, reading back. Everything but the names blocks, and is for worker threads."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from msgspec import Struct
from msgspec.structs import replace

from aiovirt.events.dropped import Dropped
from aiovirt.events.segment import (
    CutError,
    Ending,
    Entry,
    Header,
    decode_event,
    encode_checkpoint,
    encode_header,
    walk,
)
from aiovirt.events.state import Checkpoint
from aiovirt.events.types import Event
from aiovirt.system import files
from aiovirt.system.appender import Appender

__all__ = [
    "CHECKPOINT",
    "SEGMENT_LIMIT",
    "Limits",
    "Segment",
    "Some",
    "ended",
    "finish",
    "path_of",
    "put_mark",
    "read_some",
    "write_checkpoint",
]

CHUNK: Final = 256 * 1024
SEGMENT_LIMIT: Final = 256 * 1024 * 1024
CHECKPOINT: Final = "state"


class Limits(Struct, frozen=True, kw_only=True):
    """What is kept: ``bytes`` in all, ``age`` in seconds; ``segment`` bytes in one file.

    A subject with more than one part in ``share`` of the bytes has more than its share: its oldest events go first.
    """

    bytes: int = 64 * 1024 * 1024
    age: float = 7 * 86_400.0
    segment: int = 4 * 1024 * 1024
    share: int = 4


class Segment:
    """A file: its events have the positions ``first`` to ``last``, and it ends at ``end`` bytes. The newest one grows.

    ``base`` is the position before its epoch's first. ``loads`` says, once it was measured, how many of its bytes are about
    which subject, and whether they are what QEMU itself said.
    """

    def __init__(self, path: Path, header: Header, base: int, *, last: int, end: int) -> None:
        self.path = path
        self.header = header
        self.base = base
        self.first = base + header.first
        self.last = base + last
        self.end = end
        self.loads: dict[tuple[str, bool], int] | None = None


def path_of(folder: Path, number: int) -> Path:
    """Where the segment of this number is."""
    return folder / f"{number:08}.journal"


def ended(segment: Segment, ending: Ending, last_time: int, clock: int) -> Header:
    """Its header, once it has ended."""
    return replace(
        segment.header,
        ending=ending,
        last=segment.last - segment.base,
        end=segment.end,
        time=last_time,
        ended=time.time_ns(),
        stopped=clock,
    )


def finish(appender: Appender, header: Header) -> None:
    """Writes the header of a file that has ended, and lets go of it; raises OSError."""
    try:
        appender.write_head(encode_header(header))
    finally:
        appender.close()


def put_mark(mark: Path | None) -> bool:
    """Says elsewhere that this disk failed; returns whether it could."""
    if mark:
        try:
            files.write_whole(mark, b"")
        except OSError:
            return False
    return True


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Puts a state beside the journal; raises OSError."""
    files.write_whole(folder / CHECKPOINT, encode_checkpoint(checkpoint))


class Some(Struct, frozen=True):
    """What was read of a file: events that follow one another, or which ones are not kept.

    ``next`` is the number of the one behind, and ``end`` its place.
    """

    events: list[Event]
    dropped: Dropped | None
    next: int
    end: int


def read_some(path: Path, start: int, end: int, seq: int, wanted: int) -> Some:
    """The next events of a file, from number ``wanted`` on. From byte ``start`` on it has those from ``seq`` on.

    Raises OSError, DamagedError.
    """
    events: list[Event] = []
    with path.open("rb") as file:
        while not events and start < end:
            begin = start
            for entry in _entries(file, begin, end, seq):
                if entry.next > wanted:
                    if entry.dropped is None:
                        events.append(decode_event(entry.payload))
                    elif events:
                        return Some(events, None, seq, start)
                    else:
                        return Some([], entry.dropped.moved(0, wanted), entry.next, begin + entry.end)
                seq, start = entry.next, begin + entry.end
    return Some(events, None, seq, start)


def _entries(file: BinaryIO, start: int, end: int, seq: int) -> Iterator[Entry]:
    """The whole records of the next chunk, at least one."""
    file.seek(start)
    data = file.read(min(CHUNK, end - start))
    if not data:
        raise CutError("it ends before its end")
    entry = None
    try:
        for entry in walk(data, 0, seq):
            yield entry
    except CutError:
        if entry is not None:
            return
        file.seek(start)  # a record that is longer than a chunk
        yield next(walk(file.read(end - start), 0, seq))
