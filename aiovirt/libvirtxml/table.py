"""One table for each class of element, compiled once from its annotations: a trie of where each field stands.

:mod:`aiovirt.libvirtxml.reader` reads by it and :mod:`aiovirt.libvirtxml.writer` writes by it. No element is known here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from functools import cache
from types import MappingProxyType, NoneType, UnionType
from typing import Any, Final, NamedTuple, Union, get_args, get_origin
from uuid import UUID

from msgspec import structs

from aiovirt.libvirtxml.forms import ELEMENT_FORMS, FORMS, VERBATIM, ElementForm, Form, of_enum, of_uuid, of_words, plain, whole_number
from aiovirt.libvirtxml.tags import in_attribute
from aiovirt.model.element import At, Element, Fixed, marks

__all__ = ["Branch", "Leaf", "Part", "Row", "Table", "rows", "table"]


class Leaf(NamedTuple):
    """An attribute or a text: of the field it is, or of none where it is fixed. ``fixed`` is what is written then."""

    field: str
    form: Form
    is_many: bool = False
    fixed: str | None = None
    words: Mapping[str, Any] = MappingProxyType({})
    """The form's, where one lookup finds the value of the field."""
    is_plain: bool = False
    """Whether the text is the value."""


class Part(NamedTuple):
    """A field that is a child which is an element of its own, or several of such."""

    field: str
    type: type[Element]
    is_many: bool = False


class Branch:
    """One element of the trie. ``path`` leads to it from the table's own element.

    ``slots`` are the attributes that are one value each: the field (``""`` where it is fixed), and the values of texts that were
    read before, or None where the text is the value.
    ``flag`` is the field that is true where it is there; ``whole`` the field and the converter where all of it is one value,
    ``verbatim`` the field that has all XML inside it; ``others`` the children of the registered kinds; ``item`` the attribute
    that each of several has, and ``items_of`` the field whose values they are; ``fixed`` and ``written`` are the attributes as
    they are written.
    """

    __slots__ = (
        "attributes", "children", "fixed", "flag", "has_children", "is_many", "item", "items_of", "others", "path", "slots", "takes_text",
        "text", "verbatim", "whole", "written",
    )  # fmt: skip

    def __init__(self, path: str) -> None:
        self.path = path
        self.attributes: dict[str, Leaf] = {}
        self.children: dict[str, Branch | Part] = {}
        self.text: Leaf | None = None
        self.flag: str | None = None
        self.whole: tuple[str, ElementForm] | None = None
        self.verbatim: str | None = None
        self.others: Part | None = None
        self.is_many = False
        self.item: str | None = None
        self.items_of = ""
        self.fixed = ""
        self.slots: dict[str, tuple[str, dict[str, Any] | None]] = {}
        self.takes_text = False
        self.written: list[tuple[str, Leaf]] = []
        self.has_children = False

    def below(self, steps: list[str]) -> Branch:
        """The branch at the end of ``steps``; what is not there yet is made."""
        branch = self
        for step in steps:
            found = branch.children.setdefault(step, Branch(f"{branch.path}/{step}" if branch.path else step))
            assert isinstance(found, Branch), f"two fields stand at {branch.path}/{step}"
            branch = found
        return branch

    def other(self, tag: str) -> Part | None:
        """The child ``tag``, where it is of a registered kind."""
        return None if self.others is None else _parts_of(self.others).get(tag)


@cache
def _parts_of(others: Part) -> dict[str, Part]:
    return {tag: others._replace(type=kind) for tag, kind in _kinds(others.type)}


class Table(NamedTuple):
    """The table of a class: its trie, the fields without which there is no element, with their paths.

    ``falses`` are flags that are true where nobody says otherwise in Python, ``many`` the fields that are tuples. It ``is_bare``
    where no field is a text or a child.
    """

    type: type[Element]
    root: Branch
    required: tuple[tuple[str, str], ...]
    falses: tuple[str, ...]
    many: tuple[str, ...]
    is_bare: bool


