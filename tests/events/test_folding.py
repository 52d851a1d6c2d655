from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aiovirt.events import Event, NetdevAdded, NetdevChanged, NetdevRemoved, NetdevRenamed
from aiovirt.events.folding import folded
from aiovirt.events.state import HostState
from tests.events.samples import netdev, started


def history(moves: list[tuple[int, str, int]]) -> list[Event]:
    """Events as a real inventory would give them: two devices that come, change, are renamed and go."""
    there = {number: netdev(number) for number in (1, 2)}
    events: list[Event] = []
    for number, move, value in moves:
        old = there.get(number)
        if old is None:
            there[number] = netdev(number)
            events.append(NetdevAdded(device=there[number]))
        elif move == "remove":
            events.append(NetdevRemoved(device=there.pop(number)))
        elif move == "rename":
            there[number] = netdev(number, mtu=old.mtu, name=f"n{value}")
            events.append(NetdevRenamed(old=old, new=there[number]))
        else:
            there[number] = netdev(number, name=old.name, mtu=value)
            events.append(NetdevChanged(old=old, new=there[number]))
    return events


moves = st.lists(st.tuples(st.sampled_from([1, 2]), st.sampled_from(["mtu", "mtu", "mtu", "remove", "rename"]), st.integers(0, 3)))


def state_after(events: list[Event]) -> dict[str, object]:
    state = HostState()
    for number in (1, 2):
        state.apply(NetdevAdded(device=netdev(number)))
    for event in events:
        state.apply(event)
    return dict(state.netdevs)


@given(moves)
def test_folding_leads_to_the_same_state(steps: list[tuple[int, str, int]]) -> None:
    events = history(steps)
    assert state_after(folded(events)) == state_after(events)


@given(moves)
def test_only_attribute_changes_fold(steps: list[tuple[int, str, int]]) -> None:
    events = history(steps)
    assert [e for e in folded(events) if not isinstance(e, NetdevChanged)] == [e for e in events if not isinstance(e, NetdevChanged)]


@given(moves)
def test_what_folds_to_nothing_vanishes(steps: list[tuple[int, str, int]]) -> None:
    assert all(event.changes for event in folded(history(steps)) if isinstance(event, NetdevChanged))


def test_other_subjects_do_not_end_a_run() -> None:
    a, b, c = netdev(1), netdev(1, mtu=1), netdev(1, mtu=2)
    other = started(0)
    result = folded([NetdevChanged(old=a, new=b), other, NetdevChanged(old=b, new=c)])
    assert result[0] is other
    assert isinstance(result[1], NetdevChanged)
    assert result[1].changes == {"mtu": (0, 2)}
