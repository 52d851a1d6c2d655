"""libvirt's numbers for its events, where events of ours stand for them."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

__all__ = ["DomainEventID", "NodeDeviceEventID", "named"]


class DomainEventID(IntEnum):
    """``virDomainEventID`` (libvirt-domain.h)."""

    LIFECYCLE = 0
    REBOOT = 1
    RTC_CHANGE = 2
    WATCHDOG = 3
    IO_ERROR = 4
    GRAPHICS = 5
    IO_ERROR_REASON = 6
    CONTROL_ERROR = 7
    BLOCK_JOB = 8
    DISK_CHANGE = 9
    TRAY_CHANGE = 10
    PMWAKEUP = 11
    PMSUSPEND = 12
    BALLOON_CHANGE = 13
    PMSUSPEND_DISK = 14
    DEVICE_REMOVED = 15
    BLOCK_JOB_2 = 16
    TUNABLE = 17
    AGENT_LIFECYCLE = 18
    DEVICE_ADDED = 19
    MIGRATION_ITERATION = 20
    JOB_COMPLETED = 21
    DEVICE_REMOVAL_FAILED = 22
    METADATA_CHANGE = 23
    BLOCK_THRESHOLD = 24
    MEMORY_FAILURE = 25
    MEMORY_DEVICE_SIZE_CHANGE = 26
    NIC_MAC_CHANGE = 27


class NodeDeviceEventID(IntEnum):
    """``virNodeDeviceEventID`` (libvirt-nodedev.h)."""

    LIFECYCLE = 0
    UPDATE = 1


_PREFIXES: Final = {DomainEventID: "VIR_DOMAIN_EVENT_ID_", NodeDeviceEventID: "VIR_NODE_DEVICE_EVENT_ID_"}


def named(first: DomainEventID | NodeDeviceEventID, *others: DomainEventID | NodeDeviceEventID) -> str:
    """As documentation writes them: ``VIR_DOMAIN_EVENT_ID_BLOCK_JOB (8), BLOCK_JOB_2 (16)``."""
    return _PREFIXES[type(first)] + ", ".join(f"{one.name} ({one.value})" for one in (first, *others))
