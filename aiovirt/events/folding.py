"""Folding a backlog: attribute changes of one device merge, and nothing else does."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec.structs import replace

from aiovirt.events.types import DomainChanged, Event, NetdevChanged

__all__ = ["folded"]

_CHANGES: Final = (DomainChanged, NetdevChanged)


def folded(events: Iterable[Event], since: dict[str, str] | None = None) -> list[Event]:
    """``events`` with runs of changes of one device, or of one domain's machine, merged: oldest old, newest new.

    A merged event stands where its newest part stood and carries that part's cursor; one that ends
    where it began vanishes. Any other event of the device ends its run. Order is kept otherwise.
    ``since`` is given, for the cursor of each merged event, that of its oldest part.
    """
    since = {} if since is None else since
    kept: list[Event | None] = []
    runs: dict[str, int] = {}
    for event in events:
        if not isinstance(event, _CHANGES):
            runs.pop(event.subject, None)
            kept.append(event)
            continue
        before = runs.get(event.subject)
        if before is not None and isinstance(earlier := kept[before], _CHANGES):
            event = replace(event, old=earlier.old)  # noqa: PLW2901 - the merged one takes its place
            kept[before] = None
            since[event.cursor] = since.pop(earlier.cursor, earlier.cursor)
        runs[event.subject] = len(kept)
        kept.append(event)
    return [event for event in kept if event is not None and not _is_no_op(event)]


def _is_no_op(event: Event) -> bool:
    return isinstance(event, _CHANGES) and not event.changes
