"""Clocks and timers as QEMU is given them. What libvirt 9.0 gives it is in the table's last column, where that differs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec.structs import replace

from aiovirt.drivers.qemu import clock
from aiovirt.drivers.qemu.command_line import check
from aiovirt.errors import ConfigUnsupported, SystemFailure
from aiovirt.model.clock import Catchup, Clock, ClockBasis, ClockOffset, TickPolicy, Timer, TimerMode, TimerName, TimerTrack
from aiovirt.model.spec import DomainSpec, OsSpec, VirtType
from aiovirt.model.units import MiB
from tests.drivers.qemu.test_command_line import NOW, SPEC, values

KVM = replace(SPEC, type=VirtType.KVM)


def with_clock(spec: DomainSpec = SPEC, **fields: Any) -> DomainSpec:  # noqa: ANN401 - a Clock's
    return replace(spec, clock=Clock(**fields))


def with_timer(spec: DomainSpec = SPEC, **fields: Any) -> DomainSpec:  # noqa: ANN401 - a Timer's
    return with_clock(spec, timers=[Timer(**fields)])


@pytest.mark.parametrize(
    ("fields", "base"),
    [
        ({}, "utc"),
        ({"offset": "localtime"}, "localtime"),
        ({"offset": "timezone", "timezone": "Europe/Berlin"}, "localtime"),
        ({"offset": "absolute", "start": 1_000_000_000}, "2001-09-09T01:46:40"),
        ({"offset": "absolute", "start": 0}, "1970-01-01T00:00:00"),
        ({"offset": "variable", "adjustment": 3600}, "2023-11-14T23:13:20"),
        ({"offset": "variable", "adjustment": -7}, "2023-11-14T22:13:13"),
        ({"offset": "variable"}, "2023-11-14T22:13:20"),
        ({"offset": "variable", "adjustment": 10**15}, "9999-12-31T23:59:59"),
        ({"offset": "variable", "adjustment": -(10**15)}, "1970-01-01T00:00:00"),
        ({"adjustment": 12}, "2023-11-14T22:13:32"),
    ],
)
def test_the_time_that_it_begins_with(fields: dict[str, Any], base: str) -> None:
    spec = with_clock(**fields)
    check(spec)
    assert values(spec, "-rtc") == [f"base={base}"]


def test_local_time_is_the_hosts_own() -> None:
    offset = datetime.fromtimestamp(NOW).astimezone().utcoffset()
    assert offset is not None
    spec = with_clock(offset=ClockOffset.VARIABLE, basis=ClockBasis.LOCALTIME, adjustment=5)
    wanted = (datetime.fromtimestamp(int(NOW) + 5, UTC) + offset).strftime("%Y-%m-%dT%H:%M:%S")
    assert values(spec, "-rtc") == [f"base={wanted}"]


@pytest.mark.parametrize(
    ("timer", "rtc"),
    [
        ({}, ""),
        ({"tickpolicy": "delay"}, ""),
        ({"tickpolicy": "catchup"}, ",driftfix=slew"),
        ({"track": "guest"}, ",clock=vm"),
        ({"track": "wall", "tickpolicy": "catchup"}, ",clock=host,driftfix=slew"),
        ({"track": "realtime"}, ",clock=rt"),
    ],
)
def test_its_real_time_clock(timer: dict[str, Any], rtc: str) -> None:
    spec = with_timer(name="rtc", **timer)
    check(spec)
    assert values(spec, "-rtc") == [f"base=utc{rtc}"]


@pytest.mark.parametrize(
    ("timer", "policies"),
    [
        ({}, ["kvm-pit.lost_tick_policy=delay"]),
        ({"tickpolicy": "delay"}, ["kvm-pit.lost_tick_policy=delay"]),
        ({"tickpolicy": "discard"}, ["kvm-pit.lost_tick_policy=discard"]),
        ({"tickpolicy": "catchup"}, []),
        ({"present": False}, []),  # libvirt: as with "delay"
    ],
)
def test_its_interval_timer(timer: dict[str, Any], policies: list[str]) -> None:
    spec = with_timer(KVM, name="pit", **timer)
    check(spec)
    assert values(spec, "-global") == policies
    assert values(spec, "-machine") == ["pc,accel=kvm,pit=off" if timer.get("present") is False else "pc,accel=kvm"]


def test_a_timer_that_is_absent_is_switched_off() -> None:
    spec = with_clock(timers=[Timer(name=TimerName.HPET, present=False), Timer(name=TimerName.PIT, present=False)])
    check(spec)
    assert values(spec, "-machine") == ["pc,accel=tcg,hpet=off,pit=off"]
    assert values(with_timer(name="hpet", present=True), "-machine") == ["pc,accel=tcg"]
    assert values(with_timer(name="hpet", tickpolicy="delay"), "-machine") == ["pc,accel=tcg"]


@pytest.mark.parametrize(
    ("timer", "cpu"),
    [
        ({"name": "kvmclock", "present": False}, ["qemu64,kvmclock=off"]),
        ({"name": "kvmclock", "present": True}, []),
        ({"name": "hypervclock", "present": True}, ["qemu64,hv-time=on"]),
        ({"name": "hypervclock"}, ["qemu64,hv-time=on"]),
        ({"name": "hypervclock", "present": False}, []),
        ({"name": "tsc", "frequency": 3_504_000_000}, ["qemu64,tsc-frequency=3504000000"]),
    ],
)
def test_what_the_processor_keeps_time_by(timer: dict[str, Any], cpu: list[str]) -> None:
    spec = with_timer(KVM, **timer)
    check(spec)
    assert values(spec, "-cpu") == cpu


def test_the_processor_is_the_default_one_where_nothing_is_said() -> None:
    assert values(SPEC, "-cpu") == []


REFUSED: dict[str, tuple[Timer, str]] = {
    "a policy of Xen's": (Timer(name=TimerName.RTC, tickpolicy=TickPolicy.MERGE), "/@tickpolicy"),
    "a policy that the PIT has not": (Timer(name=TimerName.PIT, tickpolicy=TickPolicy.MERGE), "/@tickpolicy"),
    "a policy of KVM's PIT": (Timer(name=TimerName.PIT, tickpolicy=TickPolicy.DISCARD), "/@tickpolicy"),
    "a policy that the HPET has not": (Timer(name=TimerName.HPET, tickpolicy=TickPolicy.CATCHUP), "/@tickpolicy"),
    "a policy of a clock without ticks": (Timer(name=TimerName.TSC, tickpolicy=TickPolicy.DELAY), "/@tickpolicy"),
    "numbers": (Timer(name=TimerName.RTC, tickpolicy=TickPolicy.CATCHUP, catchup=Catchup(slew=1)), "/catchup"),
    "the time since boot": (Timer(name=TimerName.RTC, track=TimerTrack.BOOT), "/@track"),
    "what only the RTC tracks": (Timer(name=TimerName.PIT, track=TimerTrack.GUEST), "/@track"),
    "a mode of Xen's": (Timer(name=TimerName.TSC, mode=TimerMode.NATIVE), "/@mode"),
    "no RTC": (Timer(name=TimerName.RTC, present=False), "/@present"),
    "a clock of KVM's": (Timer(name=TimerName.KVMCLOCK), ""),
    "a clock of Hyper-V's": (Timer(name=TimerName.HYPERVCLOCK, present=True), ""),
    "a timer of Xen's": (Timer(name=TimerName.PLATFORM), ""),
    "a timer of Arm's": (Timer(name=TimerName.ARMVTIMER, tickpolicy=TickPolicy.DISCARD), ""),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_it_cannot_give_is_refused(case: str) -> None:
    timer, where = REFUSED[case]
    with pytest.raises(ConfigUnsupported) as caught:
        check(with_clock(timers=[timer]))
    assert [place.path for place in caught.value.places] == [f"/domain/clock/timer[1]{where}"]


def test_timers_of_a_pc_are_not_taken_for_granted_elsewhere() -> None:
    spec = with_timer(DomainSpec(name="a", memory=64 * MiB, type=VirtType.QEMU, os=OsSpec(arch="aarch64", machine="virt")), name="rtc")
    with pytest.raises(ConfigUnsupported, match="has no timer rtc"):
        check(spec)


@pytest.mark.parametrize("zone", ["/etc/passwd", "../x", ":x", "a b", "a=b", "a//b"])
def test_a_zone_is_a_name(zone: str) -> None:
    with pytest.raises(ConfigUnsupported, match="is not the name of a time zone"):
        check(with_clock(offset="timezone", timezone=zone))


def test_a_zone_is_in_the_environment_and_known() -> None:
    spec = with_clock(offset="timezone", timezone="Europe/Berlin")
    assert clock.environment(spec) == {"TZ": "Europe/Berlin"}
    assert clock.environment(SPEC) == {}
    clock.check_zone(spec)
    clock.check_zone(SPEC)
    with pytest.raises(SystemFailure, match="does not know the time zone 'Nowhere/Land'"):
        clock.check_zone(with_clock(offset="timezone", timezone="Nowhere/Land"))


def test_a_start_that_qemu_cannot_take_is_refused() -> None:
    with pytest.raises(ConfigUnsupported, match="1970 to 9999"):
        check(with_clock(offset="absolute", start=-1))
