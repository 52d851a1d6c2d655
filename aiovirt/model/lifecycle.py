"""How a domain's state moves: one literal table, and a step through it.

A driver reports *facts* (what its hypervisor said or did); the engine knows which *order* is
pending. ``step`` says what to publish. What is not in the table changes nothing: QEMU says STOP
also when we already know that it stopped. ``belongs`` says which facts are that order's doing.

Sources: QEMU's run-state.json; libvirt's qemu_process.c as seen through its events.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from msgspec import Struct

from aiovirt.model.orders import Create, Destroy, Request, Reset, Resume, Shutdown, Start, Suspend
from aiovirt.model.state import Detail, DomainState, Lifecycle, Reason

__all__ = ["Fact", "Step", "belongs", "step"]


class Fact(StrEnum):
    """What a hypervisor reports of a guest."""

    LAUNCHED = "its process is up, its vCPUs are stopped"
    PAUSED = "its vCPUs stopped"
    STOPPED = "a command stopped its vCPUs"
    PRELAUNCH = "its vCPUs have not run since it was started or reset"
    MIGRATING = "its vCPUs stopped for a migration"
    SAVING = "its vCPUs stopped to save its state"
    RESTORING = "its vCPUs stopped to restore its state"
    RESUMED = "its vCPUs run"
    GUEST_POWEROFF = "the guest powered off"
    HOST_POWEROFF = "the host powered it off"
    RESET = "its machine was reset"
    WATCHDOG = "its watchdog stopped it"
    IO_ERROR = "an I/O error stopped it"
    PANICKED = "the guest panicked"
    PM_SUSPENDED = "suspended to memory"
    PM_SUSPENDED_DISK = "suspended to disk"
    WOKEN = "woke up"
    EXITED = "its process ended"


class Step(Struct, frozen=True):
    """One lifecycle event to publish, and the state it leads to."""

    kind: Lifecycle
    detail: Detail
    state: DomainState
    reason: Reason


S, L, D, R = DomainState, Lifecycle, Detail, Reason

_STARTED: Final = Step(L.STARTED, D.BOOTED, S.RUNNING, R.BOOTED)
_STARTED_PAUSED: Final = (Step(L.STARTED, D.BOOTED, S.PAUSED, R.USER), Step(L.SUSPENDED, D.PAUSED, S.PAUSED, R.USER))
_DESTROYED: Final = Step(L.STOPPED, D.DESTROYED, S.SHUTOFF, R.DESTROYED)
# What a hypervisor answers when it is asked: so it is, whatever it was before.
_STOPS: Final = {
    Fact.STOPPED: (Step(L.SUSPENDED, D.PAUSED, S.PAUSED, R.USER),),
    Fact.PRELAUNCH: (Step(L.SUSPENDED, D.PAUSED, S.PAUSED, R.USER),),
    Fact.MIGRATING: (Step(L.SUSPENDED, D.MIGRATED, S.PAUSED, R.MIGRATION),),
    Fact.SAVING: (Step(L.SUSPENDED, D.PAUSED, S.PAUSED, R.SAVE),),
    Fact.RESTORING: (Step(L.SUSPENDED, D.FROM_SNAPSHOT, S.PAUSED, R.FROM_SNAPSHOT),),
}
# Events say these, too, and QEMU goes on saying them of the devices of a guest that is off or crashed.
_FAILS: Final = {
    Fact.WATCHDOG: (Step(L.SUSPENDED, D.WATCHDOG, S.PAUSED, R.WATCHDOG),),
    Fact.IO_ERROR: (Step(L.SUSPENDED, D.IOERROR, S.PAUSED, R.IOERROR),),
}
_PAUSE: Final = {Fact.PAUSED: (Step(L.SUSPENDED, D.PAUSED, S.PAUSED, R.UNKNOWN),)}
_RUN: Final = {Fact.RESUMED: (Step(L.RESUMED, D.UNPAUSED, S.RUNNING, R.UNPAUSED),)}
_SLEEP: Final = {Fact.PM_SUSPENDED: (Step(L.PMSUSPENDED, D.MEMORY, S.PMSUSPENDED, R.UNKNOWN),)}
_POWEROFF: Final = {
    Fact.GUEST_POWEROFF: (Step(L.SHUTDOWN, D.GUEST, S.SHUTDOWN, R.UNKNOWN),),
    Fact.HOST_POWEROFF: (Step(L.SHUTDOWN, D.HOST, S.SHUTDOWN, R.UNKNOWN),),
}
_PANIC: Final = {Fact.PANICKED: (Step(L.CRASHED, D.PANICKED, S.CRASHED, R.PANICKED),)}
_DIED: Final = {Fact.EXITED: (Step(L.STOPPED, D.FAILED, S.SHUTOFF, R.CRASHED),)}

# state -> fact -> what to publish
_TABLE: Final[dict[DomainState, dict[Fact, tuple[Step, ...]]]] = {
    S.RUNNING: {
        **_PAUSE,
        **_STOPS,
        **_FAILS,
        **_SLEEP,
        Fact.PM_SUSPENDED_DISK: (Step(L.PMSUSPENDED, D.DISK, S.PMSUSPENDED, R.UNKNOWN),),
        **_POWEROFF,
        **_PANIC,
        **_DIED,
    },
    S.PAUSED: {
        **_RUN,
        **_SLEEP,
        **_POWEROFF,
        **_PANIC,
        **_DIED,
    },
    S.PMSUSPENDED: {
        Fact.WOKEN: (Step(L.STARTED, D.WAKEUP, S.RUNNING, R.WAKEUP),),
        **_RUN,
        **_PAUSE,
        **_STOPS,
        **_FAILS,
        **_POWEROFF,
        **_PANIC,
        **_DIED,
    },
    S.SHUTDOWN: {
        **_RUN,
        **_STOPS,
        **_SLEEP,
        **_PANIC,
        Fact.EXITED: (Step(L.STOPPED, D.SHUTDOWN, S.SHUTOFF, R.SHUTDOWN),),
    },
    S.CRASHED: {
        **_RUN,
        **_STOPS,
        Fact.PRELAUNCH: (Step(L.SUSPENDED, D.PAUSED, S.PAUSED, R.CRASHED),),
        **_SLEEP,
        Fact.GUEST_POWEROFF: _POWEROFF[Fact.GUEST_POWEROFF],
        Fact.EXITED: (Step(L.STOPPED, D.CRASHED, S.SHUTOFF, R.CRASHED),),
    },
    S.SHUTOFF: {},
}

_BOOT: Final = frozenset({Fact.LAUNCHED, Fact.RESUMED})

# order -> what it is meant to bring about; an order that is not here only changes what we know ourselves
_MEANT: Final[dict[type[Request[object]], frozenset[Fact]]] = {
    Start: _BOOT,
    Create: _BOOT,
    Suspend: frozenset({Fact.PAUSED, Fact.STOPPED}),
    Resume: frozenset({Fact.RESUMED, Fact.WOKEN}),
    Shutdown: frozenset({Fact.GUEST_POWEROFF, Fact.HOST_POWEROFF}),
    # where the definition allows no reboot, QEMU makes a power-off by the host of it, and its process is ended then
    Reset: frozenset({Fact.RESET, Fact.PRELAUNCH, Fact.HOST_POWEROFF, Fact.EXITED}),
    # on SIGTERM and on ``quit`` QEMU says SHUTDOWN (by the host), no STOP, and ends
    Destroy: frozenset({Fact.HOST_POWEROFF, Fact.EXITED}),
}


def belongs(fact: Fact, order: Request[object] | None) -> bool:
    """Whether ``fact`` is what ``order``, the pending one, was meant to bring about.

    What the guest does by itself meanwhile, and what befalls it, is no order's doing.
    """
    return order is not None and fact in _MEANT.get(type(order), ())


def step(state: DomainState, fact: Fact, order: Request[object] | None) -> tuple[Step, ...]:
    """What to publish when ``fact`` meets a domain in ``state`` with ``order`` pending."""
    if isinstance(order, Start | Create) and state is S.SHUTOFF:
        if fact is Fact.LAUNCHED and order.paused:
            return _STARTED_PAUSED
        return (_STARTED,) if fact is Fact.RESUMED else ()
    if isinstance(order, Destroy) and state is not S.SHUTOFF:
        return (_DESTROYED,) if fact is Fact.EXITED else ()
    if isinstance(order, Suspend) and fact is Fact.PAUSED and state is S.RUNNING:
        return (Step(L.SUSPENDED, D.PAUSED, S.PAUSED, R.USER),)
    return _TABLE.get(state, {}).get(fact, ())
