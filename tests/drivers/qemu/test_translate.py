from __future__ import annotations

import json
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from aiovirt.drivers.qemu.translate import (
    BODY_LIMIT,
    DEPTH_LIMIT,
    FIRMWARE,
    RUN_STATES,
    VALUES_LIMIT,
    Resets,
    StateChange,
    quoted,
    run_state,
    translate,
)
from aiovirt.errors import ProtocolError
from aiovirt.events import DomainQMP, decode, encode
from aiovirt.model.lifecycle import Fact
from aiovirt.wire.qmp import Breach, QMPEvent
from aiovirt.wire.qmp.messages import read_message

U = UUID(int=1)


def event(line: str | bytes) -> QMPEvent:
    message = read_message(line.encode() if isinstance(line, str) else line)
    assert isinstance(message, QMPEvent)
    return message


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"event": "STOP"}', StateChange(Fact.PAUSED)),
        ('{"event": "RESUME"}', StateChange(Fact.RESUMED)),
        ('{"event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-shutdown"}}', StateChange(Fact.GUEST_POWEROFF, by_guest=True)),
        ('{"event": "SHUTDOWN", "data": {"guest": false, "reason": "host-signal"}}', StateChange(Fact.HOST_POWEROFF)),
        ('{"event": "RESET", "data": {"guest": false, "reason": "host-qmp-system-reset"}}', StateChange(Fact.RESET)),
        ('{"event": "RESET", "data": {"guest": true, "reason": "guest-reset"}}', StateChange(Fact.RESET, by_guest=True)),
        ('{"event": "WATCHDOG", "data": {"action": "pause"}}', StateChange(Fact.WATCHDOG)),
        ('{"event": "WATCHDOG", "data": {"action": "reset"}}', None),
        (
            '{"event": "BLOCK_IO_ERROR", "data": {"device": "", "operation": "write", "action": "stop", "reason": "x"}}',
            StateChange(Fact.IO_ERROR),
        ),
        ('{"event": "BLOCK_IO_ERROR", "data": {"device": "", "operation": "write", "action": "report", "reason": "x"}}', None),
        ('{"event": "GUEST_PANICKED", "data": {"action": "pause"}}', StateChange(Fact.PANICKED)),
        ('{"event": "GUEST_PANICKED", "data": {"action": "poweroff"}}', StateChange(Fact.PANICKED)),
        ('{"event": "GUEST_PANICKED", "data": {"action": "run"}}', None),  # nothing stopped it
        ('{"event": "SUSPEND"}', StateChange(Fact.PM_SUSPENDED)),
        ('{"event": "SUSPEND_DISK"}', StateChange(Fact.PM_SUSPENDED_DISK)),
        ('{"event": "WAKEUP"}', StateChange(Fact.WOKEN)),
        ('{"event": "POWERDOWN"}', None),
        ('{"event": "RTC_CHANGE", "data": {"offset": 3}}', None),
        ('{"event": "__com.redhat_FUTURE"}', None),
    ],
)
def test_what_qemu_says_means(line: str, expected: StateChange | None) -> None:
    assert translate(event(line)) == expected


# RunState in run-state.json, of QEMU 7.2, 10.0 and 11.1 alike
_QAPI = """colo debug finish-migrate guest-panicked inmigrate internal-error io-error paused postmigrate prelaunch restore-vm running
    save-vm shutdown suspended watchdog"""


def test_every_run_state_has_a_row() -> None:
    assert sorted(RUN_STATES) == _QAPI.split()


@pytest.mark.parametrize("status", [*_QAPI.split(), "one-of-a-later-qemu"])
def test_running_decides_whatever_the_run_state_is_called(status: str) -> None:
    assert run_state(status, running=True) is Fact.RESUMED
    assert run_state(status, running=False) is not Fact.RESUMED


def test_a_run_state_that_nobody_knows_yet_is_paused() -> None:
    assert run_state("one-of-a-later-qemu", running=False) is Fact.PAUSED


@pytest.mark.parametrize(
    ("said", "told"),
    [
        # SeaBIOS's own, after a reset by the host, and after one by the guest
        ([(0, False), (66, True), (66, True), (72, True)], [0]),
        ([(0, True), (150, True)], [0]),
        # later it is the guest again, and what the host does is always told
        ([(0, False), (100, True), (2_000, True), (2_100, True)], [0, 2_000]),
        ([(0, False), (100, False), (150, True)], [0, 100]),
        # a clock that jumped meanwhile hides nothing
        ([(0, False), (-5_000, True)], [0, -5_000]),
        ([(0, False), (None, True), (10, True)], [0, None, 10]),
    ],
)
def test_what_the_firmware_resets_is_nobodys_wish(said: list[tuple[int | None, bool]], told: list[int | None]) -> None:
    """Times in ms."""
    resets = Resets()
    new = [ms for ms, by_guest in said if resets.is_new(None if ms is None else ms * 1_000_000, by_guest=by_guest)]
    assert new == told
    assert FIRMWARE == 2_000_000_000


