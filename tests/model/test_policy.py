from __future__ import annotations

from uuid import UUID

import pytest
from msgspec.structs import replace

from aiovirt.model.fact import Fact
from aiovirt.model.orders import Destroy, Reset, Resume
from aiovirt.model.policy import follow_up
from aiovirt.model.spec import Action, DomainSpec
from aiovirt.model.state import DomainState
from aiovirt.model.units import MiB

SPEC = DomainSpec(name="web", memory=16 * MiB)
U = UUID(int=7)
ENDS, RESTARTS = [Destroy(uuid=U, graceful=True)], [Reset(uuid=U), Resume(uuid=U)]


@pytest.mark.parametrize(
    ("fact", "rebooting", "element"),
    [
        (Fact.GUEST_POWEROFF, False, "on_poweroff"),
        (Fact.GUEST_POWEROFF, True, "on_reboot"),
        (Fact.HOST_POWEROFF, True, "on_reboot"),
        (Fact.PANICKED, False, "on_crash"),
    ],
)
@pytest.mark.parametrize(("action", "orders"), [(Action.DESTROY, ENDS), (Action.RESTART, RESTARTS), (Action.PRESERVE, [])])
def test_one_element_decides_what_follows_a_fact(
    fact: Fact, element: str, action: Action, orders: list[object], *, rebooting: bool
) -> None:
    others = dict.fromkeys({"on_poweroff", "on_reboot", "on_crash"}, Action.PRESERVE)
    spec = replace(SPEC, **(others | {element: action}))
    what = follow_up(spec, DomainState.RUNNING, fact, rebooting=rebooting)
    assert (what.about(U) if what else []) == orders


@pytest.mark.parametrize("fact", set(Fact) - {Fact.GUEST_POWEROFF, Fact.PANICKED})
def test_nothing_follows_any_other_fact(fact: Fact) -> None:
    assert follow_up(SPEC, DomainState.RUNNING, fact) is None


@pytest.mark.parametrize(("state", "element"), [(DomainState.SHUTDOWN, "on_poweroff"), (DomainState.CRASHED, "on_crash")])
def test_a_restart_that_was_broken_off_after_its_reset_goes_on(state: DomainState, element: str) -> None:
    what = follow_up(replace(SPEC, **{element: Action.RESTART}), state, Fact.PRELAUNCH)
    assert what is not None
    assert what.about(U) == [Resume(uuid=U)]
    assert follow_up(replace(SPEC, **{element: Action.PRESERVE}), state, Fact.PRELAUNCH) is None
    assert follow_up(replace(SPEC, **{element: Action.RESTART}), DomainState.PAUSED, Fact.PRELAUNCH) is None
