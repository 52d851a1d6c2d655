"""The clock that a guest begins with, and its timers (https://libvirt.org/formatdomain.html#time-keeping)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

from msgspec.structs import force_setattr

from aiovirt.errors import InvalidArgument
from aiovirt.model.element import At, Element

__all__ = ["Catchup", "Clock", "ClockBasis", "ClockOffset", "TickPolicy", "Timer", "TimerMode", "TimerName", "TimerTrack"]


class ClockOffset(StrEnum):
    """``<clock offset=…>``: what the guest's clock shows at its start.

    UTC and LOCALTIME of the host, the local time of a TIMEZONE, a time that differs from the host's by a VARIABLE adjustment,
    or an ABSOLUTE time.
    """

    UTC = "utc"
    LOCALTIME = "localtime"
    TIMEZONE = "timezone"
    VARIABLE = "variable"
    ABSOLUTE = "absolute"


class ClockBasis(StrEnum):
    """``<clock basis=…>``: what a variable clock is adjusted from."""

    UTC = "utc"
    LOCALTIME = "localtime"


class TimerName(StrEnum):
    """``<timer name=…>``."""

    PLATFORM = "platform"
    PIT = "pit"
    RTC = "rtc"
    HPET = "hpet"
    TSC = "tsc"
    KVMCLOCK = "kvmclock"
    HYPERVCLOCK = "hypervclock"
    ARMVTIMER = "armvtimer"


class TickPolicy(StrEnum):
    """``<timer tickpolicy=…>``: what happens to ticks that the guest could not take in time."""

    DELAY = "delay"
    CATCHUP = "catchup"
    MERGE = "merge"
    DISCARD = "discard"


class TimerTrack(StrEnum):
    """``<timer track=…>``: which clock the timer follows."""

    BOOT = "boot"
    GUEST = "guest"
    WALL = "wall"
    REALTIME = "realtime"


class TimerMode(StrEnum):
    """``<timer mode=…>``: how the guest reads its time stamp counter."""

    AUTO = "auto"
    NATIVE = "native"
    EMULATE = "emulate"
    PARAVIRT = "paravirt"
    SMPSAFE = "smpsafe"


class Catchup(Element, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """How lost ticks are caught up with (``<catchup>``)."""

    tag = "catchup"
    threshold: Annotated[int | None, At("@threshold")] = None
    slew: Annotated[int | None, At("@slew")] = None
    limit: Annotated[int | None, At("@limit")] = None


class Timer(Element, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """One timer. ``present`` None is the driver's choice; ``frequency`` is the time stamp counter's, in Hz."""

    tag = "timer"
    name: Annotated[TimerName, At("@name")]
    present: Annotated[bool | None, At("@present", "yes/no")] = None
    tickpolicy: Annotated[TickPolicy | None, At("@tickpolicy")] = None
    track: Annotated[TimerTrack | None, At("@track")] = None
    frequency: Annotated[int | None, At("@frequency")] = None
    mode: Annotated[TimerMode | None, At("@mode")] = None
    catchup: Annotated[Catchup | None, At("catchup")] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.catchup is not None and self.tickpolicy is not TickPolicy.CATCHUP:
            raise InvalidArgument("how ticks are caught up with is only for the tick policy 'catchup'")
        if self.frequency is not None and self.name is not TimerName.TSC:
            raise InvalidArgument(f"the timer {self.name} has no frequency")


_OF: dict[str, ClockOffset] = {
    "timezone": ClockOffset.TIMEZONE,
    "adjustment": ClockOffset.VARIABLE,
    "basis": ClockOffset.VARIABLE,
    "start": ClockOffset.ABSOLUTE,
}
"""Which field belongs to which offset."""


class Clock(Element, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """What time it begins with.

    ``timezone`` is a name of the tz database, as ``Europe/Berlin``. ``adjustment`` is in seconds, from the host's clock as
    ``basis`` has it; a clock of UTC or of local time with an adjustment is a VARIABLE one, as with libvirt. ``start`` is in
    seconds since 1970-01-01 00:00 UTC. ``timers`` are a tuple, made of any list.
    """

    tag = "clock"
    offset: Annotated[ClockOffset, At("@offset")] = ClockOffset.UTC
    timezone: Annotated[str | None, At("@timezone", "filled")] = None
    adjustment: Annotated[int | None, At("@adjustment", "seconds")] = None
    basis: Annotated[ClockBasis | None, At("@basis")] = None
    start: Annotated[int | None, At("@start", "seconds")] = None
    timers: Annotated[Sequence[Timer], At("timer")] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        self._settle()
        for field, offset in _OF.items():
            if getattr(self, field) is not None and self.offset is not offset:
                raise InvalidArgument(f"a clock with the offset {self.offset} has no {field}")
        for field, offset in (("timezone", ClockOffset.TIMEZONE), ("start", ClockOffset.ABSOLUTE)):
            if self.offset is offset and getattr(self, field) is None:
                raise InvalidArgument(f"a clock with the offset {offset} needs its {field}")
        again = [name for name, count in Counter(timer.name for timer in self.timers).items() if count > 1]
        if again:
            raise InvalidArgument(f"the timer {again[0]} is there twice")

    def _settle(self) -> None:
        if self.adjustment is not None and self.basis is None and self.offset in (ClockOffset.UTC, ClockOffset.LOCALTIME):
            force_setattr(self, "basis", ClockBasis(self.offset.value))
            force_setattr(self, "offset", ClockOffset.VARIABLE)
        if self.offset is ClockOffset.VARIABLE:
            force_setattr(self, "adjustment", self.adjustment or 0)
            force_setattr(self, "basis", self.basis or ClockBasis.UTC)

    def timer(self, name: TimerName) -> Timer | None:
        """The timer of this name, or None where nothing is said of it."""
        return next((timer for timer in self.timers if timer.name is name), None)
