"""How QEMU gives a guest its clock and its timers. Pure, but for :func:`check_zone`.

As libvirt does it (qemuBuildClockArgStr, qemuBuildClockCommandLine), but that a PIT which is not to be present is not there.
"""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

from aiovirt.errors import SystemFailure
from aiovirt.model.clock import Clock, ClockBasis, ClockOffset, TickPolicy, Timer, TimerName, TimerTrack
from aiovirt.model.spec import DomainSpec, VirtType

__all__ = ["arguments", "check", "check_zone", "environment", "of_machine", "of_processor"]

_ZONE: Final = re.compile("[A-Za-z0-9_+-]+(?:/[A-Za-z0-9_+-]+)*")
_EARLIEST: Final = 0
_LATEST: Final = 253_402_300_799
"""The last second of the year 9999."""
_TRACKED: Final = {TimerTrack.GUEST: "vm", TimerTrack.WALL: "host", TimerTrack.REALTIME: "rt"}
_TICKS: Final = {
    TimerName.RTC: (TickPolicy.DELAY, TickPolicy.CATCHUP),
    TimerName.PIT: (TickPolicy.DELAY, TickPolicy.CATCHUP, TickPolicy.DISCARD),
    TimerName.HPET: (TickPolicy.DELAY,),
}
"""The tick policies that QEMU has for each timer."""
_OF_PC: Final = (TimerName.RTC, TimerName.PIT, TimerName.HPET)
_OF_PROCESSOR: Final = (TimerName.TSC, TimerName.KVMCLOCK, TimerName.HYPERVCLOCK)


def check(spec: DomainSpec, *, is_x86: bool) -> Iterator[tuple[str, str]]:
    """(path, why) of everything of it that QEMU, or this driver, cannot give."""
    if spec.clock.timezone is not None and not _ZONE.fullmatch(spec.clock.timezone):
        yield "/domain/clock/@timezone", f"{spec.clock.timezone!r:.80} is not the name of a time zone"
    if spec.clock.start is not None and not _EARLIEST <= spec.clock.start <= _LATEST:
        yield "/domain/clock/@start", "QEMU's clock begins in the years 1970 to 9999"
    for number, timer in enumerate(spec.clock.timers, 1):
        for where, why in _check_timer(timer, spec, is_x86=is_x86):
            yield f"/domain/clock/timer[{number}]{where}", why


def _check_timer(timer: Timer, spec: DomainSpec, *, is_x86: bool) -> Iterator[tuple[str, str]]:
    if not is_x86 or timer.name not in (*_OF_PC, *_OF_PROCESSOR):
        yield "", f"a machine of {spec.os.arch} has no timer {timer.name}"
        return
    if timer.tickpolicy is not None and timer.tickpolicy not in _TICKS.get(timer.name, ()):
        yield "/@tickpolicy", f"{timer.tickpolicy} is not a tick policy of the timer {timer.name}"
    if timer.catchup is not None:
        yield "/catchup", "QEMU has no such numbers"
    if timer.track is not None and (timer.name is not TimerName.RTC or timer.track not in _TRACKED):
        yield "/@track", f"the timer {timer.name} does not track {timer.track}"
    if timer.mode is not None:
        yield "/@mode", "QEMU has no such modes"
    yield from _check_presence(timer, is_kvm=spec.type is VirtType.KVM)


def _check_presence(timer: Timer, *, is_kvm: bool) -> Iterator[tuple[str, str]]:
    if timer.present is False and timer.name in (TimerName.RTC, TimerName.TSC):
        yield "/@present", f"every PC has a timer {timer.name}"
    if timer.present is not False and timer.name in (TimerName.KVMCLOCK, TimerName.HYPERVCLOCK) and not is_kvm:
        yield "", f"only KVM has a {timer.name}"
    if timer.name is TimerName.PIT and timer.tickpolicy in (TickPolicy.CATCHUP, TickPolicy.DISCARD) and not is_kvm:
        yield "/@tickpolicy", "without KVM the PIT delays its ticks"


def arguments(spec: DomainSpec, now: float) -> Iterator[str]:
    """The argv; ``now`` is the host's time, in seconds since 1970."""
    rtc = spec.clock.timer(TimerName.RTC)
    words = [f"base={_base(spec.clock, now)}"]
    if rtc is not None and rtc.track is not None:
        words.append(f"clock={_TRACKED[rtc.track]}")
    if rtc is not None and rtc.tickpolicy is TickPolicy.CATCHUP:
        words.append("driftfix=slew")
    yield from ("-rtc", ",".join(words))
    pit = spec.clock.timer(TimerName.PIT)
    if pit is not None and pit.present is not False and spec.type is VirtType.KVM and pit.tickpolicy is not TickPolicy.CATCHUP:
        yield from ("-global", f"kvm-pit.lost_tick_policy={pit.tickpolicy or TickPolicy.DELAY}")


def _base(clock: Clock, now: float) -> str:
    match clock.offset:
        case ClockOffset.UTC:
            return "utc"
        case ClockOffset.LOCALTIME | ClockOffset.TIMEZONE:
            return "localtime"
        case ClockOffset.ABSOLUTE:
            return _moment(clock.start or 0)
        case ClockOffset.VARIABLE:
            local = datetime.fromtimestamp(now).astimezone().utcoffset() if clock.basis is ClockBasis.LOCALTIME else None
            return _moment(int(now) + (clock.adjustment or 0) + (int(local.total_seconds()) if local else 0))


def _moment(seconds: int) -> str:
    """As ``-rtc base`` takes it, in UTC; the nearest that there is of a year before 1970 or after 9999."""
    return datetime.fromtimestamp(min(max(seconds, _EARLIEST), _LATEST), UTC).strftime("%Y-%m-%dT%H:%M:%S")


def of_machine(spec: DomainSpec) -> str:
    """What stands in ``-machine`` of it."""
    absent = (timer.name for timer in spec.clock.timers if timer.present is False and timer.name in (TimerName.HPET, TimerName.PIT))
    return "".join(f",{name}=off" for name in absent)


def of_processor(spec: DomainSpec) -> list[str]:
    """What stands in ``-cpu`` of it, behind the model."""
    words: list[str] = []
    for timer in spec.clock.timers:
        match timer.name:
            case TimerName.KVMCLOCK if timer.present is False:
                words.append("kvmclock=off")
            case TimerName.HYPERVCLOCK if timer.present is not False:
                words.append("hv-time=on")
            case TimerName.TSC if timer.frequency is not None:
                words.append(f"tsc-frequency={timer.frequency}")
            case _:
                pass
    return words


def environment(spec: DomainSpec) -> Mapping[str, str]:
    """The variables that QEMU has to have for it."""
    return {} if spec.clock.timezone is None else {"TZ": spec.clock.timezone}


def check_zone(spec: DomainSpec) -> None:
    """Raises SystemFailure where this host does not know its time zone: the C library would take UTC without a word. Blocks."""
    if spec.clock.timezone is not None:
        try:
            zoneinfo.ZoneInfo(spec.clock.timezone)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise SystemFailure(f"this host does not know the time zone {spec.clock.timezone!r}") from error
