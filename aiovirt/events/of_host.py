"""What happens to this host's engine and its sources."""

from __future__ import annotations

from typing import ClassVar

from aiovirt.events.event import Event
from aiovirt.events.state import HostState
from aiovirt.events.words import duration

__all__ = [
    "ClockJumped",
    "HostEvent",
    "HostStarted",
    "JournalDegraded",
    "JournalRestored",
    "SourceMissing",
    "SourceResynced",
    "WatcherLost",
]


class HostEvent(Event, frozen=True, kw_only=True, gc=False):
    """Something about this host's engine and its sources."""

    family: ClassVar[str] = "host"

    @classmethod
    def may_concern(cls, wanted: str) -> bool:
        return wanted == "host"


class HostStarted(HostEvent, frozen=True, kw_only=True, gc=False, tag="host.started"):
    """An engine began to hold this host.

    ``uri`` is how it was connected to, ``boot_id`` this boot's id (random(4)). ``previous_cursor`` is
    that of the last event before it, None where there was no journal; ``clean`` whether the engine
    before ended in order (None: there was none). ``down_for`` is the time without an engine in
    nanoseconds, as far as it is known. ``cut`` counts the bytes of the journal's end that were damaged
    and dropped.

    ``resumed`` is whether the state of before goes on, and what changed meanwhile follows as ``missed``;
    without, it begins anew. Devices begin anew with another boot in any case.
    """

    uri: str = ""
    boot_id: str = ""
    previous_cursor: str | None = None
    clean: bool | None = None
    down_for: int | None = None
    cut: int = 0
    resumed: bool = False

    trigger: ClassVar[str] = "connect, when it becomes the engine"

    def fold(self, state: HostState) -> None:
        state.begin(self.boot_id, resumed=self.resumed)

    def describe(self) -> tuple[str, str, str]:
        return "host", "started", "  ".join(part for part in (self.uri, self._how()) if part)

    def _how(self) -> str:
        if self.clean is None:
            return ""
        ended = "after a clean end" if self.clean else "after an engine that was cut off"
        cut = f", {self.cut} damaged bytes of its journal dropped" if self.cut else ""
        return ended + (f", {duration(self.down_for)} ago" if self.down_for is not None else "") + cut


class JournalDegraded(HostEvent, frozen=True, kw_only=True, gc=False, tag="host.journal.degraded"):
    """The journal's disk failed: events go on in memory only, under a new epoch, until JournalRestored or the end of this engine.

    ``why`` is what the disk said.
    """

    why: str

    trigger: ClassVar[str] = "a write or an fdatasync of the journal that fails"

    def describe(self) -> tuple[str, str, str]:
        return "host", "degraded", f"the journal is kept in memory only: {self.why}"


class JournalRestored(HostEvent, frozen=True, kw_only=True, gc=False, tag="host.journal.restored"):
    """The journal's disk takes events again. A new epoch begins with this event.

    What was published meanwhile, and is still in memory, was put on disk before it.
    """

    trigger: ClassVar[str] = "a journal's disk that failed and does no more"

    def describe(self) -> tuple[str, str, str]:
        return "host", "restored", "the journal is on disk again"


class ClockJumped(HostEvent, frozen=True, kw_only=True, gc=False, tag="host.clock.jumped"):
    """Somebody set this host's clock (CLOCK_REALTIME).

    ``by`` is by how many nanoseconds it is another time now than it would be, negative where the clock was set back. Then a
    new epoch begins with this event: times never decrease within one.
    """

    by: int

    trigger: ClassVar[str] = "a clock that is set: timerfd_create(2), TFD_TIMER_CANCEL_ON_SET"

    def describe(self) -> tuple[str, str, str]:
        return "host", "clock", f"set {'back' if self.by < 0 else 'forward'} by {duration(abs(self.by))}"


class WatcherLost(HostEvent, frozen=True, kw_only=True, gc=False, tag="host.watcher.lost"):
    """A source of device events ended for good; what it reported is no longer kept fresh.

    ``source`` is which one, ``why`` what ended it.
    """

    source: str
    why: str

    trigger: ClassVar[str] = "a netlink socket that fails for good"

    def describe(self) -> tuple[str, str, str]:
        return self.source, "watcher lost", self.why


class SourceMissing(HostEvent, frozen=True, kw_only=True, gc=False, tag="host.source.missing"):
    """A source of events is not there, and what only it reports stays unknown; all else goes on.

    ``source`` is which one (``"udev"``: no udevd runs, as in a container; a URI: its remote is not connected), ``why`` how that is known.
    """

    source: str
    why: str

    trigger: ClassVar[str] = "an engine that begins without udevd; a connection to a remote hypervisor that is lost"

    def describe(self) -> tuple[str, str, str]:
        return self.source, "missing", self.why


class SourceResynced(HostEvent, frozen=True, kw_only=True, gc=False, tag="host.source.resynced"):
    """A source had a hole and was read again from the start.

    The differences found were published just before. ``source`` is which one, ``reason`` what tore the
    hole. ``lost`` counts messages known to be gone, or is None where it cannot be known.
    """

    source: str
    reason: str
    lost: int | None = None

    trigger: ClassVar[str] = (
        "ENOBUFS, a truncated message or a dump that was interrupted; an engine that begins without what was before; "
        "a remote that is connected again"
    )

    def fold(self, state: HostState) -> None:
        state.resyncs[self.source] = state.resyncs.get(self.source, 0) + 1

    def describe(self) -> tuple[str, str, str]:
        return self.source, "resynced", self.reason
