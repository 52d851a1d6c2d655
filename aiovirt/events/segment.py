"""The journal's form on disk, as bytes: segments of checksummed records, and the state beside them. Pure.

A segment is a header block and then records, one for each event, numbered without a gap. One record may stand for many
events that were dropped early (:mod:`aiovirt.events.dropped`): its number is that of the first, with a bit set that no
event's has. The header is
rewritten in place when the segment ends; it says which boot wrote it, and how it ended. Everything here
is untrusted when it is read: what is not whole is told apart from what is of a newer version.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from enum import StrEnum
from functools import lru_cache
from types import GenericAlias
from typing import Any, Final, TypeVar, Union, cast
from uuid import UUID
from zlib import crc32

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from aiovirt.errors import InvalidArgument, Unsupported
from aiovirt.events.cursor import parse_cursor
from aiovirt.events.dropped import Dropped
from aiovirt.events.event import CLASSES
from aiovirt.events.registry import event_types, table_types
from aiovirt.events.state import Checkpoint
from aiovirt.events.types import DomainQMP, Event
from aiovirt.events.unknown import UnknownEvent, make_unknown
from aiovirt.model.table import TableType

__all__ = [
    "HEADER_SIZE",
    "RECORD_LIMIT",
    "CutError",
    "DamagedError",
    "Ending",
    "Entry",
    "Header",
    "decode_checkpoint",
    "decode_dropped",
    "decode_event",
    "decode_header",
    "encode_block",
    "encode_checkpoint",
    "encode_dropped",
    "encode_event",
    "encode_header",
    "encode_record",
    "payload_of",
    "walk",
]

VERSION: Final = 2
PLAIN: Final = 1
"""The version of a segment that has all its events, and of a state."""
HEADER_SIZE: Final = 512
RECORD_LIMIT: Final = 16 * 1024 * 1024
SEQ_LIMIT: Final = 10**15
DROPPED: Final = 1 << 63

_SEGMENT: Final = b"AIOVIRTJ"
_STATE: Final = b"AIOVIRTS"
_BLOCK: Final = struct.Struct("<8sIII")  # magic, version, length and crc32 of what follows
_RECORD: Final = struct.Struct("<IIQ")  # length of the payload, crc32 of all that follows it, seq
_CHECKED: Final = 8  # where in a record the checked part begins: at its seq

T = TypeVar("T")
V = TypeVar("V")


class DamagedError(Exception):
    """These bytes are not what was written."""


class CutError(DamagedError):
    """The bytes end in the middle of a record."""


class Ending(StrEnum):
    """How a segment ended: not yet, by going on in the next one, or with its engine, in order."""

    OPEN = "open"
    SEALED = "sealed"
    CLEAN = "clean"


class Header(Struct, frozen=True, kw_only=True):
    """What a segment is a part of.

    Its records are the events ``first``, ``first + 1``, … of ``epoch``, which goes on from
    ``previous`` (the epoch before, and its last seq) if that is known, after a ``hole`` of so many
    positions for events that were in memory only. ``boot_id`` is that of the
    engine that wrote here last. ``began`` is when it was made, in nanoseconds since 1970 UTC, and
    ``time`` that of the last event before. Once ended, ``last`` is its last event's seq, ``time`` that
    event's, ``end`` its size in bytes, and ``ended`` when that was.

    ``clock`` is the journal's own clock when it was made, and ``stopped`` when it ended: nanoseconds for which this host was
    up, which no one can set. ``boottime`` is CLOCK_BOOTTIME (clock_gettime(2)) at the moment of ``clock``. ``inode`` is that
    of the file: another one's is a copy. ``is_complete`` is whether no event was dropped early.

    ``newer`` are members that a newer version wrote, as they were, none of this name: they are kept while there is room for all.
    """

    host: UUID
    epoch: str
    first: int
    boot_id: str
    began: int
    previous: tuple[str, int] | None = None
    hole: int = 0
    ending: Ending = Ending.OPEN
    last: int = 0
    end: int = 0
    time: int = 0
    ended: int = 0
    clock: int = 0
    stopped: int = 0
    boottime: int = 0
    inode: int = 0
    is_complete: bool = True
    newer: dict[str, msgspec.Raw] = {}


_MEMBERS: Final = tuple(name for name in Header.__struct_fields__ if name != "newer")

# -- blocks: a header, a state ------------------------------------------------------------------


def encode_header(header: Header) -> bytes:
    """A block of HEADER_SIZE bytes."""
    version = PLAIN if header.is_complete else VERSION
    members: dict[str, object] = {name: getattr(header, name) for name in _MEMBERS}
    block = _encode_block(_SEGMENT, members | header.newer, version)
    if len(block) > HEADER_SIZE:
        block = _encode_block(_SEGMENT, members, version)
    assert len(block) <= HEADER_SIZE
    return block.ljust(HEADER_SIZE, b"\0")


def decode_header(data: bytes) -> Header:
    """Of HEADER_SIZE bytes; raises DamagedError, or Unsupported when it is of a newer version."""
    header = _decode_block(_SEGMENT, data, Header, VERSION)
    if len(data) != HEADER_SIZE:
        raise DamagedError("it ends within its header")
    ended = header.ending is not Ending.OPEN
    if not 1 <= header.first < SEQ_LIMIT or (ended and not (header.first - 1 <= header.last < SEQ_LIMIT and header.end >= HEADER_SIZE)):
        raise DamagedError("its numbers cannot be")
    _check_cursor(header.epoch, header.first)
    if header.previous:
        _check_cursor(*header.previous)
    if min(header.clock, header.stopped, header.boottime) < 0 or header.hole not in {0, 1}:
        raise DamagedError("it leaves out what cannot be")
    return replace(header, newer=_newer(_SEGMENT, data, Header, VERSION))


class _About(Struct, frozen=True, kw_only=True):
    """What a state says of itself beside its tables, of which each is a member of its own."""

    cursor: str
    boot_id: str
    incarnation: int
    resyncs: dict[str, int] = {}
    newer_as_of: str = ""
    newer_tables: tuple[str, ...] = ()


def encode_checkpoint(checkpoint: Checkpoint) -> bytes:
    """A state as a file of its own."""
    members: dict[str, object] = {name: checkpoint.tables.get(kind, ()) for name, kind in table_types().items()}
    members |= {
        "cursor": checkpoint.cursor,
        "boot_id": checkpoint.boot_id,
        "incarnation": checkpoint.incarnation,
        "resyncs": checkpoint.resyncs,
    }
    if checkpoint.newer:
        members |= checkpoint.newer | {"newer_as_of": checkpoint.newer_as_of, "newer_tables": tuple(checkpoint.newer)}
    return _encode_block(_STATE, members, PLAIN)


def decode_checkpoint(data: bytes) -> Checkpoint:
    """Raises DamagedError, or Unsupported when it is of a newer version."""
    about = _decode_block(_STATE, data, _About, PLAIN)
    _check_cursor(*about.cursor.partition(":")[::2])
    tables = _newer(_STATE, data, _About, PLAIN)
    known = {kind: _values(tables.pop(name), kind) for name, kind in table_types().items() if name in tables}
    behind = frozenset(kind for kind in known if kind.name in about.newer_tables)
    return Checkpoint(
        cursor=about.cursor,
        boot_id=about.boot_id,
        incarnation=about.incarnation,
        tables=known,
        resyncs=about.resyncs,
        behind=behind,
        newer=tables,
        newer_as_of=(about.newer_as_of or about.cursor) if tables or behind else "",
    )


def _values(table: msgspec.Raw, kind: TableType[Any, V]) -> tuple[V, ...]:
    try:
        return msgspec.msgpack.decode(table, type=_tuple_of(kind.value))
    except (msgspec.MsgspecError, RecursionError) as error:
        raise DamagedError(f"its table {kind.name!r}: {error}") from error


def _tuple_of(value: type[V]) -> type[tuple[V, ...]]:
    return cast("type[tuple[V, ...]]", GenericAlias(tuple, (value, ...)))


def _newer(magic: bytes, data: bytes, kind: type[Struct], newest: int) -> dict[str, msgspec.Raw]:
    """The members of a block that ``kind`` has not, as they are."""
    members = _decode_block(magic, data, dict[str, msgspec.Raw], newest)
    return {name: value.copy() for name, value in members.items() if name not in kind.__struct_fields__}


def _check_cursor(epoch: str, seq: int | str) -> None:
    try:
        parse_cursor(f"{epoch}:{seq:016}" if isinstance(seq, int) else f"{epoch}:{seq}")
    except InvalidArgument as error:
        raise DamagedError(str(error)) from error


def _encode_block(magic: bytes, value: dict[str, object], version: int) -> bytes:
    body = msgspec.msgpack.encode(value)
    return _BLOCK.pack(magic, version, len(body), crc32(body)) + body


def _decode_block(magic: bytes, data: bytes, kind: type[T], newest: int) -> T:
    if len(data) < _BLOCK.size:
        raise DamagedError("it is too short")
    found, version, length, checksum = _BLOCK.unpack_from(data)
    if found != magic:
        raise DamagedError("it begins with something else")
    if version > newest:
        raise Unsupported(f"it was written by a newer aiovirt (its version is {version}, {newest} is known here)")
    body = data[_BLOCK.size : _BLOCK.size + length]
    if len(body) != length or crc32(body) != checksum:
        raise DamagedError("its checksum is wrong")
    try:
        return msgspec.msgpack.decode(body, type=kind)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise DamagedError(str(error)) from error


# -- records ------------------------------------------------------------------------------------

_UNREADABLE: Final = (msgspec.MsgspecError, RecursionError, UnicodeError)
_encoder: Final = msgspec.msgpack.Encoder()


@lru_cache(1)
def _decoder_of(_count: int) -> msgspec.msgpack.Decoder[Event]:
    """Of the events of all classes that there are."""
    return msgspec.msgpack.Decoder(Union[tuple(event_types().values())])  # noqa: UP007 - made of a list


_decoder: Final = _decoder_of(len(CLASSES))
_dropped_decoder: Final = msgspec.msgpack.Decoder(Dropped)
_SEQ: Final = struct.Struct("<Q")
_LENGTH: Final = struct.Struct("<II")


def encode_record(seq: int, event: Event) -> bytes:
    """The record of event ``seq``; raises ValueError for an event that cannot be written, or is larger than can be read."""
    try:
        checked = _SEQ.pack(seq) + _encoder.encode(event)
    except (OverflowError, TypeError, RecursionError) as error:
        raise ValueError(f"an event that cannot be written: {error}") from error
    if len(checked) - _SEQ.size > RECORD_LIMIT:
        raise ValueError(f"an event of {len(checked)} bytes is too large")
    return _LENGTH.pack(len(checked) - _SEQ.size, crc32(checked)) + checked


def payload_of(record: bytes) -> bytes:
    """The event of a record as :func:`encode_event` writes it."""
    return record[_RECORD.size :]


def encode_dropped(dropped: Dropped) -> bytes:
    """The record that stands for these events."""
    checked = _SEQ.pack(dropped.first | DROPPED) + encode_block(dropped)
    return _LENGTH.pack(len(checked) - _SEQ.size, crc32(checked)) + checked


def encode_block(dropped: Dropped) -> bytes:
    """What :func:`decode_dropped` reads."""
    return _encoder.encode(dropped)


def decode_dropped(payload: bytes | memoryview) -> Dropped:
    """What such a record says; raises DamagedError."""
    try:
        dropped = _dropped_decoder.decode(payload)
    except _UNREADABLE as error:
        raise DamagedError(str(error)) from error
    if not 0 < dropped.first <= dropped.last < SEQ_LIMIT:
        raise DamagedError("its numbers cannot be")
    return dropped


def encode_event(event: Event) -> bytes:
    """What :func:`decode_event` reads, of an event that a record has held, or could."""
    return event.body if isinstance(event, UnknownEvent) else _encoder.encode(event)


def decode_event(payload: bytes | memoryview) -> Event:
    """The event of a record; an UnknownEvent where it is of a newer version. Raises DamagedError for what is no event."""
    try:
        return _decode(payload, _decoder)
    except _UNREADABLE:
        return _decode_other(payload)


def _decode(payload: bytes | memoryview, decoder: msgspec.msgpack.Decoder[Event]) -> Event:
    event = decoder.decode(payload)
    if type(event) is DomainQMP:  # an instance check takes longer than all else here but the decoding
        event.detach()
    return event


def _decode_other(payload: bytes | memoryview) -> Event:
    """An event of a class that was defined after this module was read, or of a newer version."""
    if (decoder := _decoder_of(len(CLASSES))) is not _decoder:
        with suppress(*_UNREADABLE):
            return _decode(payload, decoder)
    try:
        return make_unknown(bytes(payload))
    except _UNREADABLE as error:
        raise DamagedError(str(error)) from error


class Entry(Struct, gc=False):
    """A record: where it ends, the number that the next one has, the event's bytes, or which events it stands for."""

    end: int
    next: int
    payload: memoryview
    dropped: Dropped | None = None


def walk(data: bytes, offset: int, seq: int) -> Iterator[Entry]:
    """Each record from ``offset`` on, the first one being ``seq``.

    Raises DamagedError at what is no such record, CutError where ``data`` ends within one.
    """
    view, size, head, unpack = memoryview(data), len(data), _RECORD.size, _RECORD.unpack_from
    while offset < size:
        if size - offset < head:
            raise CutError("it ends within the head of a record")
        length, checksum, number = unpack(data, offset)
        end = offset + head + length
        if (number != seq and number != seq | DROPPED) or not 0 < length <= RECORD_LIMIT:
            raise DamagedError(f"record {seq} is not where it should be")
        if end > size:
            raise CutError(f"it ends within record {seq}")
        if crc32(view[offset + _CHECKED : end]) != checksum:
            raise DamagedError(f"the checksum of record {seq} is wrong")
        entry = Entry(end, seq + 1, view[offset + head : end])
        if number != seq:
            _stand_for(entry, seq)
        offset, seq = end, entry.next
        yield entry


def _stand_for(entry: Entry, seq: int) -> None:
    entry.dropped = dropped = decode_dropped(entry.payload)
    if dropped.first != seq:
        raise DamagedError(f"record {seq} stands for others")
    entry.next = dropped.last + 1
