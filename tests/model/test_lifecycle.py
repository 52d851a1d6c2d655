from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiovirt.model.lifecycle import Fact, caused_by, step
from aiovirt.model.orders import (
    REQUESTS,
    AskAutostart,
    AskDetails,
    AskLog,
    AskQMP,
    AskXML,
    Create,
    Define,
    Destroy,
    Enumerate,
    ReadPhysPortId,
    Reboot,
    Refresh,
    Request,
    Reset,
    Resume,
    SetAutostart,
    Shutdown,
    Start,
    Suspend,
    Undefine,
)
from aiovirt.model.state import Detail, DomainState, Lifecycle, Reason, detail_number, reason_number

U = UUID(int=1)
S, L, D, R = DomainState, Lifecycle, Detail, Reason
START, PAUSED_START, SUSPEND, DESTROY = Start(uuid=U), Start(uuid=U, paused=True), Suspend(uuid=U), Destroy(uuid=U)


def walk(facts: list[Fact], order: Request[None] | None, state: DomainState = S.RUNNING) -> list[tuple[str, str, str, str]]:
    told: list[tuple[str, str, str, str]] = []
    for fact in facts:
        for moved in step(state, fact, order):
            told.append((moved.kind.value, moved.detail.value, moved.state.value, moved.reason.value))
            state = moved.state
    return told


@pytest.mark.parametrize(
    ("order", "state", "facts", "told"),
    [
        # a start is one event, when the vCPUs run
        (START, S.SHUTOFF, [Fact.RESUMED], [("started", "booted", "running", "booted")]),
        # a paused start is libvirt's two
        (PAUSED_START, S.SHUTOFF, [Fact.LAUNCHED], [("started", "booted", "paused", "user"), ("suspended", "paused", "paused", "user")]),
        # one that failed half-way was never started
        (START, S.SHUTOFF, [Fact.PRELAUNCH, Fact.EXITED], []),
        (SUSPEND, S.RUNNING, [Fact.PAUSED], [("suspended", "paused", "paused", "user")]),
        (None, S.RUNNING, [Fact.PAUSED], [("suspended", "paused", "paused", "unknown")]),
        (None, S.PAUSED, [Fact.RESUMED], [("resumed", "unpaused", "running", "unpaused")]),
        # the guest powers off: QEMU says SHUTDOWN and STOP, then its process is ended
        (
            None,
            S.RUNNING,
            [Fact.GUEST_POWEROFF, Fact.PAUSED, Fact.EXITED],
            [("shutdown", "finished after guest request", "in shutdown", "unknown"), ("stopped", "shutdown", "shut off", "shutdown")],
        ),
        # ending a process makes QEMU say SHUTDOWN too: that is no shutdown
        (DESTROY, S.RUNNING, [Fact.HOST_POWEROFF, Fact.PAUSED, Fact.EXITED], [("stopped", "destroyed", "shut off", "destroyed")]),
        # an I/O error says why first, and STOP after
        (None, S.RUNNING, [Fact.IO_ERROR, Fact.PAUSED], [("suspended", "I/O error", "paused", "I/O error")]),
        (None, S.RUNNING, [Fact.WATCHDOG, Fact.PAUSED], [("suspended", "watchdog", "paused", "watchdog")]),
        (None, S.RUNNING, [Fact.EXITED], [("stopped", "failed", "shut off", "crashed")]),
        (
            None,
            S.RUNNING,
            [Fact.PANICKED, Fact.PAUSED, Fact.EXITED],
            [("crashed", "panicked", "crashed", "panicked"), ("stopped", "crashed", "shut off", "crashed")],
        ),
        (
            None,
            S.RUNNING,
            [Fact.PM_SUSPENDED, Fact.WOKEN],
            [("pmsuspended", "memory", "pmsuspended", "unknown"), ("started", "event wakeup", "running", "event wakeup")],
        ),
        # a guest that is started again when it powers off
        (
            None,
            S.RUNNING,
            [Fact.GUEST_POWEROFF, Fact.RESET, Fact.RESUMED],
            [("shutdown", "finished after guest request", "in shutdown", "unknown"), ("resumed", "unpaused", "running", "unpaused")],
        ),
    ],
)
def test_what_facts_lead_to(
    order: Request[None] | None, state: DomainState, facts: list[Fact], told: list[tuple[str, str, str, str]]
) -> None:
    assert walk(facts, order, state) == told


_PAUSED_BY = {
    Fact.STOPPED: ("suspended", "paused", "paused", "user"),
    Fact.PRELAUNCH: ("suspended", "paused", "paused", "user"),
    Fact.MIGRATING: ("suspended", "migrated", "paused", "migrating"),
    Fact.SAVING: ("suspended", "paused", "paused", "saving"),
    Fact.RESTORING: ("suspended", "snapshot", "paused", "from snapshot"),
}
_RUNS = {Fact.RESUMED: ("resumed", "unpaused", "running", "unpaused")}
_SLEEPS = {Fact.PM_SUSPENDED: ("pmsuspended", "memory", "pmsuspended", "unknown")}
_IS_OFF = {Fact.GUEST_POWEROFF: ("shutdown", "finished after guest request", "in shutdown", "unknown")}
_PANICKED = {Fact.PANICKED: ("crashed", "panicked", "crashed", "panicked")}
# state that was known -> how the hypervisor says that it is -> what is told
_ASKED = {
    S.RUNNING: {**_PAUSED_BY, **_SLEEPS, **_IS_OFF, **_PANICKED},
    S.PAUSED: {**_RUNS, **_SLEEPS, **_IS_OFF, **_PANICKED},
    S.PMSUSPENDED: {**_RUNS, **_PAUSED_BY, **_IS_OFF, **_PANICKED},
    S.SHUTDOWN: {**_RUNS, **_PAUSED_BY, **_SLEEPS, **_PANICKED},
    # what was reset after a crash is paused for having crashed, as in libvirt
    S.CRASHED: {**_RUNS, **_PAUSED_BY, Fact.PRELAUNCH: ("suspended", "paused", "paused", "crashed"), **_SLEEPS, **_IS_OFF},
}


