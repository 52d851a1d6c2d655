"""The tables, on elements that are no domain's: what is declared once is read and written, whatever it is."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from aiovirt.errors import XMLInvalid
from aiovirt.libvirtxml.reader import Reader
from aiovirt.libvirtxml.table import rows
from aiovirt.libvirtxml.writer import write
from aiovirt.model.element import At, Element, Fixed
from tests.libvirtxml.specs import xml_text


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Leg(Element, frozen=True, kw_only=True):
    tag = "leg"
    length: Annotated[int, At("@length")]


class Table(Element, frozen=True, kw_only=True):
    tag = "table"
    fixed = {"@type": Fixed(("wood", "steel"))}  # noqa: RUF012 - a constant of the class
    colour: Annotated[Colour, At("@colour")] = Colour.RED
    maker: Annotated[str, At("maker/@name")]
    town: Annotated[str | None, At("maker/town")] = None
    folds: Annotated[bool, At("folds")] = False
    drawers: Annotated[Sequence[str], At("drawer/@label")] = ()
    legs: Annotated[Sequence[Leg], At("leg")] = ()


WHOLE = Table(colour=Colour.BLUE, maker="Ann", town="Ulm", folds=True, drawers=("a", "b"), legs=(Leg(length=3), Leg(length=4)))
TEXT = """\
<table type='wood' colour='blue'>
  <maker name='Ann'>
    <town>Ulm</town>
  </maker>
  <folds/>
  <drawer label='a'/>
  <drawer label='b'/>
  <leg length='3'/>
  <leg length='4'/>
</table>
"""
filled = xml_text.filter(bool)


def read(text: str) -> tuple[Table, Reader]:
    reader = Reader()
    value = reader.read(Table, etree.fromstring(text))
    assert isinstance(value, Table)
    return value, reader


def test_it_is_written_as_it_is_declared() -> None:
    assert write(WHOLE) == TEXT
    assert read(TEXT)[0] == WHOLE


@given(
    st.builds(
        Table,
        colour=st.sampled_from(Colour),
        maker=filled,
        town=st.none() | filled,
        folds=st.booleans(),
        drawers=st.lists(filled, max_size=3),
        legs=st.lists(st.builds(Leg, length=st.integers(0, 10**19)), max_size=3),
    )
)
def test_what_is_written_is_read_back(value: Table) -> None:
    assert read(write(value))[0] == value


@given(st.lists(st.tuples(st.integers(0, 7), st.sampled_from(["<x/>", "<y a='1'>text<z/></y>", "<p:q xmlns:p='urn:p'/>"])), max_size=4))
def test_what_is_not_declared_comes_back_in_its_place(strangers: list[tuple[int, str]]) -> None:
    root = etree.fromstring(TEXT)
    for index, stranger in strangers:
        root.insert(index, etree.fromstring(stranger))
    text = etree.tostring(root, encoding="unicode")
    value, reader = read(text)
    assert len(value.kept) == len(reader.unknown) == len(strangers)
    again = etree.fromstring(write(value))
    assert [child.tag for child in again] == [child.tag for child in root]
    assert read(write(value))[0] == value


@pytest.mark.parametrize(
    ("old", "new", "path", "line", "words"),
    [
        (" name='Ann'", "", "/table/maker/@name", 2, "it is missing"),
        ("length='4'", "length='long'", "/table/leg/@length", 9, "'long' is not a whole number"),
        ("length='4'", "", "/table/leg/@length", 9, "it is missing"),
        ("label='b'", "", "/table/drawer/@label", 7, "it is missing"),
        ("label='b'", "label=''", "/table/drawer/@label", 7, "it is empty"),
        ("<folds/>", "<folds/><folds/>", "/table/folds", 5, "it is there twice"),
        ("<folds/>", "<folds>yes</folds>", "/table/folds", 5, "the text 'yes' does not belong here"),
    ],
)
def test_what_cannot_be_meant_says_where(old: str, new: str, path: str, line: int, words: str) -> None:
    with pytest.raises(XMLInvalid, match=words) as invalid:
        read(TEXT.replace(old, new))
    assert (invalid.value.path, invalid.value.line) == (path, line)


def test_values_that_are_not_to_be_had_are_all_collected() -> None:
    _, reader = read(TEXT.replace("'blue'", "'green'").replace("'wood'", "'gold'"))
    assert [(str(place), place.why) for place in reader.unsupported] == [
        ("/table/@type (line 1)", "'gold' is not one of wood, steel"),
        ("/table/@colour (line 1)", "'green' is not one of red, blue"),
    ]


def test_a_table_says_its_rows() -> None:
    assert [row.path for row in rows(Table)] == ["@colour", "maker/@name", "maker/town", "folds", "drawer/@label", "leg"]
    assert [row.default for row in rows(Table) if row.field in ("colour", "folds")] == [Colour.RED, False]
