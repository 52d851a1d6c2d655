"""The journal's form on disk, as bytes: segments of checksummed records, and the state beside them. Pure.

A segment is a header block and then records, one for each event, numbered without a gap. The header is
rewritten in place when the segment ends; it says which boot wrote it, and how it ended. Everything here
is untrusted when it is read: what is not whole is told apart from what is of a newer version.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import StrEnum
from typing import Final, TypeVar, Union
from uuid import UUID
from zlib import crc32

import msgspec
from msgspec import Struct

from aiovirt.errors import InvalidArgument, Unsupported
from aiovirt.events.codec import event_types
from aiovirt.events.cursor import parse_cursor
from aiovirt.events.state import Memo
from aiovirt.events.types import Event
from aiovirt.events.unknown import UnknownEvent, make_unknown

__all__ = [
    "HEADER_SIZE",
    "RECORD_LIMIT",
    "CutError",
    "DamagedError",
    "Ending",
    "Header",
    "decode_event",
    "decode_header",
    "decode_memo",
    "encode_event",
    "encode_header",
    "encode_memo",
    "encode_record",
    "walk",
]

VERSION: Final = 1
HEADER_SIZE: Final = 512
RECORD_LIMIT: Final = 16 * 1024 * 1024
SEQ_LIMIT: Final = 10**15

_SEGMENT: Final = b"AIOVIRTJ"
_STATE: Final = b"AIOVIRTS"
_BLOCK: Final = struct.Struct("<8sIII")  # magic, version, length and crc32 of what follows
_RECORD: Final = struct.Struct("<IIQ")  # length of the payload, crc32 of all that follows it, seq
_CHECKED: Final = 8  # where in a record the checked part begins: at its seq

T = TypeVar("T")


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


# -- blocks: a header, a state ------------------------------------------------------------------


def encode_header(header: Header) -> bytes:
    """A block of HEADER_SIZE bytes."""
    return _encode_block(_SEGMENT, header).ljust(HEADER_SIZE, b"\0")


def decode_header(data: bytes) -> Header:
    """Of HEADER_SIZE bytes; raises DamagedError, or Unsupported when it is of a newer version."""
    header = _decode_block(_SEGMENT, data, Header)
    if len(data) != HEADER_SIZE:
        raise DamagedError("it ends within its header")
    ended = header.ending is not Ending.OPEN
    if not 1 <= header.first < SEQ_LIMIT or (ended and not (header.first - 1 <= header.last < SEQ_LIMIT and header.end >= HEADER_SIZE)):
        raise DamagedError("its numbers cannot be")
    _check_cursor(header.epoch, header.first)
    if header.previous:
        _check_cursor(*header.previous)
    if header.hole not in {0, 1}:
        raise DamagedError("it leaves out what cannot be")
    return header


def encode_memo(memo: Memo) -> bytes:
    """A state as a file of its own."""
    return _encode_block(_STATE, memo)


def decode_memo(data: bytes) -> Memo:
    """Raises DamagedError, or Unsupported when it is of a newer version."""
    memo = _decode_block(_STATE, data, Memo)
    _check_cursor(*memo.cursor.partition(":")[::2])
    return memo


def _check_cursor(epoch: str, seq: int | str) -> None:
    try:
        parse_cursor(f"{epoch}:{seq:016}" if isinstance(seq, int) else f"{epoch}:{seq}")
    except InvalidArgument as error:
        raise DamagedError(str(error)) from error


def _encode_block(magic: bytes, value: Header | Memo) -> bytes:
    body = msgspec.msgpack.encode(value)
    return _BLOCK.pack(magic, VERSION, len(body), crc32(body)) + body


def _decode_block(magic: bytes, data: bytes, kind: type[T]) -> T:
    if len(data) < _BLOCK.size:
        raise DamagedError("it is too short")
    found, version, length, checksum = _BLOCK.unpack_from(data)
    if found != magic:
        raise DamagedError("it begins with something else")
    if version > VERSION:
        raise Unsupported(f"it was written by a newer aiovirt (its version is {version}, {VERSION} is known here)")
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
_decoder: Final[msgspec.msgpack.Decoder[Event]] = msgspec.msgpack.Decoder(Union[tuple(event_types().values())])  # noqa: UP007 - made of a list
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


def encode_event(event: Event) -> bytes:
    """What :func:`decode_event` reads, of an event that a record has held, or could."""
    return event.body if isinstance(event, UnknownEvent) else _encoder.encode(event)


def decode_event(payload: bytes | memoryview) -> Event:
    """The event of a record; an UnknownEvent where it is of a newer version. Raises DamagedError for what is no event."""
    try:
        return _decoder.decode(payload)
    except _UNREADABLE:
        try:
            return make_unknown(bytes(payload))
        except _UNREADABLE as error:
            raise DamagedError(str(error)) from error


def walk(data: bytes, offset: int, seq: int) -> Iterator[tuple[int, memoryview]]:
    """(where it ends, its payload) of each record from ``offset`` on, the first one being ``seq``.

    Raises DamagedError at what is no such record, CutError where ``data`` ends within one.
    """
    view, size = memoryview(data), len(data)
    while offset < size:
        if size - offset < _RECORD.size:
            raise CutError("it ends within the head of a record")
        length, checksum, number = _RECORD.unpack_from(data, offset)
        end = offset + _RECORD.size + length
        if number != seq or not 0 < length <= RECORD_LIMIT:
            raise DamagedError(f"record {seq} is not where it should be")
        if end > size:
            raise CutError(f"it ends within record {seq}")
        if crc32(view[offset + _CHECKED : end]) != checksum:
            raise DamagedError(f"the checksum of record {seq} is wrong")
        yield end, view[offset + _RECORD.size : end]
        offset, seq = end, seq + 1
