"""What has happened to a domain between two readings of it, as events. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from aiovirt.drivers.remote import DomainReading
from aiovirt.events.types import DomainChanged, DomainLifecycle, Event
from aiovirt.model.state import Detail, DomainState, Lifecycle, Reason
from aiovirt.model.view import DomainView

__all__ = ["differences"]

S, L, D, R = DomainState, Lifecycle, Detail, Reason

_LED_TO: Final[dict[DomainState, tuple[Lifecycle, Detail]]] = {
    S.PAUSED: (L.SUSPENDED, D.PAUSED),
    S.SHUTDOWN: (L.SHUTDOWN, D.FINISHED),
    S.SHUTOFF: (L.STOPPED, D.FAILED),
    S.CRASHED: (L.CRASHED, D.PANICKED),
    S.PMSUSPENDED: (L.PMSUSPENDED, D.MEMORY),
}
"""What leads to a state; to any other one: it was resumed."""

_BECAUSE: Final[dict[DomainState, dict[Reason, Detail]]] = {
    S.PAUSED: {R.IOERROR: D.IOERROR, R.WATCHDOG: D.WATCHDOG, R.MIGRATION: D.MIGRATED, R.FROM_SNAPSHOT: D.FROM_SNAPSHOT},
    S.SHUTOFF: {
        R.SHUTDOWN: D.SHUTDOWN,
        R.DESTROYED: D.DESTROYED,
        R.CRASHED: D.CRASHED,
        R.MIGRATED: D.MIGRATED,
        R.FROM_SNAPSHOT: D.FROM_SNAPSHOT,
    },
}


def differences(old: DomainView | None, new: DomainReading | None, *, missed: bool = False) -> list[Event]:
    """The events that lead from ``old`` to ``new``, in order; ``missed`` says that it was not seen when it happened.

    What cannot be seen from two readings is what lay between: of a domain that was paused and resumed meanwhile there is nothing.
    """
    return list(_gone(old, missed=missed) if new is None else _moved(old, new, missed=missed))


def _gone(old: DomainView | None, *, missed: bool) -> Iterator[Event]:
    if old is None:
        return
    last = DomainReading(uuid=old.uuid, name=old.name, state=S.SHUTOFF, persistent=old.persistent)
    if old.is_active:
        yield _event(last, L.STOPPED, D.FAILED, missed=missed)
    if old.persistent:
        yield _event(last, L.UNDEFINED, D.REMOVED, missed=missed)


def _moved(old: DomainView | None, new: DomainReading, *, missed: bool) -> Iterator[Event]:
    was, was_active, machine = (old.state, old.is_active, old.machine) if old else (S.SHUTOFF, False, None)
    if was_active and old is not None and (old.id != new.id or not new.state.is_active):
        end = new if not new.state.is_active else _ended(new)
        kind, detail = _led_to(end)
        yield _event(_as(end, name=old.name, persistent=old.persistent), kind, detail, missed=missed)
        was, was_active, machine = S.SHUTOFF, False, None
        if not old.persistent:
            old = None
    if new.persistent and (old is None or not old.persistent):
        yield _event(new if was_active == new.state.is_active else _ended(new), L.DEFINED, D.ADDED, missed=missed)
    elif old is not None and old.persistent and not new.persistent:
        yield _event(new if was_active == new.state.is_active else _ended(new), L.UNDEFINED, D.REMOVED, missed=missed)
    elif old is not None and (
        old.name != new.name or (not was_active and not new.state.is_active and not old.is_active and old.reason != new.reason)
    ):
        yield _event(new if was_active == new.state.is_active else _ended(new), L.DEFINED, D.UPDATED, missed=missed)
    if new.state.is_active and not was_active:
        yield _event(new, L.STARTED, D.BOOTED, missed=missed)
    elif new.state.is_active and old is not None and (was, old.reason) != (new.state, new.reason):
        kind, detail = (L.STARTED, D.WAKEUP) if was is S.PMSUSPENDED and new.state is S.RUNNING else _led_to(new)
        yield _event(new, kind, detail, missed=missed)
    if new.state.is_active and new.machine is not None and new.machine != machine:
        yield DomainChanged(uuid=new.uuid, name=new.name, old=machine, new=new.machine, missed=missed)


def _led_to(new: DomainReading) -> tuple[Lifecycle, Detail]:
    kind, detail = _LED_TO.get(new.state, (L.RESUMED, D.UNPAUSED))
    return kind, _BECAUSE.get(new.state, {}).get(new.reason, detail)


def _ended(reading: DomainReading) -> DomainReading:
    """The same domain while it does not run."""
    return DomainReading(uuid=reading.uuid, name=reading.name, state=S.SHUTOFF, persistent=reading.persistent)


def _as(reading: DomainReading, *, name: str, persistent: bool) -> DomainReading:
    return DomainReading(uuid=reading.uuid, name=name, state=reading.state, reason=reading.reason, persistent=persistent)


def _event(reading: DomainReading, kind: Lifecycle, detail: Detail, *, missed: bool) -> DomainLifecycle:
    return DomainLifecycle(
        uuid=reading.uuid,
        name=reading.name,
        kind=kind,
        detail=detail,
        state=reading.state,
        reason=reading.reason,
        id=reading.id,
        persistent=reading.persistent,
        missed=missed,
    )
