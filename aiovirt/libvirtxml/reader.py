"""XML to values, by the tables: one walk over the tree.

What no table names is kept where libvirt does not know it either. What libvirt knows and aiovirt does not is collected with
its place, and so are values that no field has. What cannot be meant is raised at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, cast

from msgspec import structs

from aiovirt.errors import InvalidArgument, Place, XMLInvalid
from aiovirt.libvirtxml.document import MAX_BYTES, SPACE, attributes_of, brief, line_of, path_of, standing_alone, tag_of, text_of
from aiovirt.libvirtxml.forms import Unfit, Wrong
from aiovirt.libvirtxml.known import is_known
from aiovirt.libvirtxml.table import Branch, Leaf, Part, Table, table
from aiovirt.model.element import Element, Kept, marks

if TYPE_CHECKING:
    from lxml.etree import _Element as Node

__all__ = ["Found", "Hook", "Reader", "locate", "need", "place_of"]

Found = dict[str, Any]
"""field -> value, of an element that is about to be made."""
Hook = Callable[["Reader", "Node", Found], None]
"""Settles what no table says of an element, before it is made."""
NO_SLOT: Final[tuple[str, dict[str, Any] | None]] = ("", {})
MOST_KNOWN: Final = 1024
SHORT: Final = 64
BARE: Final[dict[tuple[type[Element], tuple[tuple[str, str], ...]], Any]] = {}
"""Elements with nothing inside that were read before, as addresses are: one value for all that are the same."""
NO_HOOKS: Final[Mapping[type[Element], Hook]] = MappingProxyType({})


class Reader:
    """The reading of one document. ``unsupported`` is what aiovirt cannot have, ``unknown`` what is kept, each with its place."""

    def __init__(self, hooks: Mapping[type[Element], Hook] = NO_HOOKS) -> None:
        self._hooks = hooks
        self._room = MAX_BYTES
        self.unsupported: list[Place] = []
        self.unknown: list[Place] = []

    def read(self, cls: type[Element], node: Node) -> Any:  # noqa: ANN401 - a cls, or None
        """``node`` as a ``cls``; None where something that it needs is unsupported. Raises XMLInvalid with path and line."""
        if len(node) or node.text:
            return self._read(cls, node)
        attributes = tuple(attributes_of(node))
        if (known := BARE.get((cls, attributes))) is not None:
            return known
        odd = len(self.unsupported) + len(self.unknown)
        value = self._read(cls, node)
        if odd == len(self.unsupported) + len(self.unknown) and len(BARE) < MOST_KNOWN and sum(len(each[1]) for each in attributes) < SHORT:
            BARE[cls, attributes] = value
        return value

    def _read(self, cls: type[Element], node: Node) -> Any:  # noqa: ANN401 - as read
        of = table(cls)
        found: Found = {}
        kept: list[Kept] = []
        self._walk(of.root, node, found, kept)
        found.pop("", None)  # what is fixed is no field's
        if kept:
            found["kept"] = tuple(kept)
        try:
            if (hook := self._hooks.get(cls)) is not None:
                hook(self, node, found)
            return self._made(of, node, found)
        except InvalidArgument as error:
            raise _invalid(*_blamed(cls, node, found), error) from error

    def _made(self, of: Table, node: Node, found: Found) -> Element | None:
        for name, path in of.required:
            if found.get(name) is None:
                if name in found:
                    return None
                need(node, path)
        for name in of.falses:
            found.setdefault(name, False)
        for name in of.many:
            if name in found:
                found[name] = tuple([each for each in found[name] if each is not None])
        if self.unsupported:
            return of.type(**{name: value for name, value in found.items() if value is not None})
        return of.type(**found)

    def refuse(self, node: Node, why: str = "", attribute: str | None = None) -> None:
        """``node``, or an attribute of it, is something that aiovirt cannot have."""
        self.unsupported.append(place_of(node, attribute, why))

    # -- the walk ------------------------------------------------------------------------------

    def _walk(self, branch: Branch, node: Node, found: Found, kept: list[Kept]) -> None:
        slots = branch.slots
        attributes: list[tuple[str, str]] = node.items()  # type: ignore[assignment] # as attributes_of
        for name, value in attributes:
            field, known = slots.get(name, NO_SLOT)
            if known is None:
                if value:
                    found[field] = value
                    continue
            elif (read := known.get(value)) is not None:
                found[field] = read
                continue
            self._attribute(branch, node, (name, value), found, kept)
        if branch.flag is not None:
            found[branch.flag] = True
        text = node.text or ""
        if branch.verbatim is not None:
            found[branch.verbatim] = self.inner(node)
            text = text_of(node)
        elif len(node):
            text += self._children(branch, node, found, kept)
        if branch.takes_text:
            self._text(branch, node, text, found)
        elif text and (stray := text.strip(SPACE)):
            raise XMLInvalid(f"the text {brief(stray)!r} does not belong here", path=path_of(node), line=line_of(node))

    def _attribute(self, branch: Branch, node: Node, said: tuple[str, str], found: Found, kept: list[Kept]) -> None:
        """One that is not found by one lookup."""
        name, value = said
        leaf = branch.attributes.get(name)
        if leaf is None or not value:
            self._odd_attribute(branch, node, name, value, kept)
        else:
            self._take(leaf, node, value, found, name)
            field, known = branch.slots.get(name, NO_SLOT)
            if name in branch.slots and known is not None and field in found and len(known) < MOST_KNOWN and len(value) < SHORT:
                known[value] = found[field]

    def _text(self, branch: Branch, node: Node, text: str, found: Found) -> None:
        if branch.text is not None:
            self._take(branch.text, node, text.strip(SPACE) if branch.text.form.is_word else text, found)
        elif branch.whole is not None:
            field, form = branch.whole
            try:
                found[field] = form.read(text.strip(SPACE), dict(attributes_of(node)))
            except InvalidArgument as error:
                raise _invalid(node, error.attribute if isinstance(error, Wrong) else None, error) from error

    def _take(self, leaf: Leaf, node: Node, text: str, found: Found, attribute: str | None = None) -> None:
        value = leaf.words.get(text)
        if value is None:
            try:
                value = leaf.form.read(text)
            except Unfit as error:
                self.refuse(node, str(error), attribute)
            except InvalidArgument as error:
                raise _invalid(node, attribute, error) from error
        if leaf.is_many:
            found.setdefault(leaf.field, []).append(value)
        elif leaf.field:
            found[leaf.field] = value

    def _children(self, branch: Branch, node: Node, found: Found, kept: list[Kept]) -> str:
        """Reads them all; returns the text that is between them."""
        seen: set[str] = set()
        text, index, takes_text = "", 0, branch.takes_text
        children, has_others = branch.children, branch.others is not None
        for child in node:
            if (tail := child.tail) and (takes_text or tail.strip(SPACE)):
                text += tail
            tag = child.tag
            slot = children.get(tag) or (branch.other(tag) if has_others else None)
            if slot is None:
                if tag_of(child) is None:
                    continue  # a comment
                self._stray_child(branch, child, index, kept)
            elif slot.is_many:
                self._several(slot, child, found, kept)
            elif tag in seen:
                raise XMLInvalid("it is there twice", path=path_of(child), line=line_of(child))
            elif isinstance(slot, Branch):
                self._walk(slot, child, found, kept)
            else:
                found[slot.field] = self.read(slot.type, child)
            seen.add(tag)
            index += 1
        return text

    def _several(self, slot: Branch | Part, child: Node, found: Found, kept: list[Kept]) -> None:
        """One of several. What is kept of a branch says of which."""
        if isinstance(slot, Part):
            found.setdefault(slot.field, []).append(self.read(slot.type, child))
            return
        if slot.item is not None:
            need(child, slot.item)
        of_this: list[Kept] = []
        self._walk(slot, child, found, of_this)
        if of_this:
            number = 1 + sum(1 for _ in child.itersiblings(child.tag, preceding=True))
            kept += [structs.replace(each, path=f"{each.path}[{number}]") for each in of_this]

    # -- what no table names -------------------------------------------------------------------

    def _odd_attribute(self, branch: Branch, node: Node, name: str, value: str, kept: list[Kept]) -> None:
        """One that is empty, or that no field is."""
        if name in branch.attributes:
            raise XMLInvalid("it is empty", path=_path(node, name), line=line_of(node))
        if is_known(_tags(node), f"@{name}"):
            self.refuse(node, attribute=name)
        else:
            self.unknown.append(place_of(node, name))
            kept.append(Kept(branch.path, name, value))

    def _stray_child(self, branch: Branch, child: Node, index: int, kept: list[Kept]) -> None:
        *above, tag = _tags(child)
        if is_known(above, tag):
            self.refuse(child)
        else:
            self.unknown.append(place_of(child))
            kept.append(Kept(branch.path, tag, self._alone(child), index))

    def inner(self, node: Node) -> str | None:
        """The XML inside ``node``, with the white space between; None where there is nothing."""
        return "".join([self._alone(child) + (child.tail or "") for child in node]).strip(SPACE) or None

    def _alone(self, node: Node) -> str:
        """The element with the namespaces that it needs: they are declared once around a crowd of children, and written out for each."""
        text = standing_alone(node)
        self._room -= len(text)
        if self._room < 0:
            raise XMLInvalid(f"more than {MAX_BYTES} characters once it stands alone", path=path_of(node), line=line_of(node))
        return text


# -- where it is -------------------------------------------------------------------------------


def place_of(node: Node, attribute: str | None = None, why: str = "") -> Place:
    """The place of ``node``, or of an attribute of it."""
    return Place(_path(node, attribute), line_of(node), why)


def locate(node: Node, path: str, index: int = 0) -> tuple[Node, str | None]:
    """Where ``path`` leads from ``node``, as far as it is there: the element (the ``index``-th of several), and the attribute."""
    for step in path.split("/"):
        if step.startswith("@"):
            return node, step[1:]
        several = [] if step in ("*", ".") else node.findall(step)
        if not several:
            break
        node = several[index if index < len(several) else 0]
    return node, None


def need(node: Node, path: str) -> None:
    """Raises XMLInvalid for the first step of ``path`` that is not there."""
    for step in path.split("/"):
        below = None if step.startswith("@") else node.find(step)
        if below is None and step.removeprefix("@") not in node.keys():  # noqa: SIM118 - it is no dict
            raise XMLInvalid("it is missing", path=f"{path_of(node)}/{step}", line=line_of(node))
        node = node if below is None else below


def _blamed(cls: type[Element], node: Node, found: Found) -> tuple[Node, str | None]:
    """What one of the class's checks finds wrong, where it stands; the whole element where it is no field's."""
    for name, check in cls.checks.items():
        if name in found and _fails(check, found[name]):
            alone = (index for index, each in enumerate(_items(found[name])) if _fails(check, (each,)))
            return locate(node, marks(cls)[name][0].path, next(alone, 0))
    return node, None


def _items(value: object) -> tuple[object, ...]:
    return cast("tuple[object, ...]", value) if isinstance(value, tuple) else ()


def _fails(check: Callable[[Any], None], value: object) -> bool:
    try:
        check(value)
    except InvalidArgument:
        return True
    return False


def _tags(node: Node) -> list[str]:
    return [str(each.tag) for each in (*reversed([*node.iterancestors()]), node)]


def _path(node: Node, attribute: str | None) -> str:
    return path_of(node) + (f"/@{brief(attribute)}" if attribute else "")


def _invalid(node: Node, attribute: str | None, error: InvalidArgument) -> XMLInvalid:
    return XMLInvalid(brief(error.message), path=_path(node, attribute), line=line_of(node))
