"""What is declared of each order, beside what libvirt says of the same one."""

from __future__ import annotations

from typing import Any

import pytest

from aiovirt.model.orders import REQUESTS, DomainOrder, Request, Rule, Turn
from aiovirt.model.orders.rule import ACTIVE, order
from aiovirt.model.state import DomainState

# request -> program and number of libvirt's procedure (remote_protocol.x and qemu_protocol.x of libvirt 11.3), its name there, and what
# its @acl asks of every caller; None where libvirt has no such procedure
LIBVIRT: dict[str, tuple[str, int, str, tuple[str, ...]] | None] = {
    "AskAbility": None,
    "AskAutostart": ("remote", 15, "domain_get_autostart", ("domain:read",)),
    "AskDetails": None,
    "AskLog": None,
    "AskQMP": ("qemu", 1, "domain_monitor_command", ("domain:write",)),
    "AskXML": ("remote", 14, "domain_get_xml_desc", ("domain:read",)),
    "Create": ("remote", 10, "domain_create_xml", ("domain:write", "domain:start")),
    "Define": ("remote", 350, "domain_define_xml_flags", ("domain:write", "domain:save")),
    "Destroy": ("remote", 234, "domain_destroy_flags", ("domain:stop",)),
    "Enumerate": None,
    "ReadPhysPortId": None,
    "Reboot": ("remote", 27, "domain_reboot", ("domain:init_control",)),
    "Refresh": None,
    "Reset": ("remote", 245, "domain_reset", ("domain:reset",)),
    "Resume": ("remote", 28, "domain_resume", ("domain:suspend",)),
    "SetAutostart": ("remote", 29, "domain_set_autostart", ("domain:write",)),
    "Shutdown": ("remote", 258, "domain_shutdown_flags", ("domain:init_control",)),
    "Start": ("remote", 196, "domain_create_with_flags", ("domain:start",)),
    "Suspend": ("remote", 34, "domain_suspend", ("domain:suspend",)),
    "Undefine": ("remote", 231, "domain_undefine_flags", ("domain:delete",)),
}

every_request = pytest.mark.parametrize("kind", REQUESTS.values(), ids=REQUESTS)


def test_every_order_is_in_libvirts_table() -> None:
    assert set(REQUESTS) == set(LIBVIRT)


@every_request
def test_an_order_is_the_procedure_that_libvirt_has_for_it(kind: type[Request[Any]]) -> None:
    known, procedure = LIBVIRT[kind.__name__], kind.rule.procedure
    assert (known and known[:2]) == (procedure and (procedure.program, procedure.number))


@every_request
def test_an_order_needs_the_permissions_that_libvirt_asks_for(kind: type[Request[Any]]) -> None:
    known = LIBVIRT[kind.__name__]
    assert kind.rule.permissions
    assert known is None or kind.rule.permissions == known[3]


@every_request
def test_a_rule_makes_sense(kind: type[Request[Any]]) -> None:
    rule = kind.rule
    assert rule.already <= (rule.states or frozenset())
    assert not (rule.turn is Turn.READ and (rule.leads_to or rule.done or rule.urgent))
    assert not rule.done or rule.leads_to
    assert kind.__doc__


@every_request
def test_only_what_is_about_a_domain_has_states_of_one(kind: type[Request[Any]]) -> None:
    assert kind.rule.states is None or "uuid" in kind.__struct_fields__


def test_the_states_of_a_domain_that_runs() -> None:
    assert set(DomainState) - {DomainState.SHUTOFF} == ACTIVE


def test_an_order_is_declared_once() -> None:
    class Suspend(DomainOrder, frozen=True, kw_only=True, tag=True):
        """Another one of this name."""

    with pytest.raises(ValueError, match="there is a request Suspend already"):
        order(Rule(verb="suspend", turn=Turn.CHANGE, permissions=()))(Suspend)
    assert REQUESTS["Suspend"] is not Suspend
