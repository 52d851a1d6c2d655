"""What an element of libvirt's XML is: a frozen value, whose annotations say where each field stands.

Markers only. :mod:`aiovirt.libvirtxml` reads and writes by them, and knows no element by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, ClassVar, NamedTuple, cast, get_type_hints

from msgspec import Struct

from aiovirt.model.fields import settle_fields

__all__ = ["At", "Element", "Fixed", "Kept", "kept_within", "marks"]


class At(NamedTuple):
    """Where a field stands, beside its type: ``Annotated[str, At("source/@file")]``.

    ``path`` goes from the element down: ``@model`` is an attribute of its own, ``source/@file`` one of a child, ``name`` a
    child's text, ``.`` its own text. A ``bool`` is an empty child that is there or not. A tuple is a child for each of
    its values; an Element is a whole child; ``devices/*`` are children of all registered kinds.

    ``form`` names the converter (:mod:`aiovirt.libvirtxml.forms`) where the text is not simply the value.
    """

    path: str
    form: str = ""


class Fixed(NamedTuple):
    """What an attribute or a text has to be, if it is there at all: no field holds it.

    One of ``values``, of which the first is written unless ``is_written`` is false; or, without values, whatever ``form`` takes.
    """

    values: tuple[str, ...] = ()
    is_written: bool = True
    form: str = ""


class Kept(Struct, frozen=True, gc=False):
    """What no field names, as it was written.

    ``path`` is the branch of the element that it stands in (``""`` for the element itself). An attribute has a ``name``,
    and its value as ``text``; a child has its XML as ``text``, and is the ``index``-th of its parent's children.
    """

    path: str
    name: str
    text: str
    index: int = -1

    @property
    def place(self) -> str:
        """Its path, seen from the element that keeps it."""
        step = self.name if self.index >= 0 else f"@{self.name}"
        return f"{self.path}/{step}" if self.path else step


class Element(Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True, repr_omit_defaults=True):
    """An element. ``kept`` is what of it no field names."""

    tag: ClassVar[str] = ""
    fixed: ClassVar[Mapping[str, Fixed]] = {}
    checks: ClassVar[Mapping[str, Callable[[Any], None]]] = {}
    """What raises InvalidArgument for a field's value alone, by the field."""
    closing: ClassVar[tuple[str, ...]] = ()
    """The fields that stand behind all others."""
    kept: tuple[Kept, ...] = ()

    def __post_init__(self) -> None:
        settle_fields(self)
        for field, check in self.checks.items():
            check(getattr(self, field))


@cache
def marks(cls: type[Element]) -> Mapping[str, tuple[At, Any]]:
    """field -> (where it stands, its type), for each field of ``cls`` that stands somewhere, in the order of the XML."""
    hints = get_type_hints(cls, include_extras=True)
    return {
        name: (note, hints[name].__origin__)
        for name in sorted(cls.__struct_fields__, key=lambda name: name in cls.closing)
        for note in getattr(hints[name], "__metadata__", ())
        if isinstance(note, At)
    }


def kept_within(element: Element, path: str) -> Iterator[str]:
    """The paths of all that is kept in ``element``, which stands at ``path``, and in the elements that it has."""
    for kept in element.kept:
        yield f"{path}/{kept.place}"
    for name, (at, _) in marks(type(element)).items():
        value = getattr(element, name)
        for part in cast("tuple[object, ...]", value) if isinstance(value, tuple) else (value,):
            if isinstance(part, Element):
                yield from kept_within(part, f"{path}/{at.path.replace('*', part.tag)}")
