"""What text from outside may be, before anything is made of it: the same for whoever asks, in this process or another. Pure."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from aiovirt.errors import InvalidArgument, XMLInvalid

__all__ = ["MAX_XML_BYTES", "checked_word", "encoded_arguments", "encoded_xml"]

MAX_XML_BYTES: Final = 1024 * 1024
MAX_WORD: Final = 4096
MAX_ARGUMENTS: Final = 4 * 1024 * 1024
MAX_DEPTH: Final = 256
"""QEMU itself reads 1024 (json-parser.c); nothing that it knows nests deeper than some twenty."""
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_BRACKETS: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', re.DOTALL)


def encoded_xml(text: str) -> bytes:
    """A domain's XML as UTF-8. Raises XMLInvalid for more than ``MAX_XML_BYTES``, and for lone surrogates, which are no text."""
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        line = text.count("\n", 0, error.start) + 1
        raise XMLInvalid(f"{text[error.start]!r} is a lone surrogate, which is no character", line=line) from error
    if len(data) > MAX_XML_BYTES:
        raise XMLInvalid(f"{len(data)} bytes is more than the {MAX_XML_BYTES} that a domain may have")
    return data


def checked_word(text: object, what: str) -> str:
    """``text``, which is a name of something. Raises InvalidArgument, which calls it ``what``, for what no name has in it."""
    if not isinstance(text, str):
        raise InvalidArgument(f"{what} must be text, not {text!r}")
    if len(text) > MAX_WORD:
        raise InvalidArgument(f"{what} has {len(text)} characters, of at most {MAX_WORD}")
    if "\0" in text or not (text.isascii() or _SURROGATE.search(text) is None):
        raise InvalidArgument(f"{what} has a NUL or a lone surrogate in it: {text[:100]!r}")
    return text


def encoded_arguments(command: str, arguments: dict[str, object]) -> bytes:
    """A QMP command's arguments as JSON. Raises InvalidArgument for what is none, or is too long or nested too deep."""
    try:
        encoded = msgspec.json.encode(arguments)
    except RecursionError as error:
        raise _too_deep(command) from error
    except (TypeError, ValueError) as error:
        raise InvalidArgument(f"the arguments of {command!r} are no JSON: {error}") from error
    if len(encoded) > MAX_ARGUMENTS:
        raise InvalidArgument(f"the arguments of {command!r} have {len(encoded)} bytes as JSON, of at most {MAX_ARGUMENTS}")
    if len(encoded) > 2 * MAX_DEPTH and _depth(encoded) > MAX_DEPTH:
        raise _too_deep(command)
    return encoded


def _too_deep(command: str) -> InvalidArgument:
    return InvalidArgument(f"the arguments of {command!r} are more than {MAX_DEPTH} objects and arrays inside one another")


def _depth(encoded: bytes) -> int:
    """How deep JSON nests."""
    depth = deepest = 0
    for found in _BRACKETS.finditer(encoded):
        first = found[0][:1]
        depth += (first in b"{[") - (first in b"}]")
        deepest = max(deepest, depth)
    return deepest
