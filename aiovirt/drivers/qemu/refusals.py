"""What may not be asked of a QEMU beside its engine, and why. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, cast

from aiovirt.drivers.qemu.command_line import MONITOR

__all__ = ["refusal"]

_DESCRIPTORS: Final = "descriptors do not come through this door, and those that QEMU holds are the engine's"
_OUR_MONITOR: Final = "it would cut off the engine's own monitor"
_POLICY: Final = "what QEMU does at a guest's end is what its definition says, and the engine counts on that"
_MIGRATION: Final = "the engine would go on looking for the guest here, and could run it twice"
_PRECONFIG: Final = "the engine brings a machine up itself"

# Command -> why it is refused; the human monitor's underscores are hyphens here. These would make the engine's
# view wrong, and no event would set it right. What an event tells is fine: stop, cont, system_reset, quit (the
# process is seen to end), snapshots (which stop and resume). What else QEMU is made to do, as to add a device,
# concerns no state that the engine keeps.
_REFUSED: Final = {
    "add-client": _DESCRIPTORS,
    "add-fd": _DESCRIPTORS,
    "closefd": _DESCRIPTORS,
    "getfd": _DESCRIPTORS,
    "remove-fd": _DESCRIPTORS,
    "set-action": _POLICY,
    "watchdog-action": _POLICY,
    "watchdog-set-action": _POLICY,
    "exit-preconfig": _PRECONFIG,
    "x-exit-preconfig": _PRECONFIG,
    "migrate": _MIGRATION,
}
_REFUSED_FAMILIES: Final = {"migrate-": _MIGRATION}


def _is_ours(arguments: dict[str, object]) -> bool:
    return arguments.get("id") == MONITOR


def _yanks_ours(arguments: dict[str, object]) -> bool:
    instances = arguments.get("instances")
    return isinstance(instances, list) and any(
        isinstance(one, dict) and _is_ours(cast("dict[str, object]", one)) for one in cast("list[object]", instances)
    )


# command -> when it would reach the engine's own monitor
_REACHES_OUR_MONITOR: Final[dict[str, Callable[[dict[str, object]], bool]]] = {
    "chardev-change": _is_ours,
    "chardev-remove": _is_ours,
    "yank": _yanks_ours,
}
_HUMAN: Final = "human-monitor-command"
_HUMAN_NAME: Final = re.compile(r"[ \t\n\v\f\r]*([^ \t\n\v\f\r/]*)")  # as QEMU's get_command_name() finds it


def refusal(command: str, arguments: dict[str, object]) -> str | None:
    """Why ``command`` is not passed on, or None when it is.

    A line of the human monitor is what its command is, save that there it is not looked at which
    chardev is meant.
    """
    if command == _HUMAN:
        found = _HUMAN_NAME.match(str(arguments.get("command-line", "")))
        name = found[1].replace("_", "-") if found else ""
        return _OUR_MONITOR if name in _REACHES_OUR_MONITOR else _why_refused(name)
    reaches = _REACHES_OUR_MONITOR.get(command)
    return _OUR_MONITOR if reaches and reaches(arguments) else _why_refused(command.replace("_", "-"))


def _why_refused(name: str) -> str | None:
    return _REFUSED.get(name) or next((why for family, why in _REFUSED_FAMILIES.items() if name.startswith(family)), None)
