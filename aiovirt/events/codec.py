"""The outside form of an event: CloudEvents 1.0, structured JSON (https://github.com/cloudevents/spec).

``encode`` and ``decode`` are each other's inverse for every event of :mod:`aiovirt.events.types`. A
bookmark has the same form and is no event: it says how far a reader has seen while nothing came.
An event of a newer version is read as an UnknownEvent, and written as it was.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Annotated, Any, Final, Literal, Union, cast
from uuid import UUID

import msgspec
from msgspec import NODEFAULT, UNSET, Meta, Raw, UnsetType, structs

from aiovirt.errors import InvalidArgument
from aiovirt.events.cursor import parse_cursor
from aiovirt.events.event import CLASSES
from aiovirt.events.registry import event_types
from aiovirt.events.types import Event
from aiovirt.events.unknown import UnknownEvent, remade

__all__ = ["TYPE_PREFIX", "VERSION", "decode", "encode", "encode_bookmark"]

TYPE_PREFIX: Final = "io.aiovirt."
VERSION: Final = ".v1"
_BOOKMARK: Final = "bookmark"
_HOSTS: Final = "/hosts/"
_LONGEST: Final = 1024 * 1024
_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)

_Nanoseconds = Annotated[str, Meta(pattern=r"\A-?(0|[1-9][0-9]{0,18})\Z")]
"""A text: CloudEvents' integers have 32 bits."""


class _Attributes(msgspec.Struct, kw_only=True):
    """What every CloudEvent of ours has; ``time`` has microseconds by its standard."""

    specversion: Literal["1.0"] = "1.0"
    id: Annotated[str, Meta(min_length=1)]
    source: Annotated[str, Meta(pattern=rf"\A{_HOSTS}[0-9a-f]{{8}}(-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}\Z")]
    time: Annotated[datetime.datetime, Meta(tz=True)]
    sequence: str


class _Bookmark(_Attributes, kw_only=True, tag_field="type", tag=f"{TYPE_PREFIX}{_BOOKMARK}{VERSION}"):
    """A cursor and nothing else."""


class _Outside(_Attributes, kw_only=True):
    """An event's envelope; ``timens`` and ``sourcetime`` are nanoseconds, all that we know of a time."""

    subject: Annotated[str, Meta(min_length=1)]
    timens: _Nanoseconds
    datacontenttype: Literal["application/json"] = "application/json"
    cause: str | UnsetType = UNSET
    sourcetime: _Nanoseconds | UnsetType = UNSET
    missed: bool | UnsetType = UNSET
    data: Any


class _UnknownLine(_Outside, kw_only=True):
    """The whole line of an event whose type is not known here."""

    type: Annotated[str, Meta(pattern=rf"\A{re.escape(TYPE_PREFIX)}[a-z0-9_.]{{1,64}}{re.escape(VERSION)}\Z")]
    data: dict[str, Any]


def _outside(topic: str, kind: type[Event]) -> type[_Outside]:
    """The class of the whole line that holds a ``kind``, its ``data`` as typed as the event itself."""
    fields = [_field(field) for field in structs.fields(kind) if field.name not in Event.__struct_fields__]
    data = msgspec.defstruct(f"{kind.__name__}Data", fields, kw_only=True)
    tag = f"{TYPE_PREFIX}{topic}{VERSION}"
    line = msgspec.defstruct(f"{kind.__name__}Line", [("data", data)], bases=(_Outside,), kw_only=True, tag_field="type", tag=tag)
    return cast("type[_Outside]", line)


def _field(field: structs.FieldInfo) -> tuple[str, Any, object]:
    if field.type is Raw:  # decoded, as the attribute of its outside name
        return field.encode_name, dict[str, object], msgspec.field(default_factory=dict[str, object])
    if field.default_factory is not NODEFAULT:
        return field.name, field.type, msgspec.field(default_factory=cast("Callable[[], object]", field.default_factory))
    return field.name, field.type, msgspec.field() if field.required else field.default


class _Forms:
    """The lines of all events that there are classes of."""

    def __init__(self) -> None:
        self.of = {kind: _outside(topic, kind) for topic, kind in event_types().items()}
        self.kinds = {form: kind for kind, form in self.of.items()}
        self.decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(Union[tuple(self.kinds)])  # noqa: UP007 - made of a list


@lru_cache(1)
def _forms_of(_count: int) -> _Forms:
    return _Forms()


def _forms() -> _Forms:
    """They are made anew when there are more."""
    return _forms_of(len(CLASSES))


