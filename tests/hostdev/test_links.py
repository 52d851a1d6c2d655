from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

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
from aiovirt.hostdev import links as module
from aiovirt.hostdev.links import ATTRIBUTES, Links, Round, Survey, reading_of_link, reading_of_sysfs
from aiovirt.model.netdev import Netdev, OperState, Unreadable
from aiovirt.system.sysfs import Attachment
from aiovirt.wire.rtnetlink import LinkMessage
from aiovirt.wire.uevent import Uevent

CARD = "0000:01:00.0"

Action = tuple[Any, ...]


def link(ifindex: int, name: str = "a", *, removed: bool = False, **values: object) -> LinkMessage:
    plain = LinkMessage(ifindex=ifindex, family=0, removed=removed, interrupted=False, flags=0, name=name)
    return structs.replace(plain, **values)


def nic(ifindex: int, name: str = "nic", **values: object) -> LinkMessage:
    return structs.replace(link(ifindex, name), parent_dev_name=CARD, parent_dev_bus_name="pci", **values)


def survey(*messages: LinkMessage, gone: Iterable[int] = (), drivers: Mapping[int, str | None] | None = None) -> Survey:
    readings: dict[int, Netdev | None] = dict.fromkeys(gone)
    readings |= {message.ifindex: reading_of_link(message) for message in messages}
    return Survey(readings=readings, attachments={ifindex: Attachment(CARD, driver) for ifindex, driver in (drivers or {}).items()})


def hint(action: str, subsystem: str = "net", *, devpath: str = "/devices/x/net/a", **env: str) -> Uevent:
    return Uevent(action=action, devpath=devpath, subsystem=subsystem, seqnum=1, env=env)


def told(events: Iterable[NetdevEvent]) -> list[tuple[type[NetdevEvent], str]]:
    return [(type(event), event.device.name) for event in events]


def announced(*messages: LinkMessage, driver: str | None = None) -> Links:
    """Links that know these devices already."""
    links = Links()
    with links.asking() as asked:
        links.resynced(asked, survey(*messages, drivers={message.ifindex: driver for message in messages}))
    return links


# -- news --------------------------------------------------------------------------------------


def test_a_device_of_no_bus_is_announced_at_once() -> None:
    links = Links()
    assert told(links.message(link(3))) == [(NetdevAdded, "a")]
    assert told(links.message(link(3, "b"))) == [(NetdevRenamed, "b")]
    assert told(links.message(link(3, "b", removed=True))) == [(NetdevRemoved, "b")]


def test_a_device_of_a_bus_is_announced_with_its_driver() -> None:
    links = Links()
    assert links.message(nic(3)) == []
    assert links.message(nic(3, mtu=9000)) == []
    with links.asking() as asked:
        pass
    (added,) = links.attached(asked, {3: "nic"}, {3: Attachment(CARD, "igb")})
    assert (added.device.driver, added.device.parent, added.device.mtu) == ("igb", CARD, 9000)
    (changed,) = links.message(nic(3, mtu=1500))
    assert changed.device.driver == "igb"


def test_a_device_without_a_driver_waits_but_once() -> None:
    links = announced(nic(3))
    assert told(links.message(nic(3, mtu=1500))) == [(NetdevChanged, "nic")]


def test_a_driver_is_taken_from_the_same_bus_device_only() -> None:
    links = Links()
    links.message(nic(3))
    with links.asking() as asked:
        pass
    (added,) = links.attached(asked, {3: "nic"}, {3: Attachment("0000:02:00.0", "ice")})
    assert added.device.driver is None


def test_a_device_that_goes_while_it_waits_came_and_went() -> None:
    links = Links()
    links.message(nic(3))
    assert told(links.message(nic(3, removed=True))) == [(NetdevAdded, "nic"), (NetdevRemoved, "nic")]
    assert not links.is_dirty


def test_the_driver_of_its_forerunner_is_not_taken() -> None:
    links = Links()
    links.message(nic(3))
    with links.asking() as asked:
        links.message(nic(3, removed=True))
        links.message(nic(3))
    assert links.attached(asked, {3: "nic"}, {3: Attachment(CARD, "igb")}) == []
    assert list(links.waiting) == [3]


def test_a_device_renamed_while_it_waits_waits_on() -> None:
    links = Links()
    links.message(nic(3, "eth0"))
    with links.asking() as asked:
        links.message(nic(3, "enp1s0"))
    assert links.attached(asked, {3: "eth0"}, {}) == []
    assert [reading.name for reading in links.waiting.values()] == ["enp1s0"]


