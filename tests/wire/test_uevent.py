from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aiovirt.errors import ProtocolError
from aiovirt.wire.uevent import MAX_DATAGRAM, Uevent, parse

MOVE = (
    b"move@/devices/virtual/net/w0\0ACTION=move\0DEVPATH=/devices/virtual/net/w0\0SUBSYSTEM=net\0"
    b"DEVPATH_OLD=/devices/virtual/net/v0\0INTERFACE=w0\0IFINDEX=7\0SEQNUM=4711\0"
)


def test_a_rename_as_the_kernel_sends_it() -> None:
    assert parse(MOVE) == Uevent(
        action="move",
        devpath="/devices/virtual/net/w0",
        subsystem="net",
        seqnum=4711,
        env={
            "ACTION": "move",
            "DEVPATH": "/devices/virtual/net/w0",
            "SUBSYSTEM": "net",
            "DEVPATH_OLD": "/devices/virtual/net/v0",
            "INTERFACE": "w0",
            "IFINDEX": "7",
            "SEQNUM": "4711",
        },
    )


def test_a_value_may_have_equals_signs_or_be_empty() -> None:
    event = parse(MOVE + b"MODALIAS=a=b\0NOTHING=\0")
    assert event is not None
    assert (event.env["MODALIAS"], event.env["NOTHING"]) == ("a=b", "")


def test_bytes_that_are_no_text_are_escaped() -> None:
    event = parse(MOVE.replace(b"INTERFACE=w0", b"INTERFACE=w\xff"))
    assert event is not None
    assert event.env["INTERFACE"] == "w\\xff"


def test_libudevs_own_format_is_passed_over() -> None:
    assert parse(b"libudev\0\xfe\xed\xca\xfe(\0\0\0") is None


@pytest.mark.parametrize(
    ("datagram", "what"),
    [
        (b"", "cut off"),
        (MOVE[:-1], "cut off"),
        (MOVE[: MOVE.index(b"IFINDEX") + 4], "cut off"),
        (MOVE.replace(b"IFINDEX=", b"IFINDEX"), "KEY=VALUE"),
        (MOVE + b"=7\0", "KEY=VALUE"),
        (MOVE + b"\0", "KEY=VALUE"),
        (MOVE.replace(b"ACTION=move\0", b""), "ACTION is missing"),
        (MOVE.replace(b"SUBSYSTEM=net\0", b""), "SUBSYSTEM is missing"),
        (MOVE.replace(b"SEQNUM=4711\0", b""), "SEQNUM is missing"),
        (MOVE.replace(b"4711", b"47 11"), "not a number"),
        (MOVE.replace(b"4711", "\u0664".encode()), "not a number"),
        (MOVE.replace(b"4711", b"1" * 21), "not a number"),
        (MOVE.replace(b"move@", b"add@"), "the header"),
        (MOVE + b"X=" + b"x" * MAX_DATAGRAM + b"\0", "more than"),
    ],
)
def test_anything_else_is_refused_by_name(datagram: bytes, what: str) -> None:
    with pytest.raises(ProtocolError, match=what):
        parse(datagram)


@given(st.binary(max_size=200) | st.lists(st.binary(max_size=20), max_size=8).map(lambda parts: MOVE + b"\0".join(parts)))
@example(MOVE)
def test_any_bytes_are_an_event_or_refused(datagram: bytes) -> None:
    try:
        event = parse(datagram)
    except ProtocolError:
        return
    assert event is None or (event.seqnum >= 0 and event.env["ACTION"] == event.action)
