"""The messages between an engine and a process that is attached to it, as values and as bytes (msgpack).

A client says Hello and is welcomed with the whole state at one cursor; from then on it is sent every event, in order. What
it asks is a :class:`~aiovirt.model.orders.Request` with a number of its own, answered once. An answer comes behind all
events that were published before it. Events and the state travel in the journal's form: what they mean is not known here.

The two sides may be of different versions. A message, a request or a field of one that the other side does not know is
never fatal: it is answered with Unsupported under its own number, and the conversation goes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias, get_args
from uuid import UUID

import msgspec
from msgspec import Raw, Struct

from aiovirt.errors import ProtocolError
from aiovirt.model.view import DomainView

if TYPE_CHECKING:
    from aiovirt.model.orders import Request

__all__ = [
    "CLIENT_LIMIT",
    "ENGINE_LIMIT",
    "IN_FLIGHT",
    "QUOTED",
    "READS_IN_FLIGHT",
    "UNREADABLE",
    "VERSION",
    "Answer",
    "Ask",
    "Cancel",
    "Epochs",
    "Failure",
    "FromClient",
    "FromEngine",
    "Glance",
    "HandOver",
    "Hello",
    "Leaving",
    "NextEvents",
    "Past",
    "SeekPast",
    "Seen",
    "Skipped",
    "Unknown",
    "Welcome",
    "decode_from_client",
    "decode_from_engine",
    "encode",
    "encode_value",
]

VERSION: Final = 1
QUOTED: Final = 300
"""Letters of a complaint that are passed on."""
CLIENT_LIMIT: Final = 8 * 1024 * 1024
"""Bytes of a client's message at most: a definition's XML and a QMP command are far smaller."""
ENGINE_LIMIT: Final = 512 * 1024 * 1024
"""Bytes of an engine's: a QMP reply may have 64 MiB, the state of a large host more."""

IN_FLIGHT: Final = 1024
"""Orders of one client that may be under way; its own side keeps the others back."""
READS_IN_FLIGHT: Final = 64
"""The same for what only reads: it never waits behind orders, nor behind guests that do not answer."""

# -- a client's --------------------------------------------------------------------------------


class Hello(Struct, frozen=True, tag="hello"):
    """The first words: ``version`` is the highest that it speaks, ``program`` what it is, for people.

    ``place`` are the folders of definitions and of the state that it means, where it knows: of an engine that has others it
    wants nothing. ``after`` is a cursor up to which it has everything already, from the engine before this one.
    """

    version: int
    program: str = ""
    place: tuple[str, str] | None = None
    after: str = ""


class Glance(Struct, frozen=True, tag="glance"):
    """Instead of Hello, by one who wants to know what domains there are and no more; answered with :class:`Seen`."""

    version: int
    place: tuple[str, str] | None = None


class Ask(Struct, frozen=True, tag="ask"):
    """A request, encoded; its answer has the same ``number``, which no other that is under way has.

    :func:`aiovirt.wire.attach.requests.request_of` decodes it.
    """

    number: int
    request: Raw

    @classmethod
    def of(cls, number: int, request: Request[Any]) -> Ask:
        """The message that asks this."""
        return cls(number, encode_value(request))


class Cancel(Struct, frozen=True, tag="cancel"):
    """Give up what was asked under this number; it is answered all the same, once it has been."""

    number: int


class SeekPast(Struct, frozen=True, tag="past"):
    """Events from this position on, which are not in memory any more; answered with :class:`Past`, or a Failure."""

    number: int
    position: int


class HandOver(Struct, frozen=True, tag="hand-over"):
    """Asks the engine to leave the host to who asks; with ``if_idle``, only where nobody else is attached.

    Answered with an Answer of nothing when it does so, with a Failure (HostHeld) when it stays.
    """

    number: int
    if_idle: bool = False


class Unknown(Struct, frozen=True):
    """A message of a newer peer: ``kind`` is its type, ``number`` what it is to be answered under; 0 where it expects no answer.

    It is never sent.
    """

    kind: str
    number: int


# -- an engine's -------------------------------------------------------------------------------


