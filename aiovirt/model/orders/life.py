"""Orders by which a domain begins, stops, goes on and ends."""

from __future__ import annotations

from uuid import UUID

from aiovirt.model.fact import Fact
from aiovirt.model.orders.rule import ACTIVE, DomainOrder, Procedure, Request, Rule, Turn, order
from aiovirt.model.state import DomainState, Lifecycle

__all__ = ["Create", "Destroy", "Reboot", "Reset", "Resume", "Shutdown", "Start", "Suspend"]

_BOOT = frozenset({Fact.LAUNCHED, Fact.RESUMED})


@order(
    Rule(
        verb="start",
        turn=Turn.CHANGE,
        permissions=("domain:start",),
        procedure=Procedure(196),
        states=frozenset({DomainState.SHUTOFF}),
        leads_to=_BOOT,
        done=frozenset({Lifecycle.STARTED}),
    )
)
class Start(DomainOrder, frozen=True, kw_only=True, tag=True):
    """Boot a defined domain. With ``autodestroy`` it ends with the connection that started it."""

    paused: bool = False
    autodestroy: bool = False


@order(
    Rule(
        verb="create",
        turn=Turn.CHANGE,
        permissions=("domain:write", "domain:start"),
        procedure=Procedure(10),
        leads_to=_BOOT,
        done=frozenset({Lifecycle.STARTED}),
    )
)
class Create(Request[UUID], frozen=True, kw_only=True, tag=True):
    """Boot a transient domain from ``xml``; answers with its uuid."""

    xml: str
    paused: bool = False
    autodestroy: bool = False


@order(
    Rule(
        verb="suspend",
        turn=Turn.CHANGE,
        permissions=("domain:suspend",),
        procedure=Procedure(34),
        states=frozenset({DomainState.RUNNING, DomainState.PAUSED}),
        already=frozenset({DomainState.PAUSED}),
        leads_to=frozenset({Fact.PAUSED, Fact.STOPPED}),
        done=frozenset({Lifecycle.SUSPENDED}),
        urgent=True,
    )
)
class Suspend(DomainOrder, frozen=True, kw_only=True, tag=True):
    """Stop its vCPUs."""


@order(
    Rule(
        verb="resume",
        turn=Turn.CHANGE,
        permissions=("domain:suspend",),
        procedure=Procedure(28),
        states=frozenset({DomainState.PAUSED, DomainState.SHUTDOWN, DomainState.CRASHED}),
        leads_to=frozenset({Fact.RESUMED, Fact.WOKEN}),
        # one that was stopped in its sleep sleeps on
        done=frozenset({Lifecycle.RESUMED, Lifecycle.PMSUSPENDED}),
    )
)
class Resume(DomainOrder, frozen=True, kw_only=True, tag=True):
    """Let its vCPUs run again."""


@order(
    Rule(
        verb="shutdown",
        turn=Turn.CHANGE,
        permissions=("domain:init_control",),
        procedure=Procedure(258),
        states=frozenset({DomainState.RUNNING}),
        leads_to=frozenset({Fact.GUEST_POWEROFF, Fact.HOST_POWEROFF}),
        reboots=False,
    )
)
class Shutdown(DomainOrder, frozen=True, kw_only=True, tag=True):
    """Press its power button. It is done when that is pressed: what follows is the guest's decision."""


@order(
    Rule(
        verb="reboot",
        turn=Turn.CHANGE,
        permissions=("domain:init_control",),
        procedure=Procedure(27),
        states=frozenset({DomainState.RUNNING}),
        leads_to=frozenset({Fact.GUEST_POWEROFF, Fact.HOST_POWEROFF}),
        reboots=True,
    )
)
class Reboot(DomainOrder, frozen=True, kw_only=True, tag=True):
    """Press its power button; once the guest has powered off, ``on_reboot`` is done. It is done when that button is pressed."""


@order(
    Rule(
        verb="reset",
        turn=Turn.CHANGE,
        permissions=("domain:reset",),
        procedure=Procedure(245),
        states=ACTIVE,
        # where the definition allows no reboot, QEMU makes a power-off by the host of it, and its process is ended then
        leads_to=frozenset({Fact.RESET, Fact.PRELAUNCH, Fact.HOST_POWEROFF, Fact.EXITED}),
        done=frozenset({"reboot", Lifecycle.STOPPED}),
        asks_after=True,
        reboots=False,
    )
)
class Reset(DomainOrder, frozen=True, kw_only=True, tag=True):
    """Press its reset button."""


@order(
    Rule(
        verb="destroy",
        turn=Turn.NOW,
        permissions=("domain:stop",),
        procedure=Procedure(234),
        states=ACTIVE,
        # on SIGTERM and on ``quit`` QEMU says SHUTDOWN (by the host), no STOP, and ends
        leads_to=frozenset({Fact.HOST_POWEROFF, Fact.EXITED}),
        done=frozenset({Lifecycle.STOPPED}),
    )
)
class Destroy(DomainOrder, frozen=True, kw_only=True, tag=True):
    """Pull its plug. With ``graceful`` it is asked to end and never killed: it may take its time to write its disks."""

    graceful: bool = False
