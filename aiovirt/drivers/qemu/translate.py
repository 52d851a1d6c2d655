"""From QEMU's words to ours: events are quoted, and they and run states become facts. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, cast
from uuid import UUID

import msgspec
from msgspec import Struct

from aiovirt.errors import ProtocolError
from aiovirt.events.types import DomainQMP
from aiovirt.model.lifecycle import Fact
from aiovirt.wire.qmp.messages import QMPEvent, decode_body

__all__ = ["BODY_LIMIT", "DEPTH_LIMIT", "FACT_OF_RUN_STATE", "VALUES_LIMIT", "Heard", "heard", "quoted"]

BODY_LIMIT: Final = 64 * 1024
VALUES_LIMIT: Final = 2048
"""A value takes some fifty times the bytes that it may have as text."""
DEPTH_LIMIT: Final = 32


class Heard(Struct, frozen=True):
    """A fact, and whether the guest itself brought it about.

    ``rebooting`` is whether a power-off was meant as a reboot: QEMU makes the one of the other when
    the definition does not allow reboots.
    """

    fact: Fact
    by_guest: bool = False
    rebooting: bool = False


class _Data(Struct):
    """The members of event data that decide anything (QAPI: run-state.json, block-core.json)."""

    guest: bool | None = None
    action: str = ""
    reason: str = ""


_PLAIN: Final = {
    "STOP": Fact.PAUSED,
    "RESUME": Fact.RESUMED,
    "SUSPEND": Fact.PM_SUSPENDED,
    "SUSPEND_DISK": Fact.PM_SUSPENDED_DISK,
    "WAKEUP": Fact.WOKEN,
    "GUEST_PANICKED": Fact.PANICKED,
}

# event -> ``guest`` (who did it) or ``action`` (what QEMU did about it) -> the fact; any other action changes no state
_DECIDED_BY_DATA: Final[dict[str, dict[str | bool, Fact]]] = {
    "SHUTDOWN": {True: Fact.GUEST_POWEROFF, False: Fact.HOST_POWEROFF},
    "RESET": {True: Fact.RESET, False: Fact.RESET},
    "WATCHDOG": {"pause": Fact.WATCHDOG},
    "BLOCK_IO_ERROR": {"stop": Fact.IO_ERROR},
}

# QAPI's RunState -> the fact that leads there. What is not here (migration, snapshots) tells nothing yet.
FACT_OF_RUN_STATE: Final = {
    "running": Fact.RESUMED,
    "paused": Fact.PAUSED,
    "io-error": Fact.IO_ERROR,
    "watchdog": Fact.WATCHDOG,
    "shutdown": Fact.GUEST_POWEROFF,
    "guest-panicked": Fact.PANICKED,
    "suspended": Fact.PM_SUSPENDED,
}


def heard(event: QMPEvent) -> Heard | None:
    """What ``event`` means for the guest's state, or None when it means nothing for it.

    Raises ProtocolError when its data are not what QAPI promises.
    """
    if (plain := _PLAIN.get(event.name)) is not None:
        return Heard(plain)
    if event.name not in _DECIDED_BY_DATA:
        return None
    data = decode_body(event.body, _Data)
    fact = _DECIDED_BY_DATA[event.name].get(data.action if data.guest is None else data.guest)
    return Heard(fact, data.guest or False, event.name == "SHUTDOWN" and data.reason.endswith("-reset")) if fact else None


# -- word for word -----------------------------------------------------------------------------

_NAME: Final = re.compile(r"[\w.-]{1,128}", re.ASCII)
_members: Final = msgspec.json.Decoder(dict[str, object])
_packer: Final = msgspec.msgpack.Encoder()


def quoted(event: QMPEvent, uuid: UUID, name: str) -> DomainQMP:
    """``event`` as the guest ``uuid`` said it; always one that can be kept and sent on.

    A body is left out, and its bytes counted, when it is over BODY_LIMIT bytes, may have more than VALUES_LIMIT values
    (commas are counted), nests deeper than DEPTH_LIMIT, is no JSON object, or has a number of over 64 bits; so is a time
    of over 64 bits.
    Raises ProtocolError for an event's name that QAPI does not allow (devel/qapi-code-gen, "Naming
    rules and reserved names").
    """
    if not _NAME.fullmatch(event.name):
        raise ProtocolError(f"no QMP event has the name {event.name[:120]!r}")
    size = memoryview(event.body).nbytes
    data = _quotable(bytes(event.body)) if size <= BODY_LIMIT else None
    time = event.time if event.time is not None and 0 <= event.time < 2**63 else None
    return DomainQMP(uuid=uuid, name=name, event=event.name, data=data or {}, omitted=size if data is None else 0, source_time=time)


def _quotable(body: bytes) -> dict[str, object] | None:
    """The members, or None when they are left out. What this decoder lets through is valid Unicode."""
    if body.count(b",") >= VALUES_LIMIT:
        return None
    try:
        data = _members.decode(body or b"{}")
        _packer.encode(data)
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError):
        return None
    opened = body.count(b"{") + body.count(b"[")
    return data if opened <= DEPTH_LIMIT or _is_shallow(data) else None


def _is_shallow(data: dict[str, object]) -> bool:
    level: list[object] = [data]
    for _ in range(DEPTH_LIMIT):
        level = [inner for value in level for inner in _inside(value) if isinstance(inner, dict | list)]
        if not level:
            return True
    return False


def _inside(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return cast("dict[str, object]", value).values()
    return cast("list[object]", value) if isinstance(value, list) else ()
