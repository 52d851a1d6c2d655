from __future__ import annotations

import datetime
import json
import re
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from aiovirt.errors import InvalidArgument
from aiovirt.events import (
    DeviceEvent,
    DeviceInitialized,
    DomainEvent,
    DomainQMP,
    Event,
    HostEvent,
    NetdevAdded,
    NetdevChanged,
    NetdevEvent,
    PCIEvent,
    decode,
    encode,
)
from aiovirt.events.codec import encode_bookmark
from aiovirt.events.registry import event_families, event_types
from aiovirt.model.netdev import Unreadable
from tests.events import samples

CURSOR = "01M81ZVW3XKGW4EMTQQQ6K1X6K:0000000000000001"


def plain(event: Event) -> str:
    """An event as text, in which an Unreadable (unequal to itself) can be compared."""
    return repr(event)


@given(samples.any_event)
def test_what_is_encoded_decodes_to_the_same(event: Event) -> None:
    assert plain(decode(encode(event))) == plain(event)
    assert type(decode(encode(event))) is type(event)


# https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md
REQUIRED = {"specversion", "id", "source", "type"}
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z")


def check_cloudevent(line: bytes) -> dict[str, object]:
    """Holds ``line`` against the JSON format of CloudEvents 1.0; returns what it says."""
    assert b"\n" not in line
    said: dict[str, object] = json.loads(line)
    assert set(said) >= REQUIRED
    for name, value in said.items():
        if name != "data":
            assert re.fullmatch("[a-z0-9]{1,20}", name)
            assert isinstance(value, str | bool), f"{name} is of no type that an attribute can have"
            assert value != "", f"{name} is empty"
    assert said["specversion"] == "1.0"
    assert RFC3339.fullmatch(str(said["time"]))
    return said


@given(samples.any_event)
def test_it_is_one_line_of_cloudevents(event: Event) -> None:
    said = check_cloudevent(encode(event))
    assert said["id"] == event.cursor
    assert said["type"] == f"io.aiovirt.{event.topic}.v1"
    assert said["subject"] == event.subject
    assert said["source"] == f"/hosts/{event.host}"
    assert said["datacontenttype"] == "application/json"
    moment = datetime.datetime.fromisoformat(str(said["time"]))
    assert (moment - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)) // datetime.timedelta(microseconds=1) == event.time // 1000
    assert event.cursor.endswith(str(said["sequence"]))


def test_optional_attributes_are_left_out_and_never_null() -> None:
    plain_one = json.loads(encode(structs.replace(samples.started(), cursor=CURSOR)))
    assert not {"cause", "sourcetime", "missed"} & set(plain_one)
    told = structs.replace(samples.started(), cursor=CURSOR, cause="order-7", source_time=-1, missed=True)
    said = json.loads(encode(told))
    assert (said["cause"], said["sourcetime"], said["missed"]) == ("order-7", "-1", True)
    assert decode(encode(told)) == told


def test_what_was_not_published_has_no_outside_form() -> None:
    with pytest.raises(InvalidArgument, match="before it is published"):
        encode(samples.started())


def test_families_are_those_of_the_classes() -> None:
    assert event_families() == {"domain": DomainEvent, "device": DeviceEvent, "netdev": NetdevEvent, "pci": PCIEvent, "host": HostEvent}


@given(samples.common["cursor"], st.uuids(), st.integers(0, 2**62))
def test_a_bookmark_is_a_cloudevent_and_no_event(cursor: str, host: UUID, time: int) -> None:
    line = encode_bookmark(cursor, host, time)
    said = check_cloudevent(line)
    assert set(said) == REQUIRED | {"time", "sequence"}
    assert said["type"] == "io.aiovirt.bookmark.v1"
    assert (said["id"], said["source"], said["sequence"]) == (cursor, f"/hosts/{host}", cursor.partition(":")[2])
    with pytest.raises(InvalidArgument, match=r"'io\.aiovirt\.bookmark\.v1' - at `\$\.type`"):
        decode(line)


def test_every_event_has_a_sample() -> None:
    """A new event without one would not be held to the round trip."""
    assert samples.covered == frozenset(event_types().values())


def test_attributes_that_cannot_be_read_survive() -> None:
    event = NetdevChanged(old=samples.netdev(), new=samples.netdev(phys_port_id=Unreadable("EIO")), cursor=CURSOR)
    back = decode(encode(event))
    assert isinstance(back, NetdevChanged)
    assert isinstance(back.new.phys_port_id, Unreadable)
    assert back.new.phys_port_id.why == "EIO"
    assert back.old.phys_port_id is None


# -- hostile input -----------------------------------------------------------------------------


@given(st.binary() | st.text() | st.text(st.characters(categories=["Cs"])))
def test_anything_else_is_refused(line: bytes | str) -> None:
    with pytest.raises(InvalidArgument, match=r"`\$|byte \d"):
        decode(line)


