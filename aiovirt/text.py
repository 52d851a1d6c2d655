"""Text from outside, made fit for a terminal or a log. Pure.

A name, a file's path, what QEMU or the kernel said last: all of it may hold escape sequences (C0 and C1 controls), controls
of writing direction, line breaks, or halves of surrogate pairs. A terminal would obey them, a log would show them as lines
of its own. What is shown goes through one of these functions; what is kept stays as it was.
"""

from __future__ import annotations

from typing import Final

__all__ = ["LIMIT", "brief", "cells", "padded", "plain", "plain_json", "plain_lines", "plain_xml", "trimmed"]

LIMIT: Final = 4096


def plain(text: str) -> str:
    """``text`` in one line: each character that does not print is written as Python writes it."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def brief(text: str) -> str:
    """The same, without its middle where it would fill screens: for messages, which may quote anything."""
    return plain(text if len(text) <= LIMIT else f"{text[: LIMIT // 2]}…{text[-LIMIT // 2 :]}")


def plain_lines(text: str) -> str:
    """The same for text of several lines: line breaks and tabs stay, a carriage return before a line break goes."""
    lines = text.replace("\r\n", "\n").split("\n")
    return "\n".join("\t".join(map(plain, line.split("\t"))) for line in lines)


def plain_json(text: str, *, ascii_only: bool = False) -> str:
    """JSON with the same value, in which all that does not print is escaped (RFC 8259); with ``ascii_only`` all but ASCII."""
    if ascii_only and not text.isascii():
        return "".join(letter if letter.isascii() else _in_json(letter) for letter in plain_json(text))
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() or letter == "\n" else _in_json(letter) for letter in text)


def _in_json(letter: str) -> str:
    units = letter.encode("utf-16-be", errors="surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def plain_xml(text: str, *, ascii_only: bool = False) -> str:
    """XML with the same value, in which what does not print is a character reference; with ``ascii_only`` all but ASCII."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(letter if _stays_in_xml(letter, ascii_only) else f"&#x{ord(letter):x};" for letter in text)


def _stays_in_xml(letter: str, ascii_only: bool) -> bool:  # noqa: FBT001 - of plain_xml
    return letter in "\n\t" or (letter.isprintable() and (not ascii_only or letter.isascii()))


# -- columns -------------------------------------------------------------------------------------

_JAMO: Final = (range(0x1160, 0x1200), range(0xD7B0, 0xD7FC))
"""Vowels and final consonants of Hangul, which are drawn into the syllable before them."""


def cells(text: str) -> int:
    """How many columns of a terminal ``text`` takes, as wcwidth(3) counts: wide letters take two, combining marks none."""
    return len(text) if text.isascii() else sum(map(_cells, text))


def _cells(letter: str) -> int:
    import unicodedata

    if unicodedata.category(letter) in {"Mn", "Me", "Cf"} or any(ord(letter) in block for block in _JAMO):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in {"W", "F"} else 1


def padded(text: str, width: int) -> str:
    """``text`` with spaces behind it, up to ``width`` columns."""
    return text + " " * (width - cells(text))


def trimmed(text: str, width: int) -> str:
    """``text`` in at most ``width`` columns: where it takes more, its end is an ellipsis."""
    if cells(text) <= width:
        return text
    kept = ""
    for letter in text:
        if cells(kept + letter) > width - 1:
            break
        kept += letter
    return kept + "…" if width > 0 else ""
