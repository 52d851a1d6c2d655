"""From QEMU's words to ours: events and run states become facts. Pure."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from aiovirt.model.lifecycle import Fact
from aiovirt.wire.qmp.messages import QMPEvent, decode_body

__all__ = ["FACT_OF_RUN_STATE", "Heard", "heard"]


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
