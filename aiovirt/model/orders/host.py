"""Questions about the host's engine and its driver."""

from __future__ import annotations

from aiovirt.model.orders.rule import Request, Rule, Turn, order

__all__ = ["AskAbility"]


@order(Rule(verb="can", turn=Turn.READ, permissions=("connect:read",), by_engine=True))
class AskAbility(Request[str | None], frozen=True, kw_only=True, tag=True):
    """Ask whether orders of a class, by its name, can be carried out: None when they can, else why not."""

    order: str
