"""The values of a frozen struct, looked at when it is made: what is of another type than is declared is refused at once."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Final, NamedTuple, Union, cast, get_args, get_origin

from msgspec import Struct, structs

from aiovirt.errors import InvalidArgument

__all__ = ["settle_fields"]


class _Field(NamedTuple):
    """What a field's value may be: of one of ``kinds``, or several of ``kinds`` where it ``is_many``."""

    name: str
    kinds: tuple[type, ...]
    is_many: bool

    def settled(self, given: object) -> object:
        """``given``, or what is meant by it."""
        if not self.is_many:
            return self._one(given)
        if not isinstance(given, list | tuple):
            raise InvalidArgument(f"{self.name} must be a tuple of {self._words()}, not {given!r:.80}")
        return tuple([self._one(each) for each in cast("list[object]", given)])

    def _one(self, given: object) -> object:
        if isinstance(given, self.kinds) and (not isinstance(given, bool) or bool in self.kinds):
            return given
        for kind in self.kinds:
            if issubclass(kind, Enum) and isinstance(given, str):
                return self._member(kind, given)
        raise InvalidArgument(f"{self.name} must be {self._words()}, not {given!r:.80}")

    def _member(self, kind: type[Enum], text: str) -> Enum:
        try:
            return kind(text)
        except ValueError:
            known = ", ".join(repr(member.value) for member in kind)
            raise InvalidArgument(f"{self.name} {text!r:.80} is not one of {known}") from None

    def _words(self) -> str:
        return " or ".join("None" if kind is NoneType else kind.__name__ for kind in self.kinds)


class _Shape(NamedTuple):
    """The fields of a class, those that are tuples, and the types of values that were found to be right: nearly all are among them."""

    fields: tuple[_Field, ...]
    many: tuple[_Field, ...]
    right: set[tuple[type, ...]]


MOST: Final = 256


def settle_fields(value: Struct) -> None:
    """Makes text the member of an enum, and a list a tuple, where those are declared; raises InvalidArgument for any other type."""
    shape = _shape(type(value))
    if tuple(map(type, structs.astuple(value))) in shape.right:
        for field in shape.many:
            if given := getattr(value, field.name):
                _settle(value, field, given)
        return
    for field in shape.fields:
        _settle(value, field, getattr(value, field.name))
    if len(shape.right) < MOST:
        shape.right.add(tuple(map(type, structs.astuple(value))))


def _settle(value: Struct, field: _Field, given: object) -> None:
    if (settled := field.settled(given)) is not given:
        structs.force_setattr(value, field.name, settled)


@cache
def _shape(kind: type[Struct]) -> _Shape:
    fields = tuple(_field(field.name, field.type) for field in structs.fields(kind))
    return _Shape(fields, tuple(field for field in fields if field.is_many), set())


def _field(name: str, declared: Any) -> _Field:  # noqa: ANN401 - whatever stands beside a field
    if get_origin(declared) is Annotated:
        return _field(name, declared.__origin__)
    if get_origin(declared) in (tuple, Sequence):
        return _Field(name, (get_args(declared)[0],), is_many=True)
    return _Field(name, get_args(declared) if get_origin(declared) in (Union, UnionType) else (declared,), is_many=False)
