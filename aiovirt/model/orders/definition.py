"""Orders and questions about definitions."""

from __future__ import annotations

from uuid import UUID

from aiovirt.model.orders.rule import DefineObject, DomainOrder, Procedure, Request, Rule, Turn, order

__all__ = ["AskAutostart", "AskXML", "Define", "SetAutostart", "Undefine"]


@order(Rule(verb="define", turn=Turn.CHANGE, permissions=("domain:write", "domain:save"), procedure=Procedure(350), by_engine=True))
class Define(DefineObject, frozen=True, kw_only=True, tag=True):
    """Keep the definition of a domain in ``xml``; answers with its uuid. With ``validate`` nothing in it may be unknown to libvirt."""


@order(Rule(verb="undefine", turn=Turn.CHANGE, permissions=("domain:delete",), procedure=Procedure(231), by_engine=True))
class Undefine(DomainOrder, frozen=True, kw_only=True, tag=True):
    """Forget its definition; one that runs goes on as a transient domain."""


@order(Rule(verb="autostart", turn=Turn.NOW, permissions=("domain:write",), procedure=Procedure(29), by_engine=True))
class SetAutostart(DomainOrder, frozen=True, kw_only=True, tag=True):
    """Whether a defined domain is started with the host."""

    enabled: bool = True


@order(Rule(verb="get_autostart", turn=Turn.READ, permissions=("domain:read",), procedure=Procedure(15), by_engine=True))
class AskAutostart(Request[bool], frozen=True, kw_only=True, tag=True):
    """Whether a domain is started with the host."""

    uuid: UUID


@order(Rule(verb="dumpxml", turn=Turn.READ, permissions=("domain:read",), procedure=Procedure(14), by_engine=True))
class AskXML(Request[str], frozen=True, kw_only=True, tag=True):
    """A domain's XML: of the run, or with ``inactive`` of the next start."""

    uuid: UUID
    inactive: bool = False
