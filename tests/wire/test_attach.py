from __future__ import annotations

import contextlib
from itertools import pairwise
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiovirt.errors import Error, InvalidArgument, ProtocolError, Unsupported
from aiovirt.model import orders
from aiovirt.model.busdevice import BusDevice
from aiovirt.model.details import DeviceDetails
from aiovirt.model.orders import Request
from aiovirt.wire.attach import Frames, TooLongError, framed
from aiovirt.wire.attach.messages import (
    Answer,
    Ask,
    Cancel,
    Epochs,
    Failure,
    FromClient,
    FromEngine,
    Glance,
    Hello,
    NextEvents,
    Past,
    SeekPast,
    Seen,
    Unknown,
    Welcome,
    decode_from_client,
    decode_from_engine,
    encode,
    encode_value,
)
from aiovirt.wire.attach.requests import is_read, request_of, value_of

ONE = UUID(int=1)
REQUESTS: list[Request[Any]] = [
    orders.Define(xml="<domain/>"),
    orders.Create(xml="<domain/>", paused=True, autodestroy=True),
    orders.Undefine(uuid=ONE),
    orders.SetAutostart(uuid=ONE, enabled=False),
    orders.AskAutostart(uuid=ONE),
    orders.Start(uuid=ONE, paused=True, timeout=0.5),
    orders.Suspend(uuid=ONE),
    orders.Resume(uuid=ONE),
    orders.Shutdown(uuid=ONE),
    orders.Reboot(uuid=ONE),
    orders.Reset(uuid=ONE),
    orders.Destroy(uuid=ONE),
    orders.AskXML(uuid=ONE, inactive=True),
    orders.AskQMP(uuid=ONE, command="query-status", arguments=b'{"a": 1}'),
    orders.AskLog(uuid=ONE),
    orders.AskDetails(subject="netdev/2.1"),
    orders.Enumerate(subsystem="usb"),
    orders.AskAbility(order="Start"),
    orders.Refresh(subject="netdev/2.1"),
    orders.ReadPhysPortId(name="eth0"),
]
ASKED: list[FromClient] = [Ask.of(7, request) for request in REQUESTS]
FROM_CLIENT: list[FromClient] = [
    Hello(1, "virsh", ("/a", "/b")),
    Hello(9),
    Glance(1),
    *ASKED,
    Cancel(7),
    SeekPast(8, 12),
]
FROM_ENGINE: list[FromEngine] = [
    Welcome(version=1, host=ONE, pid=4, eras=(("A", 0, 7), ("B", 7, None)), head=9, first=2, state=b"state"),
    Seen("A:1", ()),
    NextEvents([b"one", b"two"]),
    Epochs((("A", 0, None),)),
    Failure(3, "OrderTimeout", "late", 68, 20, "domain/x", {"sent": True}),
    Past(3, [b"one"], 1),
]


# -- frames ------------------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=40), max_size=12), st.lists(st.integers(0, 400), max_size=20))
def test_messages_come_out_as_they_went_in_however_they_are_cut(messages: list[bytes], cuts: list[int]) -> None:
    stream, frames = b"".join(map(framed, messages)), Frames(40)
    places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    assert [message for start, end in pairwise(places) for message in frames.feed(stream[start:end])] == messages


def test_what_was_good_before_a_frame_that_is_too_long_is_heard() -> None:
    heard: list[bytes] = []
    with pytest.raises(TooLongError, match="9 bytes, of at most 8"):
        heard.extend(Frames(8).feed(framed(b"good") + framed(b"123456789")))
    assert heard == [b"good"]


