"""How a domain's state moves: one literal table, and a step through it.

A driver reports *facts* (what its hypervisor said or did); the engine knows which *order* is
pending. ``step`` says what to publish. What is not in the table changes nothing: QEMU says STOP
also when we already know that it stopped. ``caused_by`` says which facts are that order's doing.

Sources: QEMU's run-state.json; libvirt's qemu_process.c as seen through its events.
"""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct

from aiovirt.model.fact import Fact
from aiovirt.model.orders import Create, Destroy, Request, Start, Suspend
from aiovirt.model.orders.rule import ACTIVE
from aiovirt.model.policy import FollowUp
from aiovirt.model.spec import Action
from aiovirt.model.state import Detail, DomainState, Lifecycle, Reason

__all__ = ["Fact", "Step", "caused_by", "step"]


class Step(Struct, frozen=True):
    """One lifecycle event to publish, and the state it leads to."""

    kind: Lifecycle
    detail: Detail
    state: DomainState
    reason: Reason


S, L, D, R = DomainState, Lifecycle, Detail, Reason

Facts = dict[DomainState, dict[Fact, tuple[Step, ...]]]

_STARTED: Final = (Step(L.STARTED, D.BOOTED, S.RUNNING, R.BOOTED),)
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

# state -> fact -> what to publish, whatever was ordered
_BY_ITSELF: Final[Facts] = {
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

# the same while an order is under way that gives some facts another meaning
_BOOTS: Final[Facts] = {**_BY_ITSELF, S.SHUTOFF: {Fact.LAUNCHED: _STARTED_PAUSED, Fact.RESUMED: _STARTED}}
_ENDED: Final = (S.SHUTDOWN, S.CRASHED)
_TABLE: Final[dict[type[Request[Any]] | Action | None, Facts]] = {
    None: _BY_ITSELF,
    Start: _BOOTS,
    Create: _BOOTS,
    Suspend: {**_BY_ITSELF, S.RUNNING: {**_BY_ITSELF[S.RUNNING], Fact.PAUSED: _STOPS[Fact.STOPPED]}},
    # whatever QEMU says meanwhile: what counts is that it has ended
    Destroy: {state: {Fact.EXITED: (_DESTROYED,)} for state in ACTIVE},
    # between the reset and the going on its vCPUs are stopped, and stay so for a moment only
    Action.RESTART: {
        **_BY_ITSELF,
        **{state: {fact: steps for fact, steps in _BY_ITSELF[state].items() if fact not in _STOPS} for state in _ENDED},
    },
}


def caused_by(fact: Fact, order: Request[object] | None) -> bool:
    """Whether ``fact`` is what ``order``, the pending one, was meant to bring about.

    What the guest does by itself meanwhile, and what befalls it, is no order's doing.
    """
    return order is not None and fact in order.rule.leads_to


def step(state: DomainState, fact: Fact, order: Request[object] | FollowUp | None) -> tuple[Step, ...]:
    """What to publish when ``fact`` meets a domain in ``state`` with ``order`` pending, or carried out by itself."""
    kind = order.action if isinstance(order, FollowUp) else type(order) if order else None
    facts = _TABLE.get(kind, _BY_ITSELF)
    return facts.get(state, {}).get(fact, ())
