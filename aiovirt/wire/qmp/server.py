"""One QMP conversation from its server's side, sans-IO: bytes in, requests and refusals out.

A client may send all that QEMU takes (qemu docs: interop/qmp-spec), one JSON object after the other, with
lines between them or without, and is answered what is wrong with the rest in QEMU's own words. There are two
differences. Strings in single quotes are not read. And where QEMU begins anew in the middle of what it
could not read, here that is skipped: up to the end of the line, or of the message that is too long or
too deep. The byte 0xFF is an error always, and begins anew at once, as QEMU's does.

Who carries out a request, and what may be asked, is not known here.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from enum import Enum
from typing import Final, cast

import msgspec
from msgspec import Raw, Struct

__all__ = ["LIMIT", "NESTING", "QMPServer", "Request", "event_line", "failure_line", "return_line"]

LIMIT: Final = 1024 * 1024
"""Bytes of one message."""
NESTING: Final = 256
"""How deep a message may nest; QEMU takes 1024."""
QUOTED: Final = 120
"""Letters of a client's words that are said again."""

_NOTHING: Final = Raw()
_encoder: Final = msgspec.json.Encoder()


class Request(Struct, frozen=True):
    """A command for QEMU: its ``arguments`` as they were said and decoded, and its ``id``, empty where it had none."""

    command: str
    arguments: Raw
    members: dict[str, object]
    id: Raw


# -- what is answered --------------------------------------------------------------------------


def return_line(request: Request, body: Raw) -> bytes:
    """The answer to ``request`` that has ``body``, JSON in one line."""
    said: dict[str, object] = {"return": body}
    return _line(said | _identity(request.id))


def failure_line(request: Request, error_class: str, description: str) -> bytes:
    """The answer that refuses ``request``; ``error_class`` is one of QAPI's QapiErrorClass."""
    return _failure(request.id, error_class, description)


def event_line(name: str, data: Mapping[str, object] | None, time: int | None) -> bytes:
    """An event at ``time``, ns since 1970 UTC; None for a clock that failed, which QEMU reports as -1."""
    seconds, rest = (-1, -1) if time is None else divmod(time, 1_000_000_000)
    microseconds = rest if time is None else rest // 1000
    said: dict[str, object] = {"timestamp": {"seconds": seconds, "microseconds": microseconds}, "event": name}
    return _line(said if data is None else said | {"data": data})


def _failure(number: Raw, error_class: str, description: str) -> bytes:
    return _line(_identity(number) | {"error": {"class": error_class, "desc": description}})


def _identity(number: Raw) -> dict[str, object]:
    return {"id": number} if memoryview(number).nbytes else {}


def _line(said: dict[str, object]) -> bytes:
    return _encoder.encode(said) + b"\r\n"


# -- what is read ------------------------------------------------------------------------------

_STRAY: Final = "JSON parse error, stray '\ufffd'"
_CONTROL: Final = "JSON parse error, a control character in a string"
_TOO_LONG: Final = "JSON token size limit exceeded"
_TOO_DEEP: Final = "JSON nesting depth limit exceeded"
_NO_OBJECT: Final = "QMP input must be a JSON object"
_NO_COMMAND: Final = "QMP input lacks member 'execute'"
_NOT_YET: Final = "Expecting capabilities negotiation with 'qmp_capabilities'"
_ALREADY: Final = "Capabilities negotiation is already complete, command ignored"

# what a request may have -> its type, and QAPI's name for that; its id may be anything
_MEMBERS: Final[dict[str, tuple[type, str]]] = {
    "execute": (str, "a string"),
    "arguments": (dict, "an object"),
    "id": (object, "anything"),
}


class _State(Enum):
    """Where in a message the next byte is."""

    BETWEEN = "between messages"
    VALUE = "in a message"
    STRING = "in a string of a message"
    ESCAPE = "after a backslash"
    SKIPPING = "in a line that is not read"


# state -> what may be passed over there at once; the byte behind it means something (strings that are whole are passed over, too)
_IN_STRING: Final = rb'(?:[^"\\\x00-\x1f\xfe\xff]++|\\[\x20-\xfd])*+'
_PASSED_OVER: Final = {
    _State.BETWEEN: re.compile(rb"[ \t\r\n]*+"),
    _State.VALUE: re.compile(rb'(?:[^"{}\[\]\xfe\xff]++|"' + _IN_STRING + rb'")*+'),
    _State.STRING: re.compile(_IN_STRING),
    _State.ESCAPE: re.compile(rb""),
    _State.SKIPPING: re.compile(rb"[^\n\xfe\xff]*+"),
}


class _Verbatim(Struct):
    """The members of a request that are passed on as they were said."""

    id: Raw = _NOTHING
    arguments: Raw = Raw(b"{}")


class _Shaped(Struct):
    """The same, decoded."""

    execute: str
    arguments: dict[str, object] = {}


class _Capabilities(Struct, forbid_unknown_fields=True):
    """What ``qmp_capabilities`` takes."""

    enable: list[str] = []


_plain: Final = msgspec.json.Decoder()
_verbatim: Final = msgspec.json.Decoder(_Verbatim)