def test_a_long_message_is_put_together_once() -> None:
    """In linear time: its parts are joined when all are there, and not before."""
    frames, part = Frames(64 << 20), bytes(16_384)
    head = (64 << 20).to_bytes(4, "big")
    assert list(frames.feed(head)) == []
    found = [message for _ in range((64 << 20) // len(part)) for message in frames.feed(part)]
    assert [len(message) for message in found] == [64 << 20]


# -- messages ----------------------------------------------------------------------------------


@pytest.mark.parametrize("message", FROM_CLIENT, ids=repr)
def test_what_a_client_says_is_what_is_heard(message: FromClient) -> None:
    assert decode_from_client(encode(message)) == message


@pytest.mark.parametrize("message", FROM_ENGINE, ids=lambda message: type(message).__name__)
def test_what_an_engine_says_is_what_is_heard(message: FromEngine) -> None:
    assert decode_from_engine(encode(message)) == message


def test_every_request_can_be_asked() -> None:
    assert {type(request) for request in REQUESTS} == set(orders.REQUESTS.values())
    assert {kind for kind in vars(orders).values() if isinstance(kind, type) and issubclass(kind, Request)} == {
        *orders.REQUESTS.values(),
        Request,
        orders.DomainOrder,
    }


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: type(request).__name__)
def test_what_only_reads_is_asked_apart_from_orders(request_: Request[Any]) -> None:
    reads = {"AskXML", "AskLog", "AskAutostart", "AskDetails", "AskAbility", "Enumerate", "Refresh", "ReadPhysPortId"}
    assert is_read(request_) == (type(request_).__name__ in reads)


@pytest.mark.parametrize(
    ("request_", "value"),
    [
        (orders.Define(xml=""), ONE),
        (orders.Start(uuid=ONE), None),
        (orders.AskXML(uuid=ONE), "<domain/>"),
        (orders.AskQMP(uuid=ONE, command="x"), b"{}"),
        (orders.ReadPhysPortId(name="a"), None),
        (orders.AskAbility(order="Start"), "not here"),
        (orders.AskAbility(order="Start"), None),
        (orders.Enumerate(subsystem="usb"), [BusDevice(bus="usb", name="1-1")]),
        (orders.AskDetails(subject="pci/x"), DeviceDetails(path="/sys/x")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_answer_is_of_the_type_that_was_asked_for(request_: Request[Any], value: object) -> None:
    answer = decode_from_engine(encode(Answer(1, encode_value(value))))
    assert isinstance(answer, Answer)
    assert value_of(request_, answer) == value
    with pytest.raises(ProtocolError):
        value_of(request_, Answer(1, encode_value([[1.5]])))


# -- versions that differ -----------------------------------------------------------------------


def said(**members: object) -> bytes:
    return msgspec.msgpack.encode(members)


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: type(request).__name__)
def test_a_request_is_heard_as_it_was_asked(request_: Request[Any]) -> None:
    asked = decode_from_client(encode(Ask.of(7, request_)))
    assert isinstance(asked, Ask)
    assert request_of(asked) == request_


def test_only_what_differs_from_its_defaults_is_sent() -> None:
    """So an engine that lacks a field does what is asked, where that field asks for nothing."""
    assert msgspec.msgpack.decode(Ask.of(1, orders.Start(uuid=ONE)).request) == {"type": "Start", "uuid": str(ONE)}


@pytest.mark.parametrize(
    ("request_", "kind", "match"),
    [
        ({"type": "InjectNMI", "uuid": str(ONE)}, Unsupported, "does not know the request 'InjectNMI'"),
        ({"type": "Start", "uuid": str(ONE), "force_boot": True, "nvram": 1}, Unsupported, "does not know Start's force_boot, nvram"),
        ({"type": "Start", "uuid": 7}, InvalidArgument, r"`\$\.uuid`"),
        ({"type": 7}, Unsupported, "request '7'"),
        ({}, Unsupported, "request ''"),
        ([], InvalidArgument, "cannot be read"),
    ],
)
def test_what_is_asked_and_not_known_is_refused_by_itself(request_: object, kind: type[Error], match: str) -> None:
    asked = decode_from_client(said(type="ask", number=3, request=request_))
    assert isinstance(asked, Ask)
    with pytest.raises(kind, match=match):
        request_of(asked)


def test_a_message_of_a_newer_peer_has_its_kind_and_its_number() -> None:
    for decode in (decode_from_client, decode_from_engine):
        assert decode(said(type="stream", number=7, of="bytes")) == Unknown("stream", 7)
        assert decode(said(type="stream")) == Unknown("stream", 0)
        for wrong in (said(type="ask", number="x"), said(type="news", number="x"), said(type="stream", number="x"), said(kind="stream")):
            with contextlib.suppress(ProtocolError):
                assert isinstance(decode(wrong), Unknown)  # the other side's own messages


def test_reads_have_a_lane_of_their_own() -> None:
    assert {type(request).__name__ for request in REQUESTS if is_read(request)} == {
        "AskXML",
        "AskLog",
        "AskAutostart",
        "AskDetails",
        "AskAbility",
        "Enumerate",
        "Refresh",
        "ReadPhysPortId",
    }
    assert is_read(SeekPast(1, 1))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_refused(data: bytes) -> None:
    for decode in (decode_from_client, decode_from_engine):
        try:
            decode(data)
        except ProtocolError:
            continue


@given(st.sampled_from([*FROM_CLIENT, *FROM_ENGINE]), st.data())
def test_a_damaged_message_is_a_message_or_refused(message: FromClient | FromEngine, data: st.DataObject) -> None:
    whole = bytearray(encode(message))
    whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    for decode in (decode_from_client, decode_from_engine):
        try:
            decode(bytes(whole))
        except ProtocolError:
            continue


def test_what_is_nested_too_deep_is_refused() -> None:
    with pytest.raises(ProtocolError):
        decode_from_engine(msgspec.msgpack.encode({"type": "failure"})[:-8] + b"\x91" * 100_000)
