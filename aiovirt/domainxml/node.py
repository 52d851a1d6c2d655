"""An element that remembers what of it nobody has asked for.

A reader takes what it understands, and :meth:`Node.read` refuses the rest, so that a reader cannot
drop anything in silence. What the elements mean is not known here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, TypeVar

from aiovirt.domainxml.document import SPACE, brief, inner, line_of, path_of, text_of
from aiovirt.errors import ConfigUnsupported, InvalidArgument, XMLInvalid

if TYPE_CHECKING:
    from lxml.etree import _Element as Element

__all__ = ["Node", "Reader"]

T = TypeVar("T")
S = TypeVar("S", bound=str)
Reader = Callable[["Node"], T]

_NUMBER = re.compile(r"[0-9]{1,20}")


class Node:
    """One element, and what of its attributes, children and text is not yet taken."""

    __slots__ = ("_attributes", "_children", "_text", "element")

    def __init__(self, element: Element) -> None:
        self.element = element
        self._text = text_of(element)
        self._attributes = {str(name): str(value) for name, value in element.attrib.items()}
        self._children: dict[str, list[Element]] = {}
        for child in element:
            if isinstance(child.tag, str):
                self._children.setdefault(child.tag, []).append(child)

    def read(self, reader: Reader[T]) -> T:
        """What ``reader`` makes of this element.

        Raises ConfigUnsupported for what it left, XMLInvalid for a value that the model refuses.
        """
        try:
            value = reader(self)
        except InvalidArgument as error:
            raise self.invalid(brief(error.message)) from error
        self._finish()
        return value

    def _finish(self) -> None:
        if stray := self._text.strip(SPACE):
            raise self.invalid(f"the text {_quoted(stray)} does not belong here")
        for name in self._attributes:
            raise self.unsupported(attribute=name)
        for left in self._children.values():
            raise Node(left[0]).unsupported()

    # -- text ----------------------------------------------------------------------------------

    def text(self) -> str:
        """The text, as it is."""
        text, self._text = self._text, ""
        return text

    def filled(self) -> str:
        """The text, as it is; raises XMLInvalid where there is none."""
        if text := self.text():
            return text
        raise self.invalid("it is empty")

    def word(self) -> str:
        """The text without the white space around it."""
        return self.text().strip(SPACE)

    def number(self, attribute: str | None = None) -> int:
        """The text, or the attribute, as a whole number of at most 20 digits."""
        word = self.required(attribute) if attribute else self.word()
        if _NUMBER.fullmatch(word):
            return int(word)
        raise self.invalid(f"{_quoted(word)} is not a whole number", attribute=attribute)

    def word_of(self, words: Iterable[S]) -> S:
        """The one of ``words`` that the text is; raises ConfigUnsupported where it is another."""
        return self._pick(self.word(), words)

    # -- attributes ----------------------------------------------------------------------------

    def has(self, name: str) -> bool:
        """Whether the attribute is there."""
        return name in self._attributes

    def attribute(self, name: str) -> str | None:
        """The attribute's value, or None; raises XMLInvalid where it is empty."""
        value = self._attributes.pop(name, None)
        if value == "":
            raise self.invalid("it is empty", attribute=name)
        return value

    def required(self, name: str) -> str:
        """The attribute's value; raises XMLInvalid where it is missing or empty."""
        value = self.attribute(name)
        if value is None:
            raise self.invalid("it is missing", attribute=name)
        return value

    def choice(self, name: str, words: Iterable[S], default: S | None = None) -> S:
        """The one of ``words`` that the attribute is; ``default``, if there is one, where it is missing."""
        if default is not None and not self.has(name):
            return default
        return self._pick(self.required(name), words, attribute=name)

    def expect(self, *rows: Mapping[str, str]) -> None:
        """Takes the attributes of the first row whose patterns all fit (a missing attribute is ``""``).

        Raises ConfigUnsupported where no row fits.
        """
        for row in rows:
            if all(re.fullmatch(pattern, self._attributes.get(name, "")) for name, pattern in row.items()):
                for name in row:
                    self.attribute(name)
                return
        raise self.unsupported(brief(" ".join(f"{name}={value!r}" for name, value in self._attributes.items())))

    # -- children ------------------------------------------------------------------------------

    def take(self, tag: str) -> list[Node]:
        """All children of this name, in order."""
        return [Node(element) for element in self._children.pop(tag, ())]

    def inner(self) -> str:
        """The XML of all children, whatever they are."""
        self._children.clear()
        return inner(self.element)

    def child(self, tag: str, reader: Reader[T]) -> T | None:
        """What ``reader`` makes of the only child of this name, or None; raises XMLInvalid where there are two."""
        nodes = self.take(tag)
        return _only(nodes).read(reader) if nodes else None

    def need(self, tag: str, reader: Reader[T]) -> T:
        """What ``reader`` makes of the only child of this name; raises XMLInvalid where there is none, or two."""
        nodes = self.take(tag)
        if not nodes:
            raise XMLInvalid("it is missing", path=f"{path_of(self.element)}/{tag}", line=line_of(self.element))
        return _only(nodes).read(reader)

    def flag(self, tag: str) -> bool:
        """Whether the child of this name, which has nothing in it, is there."""
        return self.child(tag, lambda _: True) or False

    # -- what is wrong with it -----------------------------------------------------------------

    def invalid(self, message: str, *, attribute: str | None = None) -> XMLInvalid:
        """The error that says ``message`` of this element, or of an attribute of it."""
        return XMLInvalid(message, path=self._place(attribute), line=line_of(self.element))

    def unsupported(self, detail: str = "", *, attribute: str | None = None) -> ConfigUnsupported:
        """The error that says that this element, or an attribute of it, is not to be had."""
        place = f"{self._place(attribute)} (line {line_of(self.element)}) is not supported yet"
        return ConfigUnsupported(f"{place}: {detail}" if detail else place)

    def _place(self, attribute: str | None) -> str:
        return path_of(self.element) + (f"/@{brief(attribute)}" if attribute else "")

    def _pick(self, value: str, words: Iterable[S], *, attribute: str | None = None) -> S:
        known = list(words)
        for word in known:
            if word == value:
                return word
        raise self.unsupported(f"{_quoted(value)} is not one of {', '.join(known)}", attribute=attribute)


def _only(nodes: list[Node]) -> Node:
    if len(nodes) > 1:
        raise nodes[1].invalid("it is there twice")
    return nodes[0]


def _quoted(text: str) -> str:
    return repr(brief(text))
