from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from qemu.qmp.message import Message
from qemu.qmp.models import ErrorResponse, Greeting

from aiovirt.wire.qmp.server import LIMIT, NESTING, QMPServer, Request, event_line, failure_line, return_line

VERSION = Raw(b'{"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "Debian"}')
AGREE = b'{"execute": "qmp_capabilities"}'
AGREED: dict[str, object] = {"return": {}}
STATUS = b'{"execute": "query-status", "id": 1}'

Heard = list[tuple[str, bytes, bytes] | dict[str, Any]]


def hear(server: QMPServer, *pieces: bytes) -> Heard:
    """What comes of it: a request's command, arguments and id, or the answer to what is none."""
    heard: Heard = []
    for piece in pieces:
        server.feed(piece)
        while (said := server.next()) is not None:
            if isinstance(said, Request):
                heard.append((said.command, bytes(said.arguments), bytes(said.id)))
            else:
                assert said.endswith(b"\r\n")
                assert said.count(b"\n") == 1
                heard.append(json.loads(said))
    return heard


def ready(**options: int) -> QMPServer:
    server = QMPServer(VERSION, **options)
    assert hear(server, AGREE) == [AGREED]
    return server


def agreed(server: QMPServer) -> bool:
    """As a call: mypy does not see that it changes."""
    return server.is_ready


def fail(description: str, error_class: str = "GenericError") -> dict[str, object]:
    return {"error": {"class": error_class, "desc": description}}


# -- a conversation ----------------------------------------------------------------------------


def test_the_greeting_is_one_that_qemu_qmp_understands() -> None:
    greeting = Greeting(Message(QMPServer(VERSION).greeting)).QMP
    assert greeting.version == {"qemu": {"major": 7, "minor": 2, "micro": 22}, "package": "Debian"}
    assert greeting.capabilities == []


def test_first_capabilities_are_negotiated_and_once() -> None:
    server = QMPServer(VERSION)
    assert not agreed(server)
    assert hear(server, STATUS, b'{"execute": "nonsense"}') == [
        {"id": 1} | fail("Expecting capabilities negotiation with 'qmp_capabilities'", "CommandNotFound"),
        fail("Expecting capabilities negotiation with 'qmp_capabilities'", "CommandNotFound"),
    ]
    assert not agreed(server)
    assert hear(server, b'{"execute": "qmp_capabilities", "arguments": {}, "id": "n"}') == [{"return": {}, "id": "n"}]
    assert agreed(server)
    assert hear(server, AGREE, STATUS) == [
        fail("Capabilities negotiation is already complete, command ignored", "CommandNotFound"),
        ("query-status", b"{}", b"1"),
    ]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ('{"enable": ["oob"]}', "Capability oob not available"),
        ('{"enable": ["a", "b"]}', "Capability a, b not available"),
        ('{"enable": "oob"}', "Invalid parameter"),
        ('{"enable": [5]}', "Invalid parameter"),
        ('{"nope": 1}', "Invalid parameter"),
    ],
)
def test_no_capability_is_offered(arguments: str, why: str) -> None:
    server = QMPServer(VERSION)
    (answer,) = hear(server, b'{"execute": "qmp_capabilities", "arguments": %s, "id": 5}' % arguments.encode())
    assert isinstance(answer, dict)
    assert (answer["id"], answer["error"]["class"]) == (5, "GenericError")
    assert answer["error"]["desc"].startswith(why)
    assert not agreed(server)
    assert hear(server, AGREE) == [AGREED]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"{}", fail("QMP input lacks member 'execute'")),
        (b'{"id": 2}', {"id": 2} | fail("QMP input lacks member 'execute'")),
        (b'{"execute": 5, "id": 2}', {"id": 2} | fail("QMP input member 'execute' must be a string")),
        (b'{"execute": "x", "arguments": 5, "id": 2}', {"id": 2} | fail("QMP input member 'arguments' must be an object")),
        (b'{"execute": "x", "foo": 5, "id": 2}', {"id": 2} | fail("QMP input member 'foo' is unexpected")),
        (b'{"exec-oob": "x", "id": 2}', {"id": 2} | fail("QMP input member 'exec-oob' is unexpected")),
        (b"[1, 2]", fail("QMP input must be a JSON object")),
        (b'"str"\n', fail("QMP input must be a JSON object")),
        (b"5\n", fail("QMP input must be a JSON object")),
        (b"\xff", fail("JSON parse error, stray '\ufffd'")),
    ],
)
def test_what_is_no_request_is_told_as_qemu_tells_it(said: bytes, why: dict[str, object]) -> None:
    """That QEMU does is shown by tests/real/test_qmp_proxy.py, with these words."""
    assert hear(ready(), said, STATUS) == [why, ("query-status", b"{}", b"1")]


