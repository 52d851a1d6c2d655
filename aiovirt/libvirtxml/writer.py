"""Values to XML, by the tables, as libvirt writes it: its quotes, its indentation, its escapes.

What was kept comes back in its place: an attribute after those that have a field, a child as the same child of its parent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, cast

from aiovirt.libvirtxml.table import Branch, table
from aiovirt.libvirtxml.tags import in_attribute, in_text
from aiovirt.model.element import Element, Kept

__all__ = ["Turn", "write"]

Turn = Callable[[Any], Any]
"""Makes of a value the one that is written, where no table says all of it."""
NO_TURNS: Final[Mapping[type[Element], Turn]] = MappingProxyType({})
NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


def write(value: Element, turns: Mapping[type[Element], Turn] = NO_TURNS, **first: str) -> str:
    """``value`` as text, with a newline at its end; its own tag gets the attributes ``first``, too.

    Raises InvalidArgument for a character that XML cannot carry.
    """
    return _Writer(value, turns, first).written("")


class _Writer:
    """One element's writing."""

    __slots__ = ("_first", "_keeping", "_turns", "_value")

    def __init__(self, value: Element, turns: Mapping[type[Element], Turn], first: Mapping[str, str]) -> None:
        turn = turns.get(type(value))
        self._value: Element = value if turn is None else turn(value)
        self._turns = turns
        self._first = first
        self._keeping: dict[str, list[Kept]] = {}
        for kept in self._value.kept:
            self._keeping.setdefault(kept.path, []).append(kept)

    def written(self, indent: str) -> str:
        """The element; there is one, whatever it says."""
        root = table(type(self._value)).root
        attributes = self._attributes(root) + "".join([_attribute(*each) for each in self._first.items()])
        return _element(self._value.tag, attributes, self._text(root), self._children(root, indent), indent)

    def _branch(self, tag: str, branch: Branch, indent: str, item: object = None, number: str = "") -> str:
        """A branch's element, or nothing where it would say nothing; ``item`` and ``number`` are its own where it is one of several."""
        attributes, text = self._attributes(branch, item, number), self._text(branch, item)
        children = self._children(branch, indent, number) if branch.has_children or self._keeping else []
        if text is not None or children or attributes != branch.fixed or (branch.flag is not None and getattr(self._value, branch.flag)):
            return _element(tag, attributes, text, children, indent)
        return ""

    def _attributes(self, branch: Branch, item: object = None, number: str = "") -> str:
        written = branch.fixed
        for start, leaf in branch.written:
            value = item if leaf.is_many else getattr(self._value, leaf.field)
            if value is None:
                continue
            if leaf.form.is_safe:
                written += f"{start}{value}'"
            elif (text := leaf.form.write(value)) is not None:
                written += f"{start}{in_attribute(text)}'"
        if branch.whole is not None and (meant := getattr(self._value, branch.whole[0])) is not None:
            written += "".join([_attribute(*each) for each in branch.whole[1].write(meant)[1].items()])
        if self._keeping:
            written += self._kept_attributes(branch.path + number)
        return written

    def _kept_attributes(self, path: str) -> str:
        kept = [each for each in self._keeping.get(path, ()) if each.index < 0]
        return "".join([_foreign(each.name, each.text, prefix) for prefix, each in enumerate(kept)])

    def _text(self, branch: Branch, item: object = None) -> str | None:
        if (leaf := branch.text) is not None:
            if not leaf.field:
                return leaf.fixed
            value = item if leaf.is_many else getattr(self._value, leaf.field)
            return None if value is None else leaf.form.write(value)
        if branch.whole is not None and (meant := getattr(self._value, branch.whole[0])) is not None:
            return branch.whole[1].write(meant)[0]
        return None

    def _children(self, branch: Branch, indent: str, number: str = "") -> list[str]:
        """The elements inside, each with its own lines."""
        written: list[str] = []
        if branch.verbatim is not None:
            inside = getattr(self._value, branch.verbatim)
            return [f"{indent}  {inside}\n"] if inside else []
        for tag, below in branch.children.items():
            if not isinstance(below, Branch):
                self._parts(below.field, indent, written)
            elif below.is_many:
                items = enumerate(getattr(self._value, below.items_of), start=1)
                written += [self._branch(tag, below, indent + "  ", item, f"[{number}]") for number, item in items]
            elif one := self._branch(tag, below, indent + "  "):
                written.append(one)
        if branch.others is not None:
            self._parts(branch.others.field, indent, written)
        for kept in self._keeping.get(branch.path + number, ()) if self._keeping else ():
            if kept.index >= 0:
                written.insert(kept.index, f"{indent}  {kept.text}\n")
        return written

    def _parts(self, field: str, indent: str, written: list[str]) -> None:
        value: object = getattr(self._value, field)
        if isinstance(value, Element):
            written.append(self._part(value, indent + "  "))
        elif value is not None:
            written += [self._part(part, indent + "  ") for part in cast("tuple[Element, ...]", value)]

    def _part(self, part: Element, indent: str) -> str:
        kind = type(part)
        if table(kind).is_bare and kind not in self._turns:
            return _bare(part, indent)
        return _Writer(part, self._turns, NOTHING).written(indent)


MOST_KNOWN: Final = 1024
SHORT: Final = 256
BARE: Final[dict[tuple[Element, str], str]] = {}
"""What was written of elements that have attributes only, as addresses do, by the element and its indentation."""


def _bare(part: Element, indent: str) -> str:
    text = BARE.get((part, indent))
    if text is None:
        text = _Writer(part, NO_TURNS, NOTHING).written(indent)
        if len(text) < SHORT and len(BARE) < MOST_KNOWN:
            BARE[part, indent] = text
    return text


def _element(tag: str, attributes: str, text: str | None, children: list[str], indent: str) -> str:
    if children and text is not None:  # which was kept, and is no text
        return f"{indent}<{tag}{attributes}>{in_text(text)}{''.join([child.strip() for child in children])}</{tag}>\n"
    if children:
        return f"{indent}<{tag}{attributes}>\n{''.join(children)}{indent}</{tag}>\n"
    if text is None:
        return f"{indent}<{tag}{attributes}/>\n"
    return f"{indent}<{tag}{attributes}>{in_text(text)}</{tag}>\n"


def _attribute(name: str, text: str) -> str:
    return f" {name}='{in_attribute(text)}'"


def _foreign(name: str, text: str, number: int) -> str:
    """An attribute by the name that lxml gives it, with its namespace."""
    if not name.startswith("{"):
        return _attribute(name, text)
    namespace, _, local = name[1:].partition("}")
    return _attribute(f"xmlns:ns{number}", namespace) + _attribute(f"ns{number}:{local}", text)
