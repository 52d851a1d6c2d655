from __future__ import annotations

import ctypes
import json
import locale

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from aiovirt.text import LIMIT, brief, cells, padded, plain, plain_json, plain_lines, plain_xml, trimmed

HOSTILE = {
    "an escape": "\x1b[2J\x1b]0;owned\x07",
    "C1": "\x9b31m\x85",
    "backspaces": "yes\b\b\bno",
    "a delete": "\x7f",
    "direction": "\u202egnp.exe\u2066\u2069\u200f",
    "line breaks": "one\ntwo\r\u2028\u2029\x0b\x0c",
    "half of a pair": "\ud83d",
    "a byte of a path": "\udcff",
    "a tag": "\U000e0041",
}
CHANGED = {*range(0x3248, 0x3250), *range(0x4DC0, 0x4E00)}
"""Numbers in squares and hexagrams: Unicode has made them wide in one release or another."""
anything = st.text(st.characters(exclude_categories=()))


def is_harmless(text: str) -> bool:
    return all(letter.isprintable() for letter in text)


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_a_terminal_would_obey_is_written_out(text: str) -> None:
    assert is_harmless(plain(text))
    assert plain(text) != text
    assert plain(text).encode("unicode_escape") != b""


@given(anything)
def test_any_text_becomes_one_harmless_line(text: str) -> None:
    assert is_harmless(plain(text))
    plain(text).encode()


def test_what_would_fill_screens_loses_its_middle() -> None:
    said = brief("a" * 10_000_000 + "\x1b")
    assert len(said) < LIMIT + 10
    assert said.startswith("aaa")
    assert said.endswith("a\\x1b")
    assert brief("東\n") == "東\\n"


def test_what_prints_stays_as_it_is() -> None:
    for text in ("", "web-1", "prüfung", "東京", "a b", "e\u0301", "\N{PILE OF POO}"):
        assert plain(text) == text
    assert plain("\x1b\u202e\n") == "\\x1b\\u202e\\n"


@given(anything)
def test_lines_stay_lines(text: str) -> None:
    said = plain_lines(text)
    assert is_harmless(said.replace("\n", "").replace("\t", ""))
    assert said.count("\n") == text.count("\n")


def test_a_carriage_return_before_a_line_break_goes() -> None:
    assert plain_lines("a\tb\r\nc\rd\n") == "a\tb\nc\\rd\n"


@given(st.recursive(anything, lambda inner: st.lists(inner) | st.dictionaries(anything, inner)), st.booleans())
def test_json_keeps_its_value(value: object, ascii_only: bool) -> None:  # noqa: FBT001 - drawn
    told = plain_json(json.dumps(value, ensure_ascii=False), ascii_only=ascii_only)
    assert json.loads(told) == value
    assert is_harmless(told)
    assert told.isascii() or not ascii_only


def test_json_on_several_lines_stays_so() -> None:
    assert plain_json('{\n  "a": "\x9b"\n}') == '{\n  "a": "\\u009b"\n}'
    assert json.loads(plain_json('"\U000e0041\x7f"')) == "\U000e0041\x7f"


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00\r\ufffe\uffff", min_codepoint=32)), st.booleans())
def test_xml_keeps_its_value(text: str, ascii_only: bool) -> None:  # noqa: FBT001 - drawn
    element = etree.Element("name")
    element.text = text
    written = plain_xml(etree.tostring(element, encoding="unicode"), ascii_only=ascii_only)
    assert (etree.fromstring(written).text or "") == text
    assert is_harmless(written)
    assert written.isascii() or not ascii_only


@pytest.mark.parametrize(
    ("text", "width"), [("", 0), ("web", 3), ("東京", 4), ("e\u0301", 1), ("\N{PILE OF POO}", 2), ("\uff21", 2), ("한", 2)]
)
def test_cells_are_counted(text: str, width: int) -> None:
    assert cells(text) == width
    assert padded(text, 5) == text + " " * (5 - width)
    assert padded(text, 1).startswith(text)


def test_cells_are_those_of_the_c_library() -> None:
    before = locale.setlocale(locale.LC_CTYPE)
    try:
        locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
        wcwidth = ctypes.CDLL(None).wcwidth
        letters = [chr(code) for code in range(32, 0x30000) if chr(code).isprintable() and code not in CHANGED]
        widths = {letter: wcwidth(ctypes.c_wchar(letter)) for letter in letters}
    finally:
        locale.setlocale(locale.LC_CTYPE, before)
    assert [letter for letter, width in widths.items() if width not in {-1, cells(letter)}] == []
    assert sum(width >= 0 for width in widths.values()) > 100_000


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("short", 5, "short"),
        ("longer", 5, "long…"),
        ("東京東京", 8, "東京東京"),
        ("東京東京", 7, "東京東…"),
        ("東京東京", 6, "東京…"),
        ("x", 0, ""),
    ],
)
def test_what_is_too_wide_ends_in_an_ellipsis(text: str, width: int, shown: str) -> None:
    assert trimmed(text, width) == shown
    assert cells(trimmed(text, width)) <= width