class Welcome(Struct, frozen=True, tag="welcome"):
    """All that is there: ``state`` as of the event at position ``head``.

    ``eras`` are the epochs of the journal, each with its base and its end; ``first`` is the position of the oldest event that
    is kept. To who said what it has already, and can go on there, ``head`` is the position of that and ``state`` is empty.
    """

    version: int
    host: UUID
    pid: int
    eras: tuple[tuple[str, int, int | None], ...]
    head: int
    first: int
    state: bytes


class Seen(Struct, frozen=True, tag="seen"):
    """Every domain as of the event ``cursor``."""

    cursor: str
    domains: tuple[DomainView, ...]


class NextEvents(Struct, frozen=True, tag="news"):
    """The next events, none left out."""

    events: list[bytes]


class Skipped(Struct, frozen=True, tag="skipped"):
    """The next events, which are not kept any more and change nothing: which they were, in the journal's form."""

    dropped: bytes


class Epochs(Struct, frozen=True, tag="epochs"):
    """A new epoch began; what follows is of it."""

    eras: tuple[tuple[str, int, int | None], ...]


class Leaving(Struct, frozen=True, tag="leaving"):
    """The engine hands the host over. It answers what was asked up to the number ``taken``; what comes later it does not take.

    Who has those answers leaves, and goes on with the next engine.
    """

    taken: int


class Answer(Struct, frozen=True, tag="answer"):
    """What the request of this number came to, encoded as its type says."""

    number: int
    value: Raw


class Failure(Struct, frozen=True, tag="failure"):
    """An error of :mod:`aiovirt.errors`: its class, its words, and what else it carries. With number 0: why it hangs up."""

    number: int
    kind: str
    message: str
    code: int = 0
    domain: int = 0
    subject: str | None = None
    more: dict[str, Any] = {}


class Past(Struct, frozen=True, tag="events"):
    """Some events from the position that was asked for, none where it has caught up. ``first`` is as in the welcome.

    ``dropped`` is instead of events where those that come next were dropped early: which they were, in the journal's form.
    """

    number: int
    events: list[bytes]
    first: int
    dropped: bytes = b""


FromClient: TypeAlias = Hello | Glance | Ask | Cancel | SeekPast | HandOver
FromEngine: TypeAlias = Welcome | Seen | NextEvents | Skipped | Epochs | Leaving | Answer | Failure | Past

_encoder: Final = msgspec.msgpack.Encoder()
UNREADABLE: Final = (msgspec.MsgspecError, RecursionError, UnicodeError)
"""What a decoder raises."""
_client_decoder: Final[msgspec.msgpack.Decoder[FromClient]] = msgspec.msgpack.Decoder(FromClient)
_engine_decoder: Final[msgspec.msgpack.Decoder[FromEngine]] = msgspec.msgpack.Decoder(FromEngine)


def encode(message: FromClient | FromEngine) -> bytes:
    """Its bytes."""
    return _encoder.encode(message)


def encode_value(value: object) -> Raw:
    """What a request came to."""
    return Raw(_encoder.encode(value))


def decode_from_client(data: bytes) -> FromClient | Unknown:
    """What a client said; raises ProtocolError with the place."""
    try:
        return _client_decoder.decode(data)
    except UNREADABLE as error:
        return _unknown(data, error)


def decode_from_engine(data: bytes) -> FromEngine | Unknown:
    """What an engine said; raises ProtocolError with the place."""
    try:
        return _engine_decoder.decode(data)
    except UNREADABLE as error:
        return _unknown(data, error)


class _Message(Struct):
    """What every message has, also one of a newer peer."""

    type: str
    number: int = 0


_message_decoder: Final = msgspec.msgpack.Decoder(_Message)


_KINDS: Final = {kind.__struct_config__.tag for kind in (*get_args(FromClient), *get_args(FromEngine))}


def _unknown(data: bytes, error: Exception) -> Unknown:
    try:
        found = _message_decoder.decode(data)
    except UNREADABLE:
        found = None
    if found is None or found.type in _KINDS:
        raise ProtocolError(f"a message that cannot be read: {str(error)[:QUOTED]}") from error
    return Unknown(found.type[:QUOTED], found.number)
