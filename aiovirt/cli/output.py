"""What the command line prints: virsh's tables for people, one JSON object a line for programs."""

from __future__ import annotations

import datetime
import os
import sys
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, TextIO
from uuid import UUID

import msgspec

if TYPE_CHECKING:
    from aiovirt.events import Event
    from aiovirt.model.netdev import Netdev
    from aiovirt.model.view import DomainView

__all__ = ["Output", "netdev_fields", "stamp", "view_fields"]

_COLOURS: Final = {"dim": "2", "bold": "1", "green": "32", "red": "31", "yellow": "33", "blue": "34", "cyan": "36", "magenta": "35"}
_KINDS: Final = {
    "started": "green",
    "resumed": "green",
    "added": "green",
    "stopped": "red",
    "removed": "red",
    "crashed": "red",
    "suspended": "yellow",
    "shutdown": "yellow",
    "changed": "cyan",
    "renamed": "cyan",
}


class Output:
    """Standard output. ``json`` chooses the form; colours go to terminals only (and heed NO_COLOR)."""

    def __init__(self, *, json: bool, stream: TextIO | None = None) -> None:
        self.json = json
        self._stream = stream or sys.stdout
        self._colours = self._stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    def line(self, text: str = "") -> None:
        """One line, at once."""
        print(text, file=self._stream, flush=True)

    def object(self, value: object) -> None:
        """One JSON object on a line."""
        self.line(msgspec.json.encode(value).decode())

    def paint(self, text: str, colour: str) -> str:
        """``text`` in a colour, where colours go."""
        return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if self._colours else text

    def table(self, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """virsh's table: columns as wide as their longest cell, a rule under the header, an empty line after."""
        rows = [list(row) for row in rows]
        widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
        first, *rest = (_row(row, widths) for row in [header, *rows])
        self.line(first)
        self.line("-" * (sum(widths) + 3 * len(widths)))
        for text in rest:
            self.line(text)
        self.line()

    def fields(self, values: dict[str, str]) -> None:
        """virsh's ``name: value`` block."""
        width = max(15, max(map(len, values)) + 2)
        for name, value in values.items():
            self.line(f"{name + ':':{width}} {value}")
        self.line()

    def event(self, event: Event) -> None:
        """One event on one line: time, whom, what, details."""
        from aiovirt.events import encode

        if self.json:
            self.line(encode(event).decode())
        else:
            self.line(self.event_text(event))

    def bookmark(self, cursor: str, host: UUID) -> None:
        """How far a reader has seen, for programs: one line like an event's, without data."""
        from aiovirt.events.codec import encode_bookmark

        self.line(encode_bookmark(cursor, host, time.time_ns()).decode())

    def event_text(self, event: Event) -> str:
        """An event's line for people: aligned, so that whom and what stand below each other."""
        from aiovirt.events.words import clock

        who, what, detail = event.line()
        colour = _family_colour(event)
        parts = [
            self.paint(clock(event.time), "dim"),
            self.paint(f"{who:<15}", colour),
            self.paint(f"{what:<9}", _kind_colour(event, what)),
            detail,
        ]
        return "  ".join(parts).rstrip()


def view_fields(view: DomainView) -> dict[str, Any]:
    """A domain as ``--json`` prints it."""
    return {name: getattr(view, name) for name in view.__struct_fields__}


def netdev_fields(device: Netdev) -> dict[str, Any]:
    """A network device as ``--json`` prints it."""
    return {name: getattr(device, name) for name in device.__struct_fields__}


def stamp(time_ns: int) -> str:
    """virsh's: UTC, to the millisecond."""
    time = datetime.datetime.fromtimestamp(time_ns // 1_000_000 / 1000, tz=datetime.UTC)
    return f"{time:%Y-%m-%d %H:%M:%S}.{time.microsecond // 1000:03}+0000"


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    return (" " + "   ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True))).rstrip()


def _family_colour(event: Event) -> str:
    from aiovirt.events import DeviceEvent, DomainEvent

    if isinstance(event, DomainEvent):
        return "magenta"
    return "blue" if isinstance(event, DeviceEvent) else "bold"


def _kind_colour(event: Event, what: str) -> str:
    from aiovirt.events import MonitorLost, MonitorStalled, NetdevRemoved, WatcherLost

    if isinstance(event, MonitorLost | MonitorStalled | WatcherLost | NetdevRemoved):
        return "red"
    return _KINDS.get(what, "bold")
