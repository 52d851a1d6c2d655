"""From QEMU's words to ours: events are quoted, and they and run states become facts. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, cast
from uuid import UUID

import msgspec
from msgspec import Raw, Struct

from aiovirt.errors import ProtocolError
from aiovirt.events.of_domains import NO_DATA
from aiovirt.events.types import DomainQMP
from aiovirt.model.lifecycle import Fact
from aiovirt.wire.qmp.messages import QMPEvent, decode_body

__all__ = ["BODY_LIMIT", "DEPTH_LIMIT", "RUN_STATES", "VALUES_LIMIT", "Resets", "StateChange", "quoted", "run_state", "translate"]

BODY_LIMIT: Final = 64 * 1024
VALUES_LIMIT: Final = 2048
"""A value takes some fifty times the bytes that it may have as text."""
DEPTH_LIMIT: Final = 32


class StateChange(Struct, frozen=True):
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
}

# event -> ``guest`` (who did it) or ``action`` (what QEMU did about it) -> the fact; any other action changes no state
_DECIDED_BY_DATA: Final[dict[str, dict[str | bool, Fact]]] = {
    "SHUTDOWN": {True: Fact.GUEST_POWEROFF, False: Fact.HOST_POWEROFF},
    "RESET": {True: Fact.RESET, False: Fact.RESET},
    "GUEST_PANICKED": {"pause": Fact.PANICKED, "poweroff": Fact.PANICKED},
    "WATCHDOG": {"pause": Fact.WATCHDOG},
    "BLOCK_IO_ERROR": {"stop": Fact.IO_ERROR},
}

RUN_STATES: Final = {
    "colo": Fact.MIGRATING,
    "debug": Fact.PAUSED,
    "finish-migrate": Fact.MIGRATING,
    "guest-panicked": Fact.PANICKED,
    "inmigrate": Fact.MIGRATING,
    "internal-error": Fact.PAUSED,
    "io-error": Fact.IO_ERROR,
    "paused": Fact.STOPPED,
    "postmigrate": Fact.MIGRATING,
    "prelaunch": Fact.PRELAUNCH,
    "restore-vm": Fact.RESTORING,
    "running": Fact.RESUMED,
    "save-vm": Fact.SAVING,
    "shutdown": Fact.GUEST_POWEROFF,
    "suspended": Fact.PM_SUSPENDED,
    "watchdog": Fact.WATCHDOG,
}
"""QAPI's RunState (run-state.json; the same sixteen in 7.2, 10.0 and 11.1), and the fact that leads there."""


def run_state(status: str, *, running: bool) -> Fact:
    """What ``query-status`` answers, as a fact. ``running`` decides; the state's name says why it does not run.

    A state that is not known here, and one that has "running" in its name and does not run, is PAUSED for no known reason.
    """
    if running:
        return Fact.RESUMED
    fact = RUN_STATES.get(status, Fact.PAUSED)
    return Fact.PAUSED if fact is Fact.RESUMED else fact


def translate(event: QMPEvent) -> StateChange | None:
    """What ``event`` means for the guest's state, or None when it means nothing for it.

    Raises ProtocolError when its data are not what QAPI promises.
    """
    if (plain := _PLAIN.get(event.name)) is not None:
        return StateChange(plain)
    if event.name not in _DECIDED_BY_DATA:
        return None
    data = decode_body(event.body, _Data)
    fact = _DECIDED_BY_DATA[event.name].get(data.action if data.guest is None else data.guest)
    return StateChange(fact, data.guest or False, event.name == "SHUTDOWN" and data.reason.endswith("-reset")) if fact else None


FIRMWARE: Final = 2_000_000_000
"""How long after a reset, in ns, the firmware may do its own: SeaBIOS did one to four, 60 to 170 ms after (QEMU 7.2 to 11.1)."""


class Resets:
    """Tells the guest's resets from those that its firmware does right after any reset ("Attempting a hard reboot")."""

    def __init__(self) -> None:
        self._last: int | None = None

    def is_new(self, time: int | None, *, by_guest: bool) -> bool:
        """Whether a RESET at ``time``, in ns UTC or None where QEMU does not know it, is one that somebody wanted."""
        after = time - self._last if time is not None and self._last is not None else FIRMWARE
        if by_guest and 0 <= after < FIRMWARE:
            return False
        self._last = time
        return True


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
    body = NO_DATA if not size else _quotable(bytes(event.body)) if size <= BODY_LIMIT else None
    time = event.time if event.time is not None and 0 <= event.time < 2**63 else None
    if body is None:
        return DomainQMP(uuid=uuid, name=name, event=event.name, omitted=size, source_time=time)
    return DomainQMP(uuid=uuid, name=name, event=event.name, body=body, source_time=time)


def _quotable(body: bytes) -> Raw | None:
    """The members, packed once for all who read them, or None when they are left out. What is packed is valid Unicode."""
    if body.count(b",") >= VALUES_LIMIT:
        return None
    try:
        data = _members.decode(body)
        packed = _packer.encode(data)
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError):
        return None
    opened = body.count(b"{") + body.count(b"[")
    return Raw(packed) if opened <= DEPTH_LIMIT or _is_shallow(data) else None


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
