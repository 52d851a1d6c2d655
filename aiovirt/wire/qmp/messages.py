"""What a QMP peer says, as values, and the one place that reads or writes its JSON.

Bodies stay raw: whoever knows a command's type decodes its reply.
"""

from __future__ import annotations

import itertools
import re
from functools import lru_cache
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Raw, Struct

from aiovirt.errors import InvalidArgument, ProtocolError

__all__ = [
    "DEPTH_LIMIT",
    "EDGE",
    "LINE_LIMIT",
    "Breach",
    "Failure",
    "Greeting",
    "Message",
    "QMPEvent",
    "Reply",
    "TooLong",
    "command_line",
    "decode_body",
    "read_edges",
    "read_message",
]

T = TypeVar("T")


class Greeting(Struct, frozen=True):
    """The first message: QEMU's version as (major, minor, micro), its package, and what can be negotiated."""

    version: tuple[int, int, int]
    package: str
    capabilities: tuple[str, ...]


class Reply(Struct, frozen=True):
    """The ``return`` of the command ``id``."""

    id: int | None
    body: Raw


class Failure(Struct, frozen=True):
    """The ``error`` of the command ``id`` (None when QEMU could not even read it)."""

    id: int | None
    error_class: str
    description: str


class QMPEvent(Struct, frozen=True):
    """An asynchronous message. ``time`` is QEMU's, ns since 1970 UTC, None where its clock failed (-1)."""

    name: str
    body: Raw
    time: int | None


class TooLong(Struct, frozen=True):
    """A message of ``size`` bytes, over the limit: it was not read, but for whose reply or which event it is."""

    id: int | None
    event: str | None
    size: int


class Breach(Struct, frozen=True):
    """What QMP does not allow, and why; nothing follows it."""

    why: str


Message = Greeting | Reply | Failure | QMPEvent | TooLong | Breach


class _Version(Struct):
    major: int
    minor: int
    micro: int


class _VersionInfo(Struct):
    qemu: _Version
    package: str = ""


class _Hello(Struct):
    version: _VersionInfo
    capabilities: list[str] = []


class _Error(Struct):
    kind: str = msgspec.field(name="class")
    desc: str


class _Stamp(Struct):
    seconds: int
    microseconds: int


_NOTHING: Final = Raw()


class _Envelope(Struct):
    """Every message at once; which it is follows from the members that are there."""

    hello: _Hello | None = msgspec.field(name="QMP", default=None)
    value: Raw = msgspec.field(name="return", default=_NOTHING)
    error: _Error | None = None
    id: int | None = None
    event: str | None = None
    data: Raw = msgspec.field(default=_NOTHING)
    timestamp: _Stamp | None = None


_decoder: Final = msgspec.json.Decoder(_Envelope)
_encoder: Final = msgspec.json.Encoder()


def read_message(line: bytes | bytearray) -> Message:
    """One message."""
    try:
        said = _decoder.decode(line)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        return Breach(f"not a QMP message: {error}: {_excerpt(line)}")
    if said.event is not None:
        return QMPEvent(said.event, said.data, _nanoseconds(said.timestamp))
    if said.error is not None:
        return Failure(said.id, said.error.kind, said.error.desc)
    if said.hello is not None:
        qemu = said.hello.version.qemu
        return Greeting((qemu.major, qemu.minor, qemu.micro), said.hello.version.package, tuple(said.hello.capabilities))
    if said.value is not _NOTHING:
        return Reply(said.id, said.value)
    return Breach(f"neither greeting, reply, error nor event: {_excerpt(line)}")


EDGE: Final = 512
"""How many bytes at each end of a message show what it is."""
_FIRST_ID: Final = re.compile(rb'\s*\{\s*"id"\s*:\s*(\d{1,18})\s*,')
_LAST_ID: Final = re.compile(rb',\s*"id"\s*:\s*(\d{1,18})\s*\}\s*\Z')
_EVENT: Final = re.compile(rb'\s*\{\s*"timestamp"\s*:\s*\{[^{}"]*(?:"[a-z]+"[^{}"]*)*\}\s*,\s*"event"\s*:\s*"([\w.-]{1,128})"')