@pytest.mark.parametrize(
    "said",
    [
        b'{"execute": nonsense}',
        b'{"execute": "x",}',
        b'{"execute"; "x"}',
        b'{"execute": "\\q"}',
        b'{"execute": "\\ud800"}',
        b'{"execute": "\xc3"}',
        b'{"execute": "x", "id": 01}',
        b'{"execute": "x", "id": 1e999}',
        b"{'execute': 'x'}",
    ],
)
def test_what_is_no_json_is_refused_once_and_what_follows_is_read(said: bytes) -> None:
    refused, *rest = hear(ready(), said + STATUS)
    assert isinstance(refused, dict)
    assert refused["error"]["class"] == "GenericError"
    assert refused["error"]["desc"].startswith("JSON parse error, ")
    assert rest == [("query-status", b"{}", b"1")]


def test_garbage_costs_its_line() -> None:
    refused = fail("QMP input must be a JSON object")
    assert hear(ready(), b"GET / HTTP/1.1\r\nHost: {a}\r\n\r\n", STATUS) == [refused, refused, ("query-status", b"{}", b"1")]


def test_brackets_that_do_not_match_cost_their_line() -> None:
    first, second, request = hear(ready(), b'{"execute": "x"]} {"execute": "quit"}\n', STATUS)
    assert isinstance(first, dict)
    assert first["error"]["desc"].startswith("JSON parse error, ")
    assert second == fail("QMP input must be a JSON object")
    assert request == ("query-status", b"{}", b"1")


def test_a_string_that_was_never_closed_costs_its_line() -> None:
    refused = fail("JSON parse error, a control character in a string")
    assert hear(ready(), b'{"execute": "que\n', STATUS) == [refused, ("query-status", b"{}", b"1")]
    assert hear(ready(), b'{"execute": "a\tb", "x": {"execute": "quit"}}\n', STATUS) == [refused, ("query-status", b"{}", b"1")]
    assert hear(ready(), b'{"execute": "a\\\n', STATUS) == [refused, ("query-status", b"{}", b"1")]


@pytest.mark.parametrize("before", [b'{"execute": ', b'{"execute": "x', b'{"execute": "x\\', b"[[[", b"x", b""])
def test_the_byte_ff_begins_anew_wherever_it_comes(before: bytes) -> None:
    *errors, request = hear(ready(), before + b"\xff" + STATUS)
    assert errors[-1] == fail("JSON parse error, stray '\ufffd'")
    assert request == ("query-status", b"{}", b"1")


# -- as it was said ----------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), inner, max_size=3),
    max_leaves=10,
)
LAYOUTS: list[dict[str, Any]] = [{}, {"indent": 1}, {"ensure_ascii": False}, {"separators": (",", ":")}]


@given(JSON, st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), JSON, max_size=3), st.sampled_from(LAYOUTS))
def test_ids_and_arguments_come_through(number: object, arguments: dict[str, object], layout: dict[str, Any]) -> None:
    server = ready()
    server.feed(json.dumps({"execute": "x", "arguments": arguments, "id": number}, **layout).encode())
    request = server.next()
    assert isinstance(request, Request)
    assert request.members == arguments
    assert json.loads(bytes(request.arguments)) == arguments
    assert json.loads(return_line(request, Raw(b'{"a": 1}'))) == {"return": {"a": 1}, "id": number}
    refused = failure_line(request, "DeviceNotFound", "no such thing")
    assert ErrorResponse(Message(refused)).error.desc == "no such thing"
    assert json.loads(refused)["id"] == number
    assert refused.count(b"\n") == 1
    assert server.next() is None


@pytest.mark.parametrize("number", ["1.50", "12345678901234567890123456789", "1E+2", '"\\u00e9"', "null", "-0.0", "[1,[2.0]]"])
def test_an_id_is_not_even_spelled_otherwise(number: str) -> None:
    server = ready()
    server.feed(b'{"execute": "x", "id": %s}' % number.encode())
    request = server.next()
    assert isinstance(request, Request)
    assert return_line(request, Raw(b"[]")) == b'{"return":[],"id":%s}\r\n' % number.encode()


def test_who_gives_no_id_gets_none() -> None:
    server = ready()
    server.feed(b'{"execute": "x"}')
    request = server.next()
    assert isinstance(request, Request)
    assert return_line(request, Raw(b"[]")) == b'{"return":[]}\r\n'
    assert failure_line(request, "GenericError", "é") == '{"error":{"class":"GenericError","desc":"é"}}\r\n'.encode()


def test_an_event_has_its_time() -> None:
    assert json.loads(event_line("STOP", None, 1795365015446386999)) == {
        "timestamp": {"seconds": 1795365015, "microseconds": 446386},
        "event": "STOP",
    }
    assert json.loads(event_line("X", {}, None)) == {"timestamp": {"seconds": -1, "microseconds": -1}, "event": "X", "data": {}}