def test_a_device_that_cannot_be_read_is_announced_without_and_asked_about() -> None:
    links = Links()
    links.message(nic(3))
    with links.asking() as asked:
        pass
    (added,) = links.attached(asked, {3: "nic"}, {})
    assert added.device.driver is None
    assert links.take_dirty(9) == [3]


def test_a_device_that_had_another_name_when_it_was_read_is_asked_about_again() -> None:
    links = Links()
    links.message(nic(3, "eth0"))
    with links.asking() as asked:
        links.message(nic(3, "enp1s0"))
    (added,) = links.refreshed(asked, survey(nic(3, "eth0")))
    assert (added.device.name, added.device.driver) == ("enp1s0", None)
    assert links.take_dirty(9) == [3]


@pytest.mark.parametrize("answer", [Links.refreshed, Links.resynced])
def test_a_device_whose_new_name_is_yet_to_be_told_is_asked_about_then(answer: Callable[[Links, Round, Survey], object]) -> None:
    links = Links()
    with links.asking() as asked:
        pass
    answer(links, asked, survey(nic(3, "eth0")))
    assert links.take_dirty(9) == []
    assert told(links.message(nic(3, "enp1s0"))) == [(NetdevRenamed, "enp1s0")]
    assert links.take_dirty(9) == [3]
    with links.asking() as asked:
        pass
    (changed,) = links.refreshed(asked, survey(nic(3, "enp1s0"), drivers={3: "igb"}))
    assert changed.device.driver == "igb"
    links.message(nic(3, "enp1s0", mtu=1400))
    assert links.take_dirty(9) == []


def test_a_parent_that_waits_is_announced_before_its_child() -> None:
    links = Links()
    links.message(nic(3))
    assert told(links.message(link(4, "upper", link=3))) == [(NetdevAdded, "nic"), (NetdevAdded, "upper")]
    assert links.take_dirty(9) == [3]


@pytest.mark.parametrize("no_change", [{"family": 7, "removed": True}, {"wireless": True, "name": "a"}])
def test_messages_that_are_not_about_the_link(no_change: dict[str, object]) -> None:
    links = announced(link(3, mtu=1500))
    assert links.message(structs.replace(link(3), **no_change)) == []
    assert 3 in links.table


# -- away and back -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "nsid", "new_ifindex"),
    [
        ({"new_netnsid": 0, "new_ifindex": 12}, 0, 12),
        ({"new_netnsid": -1, "new_ifindex": 12}, None, 12),
        ({"new_netnsid": 2}, 2, None),
        ({"new_ifindex": 12}, None, 12),
    ],
)
def test_a_device_that_goes_to_another_namespace_left(where: dict[str, int], nsid: int | None, new_ifindex: int | None) -> None:
    links = announced(link(3))
    (left,) = links.message(structs.replace(link(3, removed=True), **where))
    assert left == NetdevLeft(device=structs.replace(reading_of_link(link(3)), id="3.1"), nsid=nsid, new_ifindex=new_ifindex)
    (returned,) = links.message(link(3, "b"))
    assert (type(returned), returned.device.id) == (NetdevReturned, "3.1")


def test_a_device_that_leaves_while_it_waits_came_and_left() -> None:
    links = Links()
    links.message(nic(3))
    assert told(links.message(nic(3, removed=True, new_netnsid=0))) == [(NetdevAdded, "nic"), (NetdevLeft, "nic")]
    assert links.take_dirty(9) == []
    assert not links.is_dirty
    assert links.message(nic(3)) == []
    with links.asking() as asked:
        pass
    (returned,) = links.attached(asked, {3: "nic"}, {3: Attachment(CARD, "igb")})
    assert returned == NetdevReturned(device=structs.replace(reading_of_link(nic(3)), driver="igb", id="3.1"))


def test_who_lies_upon_a_device_that_leaves_is_asked_about_then_and_when_it_returns() -> None:
    links = announced(link(3), link(4, "upon", kind="macvlan", link=3), link(5, "beside", link=6))
    links.message(link(3, removed=True, new_netnsid=0))
    assert links.is_dirty
    assert links.take_dirty(9) == [4]
    with links.asking() as asked:
        pass
    links.refreshed(asked, survey(link(4, "upon", kind="macvlan", link=3, link_netnsid=0)))
    assert [device.link for device in links.table if device.name == "upon"] == [None]
    links.message(link(3, "back"))
    assert links.take_dirty(9) == [4]
    links.message(link(3, removed=True))
    assert links.take_dirty(9) == []


