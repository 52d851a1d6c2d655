"""What a real QEMU says of the clocks and timers that a guest is given."""

from __future__ import annotations

from typing import Any, Final

import anyio
import pytest

from aiovirt import Host
from aiovirt.model.clock import Clock, ClockOffset, TickPolicy, Timer, TimerName, TimerTrack
from tests.real.conftest import PATIENCE, Place

pytestmark = pytest.mark.anyio

START: Final = 1_000_000_000  # 2001-09-09T01:46:40Z
SWITCHED_OFF: Final = [Timer(name=TimerName.HPET, present=False), Timer(name=TimerName.PIT, present=False)]
VIRT_INSTALL: Final = [
    Timer(name=TimerName.RTC, tickpolicy=TickPolicy.CATCHUP, track=TimerTrack.GUEST),
    Timer(name=TimerName.PIT, tickpolicy=TickPolicy.DELAY),
    Timer(name=TimerName.HPET, present=False),
]


async def test_a_guest_begins_with_the_time_that_is_said(host: Host, place: Place) -> None:
    async with host.run(place.spec(clock=Clock(offset=ClockOffset.ABSOLUTE, start=START, timers=VIRT_INSTALL))) as domain:
        with anyio.fail_after(PATIENCE):
            shown: Any = await domain.qmp("qom-get", {"path": "/machine", "property": "rtc-time"})
    assert (shown["tm_year"] + 1900, shown["tm_mon"] + 1, shown["tm_mday"], shown["tm_hour"]) == (2001, 9, 9, 1)


async def test_a_guests_time_zone_is_its_own(host: Host, place: Place) -> None:
    hours: list[int] = []
    for zone in ("Asia/Tokyo", "America/Lima"):  # which have no summer time
        async with host.run(place.spec(clock=Clock(offset=ClockOffset.TIMEZONE, timezone=zone))) as domain:
            with anyio.fail_after(PATIENCE):
                shown: Any = await domain.qmp("qom-get", {"path": "/machine", "property": "rtc-time"})
        hours.append(shown["tm_hour"])
    assert (hours[0] - hours[1]) % 24 in {13, 14, 15}  # 14, but for an hour that began meanwhile


@pytest.mark.parametrize(("timers", "there"), [([], True), (SWITCHED_OFF, False)])
async def test_what_is_not_to_be_present_is_not_there(host: Host, place: Place, timers: list[Timer], *, there: bool) -> None:
    async with host.run(place.spec(clock=Clock(timers=timers))) as domain:
        with anyio.fail_after(PATIENCE):
            devices: Any = await domain.qmp("qom-list", {"path": "/machine/unattached"})
    types = {device["type"] for device in devices}
    assert ("child<hpet>" in types, "child<isa-pit>" in types) == (there, there)
