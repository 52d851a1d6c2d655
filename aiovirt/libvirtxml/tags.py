"""Elements to write, and their text as libvirt writes it: its quotes, its indentation, its escapes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from aiovirt.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["NO_XML", "Tag", "in_attribute", "in_text", "leaf", "written"]

NO_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""A character that XML cannot carry."""

_ODD: Final = re.compile("[^\x20!#-%(-;=?-~]")
"""What may not stand as it is."""
_IN_TEXT: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&apos;", "\r": "&#13;"})
_IN_ATTRIBUTE: Final = _IN_TEXT | str.maketrans({"\n": "&#10;", "\t": "&#9;"})


class Tag(NamedTuple):
    """An element to write; attributes that are None are left out."""

    name: str
    attributes: Mapping[str, str | None] = {}
    content: str | tuple[Tag, ...] = ()


def leaf(name: str, text: str | None) -> tuple[Tag, ...]:
    """An element with a text, or nothing where there is none."""
    return () if text is None else (Tag(name, {}, text),)


def written(tag: Tag) -> str:
    """The element as text, with a newline at its end. Raises InvalidArgument for a character that XML cannot carry."""
    return "".join(f"{line}\n" for line in _lines(tag, ""))


def _lines(tag: Tag, indent: str) -> Iterator[str]:
    start = indent + "<" + tag.name + "".join(_attributes(tag))
    if tag.content == ():
        yield f"{start}/>"
    elif isinstance(tag.content, str):
        yield f"{start}>{in_text(tag.content)}</{tag.name}>"
    else:
        yield f"{start}>"
        for child in tag.content:
            yield from _lines(child, f"{indent}  ")
        yield f"{indent}</{tag.name}>"


def _attributes(tag: Tag) -> Iterator[str]:
    for name, value in tag.attributes.items():
        if value is not None:
            yield f" {name}='{in_attribute(value)}'"


def in_attribute(text: str) -> str:
    """``text`` as it stands in an attribute; raises InvalidArgument for a character that XML cannot carry."""
    return _carried(text).translate(_IN_ATTRIBUTE) if _ODD.search(text) else text


def in_text(text: str) -> str:
    """``text`` as it stands between tags; raises as :func:`in_attribute`."""
    return _carried(text).translate(_IN_TEXT) if _ODD.search(text) else text


def _carried(text: str) -> str:
    if found := NO_XML.search(text):
        raise InvalidArgument(f"XML cannot carry the character {found[0]!r}")
    return text
