"""What the journal drops early of a subject that says too much, so that what others said is kept. Blocks: for worker threads.

A guest can make QEMU say tens of thousands of things a second. Where the journal has no more room, and one subject has more
than its share of it, the oldest events about that one are dropped first: what QEMU itself said before anything else. Only
whole segments are rewritten, which a state stands behind, so no state is lost. A record takes their place that says what
they were and how many.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from aiovirt.engine.segments import SEGMENT_LIMIT, Limits, Segment
from aiovirt.events.dropped import Dropped, Kind
from aiovirt.events.segment import HEADER_SIZE, Ending, Entry, decode_event, encode_dropped, encode_header, walk
from aiovirt.system import files

__all__ = ["PARTS", "Noisy", "compacted", "find_noisy", "joined", "measure"]

PARTS: Final = 8
"""A segment covers at most one part in so many of the age to which events are kept."""
QMP: Final = "domain.qmp"


class Noisy(Struct, frozen=True):
    """A subject with more than its share, and whether it is what QEMU itself said that goes first."""

    subject: str
    is_qmp: bool


class _About(Struct):
    """What distinguishes a domain's event from others, without the rest of it."""

    type: str
    uuid: str | None = None
    event: str = ""


_decoder: Final = msgspec.msgpack.Decoder(_About)


def measure(segment: Segment) -> dict[tuple[str, bool], int]:
    """Bytes by (subject, whether QEMU itself said it) in a segment that has ended. Raises OSError, DamagedError."""
    loads: Counter[tuple[str, bool]] = Counter()
    before = HEADER_SIZE
    for entry in walk(_read(segment), HEADER_SIZE, segment.header.first):
        if entry.dropped is None:
            kind = _kind(entry)
            loads[kind.subject, kind.topic == QMP] += entry.end - before
        before = entry.end
    return dict(loads)


def find_noisy(segments: Sequence[Segment], limits: Limits) -> Noisy | None:
    """Who has more than its share of these, which were measured; the one that has most."""
    loads: Counter[str] = Counter()
    for segment in segments:
        for (subject, _), size in (segment.loads or {}).items():
            loads[subject] += size
    if not loads:
        return None
    subject, size = loads.most_common(1)[0]
    if size <= limits.bytes // limits.share:
        return None
    return Noisy(subject, any((subject, True) in (segment.loads or {}) for segment in segments))


def compacted(segment: Segment, noisy: Noisy) -> Segment:
    """Rewrites a segment that has ended without what it has of this subject. Raises OSError, DamagedError."""
    body = b"".join(_kept(_read(segment), segment.header.first, noisy))
    return _written(segment, segment, body)


def joined(before: Segment, after: Segment, limits: Limits) -> Segment | None:
    """Two that follow one another as one, in the place of the first; None where they are not to be one. Raises OSError."""
    is_short = before.end + after.end <= limits.segment
    is_brief = after.header.stopped - before.header.clock <= limits.age / PARTS * 1e9
    if before.header.epoch != after.header.epoch or before.header.is_complete or not (is_short and is_brief):
        return None
    return _written(before, after, b"".join(_kept(_read(before) + _read(after)[HEADER_SIZE:], before.header.first, None)))


def _written(first: Segment, last: Segment, body: bytes) -> Segment:
    """The file that begins as ``first``, in its place, and ends as ``last``."""
    end = HEADER_SIZE + len(body)
    header = replace(
        first.header,
        ending=Ending.SEALED,
        last=last.last - last.base,
        end=end,
        time=last.header.time,
        ended=last.header.ended,
        stopped=last.header.stopped,
        inode=0,
        is_complete=False,
        newer=last.header.newer | first.header.newer,
    )
    files.write_whole(first.path, encode_header(header) + body)
    made = Segment(first.path, header, first.base, last=header.last, end=end)
    made.loads = measure(made)
    return made


def _read(segment: Segment) -> bytes:
    return files.read_bounded(segment.path, SEGMENT_LIMIT)[: segment.end]


def _kept(data: bytes, seq: int, noisy: Noisy | None) -> Iterator[bytes]:
    """The records that stay, and those that take the place of others: one for all that follow one another."""
    run = _Run()
    begin = HEADER_SIZE
    for entry in walk(data, HEADER_SIZE, seq):
        if entry.dropped is not None:
            run.take(entry.dropped)
        elif noisy is not None and (kind := _kind(entry)).subject == noisy.subject and (not noisy.is_qmp or kind.topic == QMP):
            run.take(Dropped(entry.next - 1, entry.next - 1, (kind,)))
        else:
            yield from run.ended()
            yield data[begin : entry.end]
        begin = entry.end
    yield from run.ended()


class _Run:
    """Events that follow one another and are dropped."""

    def __init__(self) -> None:
        self._first = self._last = 0
        self._counts: Counter[tuple[str, str, str]] = Counter()

    def take(self, dropped: Dropped) -> None:
        self._first = self._first or dropped.first
        self._last = dropped.last
        for kind in dropped.kinds:
            self._counts[kind.topic, kind.subject, kind.name] += kind.count

    def ended(self) -> Iterator[bytes]:
        if self._first:
            kinds = tuple(Kind(*key, count) for key, count in self._counts.items())
            yield encode_dropped(Dropped(self._first, self._last, kinds))
        self._first = 0
        self._counts.clear()


def _kind(entry: Entry) -> Kind:
    try:
        about = _decoder.decode(entry.payload)
    except msgspec.ValidationError:
        about = None
    if about is None or about.uuid is None:
        event = decode_event(entry.payload)
        return Kind(event.topic, event.subject, "", 1)
    return Kind(about.type, f"domain/{about.uuid}", about.event if about.type == QMP else "", 1)
