"""What a definition says is done once the guest has powered off, rebooted or crashed: one table, the same for every driver.

A driver reports the fact; the engine looks up what follows it and carries that out with the driver's own orders.
"""

from __future__ import annotations

from typing import Final
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from aiovirt.model.fact import Fact
from aiovirt.model.orders import Destroy, DomainOrder, Reset, Resume
from aiovirt.model.spec import Action, DomainSpec
from aiovirt.model.state import DomainState

__all__ = ["FollowUp", "follow_up"]


class FollowUp(Struct, frozen=True):
    """The orders that carry out ``action``, one after the other."""

    action: Action
    orders: tuple[DomainOrder, ...]

    def leads_to(self, fact: Fact) -> bool:
        """Whether ``fact`` is what they were meant to bring about."""
        return any(fact in order.rule.leads_to for order in self.orders)

    def about(self, uuid: UUID) -> list[DomainOrder]:
        """The orders, for this domain."""
        return [replace(order, uuid=uuid) for order in self.orders]


_ANY: Final = UUID(int=0)
_END: Final = FollowUp(Action.DESTROY, (Destroy(uuid=_ANY, graceful=True),))
_RESTART: Final = FollowUp(Action.RESTART, (Reset(uuid=_ANY), Resume(uuid=_ANY)))
_GO_ON: Final = FollowUp(Action.RESTART, (Resume(uuid=_ANY),))

# the fact -> the element of the definition that decides; a power-off that was meant as a reboot is on_reboot's
_DECIDES: Final = {Fact.GUEST_POWEROFF: "on_poweroff", Fact.PANICKED: "on_crash"}

# the fact -> the action -> what follows; PRESERVE leaves the guest as it is
_TABLE: Final[dict[Fact, dict[Action, FollowUp]]] = {
    fact: {Action.DESTROY: _END, Action.RESTART: _RESTART} for fact in (Fact.GUEST_POWEROFF, Fact.HOST_POWEROFF, Fact.PANICKED)
}

# A guest that is found reset in one of these states was being restarted when the engine before ended.
_BROKEN_OFF: Final = {DomainState.SHUTDOWN: "on_poweroff", DomainState.CRASHED: "on_crash"}


def follow_up(spec: DomainSpec, state: DomainState, fact: Fact, *, rebooting: bool = False) -> FollowUp | None:
    """What follows ``fact``, which met a domain in ``state`` that runs with ``spec``; ``rebooting`` is whether it was meant as a reboot."""
    if fact is Fact.PRELAUNCH:
        return _GO_ON if _action(spec, _BROKEN_OFF.get(state)) is Action.RESTART else None
    if (decided := _TABLE.get(fact)) is None:
        return None
    action = _action(spec, "on_reboot" if rebooting else _DECIDES.get(fact))
    return decided.get(action) if action is not None else None


def _action(spec: DomainSpec, element: str | None) -> Action | None:
    action = getattr(spec, element) if element is not None else None
    return action if isinstance(action, Action) else None
