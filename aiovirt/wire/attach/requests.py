"""The requests and the answers within the messages: read and written by their types.

Apart from :mod:`aiovirt.wire.attach.messages`, so that who only lists the domains loads no order.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar, Union, get_args

import msgspec
from msgspec import Raw

from aiovirt.errors import InvalidArgument, ProtocolError, Unsupported
from aiovirt.model.orders import REQUESTS, Request, Turn
from aiovirt.wire.attach.messages import QUOTED, UNREADABLE, Answer, Ask, SeekPast

__all__ = ["is_read", "request_of", "value_of"]

R = TypeVar("R")

_request_decoder: Final[msgspec.msgpack.Decoder[Request[Any]]] = msgspec.msgpack.Decoder(Union[tuple(REQUESTS.values())])  # noqa: UP007 - they are not known by name
_fields_decoder: Final = msgspec.msgpack.Decoder(dict[str, Any])


def is_read(asked: Request[Any] | SeekPast) -> bool:
    """Whether it goes in the lane of what only reads."""
    return isinstance(asked, SeekPast) or asked.rule.turn is Turn.READ


def request_of(asked: Ask) -> Request[Any]:
    """What is asked.

    Raises Unsupported for a request that is not known here, or has a field that is not; InvalidArgument, with the
    place, for one whose fields have other types.
    """
    try:
        return _request_decoder.decode(asked.request)
    except UNREADABLE as error:
        _refuse_newer(asked.request)
        raise InvalidArgument(f"a request that cannot be read: {str(error)[:QUOTED]}") from error


def _refuse_newer(request: Raw) -> None:
    """Raises Unsupported where it is because of its type or its fields that a request cannot be read."""
    try:
        fields = _fields_decoder.decode(request)
    except UNREADABLE:
        return
    name = str(fields.pop("type", ""))
    kind = REQUESTS.get(name)
    if kind is None:
        raise Unsupported(f"this engine does not know the request {name[:QUOTED]!r}")
    if unknown := sorted(fields.keys() - set(kind.__struct_fields__)):
        raise Unsupported(f"this engine does not know {name}'s {', '.join(unknown)[:QUOTED]}")


def value_of(request: Request[R], answer: Answer) -> R:
    """The same as the request's type has it; raises ProtocolError."""
    try:
        value: R = _decoders[type(request)].decode(answer.value)
    except UNREADABLE as error:
        raise ProtocolError(f"an answer that cannot be read: {str(error)[:QUOTED]}") from error
    return value


def _answer_type(kind: type[Request[Any]]) -> Any:  # noqa: ANN401 - a type expression
    """``X`` of a class that is a ``Request[X]``."""
    for base in kind.__mro__:
        for generic in getattr(base, "__orig_bases__", ()):
            if generic.__origin__ is Request:
                return get_args(generic)[0]
    raise TypeError(kind)


_decoders: Final[dict[type[Request[Any]], msgspec.msgpack.Decoder[Any]]] = {
    kind: msgspec.msgpack.Decoder(_answer_type(kind)) for kind in REQUESTS.values()
}
