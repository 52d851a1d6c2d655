"""What is kept on disk of a running guest, so that it can be found again."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from msgspec import Struct

from aiovirt.model.state import DomainState, Reason

__all__ = ["RECORD_VERSION", "ProcessId", "RunRecord"]

RECORD_VERSION: Final = 1


class ProcessId(Struct, frozen=True):
    """Which process: ``start_time`` is in clock ticks since boot (proc(5), field 22)."""

    boot_id: str
    pid: int
    start_time: int


class RunRecord(Struct, frozen=True, kw_only=True):
    """One run of one guest.

    It is on disk before the guest's process starts, then with ``process`` as soon as that is
    known, then with each state. ``xml`` is the definition it runs with, ``monitor`` the path of its
    monitor's socket.
    """

    version: int = RECORD_VERSION
    uuid: UUID
    name: str
    id: int
    xml: str
    monitor: str = ""
    persistent: bool = True
    autodestroy: bool = False
    process: ProcessId | None = None
    state: DomainState = DomainState.SHUTOFF
    reason: Reason = Reason.UNKNOWN