def read_edges(head: bytes, tail: bytes, size: int) -> TooLong:
    """What the first and the last EDGE bytes show of a message of ``size`` bytes that nobody keeps.

    QEMU writes a reply's id as its last member or its first, and an event's name right after its time.
    """
    event = _EVENT.match(head)
    number = None if event else _FIRST_ID.match(head) or _LAST_ID.search(tail)
    return TooLong(int(number[1]) if number else None, event[1].decode() if event else None, size)


def command_line(command: str, arguments: object | None, number: int, *, out_of_band: bool = False) -> bytes:
    """The line that asks for ``command``; ``arguments`` is what msgspec can turn into a JSON object.

    Raises InvalidArgument for more, or deeper, than QEMU reads.
    """
    if arguments is None:
        line = b"%b%d}\n" % (_beginning(command, out_of_band), number)
    else:
        line = b'%b%d,"arguments":%b}\n' % (_beginning(command, out_of_band), number, _encoder.encode(arguments))
    if len(line) > DEPTH_LIMIT or not line.isascii():
        _check_line(command, line)
    return line


@lru_cache(256)
def _beginning(command: str, out_of_band: bool) -> bytes:  # noqa: FBT001 - hashed by place
    return _encoder.encode({"exec-oob" if out_of_band else "execute": command, "id": 0})[:-2]


LINE_LIMIT: Final = 2 * 1024 * 1024
DEPTH_LIMIT: Final = 1024
_NONCHARACTERS: Final = re.compile(rb"\xef\xb7[\x90-\xaf]|\xef\xbf[\xbe\xbf]|[\xf0-\xf4][\x8f\x9f\xaf\xbf]\xbf[\xbe\xbf]")
_STRINGS: Final = re.compile(rb'"(?:[^"\\]|\\.)*"')
_BRACKETS: Final = re.compile(rb"[\[\]{}]")


def _check_line(command: str, line: bytes) -> None:
    """Raises InvalidArgument for what QEMU does not read (qobject/json-streamer.c, util/unicode.c).

    It would answer with errors without an id, as many as it likes. It takes two million tokens, so that
    many bytes are always few enough.
    """
    if len(line) > LINE_LIMIT:
        raise InvalidArgument(f"the arguments of {command!r} take {len(line)} bytes; QEMU reads at most {LINE_LIMIT}")
    if _NONCHARACTERS.search(line):
        raise InvalidArgument(f"the arguments of {command!r} have a Unicode noncharacter, which QEMU does not read")
    if line.count(b"[") + line.count(b"{") > DEPTH_LIMIT and _depth(line) > DEPTH_LIMIT:
        raise InvalidArgument(f"the arguments of {command!r} nest deeper than {DEPTH_LIMIT}, which QEMU does not read")


def _depth(line: bytes) -> int:
    opened = itertools.accumulate(1 if bracket in b"[{" else -1 for bracket in _BRACKETS.findall(_STRINGS.sub(b"", line)))
    return max(opened, default=0)


def decode_body(body: Raw, kind: type[T]) -> T:
    """A reply's or an event's body as ``kind``; raises ProtocolError when it is not one."""
    try:
        value: T = _decoder_of(kind).decode(b"{}" if body is _NOTHING else body)  # type: ignore[arg-type]  # a class can be hashed
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ProtocolError(f"an unexpected body: {error}: {_excerpt(bytes(body))}") from error
    return value


@lru_cache(256)
def _decoder_of(kind: Any) -> msgspec.json.Decoder[Any]:  # noqa: ANN401 - of whatever kind
    """To make one takes longer than to read a short reply."""
    return msgspec.json.Decoder(kind)


def _nanoseconds(stamp: _Stamp | None) -> int | None:
    if stamp is None or stamp.seconds < 0:
        return None
    return stamp.seconds * 1_000_000_000 + stamp.microseconds * 1000


def _excerpt(line: bytes | bytearray) -> str:
    return repr(bytes(line[:120]))
