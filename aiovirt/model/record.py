"""What is kept on disk of a running guest, so that it can be found again."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from msgspec import Struct

from aiovirt.errors import InvalidArgument
from aiovirt.model.state import DomainState, Reason

__all__ = ["RECORD_VERSION", "ProcessId", "RunRecord"]

RECORD_VERSION: Final = 1


class ProcessId(Struct, frozen=True):
    """Which process: ``start_time`` is in clock ticks since boot (proc(5), field 22)."""

    boot_id: str
    pid: int
    start_time: int

    def __post_init__(self) -> None:
        if not 0 < self.pid < 2**31 or self.start_time < 0:
            raise InvalidArgument(f"{self.pid} started at {self.start_time} is no process")


class RunRecord(Struct, frozen=True, kw_only=True):
    """One run of one guest.

    It is on disk before the guest's process starts, then with ``process`` as soon as that is
    known, then with each state. ``xml`` is the definition it runs with, ``monitor`` the path of its
    monitor's socket, ``reboot`` the id of the order by which its next power-off is a reboot.
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
    reboot: str | None = None

    def __post_init__(self) -> None:
        if self.monitor and (
            not self.monitor.startswith("/") or "\0" in self.monitor or not self.monitor.endswith(f"/{self.uuid}.monitor")
        ):
            raise InvalidArgument(f"{self.monitor!r} is no monitor of {self.uuid}")
