from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from aiovirt.events.types import (
    NetdevAdded,
    NetdevChanged,
    NetdevEvent,
    NetdevLeft,
    NetdevRemoved,
    NetdevRenamed,
    NetdevReturned,
)
from aiovirt.hostdev import inventory
from aiovirt.hostdev.inventory import NetdevTable, parents_first
from aiovirt.model.netdev import Netdev, OperState, Unreadable


def reading(ifindex: int, name: str = "a", **attributes: object) -> Netdev:
    return structs.replace(Netdev(ifindex=ifindex, name=name), **attributes)


def told(events: Iterable[NetdevEvent]) -> list[tuple[type[NetdevEvent], str]]:
    return [(type(event), event.device.name) for event in events]


def test_a_reading_that_is_taken_in_gets_its_identity_and_nothing_else() -> None:
    odd = Netdev(ifindex=3, name="n", **{field: object() for field in Netdev.__struct_fields__ if field not in ("ifindex", "name")})  # type: ignore[arg-type]
    (added,) = NetdevTable(netns=7).observe(odd)
    assert added == NetdevAdded(device=structs.replace(odd, id="3.1", netns=7))


def test_a_known_device_of_another_namespace_is_another_device() -> None:
    before = structs.replace(reading(3), id="3.1", netns=6)
    table = NetdevTable([before], incarnation=1, netns=7)
    assert told(table.sync([reading(3)])) == [(NetdevRemoved, "a"), (NetdevAdded, "a")]
    assert [device.id for device in table] == ["3.2"]


def test_a_device_is_added_changed_and_removed() -> None:
    table = NetdevTable()
    (added,) = table.observe(reading(3, mtu=1500))
    assert added == NetdevAdded(device=Netdev(id="3.1", ifindex=3, name="a", mtu=1500))
    (changed,) = table.observe(reading(3, mtu=9000, operstate=OperState.UP))
    assert isinstance(changed, NetdevChanged)
    assert changed.changes == {"mtu": (1500, 9000), "operstate": (OperState.UNKNOWN, OperState.UP)}
    assert table.remove(3) == [NetdevRemoved(device=changed.new)]
    assert list(table) == []


@pytest.mark.parametrize("field", ["phys_port_id", "phys_port_name", "phys_switch_id"])
def test_what_changes_nothing_says_nothing(field: str) -> None:
    table = NetdevTable()
    bad = structs.replace(reading(3), **{field: Unreadable("EIO")})
    table.observe(bad)
    assert table.observe(structs.replace(reading(3), **{field: Unreadable("EIO")})) == []
    assert table.remove(4) == []
    assert table.sync([bad]) == []
    (renamed,) = table.observe(structs.replace(reading(3, "b"), **{field: Unreadable("EIO")}))
    assert isinstance(renamed, NetdevRenamed)


def test_a_rename_comes_alone_and_before_the_other_changes() -> None:
    table = NetdevTable()
    table.observe(reading(3, mtu=1500))
    renamed, changed = table.observe(reading(3, "b", mtu=9000))
    assert isinstance(renamed, NetdevRenamed)
    assert isinstance(changed, NetdevChanged)
    assert renamed.old.changes_to(renamed.new) == {"name": ("a", "b")}
    assert changed.changes == {"mtu": (1500, 9000)}
    assert renamed.new == changed.old


def test_a_number_used_again_is_another_device() -> None:
    table = NetdevTable()
    table.observe(reading(3))
    table.remove(3)
    (again,) = table.observe(reading(3))
    assert again.subject == "netdev/3.2"
    assert table.get(3) == again.device


def test_a_device_of_another_kind_is_another_device() -> None:
    table = NetdevTable()
    table.observe(reading(3, kind="veth"))
    assert told(table.observe(reading(3, kind="bridge"))) == [(NetdevRemoved, "a"), (NetdevAdded, "a")]
    assert [netdev.id for netdev in table] == ["3.2"]


