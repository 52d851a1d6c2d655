"""What the command line prints: virsh's tables for people, one JSON object a line for programs."""

from __future__ import annotations

import datetime
import sys
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, TextIO, cast
from uuid import UUID

import msgspec

from aiovirt.cli.terminal import Painted, Screen
from aiovirt.text import cells, padded, plain, trimmed

if TYPE_CHECKING:
    from aiovirt.events import Event
    from aiovirt.model.netdev import Netdev
    from aiovirt.model.view import DomainView

__all__ = ["WHO", "Output", "fitted", "netdev_fields", "stamp", "view_fields"]

WHO: Final = 15
WHAT: Final = 9
"""Columns of whom an event is about, and of what happened."""
_LEAST: Final = 8
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
    """Standard output, or ``stream``. ``json`` chooses the form; ``quiet`` leaves out what is no data."""

    def __init__(self, *, json: bool, quiet: bool = False, stream: TextIO | None = None) -> None:
        self.json = json
        self._quiet = quiet
        self._screen = Screen(stream)

    @property
    def descriptor(self) -> int | None:
        """The descriptor behind it; None where there is none."""
        return self._screen.descriptor()

    @property
    def is_file(self) -> bool:
        """Whether it is written to a file."""
        return self._screen.is_file

    def line(self, *parts: str | Painted) -> None:
        """One line, at once."""
        self._screen.line(*parts)

    def note(self, *parts: str | Painted) -> None:
        """One line that is no data: left out where nobody wants more than that."""
        if not self._quiet:
            self._screen.line(*parts)

    def text(self, text: str) -> None:
        """Text of several lines."""
        self._screen.text(text)

    def xml(self, text: str) -> None:
        """XML, to be read again as it was."""
        self._screen.xml(text)

    def object(self, value: object, *, indent: int = 0) -> None:
        """One JSON object on a line; on several, with ``indent``."""
        try:
            told = msgspec.json.encode(value)
        except UnicodeEncodeError:  # a name of bytes that are no text
            told = msgspec.json.encode(_writable(msgspec.to_builtins(value)))
        self._screen.json((msgspec.json.format(told, indent=indent) if indent else told).decode())

    def paint(self, text: str, colour: str) -> Painted:
        """``text`` in a colour, where colours go."""
        return Painted(text, colour)

    def table(self, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """virsh's table: columns as wide as their longest cell, a rule under the header, an empty line after; quiet, the rows alone.

        On a terminal that is too narrow the widest columns are trimmed, each to no less than its heading and 8.
        """
        lines = [[plain(cell) for cell in row] for row in rows]
        shown = lines if self._quiet else [header, *lines]
        widths = [max((cells(row[column]) for row in shown), default=0) for column in range(len(header))]
        if (columns := self._screen.width) is not None:
            widths = fitted(widths, [max(cells(name), _LEAST) for name in header], columns)
        if not self._quiet:
            self.line(_row(header, widths))
            self.line("-" * min(sum(widths) + 3 * len(widths), columns or sys.maxsize))
        for row in lines:
            self.line(_row(row, widths))
        self.note()

    def fields(self, values: dict[str, str]) -> None:
        """virsh's ``name: value`` block."""
        width = max(15, max(map(cells, values)) + 2)
        for name, value in values.items():
            self.line(f"{padded(name + ':', width)} {value}")
        self.note()

    def event(self, event: Event) -> None:
        """One event on one line: time, whom, what, details; aligned, so that whom and what stand below each other."""
        from aiovirt.events import encode
        from aiovirt.events.words import clock

        if self.json:
            self._screen.json(encode(event).decode())
            return
        who, what, detail = event.line()
        self.line(
            Painted(clock(event.time), "dim"),
            "  ",
            Painted(padded(who, WHO), _family_colour(event)),
            "  ",
            Painted(padded(what, WHAT) if detail else what, _kind_colour(event, what)),
            *(["  ", detail] if detail else []),
        )

    def bookmark(self, cursor: str, host: UUID) -> None:
        """How far a reader has seen, for programs: one line like an event's, without data."""
        from aiovirt.events.codec import encode_bookmark

        self._screen.json(encode_bookmark(cursor, host, time.time_ns()).decode())


def _writable(value: object) -> object:
    """Plain values, with escapes for what JSON has no way to say."""
    if isinstance(value, dict):
        return {_writable(key): _writable(item) for key, item in cast("dict[object, object]", value).items()}
    if isinstance(value, list):
        return [_writable(item) for item in cast("list[object]", value)]
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value


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


def fitted(widths: Sequence[int], least: Sequence[int], columns: int) -> list[int]:
    """The widths of a table's columns with which it fits into ``columns``: the widest give way, down to their ``least``."""
    found = list(widths)
    while sum(found) + 3 * len(found) - 2 > columns:
        spare = [at for at in range(len(found)) if found[at] > least[at]]
        if not spare:
            break
        found[max(spare, key=found.__getitem__)] -= 1
    return found


def _row(texts: Sequence[str], widths: Sequence[int]) -> str:
    return (" " + "   ".join(padded(trimmed(text, width), width) for text, width in zip(texts, widths, strict=True))).rstrip()


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