_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeError, RecursionError)
_unknown_decoder: Final = msgspec.json.Decoder(_UnknownLine)


def encode(event: Event) -> bytes:
    """One line of JSON, without the newline.

    Raises InvalidArgument for an event that was not published, or one of a newer version that JSON cannot say.
    """
    if isinstance(event, UnknownEvent):
        return _encode_unknown(event)
    data = {name: getattr(event, name) for name in event.__struct_encode_fields__ if name not in Event.__struct_fields__}
    return msgspec.json.encode(_outside_of(event, _forms().of[type(event)], data=data))


def _encode_unknown(event: UnknownEvent) -> bytes:
    type_ = f"{TYPE_PREFIX}{event.topic}{VERSION}"
    try:
        return msgspec.json.encode(_outside_of(event, _UnknownLine, type=type_, data=event.data))
    except (TypeError, RecursionError, UnicodeError) as error:
        raise InvalidArgument(f"{event.topic} cannot be written as JSON: {error}") from error


def _outside_of(event: Event, form: type[_Outside], **more: Any) -> _Outside:  # noqa: ANN401 - its own members
    return form(
        **_attributes(event.cursor, event.host, event.time),
        subject=event.subject,
        timens=str(event.time),
        cause=UNSET if event.cause is None else event.cause,
        sourcetime=UNSET if event.source_time is None else str(event.source_time),
        missed=event.missed or UNSET,
        **more,
    )


def encode_bookmark(cursor: str, host: UUID, time_ns: int) -> bytes:
    """One line of JSON like an event's, with the type ``io.aiovirt.bookmark.v1`` and no data.

    Who stores its ``id`` resumes after ``cursor``, and does not read again what came before. ``time_ns``
    is when it was written.
    """
    return msgspec.json.encode(_Bookmark(**_attributes(cursor, host, time_ns)))


def _attributes(cursor: str, host: UUID, time_ns: int) -> dict[str, Any]:
    if not cursor:
        raise InvalidArgument("an event has no outside form before it is published")
    moment = _EPOCH + datetime.timedelta(microseconds=time_ns // 1000)
    return {"id": cursor, "source": f"{_HOSTS}{host}", "time": moment, "sequence": cursor.partition(":")[2]}


def decode(line: bytes | str) -> Event:
    """The event that ``line`` holds; raises InvalidArgument, with the place in it, for anything else.

    Members that are not known are passed over.
    """
    if len(line) > _LONGEST:
        raise InvalidArgument(f"not an event in CloudEvents form: longer than {_LONGEST} bytes - at `$`")
    forms = _forms()
    try:
        outside = forms.decoder.decode(line)
    except _UNREADABLE as error:
        return _decode_unknown(line, error)
    _check_cursor(outside.id)
    try:
        return forms.kinds[type(outside)].made(**structs.asdict(outside.data), **_envelope(outside))
    except ValueError as error:
        raise InvalidArgument(f"not an event in CloudEvents form: {_placed(str(error), '$.data')}") from error


def _decode_unknown(line: bytes | str, why: Exception) -> UnknownEvent:
    """The event of a newer version; raises InvalidArgument, saying ``why``, for what is none."""
    try:
        outside = _unknown_decoder.decode(line)
        topic = outside.type.removeprefix(TYPE_PREFIX).removesuffix(VERSION)
        if topic != _BOOKMARK and topic not in event_types():
            _check_cursor(outside.id)
            event = UnknownEvent(topic=topic, subject=outside.subject, body=b"", **_envelope(outside))
            return remade(event, outside.data)
    except _UNREADABLE:
        pass
    raise InvalidArgument(f"not an event in CloudEvents form: {_placed(str(why))}") from why


def _envelope(outside: _Outside) -> dict[str, Any]:
    return {
        "cursor": outside.id,
        "time": int(outside.timens),
        "host": UUID(outside.source.removeprefix(_HOSTS)),
        "cause": None if outside.cause is UNSET else outside.cause,
        "source_time": None if outside.sourcetime is UNSET else int(outside.sourcetime),
        "missed": outside.missed is True,
    }


def _check_cursor(text: str) -> None:
    try:
        parse_cursor(text)
    except InvalidArgument as error:
        raise InvalidArgument(f"not an event in CloudEvents form: {_placed(str(error), '$.id')}") from error


def _placed(words: str, place: str = "$") -> str:
    """``words`` with a place in the line, as msgspec writes it, unless it has one."""
    return words if "`$" in words else f"{words} - at `{place}`"