def test_sync_tells_the_differences_and_no_more() -> None:
    table = NetdevTable()
    table.sync([reading(1, "lo"), reading(2, "gone"), reading(3, "old"), reading(4, "grows", mtu=1), reading(5, "same")])
    events = table.sync([reading(1, "lo"), reading(3, "new"), reading(4, "grows", mtu=2), reading(5, "same"), reading(6, "fresh")])
    assert told(events) == [(NetdevRemoved, "gone"), (NetdevRenamed, "new"), (NetdevAdded, "fresh"), (NetdevChanged, "grows")]


def test_sync_adds_parents_first_and_removes_them_last() -> None:
    table = NetdevTable()
    family = [reading(2, "port", master=4, link=7), reading(4, "bridge"), reading(7, "lower", link=8), reading(8, "peer", link=7)]
    added = [event.device.name for event in table.sync(family)]
    assert added == ["bridge", "peer", "lower", "port"]
    assert [event.device.name for event in table.sync([]) if isinstance(event, NetdevRemoved)] == added[::-1]


@pytest.mark.parametrize("end", ["remove", "leave", "sync", "another"])
def test_who_goes_has_left_its_master(end: str) -> None:
    table = NetdevTable()
    table.sync([reading(2, "port", master=4, kind="veth"), reading(4, "bridge"), reading(5, "changes")])
    bridge, changes = reading(4, "bridge"), reading(5, "changes", mtu=2)
    changed, removed, *_ = {
        "remove": lambda: table.remove(2),
        "leave": lambda: leave(table, 2),
        "sync": lambda: table.sync([bridge, changes]),
        "another": lambda: table.sync([reading(2, "port", master=4, kind="bridge"), bridge, changes]),
    }[end]()
    assert isinstance(changed, NetdevChanged)
    assert changed.changes == {"master": (4, None)}
    assert isinstance(removed, NetdevRemoved)
    assert removed.device == changed.new


@given(st.lists(st.tuples(st.integers(1, 8), st.integers(0, 9), st.integers(0, 9)), max_size=12))
def test_parents_first_keeps_everyone_and_breaks_only_rings(family: list[tuple[int, int, int]]) -> None:
    by_index = {ifindex: reading(ifindex, link=link, master=master) for ifindex, link, master in family}
    ordered = [found.ifindex for found in parents_first(by_index.values())]
    assert sorted(ordered) == sorted(by_index)
    for position, ifindex in enumerate(ordered):
        for parent in (by_index[ifindex].link, by_index[ifindex].master):
            assert parent not in ordered[position + 1 :] or ifindex in ancestors(by_index, parent)


def ancestors(by_index: dict[int, Netdev], ifindex: int | None) -> set[int]:
    found: set[int] = set()
    todo = [ifindex]
    while todo:
        if (number := todo.pop()) in by_index and number is not None and number not in found:
            found.add(number)
            todo += [by_index[number].link, by_index[number].master]
    return found


def test_ids_stay_unique_when_old_numbers_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "MAX_REMEMBERED", 3)
    table = NetdevTable()
    ids = []
    for ifindex in [1, 9, 9, 9, 2, 3, 4, 5, 9, 2, 6, 7, 8, 3, 4, 9]:
        ids += [event.device.id for event in table.observe(reading(ifindex))]
        if ifindex != 1:
            table.remove(ifindex)
    table.remove(1)
    ids += [event.device.id for event in table.observe(reading(1))]
    assert len(set(ids)) == len(ids)
    assert len(table._incarnations) <= 5


# -- away and back -----------------------------------------------------------------------------

AWAY = reading(3, mac="52:54:00:aa:00:00", kind="veth", parent="card", mtu=1500)


def leave(table: NetdevTable, ifindex: int) -> list[NetdevEvent]:
    return table.leave(ifindex, nsid=7, new_ifindex=12)


