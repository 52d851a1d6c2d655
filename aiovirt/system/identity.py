"""Which machine this is, which boot of it, and which part of its network. All block for a moment: for threads.

What the system does not have is empty. What it has and cannot be read now raises OSError: another answer would be another host's.
"""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Final

_ABSENT: Final = (FileNotFoundError, NotADirectoryError, PermissionError)

__all__ = ["boot_id", "host_uuid", "net_namespace"]

_NAMESPACE: Final = uuid.UUID("5d0f4b46-6b61-4c37-9b1e-1f2f3a5a8c70")


def boot_id() -> str:
    """This boot's id (random(4)), or "" where there is none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except _ABSENT:
        return ""


def net_namespace() -> int:
    """The kernel's number for the network namespace that we are in (namespaces(7)), or 0 where it does not say."""
    try:
        return Path("/proc/self/ns/net").stat().st_ino
    except _ABSENT:
        return 0


def host_uuid() -> uuid.UUID:
    """The host's UUID: made from the machine id, which itself is not to be given away (machine-id(5))."""
    try:
        machine = Path("/etc/machine-id").read_text().strip()
    except _ABSENT:
        machine = ""
    return uuid.uuid5(_NAMESPACE, machine or f"node-{uuid.getnode():012x}")
