"""Events of a newer version: kept and passed on as they are, whatever they mean. Pure."""

from __future__ import annotations

from typing import Any, ClassVar, Final
from uuid import UUID

import msgspec
from msgspec import Struct

from aiovirt.events.event import Event

__all__ = ["UnknownEvent", "make_unknown", "remade"]

_decoder: Final = msgspec.msgpack.Decoder(dict[str, Any])


class UnknownEvent(Event, frozen=True, kw_only=True, gc=False):
    """An event that this version of aiovirt does not know, or cannot read: an engine of a newer version published it.

    ``topic`` is its kind. ``body`` is the whole event as it was written, as msgpack, and it is passed on just so. The state
    that is held here does not change by it. Who subscribes to all events gets it, or to UnknownEvent.
    """

    topic: str  # pyright: ignore[reportIncompatibleMethodOverride] - its class does not say
    subject: str = "host"  # pyright: ignore[reportIncompatibleMethodOverride]
    body: bytes

    trigger: ClassVar[str] = "an event of a newer engine, found in the journal or received from the engine that holds the host"

    def key(self) -> object:
        return self.subject

    def weight(self) -> int:
        return 512 + len(self.body)

    @property
    def data(self) -> dict[str, Any]:
        """Its members beside those that every event has, decoded without a type."""
        return {name: value for name, value in _decoder.decode(self.body).items() if name not in _ENVELOPE}

    def describe(self) -> tuple[str, str, str]:
        return self.subject, self.topic, "not known to this version of aiovirt"


class _Envelope(Struct):
    """What every event has in every version."""

    type: str
    cursor: str
    time: int
    host: UUID
    source_time: int | None = None
    cause: str | None = None
    missed: bool = False


_ENVELOPE: Final = frozenset({*_Envelope.__struct_fields__, "subject"})


def make_unknown(body: bytes) -> UnknownEvent:
    """The event that ``body`` holds; raises :exc:`msgspec.MsgspecError` or RecursionError for what is no event at all."""
    members = _decoder.decode(body)
    envelope = msgspec.convert(members, _Envelope)
    return UnknownEvent(
        cursor=envelope.cursor,
        time=envelope.time,
        host=envelope.host,
        source_time=envelope.source_time,
        cause=envelope.cause,
        missed=envelope.missed,
        topic=envelope.type,
        subject=_subject(members),
        body=body,
    )


def _subject(members: dict[str, Any]) -> str:
    """What it is about: ``subject`` says it, and in the kinds of events that are older than that rule their own members do."""
    match members:
        case {"subject": str(subject)}:
            return subject or "host"
        case {"uuid": str(uuid)}:
            return f"domain/{uuid}"
        case {"device": {"id": str(identity)}}:
            return f"netdev/{identity}"
        case {"device": {"address": str(address)}}:
            return f"pci/{address}"
        case {"device": {"bus": str(bus), "name": str(name)}}:
            return f"{bus}/{name}"
        case _:
            return "host"


def remade(event: UnknownEvent, data: dict[str, Any]) -> UnknownEvent:
    """``event`` with the ``body`` that has these members beside its own."""
    envelope = {
        "type": event.topic,
        "cursor": event.cursor,
        "time": event.time,
        "source_time": event.source_time,
        "host": event.host,
        "cause": event.cause,
        "missed": event.missed,
        "subject": event.subject,
    }
    return make_unknown(msgspec.msgpack.encode(envelope | data))