@cache
def table(cls: type[Element]) -> Table:
    """The table of ``cls``."""
    root = Branch("")
    for name, (at, declared) in marks(cls).items():
        is_many = get_origin(declared) in (tuple, Sequence)
        _place(root, name, at, _kind(get_args(declared)[0] if is_many else declared), is_many)
    for path, fixed in cls.fixed.items():
        _put(root, path, _fixed(fixed))
    _settle(root)
    needed = {field.name for field in structs.fields(cls) if field.required}
    required = tuple((name, at.path) for name, (at, _) in marks(cls).items() if name in needed)
    defaults = {field.name: field.default for field in structs.fields(cls)}
    falses = tuple(name for name, (at, kind) in marks(cls).items() if kind is bool and not at.form and defaults[name])
    many = tuple(name for name, (_, kind) in marks(cls).items() if get_origin(kind) in (tuple, Sequence))
    is_bare = not root.has_children and not root.takes_text
    return Table(cls, root, required, falses, many, is_bare)


def _place(root: Branch, name: str, at: At, kind: Any, is_many: bool) -> None:  # noqa: ANN401, FBT001 - a type of any kind
    steps = at.path.split("/")
    if at.form == VERBATIM:
        root.below(steps).verbatim = name
    elif at.form in ELEMENT_FORMS:
        branch = root.below(steps)
        branch.whole = name, ELEMENT_FORMS[at.form]
        branch.attributes |= {each: Leaf("", plain) for each in ELEMENT_FORMS[at.form].attributes}
    elif issubclass(kind, Element):
        above, part = root.below(steps[:-1]), Part(name, kind, is_many)
        if steps[-1] == "*":
            above.others = part
        else:
            above.children[steps[-1]] = part
    elif kind is bool and not at.form:
        root.below(steps).flag = name
    else:
        form = FORMS[at.form] if at.form else _form(kind)
        _put(root, at.path, Leaf(name, form, is_many, None, {} if is_many else form.words, form is plain and not is_many))


def _put(root: Branch, path: str, leaf: Leaf) -> None:
    *above, last = path.split("/")
    if last.startswith("@"):
        branch = root.below(above)
        if leaf.is_many:
            branch.is_many, branch.item, branch.items_of = True, last, leaf.field
        named = {last[1:]: leaf}
        branch.attributes = branch.attributes | named if leaf.field else named | branch.attributes
    else:
        branch = root.below(above if last == "." else [*above, last])
        branch.text, branch.is_many, branch.items_of = leaf, leaf.is_many, leaf.field


def _settle(branch: Branch) -> None:
    """What is the same each time that it is read or written."""
    branch.slots = {
        name: (leaf.field, None if leaf.is_plain and leaf.field else dict(leaf.form.words))
        for name, leaf in branch.attributes.items()
        if not leaf.is_many
    }
    branch.takes_text = branch.text is not None or branch.whole is not None
    branch.fixed = "".join([f" {name}='{in_attribute(leaf.fixed)}'" for name, leaf in branch.attributes.items() if leaf.fixed is not None])
    branch.written = [(f" {name}='", leaf) for name, leaf in branch.attributes.items() if leaf.field]
    branch.has_children = bool(branch.children) or branch.others is not None or branch.verbatim is not None
    for below in branch.children.values():
        if isinstance(below, Branch):
            _settle(below)


def _fixed(fixed: Fixed) -> Leaf:
    form = of_words(fixed.values) if fixed.values else FORMS[fixed.form] if fixed.form else plain
    return Leaf("", form, False, fixed.values[0] if fixed.values and fixed.is_written else None)


def _kinds(base: type[Element]) -> Iterator[tuple[str, type[Element]]]:
    for kind in base.__subclasses__():
        if kind.tag:
            yield kind.tag, kind
        yield from _kinds(kind)


def _kind(declared: Any) -> Any:  # noqa: ANN401 - a type of any kind
    if get_origin(declared) in (Union, UnionType):
        (kind,) = (each for each in get_args(declared) if each is not NoneType)
        return kind
    return declared


def _form(kind: type) -> Form:
    return of_enum(kind) if issubclass(kind, StrEnum) else _FORM_OF[kind]


_FORM_OF: Final[dict[type, Form]] = {str: plain, int: whole_number, UUID: of_uuid}


class Row(NamedTuple):
    """One line of a table, for people: where a field stands, its name, and what it is where it is not said."""

    path: str
    field: str
    default: object


def rows(cls: type[Element]) -> list[Row]:
    """What ``cls`` says of itself, in declared order."""
    defaults = {field.name: field.default for field in structs.fields(cls)}
    return [Row(at.path, name, defaults[name]) for name, (at, _) in marks(cls).items()]
