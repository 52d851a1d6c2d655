"""How a value is spelled, where its text is not simply the value: the named converters of the tables, all of them.

A converter raises :class:`Unfit` for what libvirt may well know and aiovirt does not, InvalidArgument for what cannot be meant.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, NamedTuple
from uuid import UUID

from aiovirt.errors import InvalidArgument
from aiovirt.libvirtxml.document import brief
from aiovirt.model.openenum import OpenEnum
from aiovirt.model.units import KiB, MiB

__all__ = [
    "ELEMENT_FORMS",
    "FORMS",
    "VERBATIM",
    "ElementForm",
    "Form",
    "Unfit",
    "Wrong",
    "of_enum",
    "of_uuid",
    "of_words",
    "plain",
    "whole_number",
]

VERBATIM: Final = "verbatim"
"""The form of a field that has all XML inside an element, as it was written."""


class Unfit(Exception):
    """A value that no field of ours has."""


class Wrong(InvalidArgument):
    """An attribute of an element whose attributes and text mean one value."""

    def __init__(self, message: str, attribute: str) -> None:
        super().__init__(message)
        self.attribute = attribute


class Form(NamedTuple):
    """An attribute or a text to a value, and back; None is not written.

    ``words`` are texts with their values, for which ``read`` need not be asked. Where it ``is_word``, white space around the
    text is no part of it; where it ``is_safe``, ``str`` writes it, with no character that XML would have escaped.
    """

    read: Callable[[str], Any]
    write: Callable[[Any], str | None] = str
    is_word: bool = True
    words: Mapping[str, Any] = MappingProxyType({})
    is_safe: bool = False


class ElementForm(NamedTuple):
    """A child's text and ``attributes`` to one value, and back."""

    attributes: tuple[str, ...]
    read: Callable[[str, Mapping[str, str]], Any]
    write: Callable[[Any], tuple[str, Mapping[str, str]]]


def of_words(words: Sequence[str]) -> Form:
    """One of ``words``."""

    def read(text: str) -> str:
        return _one_of(text, words)

    return Form(read, words={word: word for word in words})


def _one_of(text: str, words: Iterable[str]) -> str:
    if text in words:
        return text
    raise Unfit(f"{brief(text)!r} is not one of {', '.join(words)}")


def of_enum(kind: type[StrEnum]) -> Form:
    """The member that the text is; of an open enumeration, whatever the text is."""
    members: dict[str, StrEnum] = {str(member): member for member in kind}
    is_open = issubclass(kind, OpenEnum)

    def read(text: str) -> StrEnum:
        if not is_open:
            return kind(_one_of(text, members))
        try:
            return kind(text)
        except ValueError:
            raise InvalidArgument(f"{brief(text)!r} is no name") from None

    return Form(read, words=members, is_safe=not is_open)


# -- numbers -----------------------------------------------------------------------------------

_NUMBER: Final = re.compile(r"[0-9]{1,20}")
_SECONDS: Final = re.compile(r"[+-]?[0-9]{1,18}")
_C_NUMBER: Final = re.compile(r"0[xX][0-9a-fA-F]{1,8}|[0-9]{1,10}")
MOST_NUMBERS: Final = 1024
"""Which are not looked at twice."""


@lru_cache(MOST_NUMBERS)
def _number(text: str) -> int:
    if _NUMBER.fullmatch(text):
        return int(text)
    raise InvalidArgument(f"{brief(text)!r} is not a whole number")


def _seconds(text: str) -> int:
    """With a sign, or without one; ``reset``, which libvirt knows too, is no number."""
    if text == "reset":
        raise Unfit("a clock that is reset")
    if _SECONDS.fullmatch(text):
        return int(text)
    raise InvalidArgument(f"{brief(text)!r} is not a number of seconds")


@lru_cache(MOST_NUMBERS)
def _c_number(text: str) -> str:
    """As it is spelled; what strtol reads with base 0."""
    if _C_NUMBER.fullmatch(text):
        return text
    raise InvalidArgument(f"{brief(text)!r} is not a number, decimal or with 0x before it")


# -- texts -------------------------------------------------------------------------------------


def _filled(text: str) -> str:
    if text:
        return text
    raise InvalidArgument("it is empty")


def _path(text: str) -> str | None:
    """None where there is no text."""
    return text or None


_UUID: Final = re.compile("[0-9a-fA-F]{8}(-?)(?:[0-9a-fA-F]{4}\\1){3}[0-9a-fA-F]{12}")


def _uuid(text: str) -> UUID:
    if _UUID.fullmatch(text):
        return UUID(text)
    raise InvalidArgument("it is not a UUID (32 hex digits, as 8-4-4-4-12 or without hyphens)")


# -- flags -------------------------------------------------------------------------------------


def _switch(on: str, off: str, *, is_always_written: bool = False) -> Form:
    """A bool in two words; without the last, false is not written."""

    def read(text: str) -> bool:
        return _one_of(text, (on, off)) == on

    def write(value: bool) -> str | None:  # noqa: FBT001 - the value of a field
        return on if value else (off if is_always_written else None)

    return Form(read, write)


# -- sizes -------------------------------------------------------------------------------------

_UNITS: Final = {"b": 1, "byte": 1, "bytes": 1} | {
    letter + suffix: base**power
    for power, letter in enumerate("kmgtpe", start=1)
    for suffix, base in (("", 1024), ("ib", 1024), ("b", 1000))
}
"""libvirt's units of memory (virScaleInteger), which are the same in small and in capital letters."""


def _size(text: str, said: Mapping[str, str]) -> int:
    """Bytes, rounded up to a KiB."""
    unit = said.get("unit", "KiB")
    if unit.lower() not in _UNITS:
        raise Wrong("it is not a unit of memory like KiB, MiB or GiB", "unit")
    count = _number(text)
    size: int = -(-count * _UNITS[unit.lower()] // KiB) * KiB
    if 0 < size < MiB:
        meant = "MiB" if size < 64 * KiB or "k" in unit.lower() else "KiB"
        raise InvalidArgument(f"{count} {unit} comes to {size} bytes, under 1 MiB: did you mean unit='{meant}'?")
    return size


def _sized(size: int) -> tuple[str, Mapping[str, str]]:
    return str(-(-size // KiB)), _IN_KIB


_IN_KIB: Final = {"unit": "KiB"}


plain: Final = Form(str, is_word=False)
whole_number: Final = Form(_number, is_safe=True)
of_uuid: Final = Form(_uuid)

FORMS: Final[Mapping[str, Form]] = {
    "number": whole_number,
    "filled": Form(_filled, is_word=False),
    "C number": Form(_c_number, is_safe=True),
    "path": Form(_path),
    "image format": of_words(("raw", "qcow2")),
    "seconds": Form(_seconds, is_safe=True),
    "yes/no": _switch("yes", "no", is_always_written=True),
    "on": _switch("on", "off"),
    "on/off": _switch("on", "off", is_always_written=True),
    "bind/connect": _switch("bind", "connect", is_always_written=True),
}
ELEMENT_FORMS: Final[Mapping[str, ElementForm]] = {"size": ElementForm(("unit",), _size, _sized)}