def test_who_lies_upon_a_device_that_left_is_asked_about_though_everything_is_asked_meanwhile() -> None:
    links = announced(link(3), link(4, "upon", kind="vlan", link=3))
    links.message(link(3, removed=True, new_netnsid=0))
    links.clear_dirty()
    with links.asking() as asked:
        pass
    links.resynced(asked, survey(link(4, "upon", kind="vlan", link=3, link_netnsid=0)))
    links.message(link(3))
    assert links.take_dirty(9) == [4]


def test_who_lies_upon_a_device_that_left_before_the_start_is_asked_about_when_one_comes() -> None:
    """It has that device's number elsewhere, and what number it will have here nobody knows."""
    elsewhere = link(4, "upon", kind="vlan", link=7, link_netnsid=0)
    links = announced(elsewhere, link(5, "beside", kind="veth", link=7, link_netnsid=0))
    links.message(link(3, "comes"))
    assert links.take_dirty(9) == [4]
    with links.asking() as asked:
        pass
    links.refreshed(asked, survey(link(4, "upon", kind="vlan", link=3)))
    assert [device.link for device in links.table if device.name == "upon"] == [3]
    links.message(link(6, "another"))
    assert links.take_dirty(9) == []
    links.message(elsewhere)
    links.message(link(4, removed=True))
    links.message(link(8, "one more"))
    assert links.take_dirty(9) == []


