from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from aiovirt.events.types import NetdevAdded, NetdevChanged, NetdevEvent, NetdevRemoved, NetdevRenamed
from aiovirt.hostdev import inventory
from aiovirt.hostdev.inventory import NetdevTable, Reading, parents_first
from aiovirt.model.netdev import Netdev, OperState, Unreadable


def reading(ifindex: int, name: str = "a", **attributes: object) -> Reading:
    return structs.replace(Reading(ifindex=ifindex, name=name), **attributes)


def told(events: Iterable[NetdevEvent]) -> list[tuple[type[NetdevEvent], str]]:
    return [(type(event), event.device.name) for event in events]


def test_a_reading_is_a_netdev_without_its_identity() -> None:
    ours, theirs = Reading.__struct_fields__, Netdev.__struct_fields__
    assert set(ours) - {"link"} == set(theirs) - {"id"}
    odd = Reading(ifindex=3, name="n", **{field: object() for field in ours if field not in ("ifindex", "name")})  # type: ignore[arg-type]
    assert {field: getattr(odd.netdev("3.1"), field) for field in theirs} == {
        field: "3.1" if field == "id" else getattr(odd, field) for field in theirs
    }


def test_a_device_is_added_changed_and_removed() -> None:
    table = NetdevTable()
    (added,) = table.observe(reading(3, mtu=1500))
    assert added == NetdevAdded(device=Netdev(id="3.1", ifindex=3, name="a", mtu=1500))
    (changed,) = table.observe(reading(3, mtu=9000, operstate=OperState.UP))
    assert isinstance(changed, NetdevChanged)
    assert changed.changes == {"mtu": (1500, 9000), "operstate": (OperState.UNKNOWN, OperState.UP)}
    assert table.remove(3) == [NetdevRemoved(device=changed.new)]
    assert list(table) == []


def test_what_changes_nothing_says_nothing() -> None:
    table = NetdevTable()
    bad = reading(3, phys_port_id=Unreadable("EIO"), link=5)
    table.observe(bad)
    assert table.observe(reading(3, phys_port_id=Unreadable("EIO"), link=6)) == []
    assert table.remove(4) == []
    assert table.sync([bad]) == []


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
    assert [event.device.name for event in table.sync([])] == added[::-1]


@given(st.lists(st.tuples(st.integers(1, 8), st.integers(0, 9), st.integers(0, 9)), max_size=12))
def test_parents_first_keeps_everyone_and_breaks_only_rings(family: list[tuple[int, int, int]]) -> None:
    by_index = {ifindex: reading(ifindex, link=link, master=master) for ifindex, link, master in family}
    ordered = [found.ifindex for found in parents_first(by_index.values())]
    assert sorted(ordered) == sorted(by_index)
    for position, ifindex in enumerate(ordered):
        for parent in (by_index[ifindex].link, by_index[ifindex].master):
            assert parent not in ordered[position + 1 :] or ifindex in ancestors(by_index, parent)


def ancestors(by_index: dict[int, Reading], ifindex: int | None) -> set[int]:
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


names = st.sampled_from("abc")
attributes = st.fixed_dictionaries(
    {
        "mtu": st.integers(0, 2),
        "carrier": st.sampled_from([None, True, False]),
        "kind": st.sampled_from([None, "veth"]),
        "master": st.sampled_from([None, 1, 2]),
        "link": st.sampled_from([None, 1, 3]),
        "phys_port_id": st.none() | st.just("ab") | st.builds(Unreadable, st.sampled_from(["EIO", "EINVAL"])),
    }
)
readings = st.builds(lambda ifindex, name, rest: reading(ifindex, name, **rest), st.integers(1, 4), names, attributes)
steps = st.one_of(readings, st.integers(1, 4), st.lists(readings, max_size=4, unique_by=lambda r: r.ifindex))


@given(st.lists(steps, max_size=30))
def test_the_events_alone_give_the_same_table(script: list[Reading | int | list[Reading]]) -> None:
    table = NetdevTable()
    model: dict[int, Reading] = {}
    fold: dict[str, Netdev] = {}
    used: set[str] = set()
    for step in script:
        for event in play(table, model, step):
            apply(fold, used, event)
        assert {netdev.id: repr(netdev) for netdev in table} == {identity: repr(netdev) for identity, netdev in fold.items()}
        assert {netdev.ifindex: repr(netdev) for netdev in table} == {
            ifindex: repr(read.netdev(next(n.id for n in table if n.ifindex == ifindex))) for ifindex, read in model.items()
        }


def play(table: NetdevTable, model: dict[int, Reading], step: Reading | int | list[Reading]) -> list[NetdevEvent]:
    if isinstance(step, Reading):
        model[step.ifindex] = step
        return table.observe(step)
    if isinstance(step, int):
        model.pop(step, None)
        return table.remove(step)
    model.clear()
    model.update({read.ifindex: read for read in step})
    return table.sync(step)


def apply(fold: dict[str, Netdev], used: set[str], event: NetdevEvent) -> None:
    """What a reader that knows nothing but the events makes of one."""
    device = event.device
    if isinstance(event, NetdevAdded):
        assert device.id not in used
        used.add(device.id)
    elif isinstance(event, NetdevRenamed | NetdevChanged):
        assert repr(fold[device.id]) == repr(event.old)
        assert event.old.changes_to(event.new)
        assert ("name" in event.old.changes_to(event.new)) == isinstance(event, NetdevRenamed)
    fold[device.id] = device
    if isinstance(event, NetdevRemoved):
        del fold[device.id]
