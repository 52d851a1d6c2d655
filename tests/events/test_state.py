from __future__ import annotations

from aiovirt.events import Detail, DomainChanged, Event, Lifecycle, MonitorHealth, MonitorLost
from aiovirt.events.bus import Bus
from aiovirt.events.folding import folded
from aiovirt.events.segment import decode_checkpoint, encode_checkpoint
from aiovirt.events.state import HostState
from aiovirt.model.machine import Job, Machine
from aiovirt.model.state import DomainState, Reason
from tests.events import samples
from tests.events.samples import UUIDS, lifecycle, started

ONE = Machine(vcpus=1, devices=("disk",))
TWO = Machine(vcpus=2, devices=("disk", "net"), jobs=(Job("copy", "mirror", "running"),))


def changed(old: Machine | None, new: Machine, number: int = 0) -> DomainChanged:
    return DomainChanged(uuid=UUIDS[number], name=f"d{number}", old=old, new=new)


def paused(number: int = 0) -> Event:
    return lifecycle(number, Lifecycle.SUSPENDED, Detail.PAUSED, DomainState.PAUSED, Reason.USER)


def stopped(number: int = 0, *, persistent: bool = True) -> Event:
    return lifecycle(number, Lifecycle.STOPPED, Detail.DESTROYED, DomainState.SHUTOFF, Reason.DESTROYED, persistent=persistent)


def test_a_machine_is_known_until_its_domain_ends() -> None:
    bus = Bus(host=samples.HOST)
    domains = bus.folded.domains
    bus.publish(started())
    assert domains[UUIDS[0]].machine is None
    bus.publish(changed(None, ONE))
    state = bus.publish(paused())
    assert (domains[UUIDS[0]].machine, domains[UUIDS[0]].as_of) == (ONE, state.cursor)
    bus.publish(MonitorLost(uuid=UUIDS[0], name="d0"))
    bus.publish(changed(ONE, TWO))
    assert (domains[UUIDS[0]].machine, domains[UUIDS[0]].monitor) == (TWO, MonitorHealth.LOST)
    bus.publish(started())
    assert domains[UUIDS[0]].machine == TWO
    bus.publish(stopped())
    assert domains[UUIDS[0]].machine is None
    bus.publish(started())
    assert domains[UUIDS[0]].machine is None
    bus.publish(changed(None, ONE))
    bus.publish(stopped(persistent=False))
    bus.publish(started())
    assert bus.folded.domains[UUIDS[0]].machine is None


def test_what_was_lent_out_keeps_its_machines() -> None:
    bus = Bus(host=samples.HOST)
    bus.publish(started())
    bus.publish(changed(None, ONE))
    before = bus.snapshot()
    bus.publish(changed(ONE, TWO))
    bus.publish(stopped())
    assert before.domains[UUIDS[0]].machine == ONE


def test_a_state_that_is_put_down_and_taken_up_has_them() -> None:
    bus = Bus(host=samples.HOST)
    bus.publish(started())
    bus.publish(changed(None, TWO))
    again = HostState(decode_checkpoint(encode_checkpoint(bus.folded.checkpoint(bus.cursor))))
    again.apply(paused())
    assert again.domains[UUIDS[0]].machine == TWO


def test_a_backlog_of_changes_is_read_as_one() -> None:
    first, second, other = changed(None, ONE), changed(ONE, TWO), changed(None, ONE, 1)
    assert [(event.subject, event.old, event.new) for event in folded([first, other, second]) if isinstance(event, DomainChanged)] == [
        (other.subject, None, ONE),
        (first.subject, None, TWO),
    ]
    assert folded([changed(ONE, TWO), changed(TWO, ONE)]) == []


def test_in_words() -> None:
    assert changed(None, TWO).line() == ("d0", "machine", "vcpus 2  devices disk,net  jobs copy (mirror, running)")
    assert changed(ONE, TWO).line() == (
        "d0",
        "changed",
        "vcpus 1 -> 2  devices disk -> disk,net  jobs none -> copy (mirror, running)",
    )
    assert changed(Machine(balloon=2**30), Machine(balloon=2**29)).line()[2] == "balloon 1048576 KiB -> 524288 KiB"
    failed = Job("copy", "mirror", "concluded", "disk\x1b full")
    assert (
        changed(ONE, Machine(vcpus=1, devices=("disk",), jobs=(failed,))).line()[2]
        == "jobs none -> copy (mirror, concluded: disk\\x1b full)"
    )