def test_no_more_are_remembered_than_may_return(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_AWAY", 2)
    links = announced(*(link(n) for n in (3, 4, 5)), *(link(n + 10, "upon", kind="vlan", link=n) for n in (3, 4, 5)))
    for ifindex in (3, 4, 5):
        links.message(link(ifindex, removed=True, new_netnsid=0))
        assert links.take_dirty(9) == [ifindex + 10]
    assert len(links._left_behind) == 2


def test_the_other_of_a_pair_is_asked_about_when_this_one_comes() -> None:
    links = announced(link(4, "stays", kind="veth"), link(6, "lower"))
    links.message(link(3, "comes", kind="veth", link=4))
    assert links.take_dirty(9) == [4]
    links.message(link(5, "upon", kind="vlan", link=6))
    assert links.take_dirty(9) == []


def test_who_lies_upon_a_device_with_another_address_is_asked_about() -> None:
    links = announced(link(3, mac="aa"), link(4, "upon", kind="macvtap", link=3, mac="aa"))
    links.message(link(3, mac="aa", mtu=9000))
    assert not links.is_dirty
    links.message(link(3, mac="bb"))
    assert links.take_dirty(9) == [4]


def test_what_hangs_from_a_function_that_is_marked_is_asked_about() -> None:
    links = announced(nic(3), nic(4, "other"), link(5, "lo"))
    with links.asking() as asked:
        pass
    links.refreshed(asked, Survey(readings={3: reading_of_link(nic(3))}, attachments={3: Attachment(CARD, "igb", CARD)}))
    links.mark_function(CARD)
    assert links.is_dirty
    assert links.take_dirty(9) == [3]
    links.mark_function(CARD)
    links.clear_dirty()
    assert not links.is_dirty


def test_a_device_brings_its_driver_back() -> None:
    links = announced(nic(3), driver="igb")
    links.message(nic(3, removed=True, new_netnsid=0))
    (returned,) = links.message(nic(3))
    assert (type(returned), returned.device.id, returned.device.driver) == (NetdevReturned, "3.1", "igb")
    links.hint(hint("bind", "pci", devpath=f"/devices/{CARD}"))
    assert links.take_dirty(9) == [3]


def test_a_newcomer_does_not_get_the_driver_of_who_left() -> None:
    links = announced(nic(3), driver="igb")
    links.message(nic(3, removed=True, new_netnsid=0))
    assert links.message(nic(3, mac="52:54:00:aa:00:01")) == []
    assert list(links.waiting) == [3]


def test_a_survey_brings_back_who_left() -> None:
    links = announced(nic(3), driver="igb")
    links.message(nic(3, removed=True, new_netnsid=0))
    with links.asking() as asked:
        pass
    (returned,) = links.resynced(asked, survey(nic(3)))
    assert (type(returned), returned.device.id, returned.device.driver) == (NetdevReturned, "3.1", "igb")


def test_a_survey_does_not_bring_back_who_left_meanwhile() -> None:
    links = announced(link(3))
    with links.asking() as asked:
        links.message(link(3, removed=True, new_netnsid=0))
    assert links.resynced(asked, survey(link(3))) == []
    assert list(links.table) == []


# -- gone on with ------------------------------------------------------------------------------


@pytest.mark.parametrize("drivers", [{}, {3: "igb"}])
@pytest.mark.parametrize("heard", [[], [nic(3)]])
def test_a_device_of_a_bus_that_is_as_it_was_known(drivers: dict[int, str], heard: list[LinkMessage]) -> None:
    (known,) = announced(nic(3), driver="igb").table
    links = Links([known], incarnation=1)
    with links.asking() as asked:
        assert [event for message in heard for event in links.message(message)] == []
    assert links.resynced(asked, survey(nic(3), drivers=drivers)) == []
    assert (list(links.table), list(links.waiting), links.is_dirty) == ([known], [], False)


# -- hints -------------------------------------------------------------------------------------


def test_a_bus_device_marks_what_hangs_from_it() -> None:
    links = announced(nic(3), link(4), driver="igb")
    links.hint(hint("bind", "pci", devpath=f"/devices/pci0000:00/0000:00:01.0/{CARD}"))
    links.hint(hint("unbind", "pci", devpath="/devices/pci0000:00/0000:02:00.0"))
    assert links.take_dirty(9) == [3]
    with links.asking() as asked:
        pass
    (changed,) = links.refreshed(asked, survey(nic(3), drivers={3: "vfio-pci"}))
    assert isinstance(changed, NetdevChanged)
    assert changed.changes == {"driver": ("igb", "vfio-pci")}


def test_what_messages_told_needs_no_question() -> None:
    links = Links()
    links.hint(hint("add", IFINDEX="3", INTERFACE="a"))
    links.message(link(3))
    assert links.take_dirty(9) == []
    links.hint(hint("move", IFINDEX="3", INTERFACE="b"))
    assert links.take_dirty(9) == []
    links.hint(hint("move", IFINDEX="4", INTERFACE="b"))
    assert links.take_dirty(9) == [4]
    links.hint(hint("change", IFINDEX="3", INTERFACE="a"))
    links.hint(hint("move", IFINDEX="3", INTERFACE="a"))
    assert links.take_dirty(9) == [3]


def test_nothing_is_kept_of_devices_that_came_and_went() -> None:
    links = Links()
    for ifindex in range(3, 9):
        links.message(link(ifindex))
        links.message(link(ifindex, removed=True))  # link messages are read first
        links.hint(hint("add", IFINDEX=str(ifindex)))
        links.hint(hint("remove", IFINDEX=str(ifindex)))
    assert links._added == {}


def test_what_udev_says_of_a_forerunner_is_not_about_who_has_its_number_now() -> None:
    links = Links()
    links.message(link(3))
    links.hint(structs.replace(hint("add", IFINDEX="3"), seqnum=10))
    links.message(link(3, removed=True))
    links.message(link(3, "b"))
    links.hint(structs.replace(hint("remove", IFINDEX="3"), seqnum=11))  # of the first; what told of the second is on its way
    assert links.initialized(3, 10, {}) == []
    links.hint(structs.replace(hint("add", IFINDEX="3"), seqnum=12))
    assert links.initialized(3, 10, {}) == []
    (event,) = links.initialized(3, 12, {})
    assert event.device.subject == "netdev/3.2"


@pytest.mark.parametrize("action", ["add", "remove", "move", "change"])
def test_a_uevent_that_was_sent_on_request_dates_nothing_and_is_a_reason_to_ask(action: str) -> None:
    links = Links()
    links.message(link(3))
    links.hint(structs.replace(hint("add", IFINDEX="3"), seqnum=10))
    assert links.take_dirty(9) == []
    links.hint(structs.replace(hint(action, IFINDEX="3", SYNTH_UUID="0"), seqnum=11))
    assert links.take_dirty(9) == [3]
    (event,) = links.initialized(3, 10, {})  # udev's word on how it began is about it as before
    assert event.device.subject == "netdev/3.1"


def test_the_end_of_a_device_that_is_known_to_be_gone_needs_no_question() -> None:
    links = announced(link(3), link(4, "b"))
    links.message(link(3, removed=True))
    links.hint(hint("remove", IFINDEX="3", INTERFACE="a"))
    links.hint(hint("remove", IFINDEX="4", INTERFACE="b"))
    for number in ("?", "-1", "0", "2147483648"):
        links.hint(hint("change", IFINDEX=number))
    assert links.take_dirty(9) == [4]
    with links.asking() as asked:
        pass
    assert told(links.refreshed(asked, survey(gone=[4]))) == [(NetdevRemoved, "b")]


# -- answers and what came in meanwhile --------------------------------------------------------


def test_an_answer_tells_what_no_message_did() -> None:
    links = announced(nic(3, phys_port_id="aa"), driver="igb")
    with links.asking() as asked:
        pass
    (changed,) = links.refreshed(asked, survey(nic(3, phys_port_id="bb"), drivers={3: "igb"}))
    assert isinstance(changed, NetdevChanged)
    assert changed.changes == {"phys_port_id": ("aa", "bb")}


def test_an_answer_does_not_undo_what_came_meanwhile() -> None:
    links = announced(nic(3, mtu=1), link(4), driver="old")
    with links.asking() as asked:
        links.message(nic(3, mtu=2))
        links.message(link(4, removed=True))
    (changed,) = links.refreshed(asked, survey(nic(3, mtu=1), link(4), drivers={3: "new"}))
    assert isinstance(changed, NetdevChanged)
    assert changed.changes == {"driver": ("old", "new")}


def test_an_answer_does_not_remove_what_came_meanwhile() -> None:
    links = Links()
    with links.asking() as asked:
        links.message(link(3))
    assert links.refreshed(asked, survey(gone=[3])) == []
    assert links.resynced(asked, survey()) == []
    assert 3 in links.table


def test_an_answer_about_a_device_is_not_about_the_next_of_its_number() -> None:
    links = announced(nic(3), driver="old")
    with links.asking() as asked:
        links.message(nic(3, removed=True))
        links.message(nic(3))
    assert links.refreshed(asked, survey(nic(3), drivers={3: "old"})) == []
    assert list(links.waiting) == [3]


def test_an_answer_during_which_messages_were_lost_is_no_news() -> None:
    links = announced(nic(3, mtu=1), driver="igb")
    with links.asking() as asked:
        links.lost()
    assert links.refreshed(asked, survey(nic(3, mtu=2), drivers={3: "igb"})) == []
    assert links.refreshed(asked, survey(gone=[3])) == []


def test_a_survey_does_not_bring_back_what_went_meanwhile() -> None:
    links = announced(link(3), link(4, "b"))
    with links.asking() as asked:
        links.message(link(3, removed=True))
        links.message(link(5, "c"))
        links.message(nic(6))
    assert told(links.resynced(asked, survey(link(3), link(4, "b")))) == [(NetdevAdded, "nic")]
    assert sorted(netdev.name for netdev in links.table) == ["b", "c", "nic"]


def test_a_driver_that_cannot_be_read_now_is_as_known() -> None:
    links = announced(nic(3), driver="igb")
    with links.asking() as asked:
        pass
    assert links.resynced(asked, survey(nic(3))) == []


# -- a device that no message can describe -----------------------------------------------------


def test_a_device_out_of_sysfs() -> None:
    attributes: dict[str, str | None | Unreadable] = dict.fromkeys(ATTRIBUTES)
    attributes |= {"address": "52:54:00:aa:00:00", "mtu": "1500", "flags": "0x1003", "operstate": "up", "carrier": "1"}
    attributes |= {"iflink": "3", "master/ifindex": "9", "phys_port_id": Unreadable("EIO")}
    read = reading_of_sysfs(3, "nic", None, CARD, attributes)
    assert (read.mac, read.mtu, read.flags, read.operstate, read.carrier) == ("52:54:00:aa:00:00", 1500, 0x1003, OperState.UP, True)
    assert (read.master, read.parent, read.phys_port_name) == (9, CARD, None)
    assert isinstance(read.phys_port_id, Unreadable)


def test_a_device_that_is_down_out_of_sysfs() -> None:
    down = dict.fromkeys(ATTRIBUTES, Unreadable("EINVAL"))
    read = reading_of_sysfs(3, "nic", "veth", None, down)
    assert (read.mac, read.mtu, read.carrier, read.operstate, read.kind) == ("", 0, None, OperState.UNKNOWN, "veth")


# -- a kernel in miniature: whatever the order, the table ends up equal, and no change is told twice --


class Kernel:
    """Links, here and elsewhere, the messages about them that wait to be read, and the changes that there were."""

    def __init__(self) -> None:
        self.links: dict[int, LinkMessage] = {}
        self.elsewhere: dict[int, LinkMessage] = {}
        self.made = 0
        self.queue: list[LinkMessage] = []
        self.changes = 0

    def set(self, ifindex: int, mtu: int) -> None:
        if ifindex not in self.links:
            self.elsewhere.pop(ifindex, None)
            self.made += 1
        mac = self.links[ifindex].mac if ifindex in self.links else f"{self.made:02x}"
        self._put(link(ifindex, f"n{ifindex}", mac=mac, mtu=mtu))

    def delete(self, ifindex: int) -> None:
        if gone := self.links.pop(ifindex, None):
            self.changes += 1
            self.queue.append(structs.replace(gone, removed=True))

    def leave(self, ifindex: int) -> None:
        if gone := self.links.pop(ifindex, None):
            self.changes += 1
            self.elsewhere[ifindex] = gone
            self.queue.append(structs.replace(gone, removed=True, new_netnsid=1, new_ifindex=9))

    def back(self, ifindex: int) -> None:
        if found := self.elsewhere.pop(ifindex, None):
            self._put(found)

    def _put(self, new: LinkMessage) -> None:
        self.changes += self.links.get(new.ifindex) != new
        self.links[new.ifindex] = new
        self.queue.append(new)


setting = st.tuples(st.just("set"), st.integers(1, 3), st.integers(1, 2))
deleting = st.tuples(st.just("delete"), st.integers(1, 3))
moving = st.tuples(st.sampled_from(["leave", "back"]), st.integers(1, 3))
doing = setting | deleting | moving
reading = st.tuples(st.just("read"), st.integers(1, 3))
asking = st.tuples(st.just("ask"), st.lists(doing, max_size=4), st.lists(doing, max_size=4), st.booleans())
losing = st.tuples(st.just("lose"), st.integers(0, 4))


def do(kernel: Kernel, *action: object) -> None:
    getattr(kernel, str(action[0]))(*action[1:])


def read(kernel: Kernel, links: Links, most: int = 1000) -> list[NetdevEvent]:
    events = []
    for message in kernel.queue[:most]:
        events += links.message(message)
    del kernel.queue[:most]
    return events


def ask(kernel: Kernel, links: Links, before: list[Action], after: list[Action], *, everything: bool) -> list[NetdevEvent]:
    events = read(kernel, links)
    with links.asking() as asked:
        for action in before:
            do(kernel, *action)
        events += read(kernel, links, 1)
        dump = list(kernel.links.values())
        for action in after:
            do(kernel, *action)
        events += read(kernel, links)
    if everything:
        return events + links.resynced(asked, survey(*dump))
    return events + links.refreshed(asked, survey(*dump, gone={1, 2, 3} - {found.ifindex for found in dump}))


@given(st.lists(doing | reading | asking, max_size=25))
def test_each_change_is_told_once_however_news_and_answers_meet(script: list[Action]) -> None:
    kernel, links = Kernel(), Links()
    events: list[NetdevEvent] = []
    for kind, *rest in script:
        if kind == "read":
            events += read(kernel, links, *rest)
        elif kind == "ask":
            before, after, everything = rest
            events += ask(kernel, links, before, after, everything=everything)
        else:
            do(kernel, kind, *rest)
    events += read(kernel, links)
    assert len(events) == kernel.changes
    assert len({(event.device.id, event.device.mac) for event in events}) == len({event.device.id for event in events}) == kernel.made
    assert {netdev.ifindex: netdev.mtu for netdev in links.table} == {found.ifindex: found.mtu for found in kernel.links.values()}


@given(st.lists(doing | reading | losing, max_size=25))
def test_after_a_loss_and_a_survey_the_table_is_what_is_there(script: list[Action]) -> None:
    kernel, links = Kernel(), Links()
    for kind, *rest in script:
        if kind == "read":
            read(kernel, links, *rest)
        elif kind == "lose":
            del kernel.queue[rest[0] :]
            links.lost()
        else:
            do(kernel, kind, *rest)
    ask(kernel, links, [], [], everything=True)
    assert {netdev.ifindex: netdev.mtu for netdev in links.table} == {found.ifindex: found.mtu for found in kernel.links.values()}
