"""What to make of the segments that an engine finds: which epoch goes on, what is cut, what is dropped. Pure.

An epoch goes on when nothing that anybody can have seen is missing: after a clean end, or, within one
boot, as the file has it, for what a killed process had written is there. After anything else (another
boot, a tail that is damaged or gone) a new epoch is chained to the last event that is whole, so that no
cursor ever stands for two events.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from aiovirt.errors import Unsupported
from aiovirt.events.chain import Chain, Era
from aiovirt.events.segment import DamagedError, Ending, Header, decode_event, walk

__all__ = ["Found", "Plan", "Scan", "make_plan", "scan"]


class Scan(Struct, frozen=True):
    """What a segment's records are: the last whole one's seq, where it ends, its event's time, and whether more follows that is damaged."""

    last: int
    end: int
    time: int
    damaged: bool


class Found(Struct, frozen=True):
    """A segment as found: ``header`` is None when it is not whole. ``size`` is the file's."""

    number: int
    size: int
    header: Header | None
    scan: Scan | None

    @property
    def cut(self) -> int:
        """Bytes that follow the last whole record."""
        return self.size - self.scan.end if self.scan else self.size


class Plan(Struct, frozen=True, kw_only=True):
    """What to do.

    ``keep`` are the segments that stay, oldest first; the last one is cut to its end where
    ``go_on`` is False. ``drop`` are to be removed. ``chain`` has the epochs, and ``head`` is the last
    position that is kept. ``clean`` is None where there was nothing; ``previous_cursor`` is None and
    ``time`` 0 there, and where nothing can be read. ``time`` is the last event's, ``alive`` when the
    engine before was there for certain.
    """

    keep: tuple[Found, ...]
    drop: tuple[int, ...]
    chain: Chain
    head: int
    go_on: bool
    clean: bool | None
    cut: int
    previous_cursor: str | None
    time: int
    alive: int


def scan(data: bytes, header: Header, start: int) -> Scan:
    """The records of a segment that begin at ``start`` in ``data``; raises Unsupported for what is no event in any version."""
    end, seq, last, damaged = start, header.first, memoryview(b""), False
    try:
        for entry in walk(data, start, header.first):
            end, seq = entry.end, entry.next
            last = last if entry.dropped else entry.payload
    except DamagedError:
        damaged = True
    return Scan(seq - 1, end, _time(last) if last else max(header.began, header.time), damaged)


def _time(payload: memoryview) -> int:
    try:
        return decode_event(payload).time
    except DamagedError as error:
        raise Unsupported(f"its checksum is right, and yet it is no event that is known here: {error}") from error


def make_plan(found: Sequence[Found], boot_id: str, *, failed: bool = False, is_copy: bool = False) -> Plan:
    """``found`` in the order of their numbers, all of one host; ``boot_id`` is that of now.

    With ``is_copy`` others may have seen events that are not in it: a new epoch begins in any case.

    With ``failed`` the disk had failed, and events went on in memory: one position is left out for
    them, so that a reader that goes on from before gets a gap.
    """
    keep, intact = _contiguous(found)
    kept = {segment.number for segment in keep}
    drop = tuple(segment.number for segment in found if segment.number not in kept)
    if not keep:
        cut = sum(segment.size for segment in found)
        clean = False if cut else None
        return Plan(
            keep=(), drop=drop, chain=Chain.fresh(), head=0, go_on=False, clean=clean, cut=cut, previous_cursor=None, time=0, alive=0
        )
    last = keep[-1]
    cut = last.cut + sum(segment.size for segment in found if segment.number > last.number)
    assert last.header
    assert last.scan
    chain = _chain(keep)
    head = chain.current.base + last.scan.last
    clean = intact and last.header.ending is Ending.CLEAN
    same_boot = last.header.boot_id == boot_id != ""
    go_on = not (failed or is_copy) and (clean or (intact and same_boot and last.header.ending is Ending.OPEN))
    end = head + failed
    return Plan(
        keep=keep,
        drop=drop,
        chain=chain if go_on else chain.chained(head, end - head),
        head=end,
        go_on=go_on,
        clean=clean,
        cut=cut,
        previous_cursor=chain.cursor(head),
        time=last.scan.time,
        alive=last.header.ended or last.scan.time,
    )


def _contiguous(found: Sequence[Found]) -> tuple[tuple[Found, ...], bool]:
    """The newest run of segments without a hole, and whether nothing that came after it is gone."""
    keep: list[Found] = []
    for segment in found:
        if keep and _is_within(segment, keep[-1]):
            continue  # it was just made a part of that one, and not taken away yet
        if segment.header is None or segment.scan is None:
            if all(later.header is None for later in found if later.number > segment.number):
                return tuple(keep), segment.size == 0 and segment is found[-1]
            keep.clear()
            continue
        if keep and not _follows(keep[-1], segment.header):
            if keep[-1].header and keep[-1].header.ending is not Ending.SEALED:
                return tuple(keep), False  # the one before lost its tail: what comes after hangs in the air
            keep.clear()  # one in between is gone: what was before it cannot be reached
        keep.append(segment)
        if segment.scan.damaged:
            if all(later.header is None for later in found if later.number > segment.number):
                return tuple(keep), False
            keep.clear()
    return tuple(keep), True


def _is_within(segment: Found, other: Found) -> bool:
    one, all_of = segment.header, other.header
    if one is None or all_of is None or segment.scan is None or other.scan is None or one.epoch != all_of.epoch:
        return False
    return all_of.first <= one.first <= other.scan.last and segment.scan.last <= other.scan.last


def _follows(before: Found, header: Header) -> bool:
    assert before.header
    assert before.scan
    if header.epoch == before.header.epoch:
        return header.first == before.scan.last + 1
    return header.first == 1 and header.previous == (before.header.epoch, before.scan.last)


def _chain(keep: Sequence[Found]) -> Chain:
    """The epochs of these segments, and the one before them whose end is known."""
    headers = [segment.header for segment in keep if segment.header]
    first = headers[0]
    eras: list[Era] = []
    base = 0
    if first.previous:
        base = first.previous[1] + first.hole
        eras.append(Era(first.previous[0], 0, first.previous[1]))
    eras.append(Era(first.epoch, base, None))
    for header in headers[1:]:
        if header.epoch != eras[-1].epoch and header.previous:
            before = eras[-1]
            end = before.base + header.previous[1]
            eras[-1:] = [Era(before.epoch, before.base, end), Era(header.epoch, end + header.hole, None)]
    return Chain(tuple(eras))