def test_a_device_that_left_returns_under_its_id() -> None:
    table = NetdevTable()
    table.observe(AWAY)
    device = structs.replace(AWAY, id="3.1")
    assert leave(table, 3) == [NetdevLeft(device=device, nsid=7, new_ifindex=12)]
    assert (list(table), leave(table, 3)) == ([], [])
    back = structs.replace(AWAY, name="other", mtu=9000)
    assert table.observe(back) == [NetdevReturned(device=structs.replace(back, id="3.1"))]
    assert told(table.remove(3)) == [(NetdevRemoved, "other")]
    assert table.observe(AWAY) == [NetdevAdded(device=structs.replace(AWAY, id="3.2"))]


@pytest.mark.parametrize("other", [{"mac": "52:54:00:aa:00:01"}, {"kind": "bridge"}, {"parent": None}, {"ifindex": 4}])
def test_what_differs_in_its_traits_has_not_returned(other: dict[str, object]) -> None:
    table = NetdevTable()
    table.observe(AWAY)
    leave(table, 3)
    (added,) = table.observe(structs.replace(AWAY, **other))
    assert type(added) is NetdevAdded
    assert added.device.id in {"3.2", "4.1"}


def test_who_left_before_another_took_its_number_is_not_looked_for() -> None:
    table = NetdevTable()
    table.observe(AWAY)
    leave(table, 3)
    table.observe(reading(3))
    table.remove(3)
    assert table.observe(AWAY) == [NetdevAdded(device=structs.replace(AWAY, id="3.3"))]


def test_a_survey_finds_who_returned() -> None:
    table = NetdevTable()
    table.sync([AWAY, reading(5, "gone"), reading(6, "changes")])
    leave(table, 3)
    assert told(table.sync([AWAY, reading(6, "changes", mtu=2), reading(7, "new")])) == [
        (NetdevRemoved, "gone"),
        (NetdevReturned, "a"),
        (NetdevAdded, "new"),
        (NetdevChanged, "changes"),
    ]


def test_only_so_many_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "MAX_AWAY", 2)
    table = NetdevTable()
    for ifindex in (1, 2, 3):
        table.observe(reading(ifindex))
    for ifindex in (2, 1, 3):
        leave(table, ifindex)
    assert [type(event) for ifindex in (1, 2, 3) for event in table.observe(reading(ifindex))] == [
        NetdevReturned,
        NetdevAdded,
        NetdevReturned,
    ]


# -- gone on with ------------------------------------------------------------------------------


def test_what_is_as_it_was_known_says_nothing() -> None:
    known = structs.replace(AWAY, driver="igb", phys_port_id=Unreadable("EIO"))
    table = NetdevTable([structs.replace(known, id="3.7")], incarnation=7)
    assert table.sync([structs.replace(known, phys_port_id=Unreadable("EIO"))]) == []
    assert [netdev.id for netdev in table] == ["3.7"]


def test_differences_from_what_was_known() -> None:
    before = [
        structs.replace(reading(2, "gone"), id="2.1"),
        structs.replace(reading(3, "grows", mtu=1), id="3.4"),
        structs.replace(reading(4, "kind", kind="veth"), id="4.2"),
    ]
    table = NetdevTable(before, incarnation=9)
    events = table.sync([reading(3, "grows", mtu=2), reading(4, "kind", kind="bridge"), reading(5, "new")])
    assert sorted((type(event).__name__, event.device.id) for event in events) == [
        ("NetdevAdded", "4.10"),
        ("NetdevAdded", "5.10"),
        ("NetdevChanged", "3.4"),
        ("NetdevRemoved", "2.1"),
        ("NetdevRemoved", "4.2"),
    ]


def test_no_id_is_given_that_may_have_been_given_before() -> None:
    table = NetdevTable([structs.replace(reading(3), id="3.1")], incarnation=5)
    table.remove(3)
    assert [event.device.id for ifindex in (3, 8) for event in table.observe(reading(ifindex))] == ["3.6", "8.6"]


