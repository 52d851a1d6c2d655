"""What a QMP peer says, as values, and the one place that reads or writes its JSON.

Bodies stay raw: whoever knows a command's type decodes its reply.
"""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec
from msgspec import Raw, Struct

from aiovirt.errors import ProtocolError

__all__ = ["Failure", "Greeting", "Message", "QMPEvent", "Reply", "command_line", "decode_body", "read_message"]

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


Message = Greeting | Reply | Failure | QMPEvent


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


class _Envelope(Struct):
    """Every message at once; which members are there tells which it is."""

    hello: _Hello | None = msgspec.field(name="QMP", default=None)
    value: Raw = msgspec.field(name="return", default=Raw())
    error: _Error | None = None
    id: int | None = None
    event: str | None = None
    data: Raw = msgspec.field(default=Raw())
    timestamp: _Stamp | None = None


_decoder: Final = msgspec.json.Decoder(_Envelope)
_encoder: Final = msgspec.json.Encoder()


def read_message(line: bytes | bytearray) -> Message:
    """One message; raises ProtocolError for anything that QMP does not allow."""
    try:
        said = _decoder.decode(line)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ProtocolError(f"not a QMP message: {error}: {_excerpt(line)}") from error
    if said.event is not None:
        return QMPEvent(said.event, said.data, _nanoseconds(said.timestamp))
    if bytes(said.value):
        return Reply(said.id, said.value)
    if said.error is not None:
        return Failure(said.id, said.error.kind, said.error.desc)
    if said.hello is not None:
        qemu = said.hello.version.qemu
        return Greeting((qemu.major, qemu.minor, qemu.micro), said.hello.version.package, tuple(said.hello.capabilities))
    raise ProtocolError(f"neither greeting, reply, error nor event: {_excerpt(line)}")


def command_line(command: str, arguments: object | None, number: int) -> bytes:
    """The line that asks for ``command``; ``arguments`` is what msgspec can turn into a JSON object."""
    said: dict[str, object] = {"execute": command, "id": number}
    if arguments is not None:
        said["arguments"] = arguments
    return _encoder.encode(said) + b"\n"


def decode_body(body: Raw, kind: type[T]) -> T:
    """A reply's or an event's body as ``kind``; raises ProtocolError when it is not one."""
    try:
        return msgspec.json.decode(bytes(body) or b"{}", type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ProtocolError(f"an unexpected body: {error}: {_excerpt(bytes(body))}") from error


def _nanoseconds(stamp: _Stamp | None) -> int | None:
    if stamp is None or stamp.seconds < 0:
        return None
    return stamp.seconds * 1_000_000_000 + stamp.microseconds * 1000


def _excerpt(line: bytes | bytearray) -> str:
    return repr(bytes(line[:120]))