def added() -> dict[str, Any]:
    said: dict[str, Any] = json.loads(encode(NetdevAdded(device=samples.netdev(), cursor=CURSOR, time=1)))
    return said


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"type": "io.aiovirt.domain.sung.v2"}, "$.type"),
        ({"type": "io.aiovirt..v1"}, "$.type"),
        ({"type": "io.aiovirt.bookmark.v1"}, "$.type"),
        ({"type": "netdev.added"}, "$.type"),
        ({"type": ["netdev.added"]}, "$.type"),
        ({"specversion": "2.0"}, "$.specversion"),
        ({"datacontenttype": "text/xml"}, "$.datacontenttype"),
        ({"source": "/hosts/here"}, "$.source"),
        ({"source": f"/hosts/{{{samples.HOST}}}"}, "$.source"),
        ({"subject": ""}, "$.subject"),
        ({"time": "soon"}, "$.time"),
        ({"time": "2024-01-01T00:00:00"}, "$.time"),
        ({"timens": "soon"}, "$.timens"),
        ({"timens": "1_0"}, "$.timens"),
        ({"timens": "1\n"}, "$.timens"),
        ({"timens": "\u0661"}, "$.timens"),
        ({"timens": "9" * 5000}, "$.timens"),
        ({"timens": 1}, "$.timens"),
        ({"sourcetime": ""}, "$.sourcetime"),
        ({"missed": 1}, "$.missed"),
        ({"cause": None}, "$.cause"),
        ({"id": ""}, "$.id"),
        ({"id": "1"}, "$.id"),
        ({"id": CURSOR + "\n"}, "$.id"),
        ({"data": None}, "$.data"),
        ({"data": []}, "$.data"),
        ({"data": {}}, "$.data"),
        ({"data": {"device": {"id": 3}}}, "$.data.device.id"),
        ({"data": {"device": {"id": "1.1", "ifindex": 1.5, "name": "lo"}}}, "$.data.device.ifindex"),
        ({"data": {"device": {"id": "1.1", "ifindex": 1, "name": "lo", "operstate": ""}}}, "$.data.device.operstate"),
    ],
)
def test_a_spoilt_event_is_refused_with_its_place(change: dict[str, object], place: str) -> None:
    with pytest.raises(InvalidArgument, match=rf" - at `{re.escape(place)}`$"):
        decode(json.dumps(added() | change))


@pytest.mark.parametrize("name", ["type", "id", "source", "subject", "time", "timens", "sequence", "data"])
def test_what_is_missing_is_named(name: str) -> None:
    said = added()
    del said[name]
    with pytest.raises(InvalidArgument, match=f"missing required field `{name}` - at `\\$`"):
        decode(json.dumps(said))


@given(samples.any_event, st.dictionaries(st.text("xyz", min_size=1), samples.json_values))
def test_what_is_not_known_is_passed_over(event: Event, more: dict[str, object]) -> None:
    said = json.loads(encode(event))
    data = {"cursor": 1, "host": None, "time": "never"} | more | said["data"]
    assert plain(decode(json.dumps(more | said | {"data": data}))) == plain(event)


def test_an_event_of_a_device_without_one_is_refused() -> None:
    said = json.loads(encode(DeviceInitialized(netdev=samples.netdev(), properties={}, cursor=CURSOR)))
    for changes in ({"netdev": None}, {"bus_device": {"bus": "pci", "name": "a"}}):
        with pytest.raises(InvalidArgument, match=r"one device is initialized: .*`\$"):
            decode(json.dumps(said | {"data": said["data"] | changes}))


@given(st.data(), samples.any_event)
def test_any_value_in_any_place_is_an_event_or_refused(data: st.DataObject, event: Event) -> None:
    """And what is taken can be said again."""
    said = json.loads(encode(event))
    holder = data.draw(
        st.sampled_from([said, said["data"], *(value for value in said["data"].values() if isinstance(value, dict) and value)])
    )
    strange = samples.json_values | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    if holder:
        holder[data.draw(st.sampled_from(sorted(holder)))] = data.draw(strange)
    try:
        back = decode(json.dumps(said))
    except InvalidArgument as error:
        assert "`$" in str(error)
    else:
        assert plain(decode(encode(back))) == plain(back)


DEEP = "recursion|Stack overflow|missing required field"
"""From Python 3.14 on the stack's size is the limit; what is skipped may be as deep as a line is long."""


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"type":"io.aiovirt.host.started.v1","more":' + "[" * 200_000 + "]" * 200_000 + "}", DEEP),
        (
            encode(DomainQMP(uuid=UUID(int=1), name="d", event="X", cursor=CURSOR)).replace(b'"data":{}', b'"data":' + b'{"x":' * 200_000),
            DEEP,
        ),
        (encode(DomainQMP(uuid=UUID(int=1), name="d", event="X", cursor=CURSOR)).replace(b'"data":{}', b'"data":{"x":1e999}'), "range"),
        (b'"' + b"x" * 2**20 + b'"', "longer than 1048576 bytes"),
    ],
    ids=["deep", "deep data", "huge number", "long"],
)
def test_what_is_too_much_is_refused(line: bytes | str, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words) as refused:
        decode(line)
    assert "`$" in str(refused.value)
