from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiovirt.drivers.qemu.translate import Heard, heard
from aiovirt.errors import ProtocolError
from aiovirt.model.lifecycle import Fact
from aiovirt.wire.qmp import QMPEvent
from aiovirt.wire.qmp.messages import read_message


def event(line: str) -> QMPEvent:
    message = read_message(line.encode())
    assert isinstance(message, QMPEvent)
    return message


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"event": "STOP"}', Heard(Fact.PAUSED)),
        ('{"event": "RESUME"}', Heard(Fact.RESUMED)),
        ('{"event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-shutdown"}}', Heard(Fact.GUEST_POWEROFF, by_guest=True)),
        ('{"event": "SHUTDOWN", "data": {"guest": false, "reason": "host-signal"}}', Heard(Fact.HOST_POWEROFF)),
        ('{"event": "RESET", "data": {"guest": false, "reason": "host-qmp-system-reset"}}', Heard(Fact.RESET)),
        ('{"event": "RESET", "data": {"guest": true, "reason": "guest-reset"}}', Heard(Fact.RESET, by_guest=True)),
        ('{"event": "WATCHDOG", "data": {"action": "pause"}}', Heard(Fact.WATCHDOG)),
        ('{"event": "WATCHDOG", "data": {"action": "reset"}}', None),
        (
            '{"event": "BLOCK_IO_ERROR", "data": {"device": "", "operation": "write", "action": "stop", "reason": "x"}}',
            Heard(Fact.IO_ERROR),
        ),
        ('{"event": "BLOCK_IO_ERROR", "data": {"device": "", "operation": "write", "action": "report", "reason": "x"}}', None),
        ('{"event": "GUEST_PANICKED", "data": {"action": "pause"}}', Heard(Fact.PANICKED)),
        ('{"event": "SUSPEND"}', Heard(Fact.PM_SUSPENDED)),
        ('{"event": "SUSPEND_DISK"}', Heard(Fact.PM_SUSPENDED_DISK)),
        ('{"event": "WAKEUP"}', Heard(Fact.WOKEN)),
        ('{"event": "POWERDOWN"}', None),
        ('{"event": "RTC_CHANGE", "data": {"offset": 3}}', None),
        ('{"event": "__com.redhat_FUTURE"}', None),
    ],
)
def test_what_qemu_says_means(line: str, expected: Heard | None) -> None:
    assert heard(event(line)) == expected


@pytest.mark.parametrize("name", ["SHUTDOWN", "RESET", "WATCHDOG", "BLOCK_IO_ERROR"])
@given(data=st.sampled_from(["3", "[]", '"x"', '{"guest": 3}', '{"action": []}']))
def test_data_that_qapi_does_not_allow(name: str, data: str) -> None:
    with pytest.raises(ProtocolError):
        heard(event(f'{{"event": "{name}", "data": {data}}}'))
