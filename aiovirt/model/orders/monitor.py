"""What is asked of the hypervisor of one domain in its own words."""

from __future__ import annotations

from uuid import UUID

from aiovirt.model.orders.rule import ACTIVE, Procedure, Request, Rule, Turn, order

__all__ = ["AskLog", "AskQMP"]


@order(
    Rule(
        verb="qemu-monitor-command",
        turn=Turn.NOW,
        permissions=("domain:write",),
        procedure=Procedure(1, "qemu"),
        states=ACTIVE,
    )
)
class AskQMP(Request[bytes], frozen=True, kw_only=True, tag=True):
    """A raw QMP command; ``arguments`` and the answer are JSON."""

    uuid: UUID
    command: str
    arguments: bytes = b"{}"


@order(Rule(verb="log", turn=Turn.READ, permissions=("domain:read",)))
class AskLog(Request[str], frozen=True, kw_only=True, tag=True):
    """The last that a domain's hypervisor has said of itself, in this run and those before."""

    uuid: UUID