@pytest.mark.parametrize("fact", [*_PAUSED_BY, *_RUNS, *_SLEEPS, *_IS_OFF, *_PANICKED], ids=lambda fact: fact.name)
@pytest.mark.parametrize("state", _ASKED, ids=lambda state: state.name)
def test_what_a_hypervisor_says_when_asked_is_so_whatever_was_known(state: DomainState, fact: Fact) -> None:
    told = _ASKED[state].get(fact)
    assert walk([fact], None, state) == ([told] if told else [])
    if told:
        moved = step(state, fact, None)[0]
        assert moved.reason is Reason.UNKNOWN or reason_number(moved.state, moved.reason)


orders = st.sampled_from([None, START, PAUSED_START, SUSPEND, DESTROY, Shutdown(uuid=U), Create(xml="")])


@given(st.sampled_from(DomainState), st.lists(st.sampled_from(Fact)), orders)
def test_every_walk_makes_sense(state: DomainState, facts: list[Fact], order: Request[object] | None) -> None:
    """Only EXITED leads to SHUTOFF, it always does, and every event is one of libvirt's."""
    for fact in facts:
        moved = step(state, fact, order)
        for one in moved:
            detail_number(one.kind, one.detail)
            assert (one.state is S.SHUTOFF) == (one.kind is L.STOPPED) == (fact is Fact.EXITED)
        if fact is Fact.EXITED and state not in (S.SHUTOFF, S.NOSTATE, S.BLOCKED):
            assert moved
        state = moved[-1].state if moved else state


# fact -> the orders whose doing it may be; each order as its letters in this row, a dot where it is not
_ORDERS: dict[str, Request[object] | None] = {
    "St": START,
    "Sp": PAUSED_START,
    "Cr": Create(xml=""),
    "Su": SUSPEND,
    "Rm": Resume(uuid=U),
    "Sh": Shutdown(uuid=U),
    "Rt": Reset(uuid=U),
    "De": DESTROY,
    "Df": Define(xml=""),
    "Un": Undefine(uuid=U),
    "Qm": AskQMP(uuid=U, command="stop"),
    "Xm": AskXML(uuid=U),
    "Rd": ReadPhysPortId(name=""),
    "Rf": Refresh(subject=""),
    "Dt": AskDetails(subject=""),
    "En": Enumerate(subsystem=""),
    "Lg": AskLog(uuid=U),
    "Aa": AskAutostart(uuid=U),
    "As": SetAutostart(uuid=U),
    "Rb": Reboot(uuid=U),
    "no": None,
}
_DOING = {
    Fact.LAUNCHED: "         St Sp Cr  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .",
    Fact.PAUSED: "            .  .  . Su  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .",
    Fact.STOPPED: "           .  .  . Su  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .",
    Fact.PRELAUNCH: "         .  .  .  .  .  . Rt  .  .  .  .  .  .  .  .  .  .  .  .  .  .",
    Fact.MIGRATING: "         .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .",
    Fact.SAVING: "            .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .",
    Fact.RESTORING: "         .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .",
    Fact.RESUMED: "          St Sp Cr  . Rm  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .",
    Fact.GUEST_POWEROFF: "    .  .  .  .  . Sh  .  .  .  .  .  .  .  .  .  .  .  .  . Rb  .",
    Fact.HOST_POWEROFF: "     .  .  .  .  . Sh Rt De  .  .  .  .  .  .  .  .  .  .  . Rb  .",
    Fact.RESET: "             .  .  .  .  .  . Rt  .  .  .  .  .  .  .  .  .  .  .  .  .  .",
    Fact.WATCHDOG: "          .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .",
    Fact.IO_ERROR: "          .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .",
    Fact.PANICKED: "          .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .",
    Fact.PM_SUSPENDED: "      .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .",
    Fact.PM_SUSPENDED_DISK: " .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .",
    Fact.WOKEN: "             .  .  .  . Rm  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .",
    Fact.EXITED: "            .  .  .  .  .  . Rt De  .  .  .  .  .  .  .  .  .  .  .  .  .",
}


@pytest.mark.parametrize("fact", Fact, ids=lambda fact: fact.name)
def test_whose_doing_a_fact_is(fact: Fact) -> None:
    assert " ".join(name if caused_by(fact, order) else "." for name, order in _ORDERS.items()) == " ".join(_DOING[fact].split())


def test_the_table_of_doings_has_every_order_that_leads_to_a_fact() -> None:
    assert {kind for kind in REQUESTS.values() if kind.rule.leads_to} <= {type(order) for order in _ORDERS.values()}
