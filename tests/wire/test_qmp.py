from __future__ import annotations

import contextlib
import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from aiovirt.errors import ProtocolError
from aiovirt.wire.qmp import Failure, Greeting, Message, Phase, QMPEvent, QMPProtocol, Reply
from aiovirt.wire.qmp.messages import decode_body, read_message

# As QEMU 7.2.22 (Debian) sent them.
GREETING = (
    b'{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "Debian 1:7.2+dfsg-7+deb12u18+b3"},'
    b' "capabilities": ["oob"]}}\r\n'
)
EVENT = (
    b'{"timestamp": {"seconds": 1795365015, "microseconds": 446386},'
    b' "event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-shutdown"}}\r\n'
)
STOP = b'{"timestamp": {"seconds": 1795365015, "microseconds": 446560}, "event": "STOP"}\r\n'
NEGOTIATED = b'{"return": {}, "id": 1}\r\n'
STATUS = b'{"return": {"status": "running", "singlestep": false, "running": true}, "id": 2}\r\n'
REFUSED = b'{"id": 3, "error": {"class": "CommandNotFound", "desc": "The command nonsense has not been found"}}\r\n'
CONVERSATION = GREETING + EVENT + NEGOTIATED + STATUS + STOP + REFUSED


def said(message: Message) -> object:
    """A message with its raw body as JSON, to compare."""
    if isinstance(message, Reply):
        return ("reply", message.id, json.loads(bytes(message.body)))
    if isinstance(message, QMPEvent):
        return ("event", message.name, message.time, json.loads(bytes(message.body) or b"{}"))
    return message


WHOLE = [
    Greeting((7, 2, 22), "Debian 1:7.2+dfsg-7+deb12u18+b3", ("oob",)),
    ("event", "SHUTDOWN", 1795365015446386000, {"guest": True, "reason": "guest-shutdown"}),
    ("reply", 1, {}),
    ("reply", 2, {"status": "running", "singlestep": False, "running": True}),
    ("event", "STOP", 1795365015446560000, {}),
    Failure(3, "CommandNotFound", "The command nonsense has not been found"),
]


def ready() -> QMPProtocol:
    protocol = QMPProtocol()
    protocol.receive(GREETING)
    protocol.negotiate()
    protocol.receive(NEGOTIATED)
    return protocol


@given(st.lists(st.integers(0, len(CONVERSATION)), max_size=12))
def test_a_conversation_cut_anywhere_is_the_same(cuts: list[int]) -> None:
    protocol = QMPProtocol()
    edges = [0, *sorted(cuts), len(CONVERSATION)]
    messages = [m for a, b in itertools.pairwise(edges) for m in protocol.receive(CONVERSATION[a:b])]
    assert [said(m) for m in messages] == WHOLE
    assert protocol.phase is Phase.READY
    assert protocol.greeting == WHOLE[0]


def test_events_may_come_before_the_greeting() -> None:
    protocol = QMPProtocol()
    first, second = protocol.receive(STOP + GREETING)
    assert isinstance(first, QMPEvent)
    assert isinstance(second, Greeting)


def test_commands_carry_increasing_ids() -> None:
    protocol = ready()
    number, line = protocol.command("query-status")
    assert json.loads(line) == {"execute": "query-status", "id": number}
    after, line = protocol.command("qom-get", {"path": "/"})
    assert after == number + 1
    assert json.loads(line)["arguments"] == {"path": "/"}
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1


def test_no_command_before_the_negotiation() -> None:
    protocol = QMPProtocol()
    with pytest.raises(ProtocolError, match="greeting"):
        protocol.command("query-status")


@pytest.mark.parametrize("data", [STATUS, REFUSED, GREETING + GREETING, GREETING + REFUSED])
def test_what_is_out_of_place_breaks_it(data: bytes) -> None:
    protocol = QMPProtocol()
    with pytest.raises(ProtocolError):
        protocol.receive(data)
    assert protocol.phase is Phase.BROKEN
    with pytest.raises(ProtocolError, match="broken"):
        protocol.receive(b"")


@given(st.binary(max_size=200))
def test_garbage_gives_messages_or_a_protocol_error(data: bytes) -> None:
    protocol = ready()
    try:
        protocol.receive(data + b"\n")
    except ProtocolError:
        assert protocol.phase is Phase.BROKEN


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["QMP", "return", "error", "id", "event", "timestamp"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(json_values)
def test_odd_json_gives_a_message_or_a_protocol_error(value: object) -> None:
    with contextlib.suppress(ProtocolError):
        read_message(json.dumps(value).encode())


def test_a_message_over_the_limit_is_refused_before_it_is_whole() -> None:
    protocol = QMPProtocol(limit=1000)
    protocol.receive(GREETING)
    with pytest.raises(ProtocolError, match="1000 bytes"):
        for _ in range(20):
            protocol.receive(b"x" * 100)


def test_a_large_message_in_small_pieces_is_whole() -> None:
    protocol = ready()
    body = "x" * 1_000_000
    line = json.dumps({"return": body, "id": 2}).encode() + b"\r\n"
    messages = [m for at in range(0, len(line), 1000) for m in protocol.receive(line[at : at + 1000])]
    (reply,) = messages
    assert isinstance(reply, Reply)
    assert decode_body(reply.body, str) == body


def test_a_deeply_nested_message_is_refused() -> None:
    with pytest.raises(ProtocolError):
        ready().receive(b'{"return": ' + b"[" * 200_000 + b"\n")


def test_a_body_of_another_type_is_refused() -> None:
    with pytest.raises(ProtocolError):
        decode_body(Raw(b'{"a": 1}'), list[int])


def test_a_failing_clock_gives_no_time() -> None:
    event = read_message(b'{"timestamp": {"seconds": -1, "microseconds": -1}, "event": "STOP"}')
    assert isinstance(event, QMPEvent)
    assert event.time is None