@pytest.mark.parametrize("name", ["SHUTDOWN", "RESET", "WATCHDOG", "BLOCK_IO_ERROR", "GUEST_PANICKED"])
@given(data=st.sampled_from(["3", "[]", '"x"', '{"guest": 3}', '{"action": []}']))
def test_data_that_qapi_does_not_allow(name: str, data: str) -> None:
    with pytest.raises(ProtocolError):
        translate(event(f'{{"event": "{name}", "data": {data}}}'))


def quote(body: bytes) -> DomainQMP:
    return quoted(event(b'{"event": "X", "data": ' + body + b"}"), U, "web")


def test_an_event_is_quoted() -> None:
    said = event('{"event": "RTC_CHANGE", "data": {"offset": 3}, "timestamp": {"seconds": 2, "microseconds": 5}}')
    assert quoted(said, U, "web") == DomainQMP.made(uuid=U, name="web", event="RTC_CHANGE", data={"offset": 3}, source_time=2_000_005_000)
    assert quoted(event('{"event": "STOP"}'), U, "web") == DomainQMP(uuid=U, name="web", event="STOP")


def nested(depth: int) -> bytes:
    """A JSON object of that many objects and arrays in each other."""
    return b'{"a": ' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


def sized(size: int) -> bytes:
    """A JSON object of that many bytes."""
    return b'{"a": "' + b"x" * (size - 9) + b'"}'


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"a": "\\ud83d\\ude00"}',
        b'{"a": 18446744073709551615, "b": -9223372036854775808}',
        sized(BODY_LIMIT),
        nested(DEPTH_LIMIT),
        b'{"a": "' + b"[" * 200 + b'"}',
        b'{"a": [' + b"[{}], " * 500 + b"[]]}",
        b'{"a": [' + b"0, " * (VALUES_LIMIT - 1) + b"0]}",
    ],
)
def test_bodies_that_are_quoted(body: bytes) -> None:
    said = quote(body)
    assert (said.data, said.omitted) == (json.loads(body), 0)


@pytest.mark.parametrize(
    "body",
    [
        b"3",
        b"null",
        b"[]",
        b'"x"',
        b"true",
        b'{"a": "\xff"}',
        b'{"\xff": 1}',
        b'{"a": "\xed\xa0\x80"}',
        b'{"a": 1e999}',
        b'{"a": 18446744073709551616}',
        b'{"a": -9223372036854775809}',
        b'{"a": ' + b"9" * 5000 + b"}",
        sized(BODY_LIMIT + 1),
        nested(DEPTH_LIMIT + 1),
        nested(500),
        b'{"a": [' + b"0, " * VALUES_LIMIT + b"0]}",
    ],
    ids=lambda body: repr(body[:30]),
)
def test_bodies_that_are_left_out_are_counted(body: bytes) -> None:
    assert quote(body) == DomainQMP(uuid=U, name="web", event="X", omitted=len(body))


@pytest.mark.parametrize("escape", ["\\ud800", "\\udc00", "\\ud83dx"])
def test_half_a_character_is_not_qmp(escape: str) -> None:
    """So no string that came this far has one."""
    line = f'{{"event": "X", "data": {{"a": "{escape}"}}}}'.encode()
    assert isinstance(read_message(line), Breach)
    assert isinstance(read_message(line.replace(escape.encode(), b"x")), QMPEvent)


@pytest.mark.parametrize("name", ["", "A B", "A\n", "\u001b[2J", "É", "x" * 129])
def test_names_that_no_event_has(name: str) -> None:
    with pytest.raises(ProtocolError, match="name"):
        quoted(event(json.dumps({"event": name})), U, "web")


@pytest.mark.parametrize(
    ("seconds", "microseconds", "time"), [(-1, -1, None), (9_223_372_036, 0, 9_223_372_036_000_000_000), (2**63, 0, None), (0, -1, None)]
)
def test_a_time_that_cannot_be(seconds: int, microseconds: int, time: int | None) -> None:
    said = event(json.dumps({"event": "STOP", "timestamp": {"seconds": seconds, "microseconds": microseconds}}))
    assert quoted(said, U, "web").source_time == time


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()), inner),
)


@given(anything | st.dictionaries(st.text(), anything), st.booleans(), st.integers(), st.integers())
def test_what_is_quoted_can_be_kept_and_sent(body: object, escaped: bool, seconds: int, microseconds: int) -> None:  # noqa: FBT001
    line = json.dumps({"event": "X", "data": body, "timestamp": {"seconds": seconds, "microseconds": microseconds}}, ensure_ascii=escaped)
    message = read_message(line.encode(errors="surrogatepass"))
    if isinstance(message, Breach):
        return
    assert isinstance(message, QMPEvent)
    said = replace(quoted(message, U, "web"), cursor="0" * 26 + ":0000000000000001")
    assert decode(encode(said)) == said
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(said), type=DomainQMP) == said
