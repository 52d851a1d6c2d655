"""Made-up bytes out of real ones, for where no fuzzer is installed, and for the short form that runs with the tests."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Final

__all__ = ["mutations"]

LARGEST: Final = 16 * 1024

Change = Callable[[random.Random, bytes, Sequence[bytes]], bytes]


def _span(dice: random.Random, data: bytes) -> tuple[int, int]:
    start = dice.randrange(len(data) + 1)
    return start, min(len(data), start + dice.choice((1, 1, 2, 8, 64, 600)))


def _flip(dice: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    start, end = _span(dice, data)
    return data[:start] + bytes(byte ^ 1 << dice.randrange(8) for byte in data[start:end]) + data[end:]


def _drop(dice: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    start, end = _span(dice, data)
    return data[:start] + data[end:]


def _repeat(dice: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    start, end = _span(dice, data)
    return data[:start] + data[start:end] * dice.choice((2, 3, 100)) + data[end:]


def _insert(dice: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    start, _end = _span(dice, data)
    return data[:start] + dice.choice(TOKENS) + data[start:]


def _splice(dice: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    other = dice.choice(others)
    return data[: _span(dice, data)[0]] + other[_span(dice, other)[0] :]


def _shuffle(dice: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    lines = [line for part in (data, dice.choice(others)) for line in part.splitlines(keepends=True)]
    dice.shuffle(lines)
    return b"".join(lines)


TOKENS: Final = (
    *(b"\n", b"\r\n", b"\0", b"\xff", b"\xed\xa0\x80", b'"', b"\\", b"\\ud800", b"{", b"}", b"[", b"]", b"[" * 2000, b",:", b" " * 600),
    *(
        b"-1",
        b"0",
        b"1e999",
        b"9" * 30,
        b"9" * 5000,
        b"null",
        b"true",
        b'{"event": "',
        b'"id": 7',
        b'{"return": {}',
        b'{"QMP": ',
        b'"error": ',
    ),
    *(b"\x04\x00\x00\x00", b"\x00\x00\x00\x00", b"\xff\xff\xff\x7f", b"<", b"/>", b"&", b"<x>", b"</x>", b"<!--", b"<!DOCTYPE x>", b"="),
)
CHANGES: Final[tuple[Change, ...]] = (_flip, _flip, _drop, _repeat, _insert, _insert, _splice, _shuffle)


def mutations(seeds: Sequence[bytes], seed: str) -> Iterator[bytes]:
    """Without end, and the same for the same ``seed``."""
    dice = random.Random(seed)  # noqa: S311 - to be had again
    while True:
        data = dice.choice(seeds)
        for _ in range(dice.choice((1, 1, 2, 3, 8))):
            data = dice.choice(CHANGES)(dice, data, seeds)[:LARGEST]
        yield data
