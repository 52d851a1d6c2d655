"""Frames: four bytes of length, big-endian, and so many of a message. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from aiovirt.errors import ProtocolError

__all__ = ["Frames", "TooLongError", "framed"]

_HEAD: Final = 4


class TooLongError(ProtocolError):
    """A frame that is longer than may be."""


def framed(message: bytes) -> bytes:
    """The message in its frame. Raises TooLongError for one that no frame can hold."""
    try:
        return len(message).to_bytes(_HEAD, "big") + message
    except OverflowError:
        raise TooLongError(f"a message of {len(message)} bytes fits in no frame") from None


class Frames:
    """Takes in bytes as they come and gives out whole messages, each of at most ``limit`` bytes, in linear time."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._held = 0
        self._due = _HEAD  # bytes until the next step: a head, or a head and what it announces

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The messages that are whole now. Raises TooLongError: nothing after that can be read."""
        self._parts.append(data)
        self._held += len(data)
        if self._held < self._due:
            return
        held = b"".join(self._parts)
        at, self._due = 0, _HEAD
        try:
            while len(held) - at >= _HEAD:
                size = int.from_bytes(held[at : at + _HEAD], "big")
                if size > self._limit:
                    raise TooLongError(f"a message of {size} bytes, of at most {self._limit}")
                if len(held) - at - _HEAD < size:
                    self._due = _HEAD + size
                    return
                at += _HEAD + size
                yield held[at - size : at]
        finally:
            self._parts = [held[at:]]
            self._held = len(held) - at