class QMPServer:
    """Frames and phases. ``version`` is QEMU's answer to ``query-version``; ``limit`` the bytes of the longest message that is read."""

    def __init__(self, version: Raw, *, limit: int = LIMIT) -> None:
        self.greeting: Final = _line({"QMP": {"version": version, "capabilities": []}})
        self.is_ready = False
        """Whether capabilities are negotiated: before that there are no events."""
        self._limit = limit
        self._data = b""
        self._at = 0  # all of the data before is read
        self._state = _State.BETWEEN
        self._message = bytearray()  # the one that is not whole yet
        self._depth = 0
        self._doomed = False  # it is refused already
        self._found: deque[Request | bytes] = deque()

    def feed(self, data: bytes) -> None:
        """Takes in more of what the client sent."""
        self._data = self._data[self._at :] + data
        self._at = 0

    def next(self) -> Request | bytes | None:
        """What was asked next, or where that is to be answered without asking anybody, the answer; None when more has to come."""
        while not self._found and self._at < len(self._data):
            self._advance()
        return self._found.popleft() if self._found else None

    # -- bytes -----------------------------------------------------------------------------

    def _advance(self) -> None:
        """Goes to the next byte that means something, and past it."""
        found = _PASSED_OVER[self._state].match(self._data, self._at)
        assert found  # each of them may be empty
        self._keep(found[0])
        self._at = found.end() + 1
        if self._at <= len(self._data):
            self._meet(self._data[self._at - 1 : self._at])

    def _keep(self, piece: bytes) -> None:
        if self._doomed or self._state in (_State.BETWEEN, _State.SKIPPING):
            return
        self._message += piece
        if len(self._message) > self._limit:
            self._doom(_TOO_LONG)

    def _meet(self, byte: bytes) -> None:
        """A byte of those that mean something where it is."""
        match self._state:
            case _ if byte >= b"\xfe":
                self._begin_anew(_STRAY, _State.BETWEEN)
            case _State.VALUE:
                self._keep(byte)
                self._nest(byte)
            case _State.BETWEEN if byte in b"{[":
                self._state = _State.VALUE
                self._keep(byte)
                self._nest(byte)
            case _State.BETWEEN:
                self._begin_anew(_NO_OBJECT, _State.SKIPPING)
            case _State.SKIPPING:
                self._state = _State.BETWEEN
            case _ if byte < b" ":
                self._begin_anew(_CONTROL, _State.BETWEEN if byte == b"\n" else _State.SKIPPING)
            case _:
                self._keep(byte)
                self._state = _State.STRING if self._state is _State.ESCAPE else _AFTER_STRING[byte]

    def _nest(self, byte: bytes) -> None:
        if byte == b'"':
            self._state = _State.STRING
        elif byte in b"{[":
            self._depth += 1
            if self._depth > NESTING:
                self._doom(_TOO_DEEP)
        else:
            self._depth -= 1
            if not self._depth:
                self._end()

    def _end(self) -> None:
        """The message is whole."""
        if not self._doomed:
            self._found.append(self._read(bytes(self._message)))
        self._forget(_State.BETWEEN)

    def _doom(self, why: str) -> None:
        """What there is of this message, and what comes of it yet, is not read."""
        if not self._doomed:
            self._doomed = True
            self._message.clear()
            self._refuse(why)

    def _begin_anew(self, why: str, state: _State) -> None:
        self._refuse(why)
        self._forget(state)

    def _forget(self, state: _State) -> None:
        self._state, self._depth, self._doomed = state, 0, False
        self._message.clear()

    def _refuse(self, why: str) -> None:
        self._found.append(_failure(_NOTHING, "GenericError", why))

    # -- messages --------------------------------------------------------------------------

    def _read(self, message: bytes) -> Request | bytes:
        try:
            said: object = _plain.decode(message)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            return _failure(_NOTHING, "GenericError", f"JSON parse error, {error}")
        if not isinstance(said, dict):
            return _failure(_NOTHING, "GenericError", _NO_OBJECT)
        verbatim = _verbatim.decode(message)
        number = _compact(verbatim.id)
        if why := _misshapen(cast("dict[str, object]", said)):
            return _failure(number, "GenericError", why)
        shaped = msgspec.convert(said, _Shaped)
        return self._step(Request(shaped.execute, verbatim.arguments, shaped.arguments, number))

    def _step(self, request: Request) -> Request | bytes:
        """Negotiation first, once; then all else."""
        negotiates = request.command == "qmp_capabilities"
        if self.is_ready is negotiates:
            return failure_line(request, "CommandNotFound", _ALREADY if negotiates else _NOT_YET)
        return self._negotiate(request) if negotiates else request

    def _negotiate(self, request: Request) -> bytes:
        """Out-of-band commands and the like are not offered."""
        try:
            wanted = msgspec.convert(request.members, _Capabilities).enable
        except msgspec.ValidationError as error:
            return failure_line(request, "GenericError", f"Invalid parameter: {error}"[:QUOTED])
        if wanted:
            return failure_line(request, "GenericError", f"Capability {', '.join(wanted)[:QUOTED]} not available")
        self.is_ready = True
        return return_line(request, Raw(b"{}"))


_AFTER_STRING: Final = {b'"': _State.VALUE, b"\\": _State.ESCAPE}


def _misshapen(said: dict[str, object]) -> str | None:
    """What is wrong with a message that is an object, or None for a request."""
    for name, value in said.items():
        kind, words = _MEMBERS.get(name, (None, ""))
        if kind is None:
            return f"QMP input member '{name[:QUOTED]}' is unexpected"
        if not isinstance(value, kind):
            return f"QMP input member '{name}' must be {words}"
    return None if "execute" in said else _NO_COMMAND


def _compact(number: Raw) -> Raw:
    """The same JSON in one line."""
    return Raw(msgspec.json.format(bytes(number), indent=-1)) if memoryview(number).nbytes else _NOTHING
