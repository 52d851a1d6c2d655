from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from typing import SupportsIndex

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import Raw
from qemu.qmp import Message as TheirMessage
from qemu.qmp.models import ErrorResponse
from qemu.qmp.models import Greeting as TheirGreeting

from aiovirt.errors import ProtocolError
from aiovirt.wire.qmp import Breach, Failure, Greeting, Message, Phase, QMPEvent, QMPProtocol, Reply, TooLong
from aiovirt.wire.qmp.messages import EDGE, decode_body, read_edges, read_message
from aiovirt.wire.qmp.protocol import DEFAULT_LIMIT

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


def ready(limit: int = DEFAULT_LIMIT) -> QMPProtocol:
    protocol = QMPProtocol(limit=limit)
    protocol.receive(GREETING)
    protocol.negotiate()
    protocol.receive(NEGOTIATED)
    assert protocol.phase is Phase.READY
    return protocol


def pieces(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


def received(protocol: QMPProtocol, chunks: Iterable[bytes]) -> list[Message]:
    return [message for chunk in chunks for message in protocol.receive(chunk)]


# -- a conversation ----------------------------------------------------------------------------


@given(st.lists(st.integers(0, len(CONVERSATION)), max_size=12))
def test_a_conversation_cut_anywhere_is_the_same(cuts: list[int]) -> None:
    protocol = QMPProtocol()
    messages = received(protocol, pieces(CONVERSATION, cuts))
    assert [said(m) for m in messages] == WHOLE
    assert protocol.phase is Phase.READY
    assert protocol.greeting == WHOLE[0]


def test_events_may_come_before_the_greeting() -> None:
    protocol = QMPProtocol()
    first, second = protocol.receive(STOP + GREETING)
    assert isinstance(first, QMPEvent)
    assert isinstance(second, Greeting)


def test_events_may_come_in_any_phase() -> None:
    protocol = QMPProtocol()
    for data, phase in ((STOP, Phase.GREETING), (GREETING, Phase.NEGOTIATING), (STOP, Phase.NEGOTIATING), (NEGOTIATED, Phase.READY)):
        protocol.receive(data)
        assert protocol.phase is phase
    (last,) = protocol.receive(STOP)
    assert said(last) == WHOLE[4]


@pytest.mark.parametrize(
    ("offered", "arguments"), [(b'["oob"]', {"enable": ["oob"]}), (b'["x", "oob"]', {"enable": ["oob"]}), (b"[]", None), (b'["x"]', None)]
)
def test_out_of_band_is_negotiated_where_it_is_offered(offered: bytes, arguments: object) -> None:
    protocol = QMPProtocol()
    protocol.receive(GREETING.replace(b'["oob"]', offered))
    asked = json.loads(protocol.negotiate())
    assert (asked["execute"], asked.get("arguments")) == ("qmp_capabilities", arguments)


def test_commands_carry_increasing_ids() -> None:
    protocol = ready()
    number, line = protocol.command("query-status")
    assert json.loads(line) == {"execute": "query-status", "id": number}
    after, line = protocol.command("qom-get", {"path": "/"})
    assert after == number + 1
    assert json.loads(line)["arguments"] == {"path": "/"}
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1


def test_an_out_of_band_command_says_so() -> None:
    number, line = ready().command("migrate-pause", out_of_band=True)
    assert json.loads(line) == {"exec-oob": "migrate-pause", "id": number}


@pytest.mark.parametrize(("data", "phase"), [(b"", "greeting"), (GREETING, "negotiating"), (b"{}\n", "broken")])
def test_no_command_before_the_negotiation_or_after_the_end(data: bytes, phase: str) -> None:
    protocol = QMPProtocol()
    protocol.receive(data)
    with pytest.raises(ProtocolError, match=phase):
        protocol.command("query-status")


def test_ids_twice_and_ids_of_nobody_are_told_as_they_come() -> None:
    """Whose they are, the session knows."""
    assert [said(message) for message in ready().receive(STATUS + STATUS + b'{"return": 3, "id": 4711}\n{"return": 4}\n')] == [
        WHOLE[3],
        WHOLE[3],
        ("reply", 4711, 3),
        ("reply", None, 4),
    ]


def test_a_member_twice_is_its_last_as_for_qemu_qmp() -> None:
    line = b'{"return": 1, "id": 4, "id": 5, "return": 2}'
    assert said(read_message(line)) == ("reply", TheirMessage(line)["id"], TheirMessage(line)["return"]) == ("reply", 5, 2)


# -- what is out of place ----------------------------------------------------------------------

ONE_OF_EACH: dict[type[Message], bytes] = {
    Greeting: GREETING,
    QMPEvent: STOP,
    Reply: STATUS,
    Failure: REFUSED,
    TooLong: b'{"return": "' + b"x" * 1000 + b'", "id": 2}\r\n',
    Breach: b"{}\r\n",
}
BEFORE = {Phase.GREETING: b"", Phase.NEGOTIATING: GREETING, Phase.READY: GREETING + NEGOTIATED}
ALLOWED = {
    (Phase.GREETING, QMPEvent): Phase.GREETING,
    (Phase.GREETING, Greeting): Phase.NEGOTIATING,
    (Phase.NEGOTIATING, QMPEvent): Phase.NEGOTIATING,
    (Phase.NEGOTIATING, Reply): Phase.READY,
    (Phase.READY, QMPEvent): Phase.READY,
    (Phase.READY, Reply): Phase.READY,
    (Phase.READY, Failure): Phase.READY,
    (Phase.READY, TooLong): Phase.READY,
}


@pytest.mark.parametrize("phase", BEFORE, ids=lambda phase: phase.value)
@pytest.mark.parametrize("kind", ONE_OF_EACH, ids=lambda kind: kind.__name__)
def test_what_may_come_when(phase: Phase, kind: type[Message]) -> None:
    protocol = QMPProtocol(limit=1000)
    protocol.receive(BEFORE[phase])
    assert protocol.phase is phase
    after = ALLOWED.get((phase, kind), Phase.BROKEN)
    (message,) = protocol.receive(ONE_OF_EACH[kind])
    assert type(message) is (Breach if after is Phase.BROKEN else kind)
    assert protocol.phase is after
    assert bool(protocol.receive(STOP)) is (after is not Phase.BROKEN)


@pytest.mark.parametrize("data", [STATUS, REFUSED, GREETING + GREETING, GREETING + REFUSED])
def test_what_is_out_of_place_breaks_it(data: bytes) -> None:
    protocol = QMPProtocol()
    *_, breach = protocol.receive(data)
    assert isinstance(breach, Breach)
    assert "out of place" in breach.why
    assert protocol.phase is Phase.BROKEN
    assert protocol.receive(b"") == protocol.receive(GREETING) == []


def test_a_breach_says_what_it_is_in_few_words() -> None:
    long = b"x" * 100_000
    for line in (b'"' + long + b'"', b'{"a": "' + long + b'"}', REFUSED.replace(b"nonsense", long), GREETING.replace(b"Debian", long)):
        protocol = QMPProtocol()
        protocol.receive(GREETING)
        (breach,) = protocol.receive(line.strip() + b"\n")
        assert isinstance(breach, Breach)
        assert 0 < len(breach.why) < 1000


@pytest.mark.parametrize("data", [STATUS, REFUSED, GREETING + GREETING, b"{}\n"])
def test_a_breach_is_the_same_each_time(data: bytes) -> None:
    *_, breach = QMPProtocol().receive(data)
    assert isinstance(breach, Breach)
    assert " at 0x" not in breach.why


def test_what_was_good_before_a_breach_is_told() -> None:
    protocol = ready()
    first, second, breach = protocol.receive(STATUS + STOP + b'{"return": {}\r\n' + STATUS + STOP)
    assert [said(first), said(second)] == [WHOLE[3], WHOLE[4]]
    assert isinstance(breach, Breach)
    assert '{"return": {}' in breach.why
    assert protocol.receive(STATUS) == []


@pytest.mark.parametrize("garbage", [b"}", b"0", b"x", b"\xff", b"\0"])
@pytest.mark.parametrize("cut", [0, 1])
def test_one_byte_of_garbage_is_a_breach_too(garbage: bytes, cut: int) -> None:
    (message,) = received(ready(), pieces(garbage + b"\n" + STATUS, [cut]))
    assert isinstance(message, Breach)


@given(st.binary(max_size=200))
def test_garbage_gives_messages_or_a_breach(data: bytes) -> None:
    protocol = ready()
    messages = protocol.receive(data + b"\n")
    assert (protocol.phase is Phase.BROKEN) == any(isinstance(message, Breach) for message in messages)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["QMP", "return", "error", "id", "event", "timestamp", "class", "desc", "seconds", "data", "version"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@given(json_values)
def test_odd_json_gives_a_message_or_a_breach(value: object) -> None:
    assert isinstance(read_message(json.dumps(value).encode()), Message)


def test_a_deeply_nested_message_is_a_breach() -> None:
    (breach,) = ready().receive(b'{"return": ' + b"[" * 200_000 + b"\n")
    assert isinstance(breach, Breach)


# -- any conversation --------------------------------------------------------------------------

names = st.text(max_size=8)
bodies = st.dictionaries(
    names, st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | names | st.lists(names, max_size=3), max_size=3
)
ids = st.none() | st.integers(0, 2**40)


@st.composite
def lines(draw: st.DrawFn) -> tuple[bytes, list[object]]:
    """One line as a peer might write it, and what it says; a blank one says nothing."""
    kind = draw(st.sampled_from(["event", "reply", "failure", "blank"]))
    body, number = draw(bodies), draw(ids)
    members: dict[str, object]
    meant: object
    if kind == "event":
        name, seconds, micro = draw(names), draw(st.integers(-1, 2**40)), draw(st.integers(0, 999_999))
        members = {"timestamp": {"seconds": seconds, "microseconds": micro}, "event": name, "data": body}
        meant = ("event", name, None if seconds < 0 else seconds * 10**9 + micro * 1000, body)
    elif kind == "reply":
        members, meant = {"return": body, "id": number}, ("reply", number, body)
    elif kind == "failure":
        members, meant = {"error": {"class": "GenericError", "desc": str(body)}, "id": number}, Failure(number, "GenericError", str(body))
    else:
        return draw(st.sampled_from([b"\n", b"\r\n"])), []
    if draw(st.booleans()):
        members = dict(reversed(members.items()))
    text = json.dumps(members, separators=draw(st.sampled_from([(", ", ": "), (",", ":")])), ensure_ascii=draw(st.booleans()))
    return text.encode() + draw(st.sampled_from([b"\n", b"\r\n"])), [meant]


cuts = st.lists(st.integers(0, 10_000), max_size=10)
LAST_WORDS = [
    b"\xff\xfe\n",
    b"}}\n",
    b'{"return": }\n',
    b'{"return": {}\n',
    b"[]\n",
    b"{}\n",
    b"null\n",
    b"\x00\x00\n",
    GREETING,
    b'{"event": 3}\n',
]


@given(st.lists(lines(), max_size=8), cuts)
def test_any_interleaving_cut_anywhere_is_the_same(spoken: list[tuple[bytes, list[object]]], where: list[int]) -> None:
    protocol = ready()
    messages = received(protocol, pieces(b"".join(line for line, _ in spoken), where))
    assert [said(message) for message in messages] == [meant for _, each in spoken for meant in each]
    assert protocol.phase is Phase.READY


@given(st.lists(lines(), max_size=5), st.sampled_from(LAST_WORDS), st.lists(lines(), max_size=3), cuts)
def test_garbage_anywhere_ends_it_after_all_that_was_good(
    before: list[tuple[bytes, list[object]]], garbage: bytes, after: list[tuple[bytes, list[object]]], where: list[int]
) -> None:
    protocol = ready()
    stream = b"".join((*(line for line, _ in before), garbage, *(line for line, _ in after)))
    *good, breach = received(protocol, pieces(stream, where))
    assert [said(message) for message in good] == [meant for _, each in before for meant in each]
    assert isinstance(breach, Breach)
    assert protocol.phase is Phase.BROKEN


# -- over the limit ----------------------------------------------------------------------------

LONG = b"x" * 2000
STAMP = b'{"timestamp": {"seconds": 1795365015, "microseconds": 446560}, "event": '


@pytest.mark.parametrize(
    ("line", "number", "event"),
    [
        (b'{"return": "' + LONG + b'", "id": 7}\r', 7, None),
        (b'{"return":"' + LONG + b'","id":7}', 7, None),
        (b' { "id" : 7 , "return": "' + LONG + b'" }\r', 7, None),
        (b'{"id": 7, "error": {"class": "GenericError", "desc": "' + LONG + b'"}}\r', 7, None),
        (b'{"return": {"id": 9, "more": "' + LONG + b'"}, "id": 7}', 7, None),
        (b'{"return": "' + LONG + b', \\"id\\": 9}", "id": 7}', 7, None),
        (STAMP + b'"DUMP_COMPLETED", "data": {"more": "' + LONG + b'", "id": 9}}\r', None, "DUMP_COMPLETED"),
        (STAMP + b'"STOP", "data": "' + LONG + b'", "id": 9}', None, "STOP"),
        (STAMP + b'"__com.redhat_FUTURE-1", "data": "' + LONG + b'"}', None, "__com.redhat_FUTURE-1"),
        (STAMP.replace(b" ", b"") + b'"STOP","data":"' + LONG + b'"}', None, "STOP"),
        (STAMP.replace(b"1795365015", b"-1") + b'"STOP", "data": "' + LONG + b'"}', None, "STOP"),
        (b'{"return": {"more": "' + LONG + b'", "id": 9}}', None, None),
        (b'{"return": ["' + LONG + b'", "id", 9]}', None, None),
        (b'{"return": "' + LONG + b', \\"id\\": 9}"}', None, None),
        (b'{"return": "' + LONG + b'", "id": "7"}', None, None),
        (b'{"return": "' + LONG + b'", "id": -7}', None, None),
        (b'{"return": "' + LONG + b'", "id": ' + b"7" * 100 + b"}", None, None),
        (b'{"a": "' + LONG + b'", "id": 7, "return": "' + LONG + b'"}', None, None),
        (STAMP + b'"' + LONG + b'"}', None, None),
        (STAMP + b'"\xc3\x89", "data": "' + LONG + b'"}', None, None),
        (b" " * 3000, None, None),
        (LONG, None, None),
    ],
    ids=lambda value: repr(value[:30]) if isinstance(value, bytes) else str(value),
)
def test_a_message_over_the_limit_is_known_by_its_ends(line: bytes, number: int | None, event: str | None) -> None:
    protocol = ready(1000)
    messages = received(protocol, pieces(line + b"\n" + STATUS, range(0, 4000, 100)))
    assert [said(message) for message in messages] == [TooLong(number, event, len(line)), WHOLE[3]]
    assert protocol.receive(line + b"\n" + STATUS)[0] == TooLong(number, event, len(line))
    assert protocol.phase is Phase.READY


@pytest.mark.parametrize("over", [0, 1])
@pytest.mark.parametrize("size", [1, 7, 4096])
def test_the_limit_is_the_largest_message_that_is_read(over: int, size: int) -> None:
    line = b'{"return": "' + LONG + b'", "id": 7}'
    protocol = ready(len(line) - over)
    (message,) = received(protocol, pieces(line + b"\n", range(0, len(line), size)))
    assert isinstance(message, TooLong if over else Reply)


def test_nothing_is_kept_of_a_message_over_the_limit_but_its_ends() -> None:
    protocol = ready(10_000)
    for _ in range(100):
        assert protocol.receive(LONG) == []
        assert sum(map(len, protocol._chunks)) <= 10_000
    assert not protocol._chunks
    assert (len(protocol._head), len(protocol._tail)) == (EDGE, EDGE)
    (message,) = protocol.receive(b'", "id": 3}\n')
    assert message == TooLong(3, None, 100 * len(LONG) + len(b'", "id": 3}'))


spans = st.integers(2, 3 * EDGE)


@st.composite
def long_lines(draw: st.DrawFn) -> bytes:
    """Lines of all lengths, with and without what tells whose they are."""
    body = b"x" * draw(spans)
    return draw(
        st.sampled_from(
            [
                b"",
                b"\r",
                body,
                b" " * len(body),
                b'{"return": "' + body + b'", "id": 7}\r',
                b'{"id": 8, "return": "' + body + b'"}',
                STAMP + b'"STOP", "data": {"a": "' + body + b'"}}',
                b'{"return": "' + body + b'"}' + b" " * draw(st.integers(0, 20)),
            ]
        )
    )


def by_lines(stream: bytes, limit: int) -> list[Message]:
    """What the stream says, by a reader that has all of it at once."""
    messages: list[Message] = []
    for line in stream.split(b"\n")[:-1]:
        if len(line) > limit:
            messages.append(read_edges(line[:EDGE], line[-EDGE:], len(line)))
        elif line not in {b"", b"\r"}:
            messages.append(read_message(line))
        if messages and isinstance(messages[-1], Breach):
            break
    return messages


@settings(max_examples=300)
@given(st.lists(long_lines(), max_size=5), st.integers(EDGE, 3 * EDGE), st.lists(st.integers(0, 8000), max_size=12), st.booleans())
@example(stream=[b"x" * 600], limit=EDGE, where=[], whole=True)
def test_lines_over_the_limit_cut_anywhere_are_the_same(stream: list[bytes], limit: int, where: list[int], whole: bool) -> None:  # noqa: FBT001
    protocol = QMPProtocol(limit=limit)
    protocol.phase = Phase.READY
    spoken = b"\n".join((*stream, b"" if whole else b"cut"))
    assert [said(m) for m in received(protocol, pieces(spoken, where))] == [said(m) for m in by_lines(spoken, limit)]


@given(long_lines(), st.integers(1, EDGE), st.lists(st.integers(0, 1000), max_size=12))
@example(line=b'{"id": 8, "return": "xx"}', limit=1, where=[2])
def test_a_limit_that_is_shorter_than_an_edge(line: bytes, limit: int, where: list[int]) -> None:
    cut, whole = QMPProtocol(limit=limit), QMPProtocol(limit=limit)
    cut.phase = whole.phase = Phase.READY
    assert [said(m) for m in received(cut, pieces(line + b"\n", where))] == [said(m) for m in whole.receive(line + b"\n")]


# -- large ones --------------------------------------------------------------------------------


def test_a_large_message_in_small_pieces_is_whole() -> None:
    protocol = ready()
    body = "x" * 1_000_000
    line = json.dumps({"return": body, "id": 2}).encode() + b"\r\n"
    messages = [m for at in range(0, len(line), 1000) for m in protocol.receive(line[at : at + 1000])]
    (reply,) = messages
    assert isinstance(reply, Reply)
    assert decode_body(reply.body, str) == body


class Counted(bytes):
    """A piece that counts what of it is searched, and copied by putting it to others."""

    searched = 0
    added = 0

    def split(self, sep: object = None, maxsplit: SupportsIndex = -1) -> list[bytes]:
        assert sep == b"\n"
        Counted.searched += len(self)
        return [Counted(part) for part in super().split(b"\n", maxsplit)]

    def __radd__(self, other: bytes) -> bytes:
        Counted.added += len(other) + len(self)
        return bytes(other) + bytes(self)

    def __add__(self, other: object) -> bytes:
        assert isinstance(other, bytes)
        Counted.added += len(other) + len(self)
        return bytes(self) + bytes(other)


@pytest.mark.parametrize("over", [0, 1])
def test_64_mib_in_pieces_of_32_kib_are_searched_and_put_together_once(over: int) -> None:
    head, tail = b'{"return": "', b'", "id": 2}'
    piece = Counted(b"x" * 32 * 1024)
    left = DEFAULT_LIMIT + over - len(head) - len(tail)
    protocol = ready()
    Counted.searched = Counted.added = 0
    assert protocol.receive(Counted(head)) == []
    for count in range(1, left // len(piece) + 1):
        assert protocol.receive(piece) == []
        assert len(protocol._chunks) == 1 + count
    assert protocol.receive(Counted(b"x" * (left % len(piece)))) == []
    (message,) = protocol.receive(Counted(tail + b"\n"))
    assert Counted.searched == DEFAULT_LIMIT + over + 1
    assert Counted.added <= 2 * EDGE
    if over:
        assert message == TooLong(2, None, DEFAULT_LIMIT + 1)
    else:
        assert isinstance(message, Reply)
        assert message.id == 2
        assert memoryview(message.body).nbytes == left + 2


# -- beside qemu.qmp's codec -------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
qapi_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


@given(texts, st.none() | st.dictionaries(texts, qapi_values, max_size=5), st.booleans())
def test_what_is_asked_is_what_qemu_qmp_reads(name: str, arguments: dict[str, object] | None, oob: bool) -> None:  # noqa: FBT001
    number, line = ready().command(name, arguments, out_of_band=oob)
    asked: dict[str, object] = {"exec-oob" if oob else "execute": name, "id": number}
    if arguments is not None:
        asked["arguments"] = arguments
    assert dict(TheirMessage(line)) == asked
    assert line.count(b"\n") == 1


@given(qapi_values, st.none() | st.integers(0, 2**53))
def test_a_reply_is_read_as_qemu_qmp_writes_it(value: object, number: int | None) -> None:
    line = bytes(TheirMessage({"return": value, "id": number}))
    reply = read_message(line)
    assert isinstance(reply, Reply)
    assert json.loads(bytes(reply.body)) == decode_body(reply.body, object) == TheirMessage(line)["return"] == value
    assert reply.id == number


@given(texts, st.dictionaries(texts, qapi_values, max_size=5), st.integers(0, 2**40), st.integers(0, 999_999))
def test_an_event_is_read_as_qemu_qmp_writes_it(name: str, data: dict[str, object], seconds: int, micro: int) -> None:
    line = bytes(TheirMessage({"timestamp": {"seconds": seconds, "microseconds": micro}, "event": name, "data": data}))
    event = read_message(line)
    assert isinstance(event, QMPEvent)
    assert (event.name, event.time) == (name, seconds * 10**9 + micro * 1000)
    assert decode_body(event.body, dict[str, object]) == data


@given(texts, texts, st.none() | st.integers(0, 2**53))
def test_a_refusal_is_read_as_qemu_qmp_reads_it(kind: str, text: str, number: int | None) -> None:
    said_so = TheirMessage({"error": {"class": kind, "desc": text}, "id": number})
    theirs = ErrorResponse(said_so)
    assert read_message(bytes(said_so)) == Failure(theirs.id, theirs.error.class_, theirs.error.desc)  # type: ignore[arg-type]  # any JSON to them


def test_the_greeting_is_read_as_qemu_qmp_reads_it() -> None:
    theirs = TheirGreeting(TheirMessage(GREETING)).QMP
    ours = read_message(GREETING)
    assert isinstance(ours, Greeting)
    assert list(ours.capabilities) == theirs.capabilities
    assert theirs.version["package"] == ours.package
    assert theirs.version["qemu"] == dict(zip(("major", "minor", "micro"), ours.version, strict=True))


# -- bodies ------------------------------------------------------------------------------------


def test_a_body_of_another_type_is_refused() -> None:
    with pytest.raises(ProtocolError):
        decode_body(Raw(b'{"a": 1}'), list[int])


def test_no_body_is_the_empty_object() -> None:
    event = read_message(STOP)
    assert isinstance(event, QMPEvent)
    assert decode_body(event.body, dict[str, object]) == {}


def test_a_failing_clock_gives_no_time() -> None:
    event = read_message(b'{"timestamp": {"seconds": -1, "microseconds": -1}, "event": "STOP"}')
    assert isinstance(event, QMPEvent)
    assert event.time is None
