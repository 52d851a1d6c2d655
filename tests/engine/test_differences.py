"""What lies between two readings: the events fold to the second one, whatever the first was."""

from __future__ import annotations

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from aiovirt.drivers.remote import DomainReading
from aiovirt.engine.differences import differences
from aiovirt.events.bus import Bus
from aiovirt.model.machine import Machine
from aiovirt.model.state import DomainState, Reason
from aiovirt.model.view import DomainView

UUID_ = UUID(int=7)


def readings() -> st.SearchStrategy[DomainReading | None]:
    inactive = st.builds(
        DomainReading, uuid=st.just(UUID_), name=st.sampled_from("ab"), state=st.just(DomainState.SHUTOFF), reason=st.sampled_from(Reason)
    )
    active = st.builds(
        DomainReading,
        uuid=st.just(UUID_),
        name=st.sampled_from("ab"),
        state=st.sampled_from([state for state in DomainState if state.is_active]),
        reason=st.sampled_from(Reason),
        id=st.integers(1, 3),
        persistent=st.booleans(),
        machine=st.builds(Machine, vcpus=st.integers(1, 2)),
    )
    return st.none() | inactive | active


def what_is_known(view: DomainView | None) -> DomainReading | None:
    if view is None:
        return None
    return DomainReading(
        uuid=view.uuid, name=view.name, state=view.state, reason=view.reason, id=view.id, persistent=view.persistent, machine=view.machine
    )


@given(st.lists(readings(), max_size=6))
def test_the_events_lead_from_each_reading_to_the_next(read: list[DomainReading | None]) -> None:
    bus = Bus(host=UUID(int=1))
    for new in read:
        for event in differences(bus.folded.domains.get(UUID_), new):
            bus.publish(event)
        assert what_is_known(bus.folded.domains.get(UUID_)) == new
        assert differences(bus.folded.domains.get(UUID_), new) == []


def said(old: DomainReading | None, new: DomainReading | None) -> list[str]:
    bus = Bus(host=UUID(int=1))
    for event in differences(None, old):
        bus.publish(event)
    return [" ".join(event.describe()) for event in differences(bus.folded.domains.get(UUID_), new)]


def test_it_is_told_in_libvirts_words() -> None:
    off = DomainReading(uuid=UUID_, name="a", state=DomainState.SHUTOFF)
    runs = DomainReading(uuid=UUID_, name="a", state=DomainState.RUNNING, reason=Reason.BOOTED, id=1)
    again = DomainReading(uuid=UUID_, name="a", state=DomainState.RUNNING, reason=Reason.BOOTED, id=2)
    broken = DomainReading(uuid=UUID_, name="a", state=DomainState.PAUSED, reason=Reason.IOERROR, id=1)
    ended = DomainReading(uuid=UUID_, name="a", state=DomainState.SHUTOFF, reason=Reason.DESTROYED)
    assert said(None, runs) == ["a defined added", "a started booted"]
    assert said(off, runs) == ["a started booted"]
    assert said(runs, broken) == ["a suspended I/O error"]
    assert said(broken, runs) == ["a resumed unpaused"]
    assert said(runs, ended) == ["a stopped destroyed"]
    assert said(runs, again) == ["a stopped failed", "a started booted"]
    assert said(runs, None) == ["a stopped failed", "a undefined removed"]