def test_who_returns_after_its_number_was_forgotten_has_its_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "MAX_REMEMBERED", 0)
    table = NetdevTable()
    table.observe(AWAY)
    leave(table, 3)
    assert told(table.observe(AWAY)) == [(NetdevReturned, "a")]
    ids = {netdev.id for netdev in table}
    for ifindex in (4, 5, 3):
        table.observe(reading(ifindex))
        table.remove(ifindex)
    ids |= {event.device.id for event in table.observe(reading(3))}
    assert len(ids) == 2


names = st.sampled_from("abc")
attributes = st.fixed_dictionaries(
    {
        "mtu": st.integers(0, 2),
        "carrier": st.sampled_from([None, True, False]),
        "kind": st.sampled_from([None, "veth"]),
        "mac": st.sampled_from(["aa", "bb"]),
        "master": st.sampled_from([None, 1, 2]),
        "link": st.sampled_from([None, 1, 3]),
        "phys_port_id": st.none() | st.just("ab") | st.builds(Unreadable, st.sampled_from(["EIO", "EINVAL"])),
    }
)
readings = st.builds(lambda ifindex, name, rest: reading(ifindex, name, **rest), st.integers(1, 4), names, attributes)
leaving = st.tuples(st.just("leave"), st.integers(1, 4))
steps = st.one_of(readings, st.integers(1, 4), leaving, st.just("again"), st.lists(readings, max_size=4, unique_by=lambda r: r.ifindex))

Step = Netdev | int | str | tuple[str, int] | list[Netdev]


@given(st.lists(steps, max_size=30), st.integers(0, 3))
def test_the_events_alone_give_the_same_table(script: list[Step], remembered: int) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(inventory, "MAX_REMEMBERED", remembered)
        play_all(script)


def play_all(script: list[Step]) -> None:
    table = NetdevTable()
    model: dict[int, Netdev] = {}
    fold: dict[str, Netdev] = {}
    used: dict[str, NetdevEvent] = {}
    for step in script:
        if step == "again":
            table = NetdevTable(fold.values(), incarnation=max((int(identity.partition(".")[2]) for identity in used), default=0))
            continue
        for event in play(table, model, step):
            apply(fold, used, event)
        assert {netdev.id: repr(netdev) for netdev in table} == {identity: repr(netdev) for identity, netdev in fold.items()}
        assert {netdev.ifindex: repr(netdev) for netdev in table} == {
            ifindex: repr(structs.replace(read, id=next(n.id for n in table if n.ifindex == ifindex))) for ifindex, read in model.items()
        }


def play(table: NetdevTable, model: dict[int, Netdev], step: Step) -> list[NetdevEvent]:
    if isinstance(step, Netdev):
        model[step.ifindex] = step
        return table.observe(step)
    if isinstance(step, int):
        model.pop(step, None)
        return table.remove(step)
    if isinstance(step, tuple):
        model.pop(step[1], None)
        return leave(table, step[1])
    assert isinstance(step, list)
    model.clear()
    model.update({read.ifindex: read for read in step})
    return table.sync(step)


def apply(fold: dict[str, Netdev], used: dict[str, NetdevEvent], event: NetdevEvent) -> None:
    """What a reader that knows nothing but the events makes of one."""
    device = event.device
    if isinstance(event, NetdevReturned):
        left = used[device.id]
        assert isinstance(left, NetdevLeft)
        assert (left.device.mac, left.device.kind, left.device.parent) == (device.mac, device.kind, device.parent)
    elif isinstance(event, NetdevAdded):
        assert device.id not in used
    elif isinstance(event, NetdevRenamed | NetdevChanged):
        assert repr(fold[device.id]) == repr(event.old)
        assert event.old.changes_to(event.new)
        assert ("name" in event.old.changes_to(event.new)) == isinstance(event, NetdevRenamed)
    fold[device.id] = device
    used[device.id] = event
    if isinstance(event, NetdevRemoved):
        del fold[device.id]
