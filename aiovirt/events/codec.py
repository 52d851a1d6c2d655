"""The outside form of an event: CloudEvents 1.0, structured JSON (https://github.com/cloudevents/spec).

``encode`` and ``decode`` are each other's inverse for every event of :mod:`aiovirt.events.types`.
"""

from __future__ import annotations

import datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from aiovirt.errors import InvalidArgument
from aiovirt.events import types as kinds
from aiovirt.events.cursor import parse_cursor
from aiovirt.events.types import Event

__all__ = ["TYPE_PREFIX", "decode", "encode", "event_types"]

TYPE_PREFIX: Final = "io.aiovirt."
VERSION: Final = ".v1"
_ENVELOPE: Final = frozenset(Event.__struct_fields__)


class _CloudEvent(msgspec.Struct, kw_only=True):
    """The envelope; ``time`` has microseconds by its standard, ``timens`` all we know."""

    specversion: str = "1.0"
    id: str
    source: str
    type: str
    subject: str
    time: str
    timens: str
    sequence: str
    datacontenttype: str = "application/json"
    cause: str | msgspec.UnsetType = msgspec.UNSET
    sourcetime: str | msgspec.UnsetType = msgspec.UNSET
    missed: bool | msgspec.UnsetType = msgspec.UNSET
    data: dict[str, Any]


def event_types() -> dict[str, type[Event]]:
    """topic -> class, for every event that can be published."""
    found = (getattr(kinds, name) for name in kinds.__all__)
    return {str(kind.__struct_config__.tag): kind for kind in found if kind.__struct_config__.tag}


_TYPES: Final = event_types()
_decoder: Final = msgspec.json.Decoder(_CloudEvent)


def encode(event: Event) -> bytes:
    """One line of JSON, without the newline."""
    seconds, nanos = divmod(event.time, 1_000_000_000)
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC).replace(microsecond=nanos // 1000)
    outside = _CloudEvent(
        id=event.cursor,
        source=f"/hosts/{event.host}",
        type=f"{TYPE_PREFIX}{event.topic}{VERSION}",
        subject=event.subject,
        time=moment.isoformat().replace("+00:00", "Z"),
        timens=str(event.time),
        sequence=event.cursor.partition(":")[2],
        cause=event.cause if event.cause is not None else msgspec.UNSET,
        sourcetime=str(event.source_time) if event.source_time is not None else msgspec.UNSET,
        missed=event.missed or msgspec.UNSET,
        data={name: getattr(event, name) for name in event.__struct_fields__ if name not in _ENVELOPE},
    )
    return msgspec.json.encode(outside)


def decode(line: bytes | str) -> Event:
    """The event that ``line`` holds; raises InvalidArgument for anything else."""
    try:
        outside = _decoder.decode(line)
        kind = _TYPES[outside.type.removeprefix(TYPE_PREFIX).removesuffix(VERSION)]
        fields = outside.data | {
            "type": kind.__struct_config__.tag,
            "cursor": outside.id,
            "time": int(outside.timens),
            "host": str(UUID(outside.source.removeprefix("/hosts/"))),
            "cause": outside.cause or None,
            "missed": bool(outside.missed),
            "source_time": int(outside.sourcetime) if outside.sourcetime else None,
        }
        if outside.id:
            parse_cursor(outside.id)
        return msgspec.convert(fields, kind)
    except KeyError as error:
        raise InvalidArgument(f"no event has the type {error.args[0]!r}") from error
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InvalidArgument(f"not an event in CloudEvents form: {error}") from error
