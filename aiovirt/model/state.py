"""What a domain can be: its states and why it is in them, in libvirt's words.

The values are the words virsh prints (``domstate --reason``, ``event --event lifecycle``); the
integers of libvirt-domain.h are beside them, for what speaks to libvirt's own clients.
"""

from __future__ import annotations

from msgspec import Struct

from aiovirt.model.openenum import OpenEnum

__all__ = ["Detail", "DomainState", "DomainStatus", "Lifecycle", "MonitorHealth", "Reason", "detail_number", "reason_number"]


class DomainState(OpenEnum):
    """``virDomainState``; :attr:`number` is libvirt's integer."""

    NOSTATE = "no state"
    RUNNING = "running"
    BLOCKED = "idle"
    PAUSED = "paused"
    SHUTDOWN = "in shutdown"
    SHUTOFF = "shut off"
    CRASHED = "crashed"
    PMSUSPENDED = "pmsuspended"

    @property
    def number(self) -> int:
        """The integer of ``virDomainState``; that of NOSTATE for a state of a newer version."""
        return _STATE_ORDER.index(self) if self in _STATE_ORDER else 0

    @property
    def is_active(self) -> bool:
        """Whether a process stands behind it (libvirt's "active")."""
        return self is not DomainState.SHUTOFF


_STATE_ORDER = tuple(DomainState)


class Reason(OpenEnum):
    """Why a domain is in its state (``virDomainRunningReason`` and its siblings, one vocabulary)."""

    UNKNOWN = "unknown"
    BOOTED = "booted"
    MIGRATED = "migrated"
    RESTORED = "restored"
    FROM_SNAPSHOT = "from snapshot"
    UNPAUSED = "unpaused"
    WAKEUP = "event wakeup"
    USER = "user"
    MIGRATION = "migrating"
    SAVE = "saving"
    IOERROR = "I/O error"
    WATCHDOG = "watchdog"
    SHUTTING_DOWN = "shutting down"
    CRASHED = "crashed"
    STARTING_UP = "starting up"
    SHUTDOWN = "shutdown"
    DESTROYED = "destroyed"
    FAILED = "failed"
    PANICKED = "panicked"


_REASONS: dict[DomainState, dict[Reason, int]] = {
    DomainState.RUNNING: {
        Reason.BOOTED: 1,
        Reason.MIGRATED: 2,
        Reason.RESTORED: 3,
        Reason.FROM_SNAPSHOT: 4,
        Reason.UNPAUSED: 5,
        Reason.WAKEUP: 8,
        Reason.CRASHED: 9,
    },
    DomainState.PAUSED: {
        Reason.USER: 1,
        Reason.MIGRATION: 2,
        Reason.SAVE: 3,
        Reason.IOERROR: 5,
        Reason.WATCHDOG: 6,
        Reason.FROM_SNAPSHOT: 7,
        Reason.SHUTTING_DOWN: 8,
        Reason.CRASHED: 10,
        Reason.STARTING_UP: 11,
    },
    DomainState.SHUTDOWN: {Reason.USER: 1},
    DomainState.SHUTOFF: {
        Reason.SHUTDOWN: 1,
        Reason.DESTROYED: 2,
        Reason.CRASHED: 3,
        Reason.MIGRATED: 4,
        Reason.FAILED: 6,
        Reason.FROM_SNAPSHOT: 7,
    },
    DomainState.CRASHED: {Reason.PANICKED: 1},
}


def reason_number(state: DomainState, reason: Reason) -> int:
    """libvirt's integer for ``reason`` in ``state``; 0 (unknown) where libvirt has none."""
    return _REASONS.get(state, {}).get(reason, 0)


class Lifecycle(OpenEnum):
    """``virDomainEventType``: what happened to a domain; :attr:`number` is libvirt's integer."""

    DEFINED = "defined"
    UNDEFINED = "undefined"
    STARTED = "started"
    SUSPENDED = "suspended"
    RESUMED = "resumed"
    STOPPED = "stopped"
    SHUTDOWN = "shutdown"
    PMSUSPENDED = "pmsuspended"
    CRASHED = "crashed"

    @property
    def number(self) -> int:
        """The integer of ``virDomainEventType``; raises ValueError for an event of a newer version."""
        return _KIND_ORDER.index(self)


_KIND_ORDER = tuple(Lifecycle)


class Detail(OpenEnum):
    """Why it happened (``virDomainEventStartedDetailType`` and its siblings, one vocabulary)."""

    ADDED = "added"
    UPDATED = "updated"
    REMOVED = "removed"
    BOOTED = "booted"
    WAKEUP = "event wakeup"
    PAUSED = "paused"
    MIGRATED = "migrated"
    IOERROR = "I/O error"
    WATCHDOG = "watchdog"
    FROM_SNAPSHOT = "snapshot"
    UNPAUSED = "unpaused"
    SHUTDOWN = "shutdown"
    DESTROYED = "destroyed"
    CRASHED = "crashed"
    FAILED = "failed"
    FINISHED = "finished"
    GUEST = "finished after guest request"
    HOST = "finished after host request"
    MEMORY = "memory"
    DISK = "disk"
    PANICKED = "panicked"
    CRASHLOADED = "crashloaded"


_DETAILS: dict[Lifecycle, dict[Detail, int]] = {
    Lifecycle.DEFINED: {Detail.ADDED: 0, Detail.UPDATED: 1},
    Lifecycle.UNDEFINED: {Detail.REMOVED: 0},
    Lifecycle.STARTED: {Detail.BOOTED: 0, Detail.WAKEUP: 4},
    Lifecycle.SUSPENDED: {Detail.PAUSED: 0, Detail.MIGRATED: 1, Detail.IOERROR: 2, Detail.WATCHDOG: 3, Detail.FROM_SNAPSHOT: 5},
    Lifecycle.RESUMED: {Detail.UNPAUSED: 0},
    Lifecycle.STOPPED: {Detail.SHUTDOWN: 0, Detail.DESTROYED: 1, Detail.CRASHED: 2, Detail.FAILED: 5},
    Lifecycle.SHUTDOWN: {Detail.FINISHED: 0, Detail.GUEST: 1, Detail.HOST: 2},
    Lifecycle.PMSUSPENDED: {Detail.MEMORY: 0, Detail.DISK: 1},
    Lifecycle.CRASHED: {Detail.PANICKED: 0, Detail.CRASHLOADED: 1},
}


def detail_number(kind: Lifecycle, detail: Detail) -> int:
    """libvirt's integer for ``detail`` of ``kind``; raises KeyError where the two do not go together."""
    return _DETAILS[kind][detail]


class MonitorHealth(OpenEnum):
    """Whether a running guest's monitor responds. It is never a state of the guest itself."""

    CONNECTED = "connected"
    STALLED = "stalled"
    LOST = "lost"
    DEGRADED = "degraded"


class DomainStatus(Struct, frozen=True, gc=False):
    """One consistent reading of a domain.

    ``monitor`` is None while no process stands behind it; ``as_of`` is the cursor of the event
    that last said something of this domain.
    """

    state: DomainState
    reason: Reason
    monitor: MonitorHealth | None
    as_of: str
