from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiovirt.errors import InvalidArgument
from aiovirt.events import DomainEvent, Event, UnknownEvent, decode, encode
from aiovirt.events.bus import Bus
from aiovirt.events.chain import Chain
from aiovirt.events.filters import make_filter
from aiovirt.events.replica import Replica
from aiovirt.events.segment import DamagedError, decode_checkpoint, decode_event, encode_checkpoint, encode_event
from aiovirt.events.state import HostState
from aiovirt.events.types import DomainLifecycle
from aiovirt.model.state import Detail, DomainState, Lifecycle, Reason
from aiovirt.model.view import DOMAINS
from tests.events import samples

ONE = UUID(int=1)
CHAIN = Chain.fresh()


def written(**members: object) -> bytes:
    """An event as a later version may write it."""
    envelope = {"type": "pool.filled", "cursor": CHAIN.cursor(1), "time": 5, "source_time": None, "host": samples.HOST, "cause": None}
    return msgspec.msgpack.encode(envelope | {"missed": False} | members)


def read(**members: object) -> UnknownEvent:
    event = decode_event(written(**members))
    assert isinstance(event, UnknownEvent)
    return event


def test_it_has_what_every_event_has() -> None:
    event = read(subject="pool/images", cause="order-1", missed=True, source_time=3, size=7)
    assert (event.topic, event.subject, event.cause, event.missed, event.source_time) == ("pool.filled", "pool/images", "order-1", True, 3)
    assert (event.cursor, event.time, event.host, event.data) == (CHAIN.cursor(1), 5, samples.HOST, {"size": 7})
    assert "pool.filled" in str(event)


@pytest.mark.parametrize(
    ("members", "subject"),
    [
        ({}, "host"),
        ({"subject": "network/x", "uuid": str(ONE)}, "network/x"),
        ({"uuid": str(ONE)}, f"domain/{ONE}"),
        ({"device": {"id": "2.1"}}, "netdev/2.1"),
        ({"device": {"address": "0000:00:01.0"}}, "pci/0000:00:01.0"),
        ({"device": {"bus": "usb", "name": "1-1"}}, "usb/1-1"),
        ({"device": 7, "subject": 7}, "host"),
    ],
)
def test_its_subject_is_said_or_follows_from_its_members(members: dict[str, object], subject: str) -> None:
    assert read(**members).subject == subject


@given(st.dictionaries(st.text(), st.integers(-(2**63), 2**63 - 1) | st.text() | st.lists(st.binary()) | st.floats(allow_nan=False)))
def test_it_is_passed_on_byte_for_byte(members: dict[str, Any]) -> None:
    body = written(**{f"x{name}": value for name, value in members.items()})
    assert encode_event(decode_event(body)) == body


def test_one_whose_topic_is_known_and_whose_members_are_not_is_kept_as_well() -> None:
    event = read(type="domain.lifecycle", uuid=str(ONE), name="a", kind={"not": "a text"})
    assert (event.topic, event.subject) == ("domain.lifecycle", f"domain/{ONE}")


@pytest.mark.parametrize("body", [b"", b"\xc1", msgspec.msgpack.encode(7), written(cursor=7), written(host="nobody"), written()[:-1]])
def test_what_is_no_event_in_any_version_is_damaged(body: bytes) -> None:
    with pytest.raises(DamagedError):
        decode_event(body)


def test_what_is_nested_without_end_is_damaged() -> None:
    with pytest.raises(DamagedError):
        decode_event(written()[:-1] + b"\x91" * 100_000)


def test_it_changes_nothing_and_has_its_place_among_the_others() -> None:
    ahead = Bus(host=samples.HOST, chain=CHAIN)
    known = ahead.publish(samples.started(1))
    news = [known, read(cursor=CHAIN.cursor(2), subject="pool/images")]
    behind = Replica(host=samples.HOST, chain=CHAIN, head=0, state=HostState(), past=NO_PAST)
    behind.take(news)
    assert behind.head == 2
    assert list(behind.state.domains) == list(ahead.state.domains)
    assert make_filter((), None).select(news) == news
    assert make_filter((UnknownEvent,), "pool/").select(news) == news[1:]
    assert make_filter((DomainEvent,), None).select(news) == news[:1]


class _NoPast:
    first = 1

    def read_from(self, position: int) -> Any:  # noqa: ANN401 - never
        raise LookupError(position)


NO_PAST = _NoPast()


# -- values that are not known ------------------------------------------------------------------


def test_a_value_of_a_later_version_is_kept_as_it_is() -> None:
    event = samples.started(1)
    later = msgspec.msgpack.encode(msgspec.to_builtins(event) | {"type": "domain.lifecycle", "reason": "beamed up", "detail": "beamed"})
    back = decode_event(later)
    assert isinstance(back, DomainLifecycle)
    assert (back.reason, back.reason.is_known, back.state) == ("beamed up", False, DomainState.RUNNING)
    assert decode_event(encode_event(back)) == back
    state = HostState()
    state.apply(back)
    [view] = decode_checkpoint(encode_checkpoint(state.checkpoint(CHAIN.cursor(1)))).tables[DOMAINS]
    assert (view.state, view.reason) == (DomainState.RUNNING, "beamed up")


@pytest.mark.parametrize("kind", [DomainState, Reason, Lifecycle, Detail])
def test_a_text_that_is_no_value_of_any_version_is_refused(kind: type[Detail]) -> None:
    assert all(member.is_known for member in kind)
    for text in ("", "x" * 65, "a\n", "\x1b[1m"):
        with pytest.raises(ValueError, match="is not a valid"):
            kind(text)
    with pytest.raises(ValueError, match="is not a valid"):
        kind(7)  # type: ignore[arg-type]
    other = kind("of tomorrow")
    assert (other == "of tomorrow", other.is_known, other in list(kind)) == (True, False, False)
    assert kind("of tomorrow") == other


def test_an_unknown_state_has_a_number_and_is_active() -> None:
    state = DomainState("teleporting")
    assert (state.number, state.is_active) == (0, True)


# -- the outside form ---------------------------------------------------------------------------


def test_its_outside_form_is_an_events() -> None:
    event = read(subject="pool/images", cause="order-1", size=7, names=["a", None], missed=True, source_time=-1)
    said = json.loads(encode(event))
    assert (said["type"], said["subject"], said["cause"], said["id"]) == (
        "io.aiovirt.pool.filled.v1",
        "pool/images",
        "order-1",
        event.cursor,
    )
    assert said["data"] == {"size": 7, "names": ["a", None]}
    back = decode(encode(event))
    assert isinstance(back, UnknownEvent)
    assert encode(back) == encode(event)
    assert [getattr(back, name) for name in (*Event.__struct_fields__, "topic", "subject")] == [
        getattr(event, name) for name in (*Event.__struct_fields__, "topic", "subject")
    ]
    assert back.data == event.data


def test_what_json_cannot_say_is_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"pool\.filled cannot be written as JSON"):
        encode(read(odd=msgspec.msgpack.Ext(5, b"")))
