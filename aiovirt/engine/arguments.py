"""What callers hand over is looked at before anything is asked: a wrong type is refused at once, with InvalidArgument."""

from __future__ import annotations

from functools import cache
from typing import Final, TypeVar
from uuid import UUID

from msgspec import structs

from aiovirt.errors import InvalidArgument
from aiovirt.model.orders import Request
from aiovirt.model.state import DomainState

__all__ = ["check_flag", "checked", "state_of"]

R = TypeVar("R")

_TYPES: Final[dict[object, tuple[tuple[type, ...], str]]] = {
    float: ((float, int), "a number of seconds"),
    bool: ((bool,), "True or False"),
    str: ((str,), "text"),
    bytes: ((bytes,), "bytes"),
    UUID: ((UUID,), "a UUID"),
}
"""A field's type -> what its value may be, and that in words."""


def checked(request: Request[R]) -> Request[R]:
    """``request`` itself; raises InvalidArgument where one of its values is not of the type that is declared."""
    for name, kinds, words in _fields(type(request)):
        value = getattr(request, name)
        if not isinstance(value, kinds):
            raise InvalidArgument(f"{name} must be {words}, not {value!r}")
    if not request.timeout > 0:
        raise InvalidArgument(f"a timeout of {request.timeout:g} s is not possible")
    return request


@cache
def _fields(kind: type[Request[object]]) -> tuple[tuple[str, tuple[type, ...], str], ...]:
    return tuple((field.name, *_TYPES[field.type]) for field in structs.fields(kind))


def check_flag(name: str, value: object) -> None:
    """Raises InvalidArgument unless ``value`` is True, False or None."""
    if not isinstance(value, bool | None):
        raise InvalidArgument(f"{name} must be True, False or None, not {value!r}")


def state_of(state: DomainState | str) -> DomainState:
    """A domain's state by its name (``"running"``, ``"shut off"``), or itself; raises InvalidArgument for anything else."""
    for known in DomainState:
        if known == state:
            return known
    raise InvalidArgument(f"{state!r} is not the state of a domain: there are {', '.join(repr(known.value) for known in DomainState)}")
