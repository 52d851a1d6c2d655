"""Cursors: an event's number as text, ``EPOCH:SEQ``.

EPOCH is a ULID (26 characters, sortable by time), SEQ a zero-padded count from 1, so that the
order of the texts is the order of the events. A cursor is opaque to readers, and safe to keep.
"""

from __future__ import annotations

import secrets
import string
import time
from typing import Final

from aiovirt.errors import InvalidArgument

__all__ = ["SEQ_DIGITS", "format_cursor", "new_epoch", "parse_cursor"]

SEQ_DIGITS: Final = 16
_CROCKFORD: Final = string.digits + "ABCDEFGHJKMNPQRSTVWXYZ"
_EPOCH_LENGTH: Final = 26


def new_epoch(after: str = "") -> str:
    """A fresh ULID that sorts behind the epoch ``after``, whatever the clock says.

    48 bits of milliseconds, 80 bits of chance (https://github.com/ulid/spec).
    """
    milliseconds = time.time_ns() // 1_000_000
    if after:
        milliseconds = max(milliseconds, _milliseconds(after) + 1)
    number = milliseconds << 80 | secrets.randbits(80)
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))


def _milliseconds(epoch: str) -> int:
    number = 0
    for letter in epoch:
        number = number << 5 | _CROCKFORD.index(letter)
    return number >> 80


def format_cursor(epoch: str, seq: int) -> str:
    """The cursor of event ``seq`` of ``epoch``; seq 0 stands before the first."""
    return f"{epoch}:{seq:0{SEQ_DIGITS}d}"


def parse_cursor(cursor: str) -> tuple[str, int]:
    """(epoch, seq) of a cursor; raises InvalidArgument for what never was one."""
    epoch, colon, digits = cursor.partition(":")
    well_formed = colon and len(epoch) == _EPOCH_LENGTH and set(epoch) <= set(_CROCKFORD)
    if not well_formed or len(digits) != SEQ_DIGITS or not (digits.isascii() and digits.isdigit()):
        raise InvalidArgument(f"{cursor[:80]!r} is not a cursor (EPOCH:SEQ, as an event carries it)")
    return epoch, int(digits)