# -- limits ------------------------------------------------------------------------------------


def message(size: int) -> bytes:
    """A request of ``size`` bytes."""
    empty = b'{"execute": "x", "id": ""}'
    return empty[:-2] + b"y" * (size - len(empty)) + empty[-2:]


@pytest.mark.parametrize("step", [1000, LIMIT * 2])
def test_a_message_over_the_limit_is_refused_at_once_and_passed_over(step: int) -> None:
    fits, over = message(LIMIT), message(LIMIT + 2)
    server = ready()
    (request,) = hear(server, *(fits[at : at + step] for at in range(0, len(fits), step)))
    assert request[0] == "x"  # type: ignore[index]
    refused = [fail("JSON token size limit exceeded")]
    assert hear(server, over[:-1]) == refused
    assert hear(server, over[-1:], STATUS) == [("query-status", b"{}", b"1")]
    assert hear(server, *(over[at : at + step] for at in range(0, len(over), step)), STATUS) == [*refused, ("query-status", b"{}", b"1")]


def test_what_is_refused_is_not_kept() -> None:
    server = ready(limit=1000)
    assert hear(server, b'{"id": [' + b"1," * 1000) == [fail("JSON token size limit exceeded")]
    for _ in range(100):
        assert hear(server, b'"\\"", {"execute": "quit"}, ' * 100) == []
    assert len(server._message) == 0
    assert hear(server, b"1]}", STATUS) == [("query-status", b"{}", b"1")]


def test_a_message_that_is_too_deep_is_refused_at_once_and_passed_over() -> None:
    server = ready()
    depth = NESTING - 1
    fits = b'{"execute": "x", "id": %s%s}' % (b"[" * depth, b"]" * depth)
    assert hear(server, fits) == [("x", b"{}", b"[" * depth + b"]" * depth)]
    assert hear(server, b'{"id": ' + b"[" * NESTING) == [fail("JSON nesting depth limit exceeded")]
    assert hear(server, b"[" * 100_000, b"]" * (100_000 + NESTING)) == []
    assert hear(server, b"}", STATUS) == [("query-status", b"{}", b"1")]


def test_words_are_said_again_within_bounds() -> None:
    for said in (b'{"%s": 1}', b'{"execute": "qmp_capabilities", "arguments": {"enable": ["%s"]}}'):
        server = QMPServer(VERSION)
        server.feed(said % (b"n" * 100_000))
        answer = server.next()
        assert isinstance(answer, bytes)
        assert len(answer) < 1000


# -- anything ----------------------------------------------------------------------------------

PIECES = st.sampled_from(
    [
        AGREE,
        STATUS,
        b'{"execute": "a", "arguments": {"b": "}\\"{"}}',
        b'{"execute"',
        b'"',
        b"\\",
        b"\n",
        b"\r\n",
        b"{",
        b"}",
        b"[",
        b"]",
        b"\xff",
        b"\x00",
        b"\xc3\xa9",
        b"nonsense",
        b"[" * (NESTING + 1),
        b" " * 400,
    ]
)


@given(st.lists(PIECES | st.binary(max_size=8), max_size=30), st.lists(st.integers(0, 2000), max_size=12))
def test_any_bytes_in_any_pieces_are_answered_alike(pieces: list[bytes], cuts: list[int]) -> None:
    said = b"".join(pieces)
    edges = [0, *sorted(cut % (len(said) + 1) for cut in cuts), len(said)]
    whole, cut, bytewise = (QMPServer(VERSION, limit=600) for _ in range(3))
    heard = hear(whole, said)
    assert hear(cut, *(said[a:b] for a, b in itertools.pairwise(edges))) == heard
    assert hear(bytewise, *(said[at : at + 1] for at in range(len(said)))) == heard
    assert whole.is_ready is cut.is_ready is bytewise.is_ready
    # a new beginning is always possible
    assert hear(whole, b"\xff" + AGREE)[-2] == fail("JSON parse error, stray '\ufffd'")
    assert hear(whole, STATUS) == [("query-status", b"{}", b"1")]


@given(st.lists(st.tuples(JSON, st.sampled_from(["", " ", "\n", "\r\n\t"]), st.sampled_from(LAYOUTS)), max_size=6))
def test_lines_are_no_matter(requests: list[tuple[object, str, dict[str, Any]]]) -> None:
    said = "".join(json.dumps({"execute": "x", "id": number}, **layout) + gap for number, gap, layout in requests)
    heard = hear(ready(), said.encode())
    assert [json.loads(one[2]) for one in heard if isinstance(one, tuple)] == [number for number, _, _ in requests]
    assert len(heard) == len(requests)
