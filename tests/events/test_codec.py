from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiovirt.errors import InvalidArgument
from aiovirt.events import Event, NetdevAdded, NetdevChanged, decode, encode
from aiovirt.events.codec import event_types
from aiovirt.model.netdev import Netdev, Unreadable
from tests.events import samples


def plain(event: Event) -> str:
    """An event as text, in which an Unreadable (unequal to itself) can be compared."""
    return repr(event)


@given(samples.any_event)
def test_what_is_encoded_decodes_to_the_same(event: Event) -> None:
    assert plain(decode(encode(event))) == plain(event)
    assert type(decode(encode(event))) is type(event)


@given(samples.any_event)
def test_it_is_one_line_of_cloudevents(event: Event) -> None:
    line = encode(event)
    assert b"\n" not in line
    said = json.loads(line)
    assert said["specversion"] == "1.0"
    assert said["id"] == event.cursor
    assert said["type"] == f"io.aiovirt.{event.topic}.v1"
    assert said["subject"] == event.subject
    assert said["source"] == f"/hosts/{event.host}"
    assert said["time"].endswith("Z")
    assert event.cursor.endswith(said["sequence"])


def test_every_event_has_a_sample() -> None:
    """A new event without one would not be held to the round trip."""
    assert samples.covered == frozenset(event_types().values())


def test_attributes_that_cannot_be_read_survive() -> None:
    event = NetdevChanged(old=samples.netdev(), new=samples.netdev(phys_port_id=Unreadable("EIO")))
    back = decode(encode(event))
    assert isinstance(back, NetdevChanged)
    assert isinstance(back.new.phys_port_id, Unreadable)
    assert back.new.phys_port_id.why == "EIO"
    assert back.old.phys_port_id is None


@given(st.binary() | st.text())
def test_anything_else_is_refused(line: bytes | str) -> None:
    with pytest.raises(InvalidArgument):
        decode(line)


@pytest.mark.parametrize(
    "change",
    [
        {"type": "io.aiovirt.domain.sung.v1"},
        {"source": "/hosts/here"},
        {"timens": "soon"},
        {"id": "1"},
        {"data": {}},
        {"data": {"device": {"id": 3}}},
    ],
)
def test_a_spoilt_event_is_refused(change: dict[str, object]) -> None:
    event = NetdevAdded(device=Netdev(id="1.1", ifindex=1, name="lo"), cursor="01M81ZVW3XKGW4EMTQQQ6K1X6K:0000000000000001")
    said = json.loads(encode(event))
    with pytest.raises(InvalidArgument):
        decode(json.dumps(said | change))
