"""What the engine has to know of a kind of object that people define: domains are one. All else about definitions is the same for each.

An object has a name and a uuid, which no other one of its kind has; its definition is XML. It may be marked to be started with the host.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar, cast
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from aiovirt.errors import Error

__all__ = ["ObjectKind", "Spec", "with_uuid"]


class Spec(Protocol):
    """What an object is defined as: a frozen Struct, whose ``uuid`` is None where its XML does not say it."""

    @property
    def name(self) -> str: ...

    @property
    def uuid(self) -> UUID | None: ...


S = TypeVar("S", bound=Spec)
S_co = TypeVar("S_co", bound=Spec, covariant=True)


class _Parse(Protocol[S_co]):
    """What ``xml`` says. Raises XMLInvalid and ConfigUnsupported, also that of ``check``; with ``validate`` for what nobody knows, too."""

    def __call__(self, xml: str | bytes, check: Callable[[S_co], object] | None = None, validate: bool = False, /) -> S_co: ...  # noqa: FBT001, FBT002


class ObjectKind(Struct, Generic[S], frozen=True, kw_only=True):
    """``name`` is what messages and the subjects of events call it.

    ``render(spec)`` is XML that ``parse`` reads back. Both block: for threads.

    ``exists`` is raised where a name or a uuid is another object's, ``missing`` where no object has the uuid.
    """

    name: str
    parse: _Parse[S]
    render: Callable[[S], str]
    exists: type[Error]
    missing: type[Error]


def with_uuid(spec: S, uuid: UUID | None) -> S:
    """The same, with this uuid."""
    return cast("S", replace(cast("Any", spec), uuid=uuid))
