"""XML from outside as a tree: limits, a parser that reaches for nothing, and where a thing stands.

What the elements mean is not known here.
"""

from __future__ import annotations

import copy
import re
from functools import cache, lru_cache
from threading import get_ident
from typing import TYPE_CHECKING, Final

from lxml import etree

from aiovirt.errors import XMLInvalid
from aiovirt.model.words import MAX_XML_BYTES, encoded_xml

if TYPE_CHECKING:
    from lxml.etree import _Element as Element

__all__ = [
    "MAX_BYTES",
    "MAX_DEPTH",
    "SPACE",
    "attributes_of",
    "brief",
    "line_of",
    "name_of",
    "path_of",
    "read",
    "standing_alone",
    "tag_of",
    "text_of",
]

MAX_BYTES: Final = MAX_XML_BYTES
MAX_DEPTH: Final = 64

# lxml takes the square of their number to read an element's attributes, and gives every name out
# with its namespace written in full.
MAX_ATTRIBUTES: Final = 256
MAX_NAMESPACE: Final = 1024

SPACE: Final = " \t\r\n"
"""XML's white space; Python's ``strip()`` would take more."""

_BRIEF: Final = 100
_POSITION = re.compile(r"\s*, line \d+, column \d+$")


def read(xml: str | bytes, *, depth: int = MAX_DEPTH) -> Element:
    """The root of ``xml``. Text is taken as it is; bytes in the encoding that they declare.

    Raises XMLInvalid for what is over a limit (of bytes, of ``depth``, of what one element
    carries), is not well-formed, or has a DOCTYPE.
    """
    data = xml if isinstance(xml, bytes) else encoded_xml(xml)
    if len(data) > MAX_BYTES:
        raise XMLInvalid(f"{len(data)} bytes is more than the {MAX_BYTES} that a domain may have")
    try:
        root = etree.fromstring(data, _parser(None if isinstance(xml, bytes) else "utf-8", get_ident()))
    except etree.XMLSyntaxError as error:
        raise XMLInvalid(_POSITION.sub("", error.msg or "it is not XML"), line=error.lineno) from error
    if root.getroottree().docinfo.internalDTD is not None:
        raise XMLInvalid("a DOCTYPE has no place in a domain's XML", line=_line_with(b"<!DOCTYPE", data))
    if _may_be_too_much(root, depth, data):
        _check_tree(root, depth)
    return root


_LONG_NAMESPACE: Final = re.compile(rb"""xmlns[^=]*=\s*(?:"[^"]{%d}|'[^']{%d})""" % (MAX_NAMESPACE, MAX_NAMESPACE))
_MANY_ATTRIBUTES: Final = etree.XPath(f"boolean(descendant-or-self::*/@*[{MAX_ATTRIBUTES // 2 + 1}])", smart_strings=False)


def _may_be_too_much(root: Element, depth: int, data: bytes) -> bool:
    """Whether the tree has to be looked at more closely; it has not, nearly always."""
    if b"\0" in data or data.count(b"xmlns") > MAX_ATTRIBUTES // 2 or _LONG_NAMESPACE.search(data):
        return True
    return bool(_MANY_ATTRIBUTES(root)) or bool(_deeper_than(depth)(root))


@cache
def _deeper_than(depth: int) -> etree.XPath:
    return etree.XPath(f"boolean({'/*' * (depth + 1)})", smart_strings=False)


@lru_cache(64)
def _parser(encoding: str | None, _thread: int) -> etree.XMLParser:
    """One for each thread: two that parse at a time would wait for each other."""
    return etree.XMLParser(
        encoding=encoding,
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        strip_cdata=False,
    )


def _line_with(mark: bytes, data: bytes) -> int | None:
    before, found, _ = data.partition(mark)
    return before.count(b"\n") + 1 if found else None


def _check_tree(root: Element, max_depth: int) -> None:
    depth = 0
    namespaces: list[str] = []
    for event, found in etree.iterwalk(root, events=("start", "end", "start-ns")):
        if event == "start-ns":
            namespaces.append(found[1])
        elif event == "end":
            depth -= 1
        else:
            depth += 1
            if wrong := _too_much(found, depth, max_depth, namespaces):
                raise XMLInvalid(wrong, path=path_of(found), line=line_of(found))
            namespaces.clear()


def _too_much(element: Element, depth: int, max_depth: int, namespaces: list[str]) -> str:
    """What is too much of ``element``, which declares ``namespaces``; or nothing."""
    if depth > max_depth:
        return f"more than {max_depth} elements inside one another"
    if len(element.attrib) + len(namespaces) > MAX_ATTRIBUTES:
        return f"more than {MAX_ATTRIBUTES} attributes"
    if any(len(uri) > MAX_NAMESPACE for uri in namespaces):
        return f"a namespace of more than {MAX_NAMESPACE} characters"
    return ""


def name_of(element: Element) -> str:
    """The element's name as it was written, with its prefix: ``qemu:commandline``."""
    tag = str(element.tag)
    return brief(f"{element.prefix}:{tag.rpartition('}')[2]}" if element.prefix else tag)


def path_of(element: Element) -> str:
    """Where the element stands: ``/domain/devices/disk``."""
    above = [name_of(parent) for parent in element.iterancestors()]
    return "/" + "/".join([*reversed(above), name_of(element)])


def line_of(element: Element) -> int | None:
    """The line on which the element's start tag ends."""
    line: object = element.sourceline
    return line if isinstance(line, int) else None


def text_of(element: Element) -> str:
    """All text right in ``element``: comments inside do not cut it short."""
    return (element.text or "") + "".join(child.tail or "" for child in element)


def brief(text: str) -> str:
    """``text`` for a message: without its middle where it would fill the screen."""
    return text if len(text) <= 2 * _BRIEF else f"{text[:_BRIEF]}…{text[-_BRIEF:]}"


def attributes_of(element: Element) -> list[tuple[str, str]]:
    """Its attributes: their names as lxml gives them, with the namespace in front, and values."""
    return element.items()  # type: ignore[return-value] # bytes are for who puts them in


def tag_of(element: Element) -> str | None:
    """Its name, as lxml gives it; None for a comment and a processing instruction."""
    tag: object = element.tag
    return tag if isinstance(tag, str) else None


def standing_alone(element: Element) -> str:
    """The element as text, with the namespaces that it needs."""
    return etree.tostring(copy.deepcopy(element), encoding="unicode", with_tail=False)
