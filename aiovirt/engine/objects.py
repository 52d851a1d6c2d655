"""The objects of one kind that an engine answers for: what is known of each, and whose turn it is to change it.

No I/O here. A name and a uuid belong to one object of its kind; who wants one claims it before doing anything.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Generic, TypeVar
from uuid import UUID

from aiovirt.engine.kind import ObjectKind, Spec
from aiovirt.errors import InvalidArgument, OrderTimeout
from aiovirt.model.orders import Request, Turn
from aiovirt.system.deadlines import Deadline
from aiovirt.system.lock import Lock

__all__ = ["Doing", "Entries", "ObjectEntry", "order_id"]

S = TypeVar("S", bound=Spec)
E = TypeVar("E", bound="ObjectEntry[Any]")

Doing = tuple[Request[Any], str]
"""An order, and its id."""


class ObjectEntry(Generic[S]):
    """One object. ``config`` is what it is defined as."""

    def __init__(self, kind: ObjectKind[S], uuid: UUID, name: str, config: S | None = None) -> None:
        self.kind = kind.name
        self.uuid = uuid
        self.subject = f"{kind.name}/{uuid}"  # in the event stream
        self.name = name
        self.config = config
        self.is_unread = False  # it has a definition that this version cannot read
        self.autostart = False  # it is started with the host
        self._change = Lock()  # a change has it, a job once it begins
        self._job = Lock()  # a job has it, and each change that is not urgent
        self._pending: Doing | None = None
        self._long: Doing | None = None

    @property
    def is_persistent(self) -> bool:
        """Whether it has a definition, also one that this version cannot read."""
        return self.config is not None or self.is_unread

    @property
    def doing(self) -> Doing | None:
        """What is being carried out; a change before a job."""
        return self._pending or self._long

    @property
    def order(self) -> Request[Any] | None:
        """The order that is being carried out."""
        current = self.doing
        return current[0] if current else None

    @property
    def cause(self) -> str | None:
        """That order's id."""
        current = self.doing
        return current[1] if current else None

    def turn(self, request: Request[Any], by: Deadline) -> AbstractAsyncContextManager[None]:
        """One changing order at a time, and one job; what is urgent goes on beside a job.

        Raises OrderTimeout(sent=False) when its turn does not come. The object may be another one, or gone, by then: see
        :meth:`Entries.check`.
        """
        return _Turn(self, request, by)

    async def begin(self, doing: Doing, taken: list[Lock], by: Deadline) -> None:
        """Its turn has come when this returns; ``taken`` is what is to be given back, whatever happens."""
        rule = doing[0].rule
        for lock in (self._change,) if rule.urgent else (self._job, self._change):
            if not lock.acquire_nowait():
                await self._await_turn(lock, by)
            taken.append(lock)
        if rule.turn is Turn.JOB:
            taken.pop().release()
            self._long = doing
        else:
            self._pending = doing

    def end(self, doing: Doing, taken: list[Lock]) -> None:
        """It is over, or was never begun."""
        self._long = None if self._long is doing else self._long
        self._pending = None if self._pending is doing else self._pending
        for lock in taken:
            lock.release()

    async def _await_turn(self, lock: Lock, by: Deadline) -> None:
        with by.scope():
            await lock.acquire()
            return
        raise OrderTimeout(f"another order on {self.name} has not ended", sent=False, subject=self.subject)


class _Turn:
    """See :meth:`ObjectEntry.turn`."""

    __slots__ = ("_by", "_doing", "_entry", "_taken")

    def __init__(self, entry: ObjectEntry[Any], request: Request[Any], by: Deadline) -> None:
        self._entry = entry
        self._doing: Doing = (request, order_id())
        self._taken: list[Lock] = []
        self._by = by

    async def __aenter__(self) -> None:
        try:
            await self._entry.begin(self._doing, self._taken, self._by)
        except BaseException:
            self._entry.end(self._doing, self._taken)
            raise

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._entry.end(self._doing, self._taken)


class Entries(Generic[S, E]):
    """All of ``kind``, by uuid. ``make(uuid, name, config)`` makes the entry of one more; ``config`` is None for what is not defined."""

    def __init__(self, kind: ObjectKind[S], make: Callable[[UUID, str, S | None], E]) -> None:
        self._kind = kind
        self._make = make
        self._all: dict[int, E] = {}  # by the number of its uuid: a UUID takes long to hash

    def __iter__(self) -> Iterator[E]:
        return iter(tuple(self._all.values()))

    def find(self, uuid: UUID) -> E | None:
        """The entry, or None."""
        return self._all.get(uuid.int)

    def get(self, uuid: UUID) -> E:
        """The entry; raises the kind's ``missing``."""
        try:
            return self._all[uuid.int]
        except KeyError:
            raise self._kind.missing(f"no {self._kind.name} has the uuid {uuid}", subject=f"{self._kind.name}/{uuid}") from None

    def named(self, name: str) -> E | None:
        """The entry of this name, or None."""
        return next((entry for entry in self._all.values() if entry.name == name), None)

    def new(self, uuid: UUID, name: str, config: S | None = None) -> E:
        """One more."""
        return self.add(self._make(uuid, name, config))

    def restore(self, spec: S, *, autostart: bool = False) -> E:
        """One more, as it was defined before; raises InvalidArgument where nothing says its uuid."""
        if spec.uuid is None:
            raise InvalidArgument(f"the definition of {spec.name} has no uuid")
        entry = self.new(spec.uuid, spec.name, spec)
        entry.autostart = autostart
        return entry

    def add(self, entry: E) -> E:
        """Takes it in."""
        self._all[entry.uuid.int] = entry
        return entry

    def drop(self, entry: E) -> None:
        """Forgets it; another one that has taken its place stays."""
        if self._all.get(entry.uuid.int) is entry:
            del self._all[entry.uuid.int]

    def check(self, entry: E) -> None:
        """Raises the kind's ``missing`` when it was forgotten while its order waited for its turn."""
        if self._all.get(entry.uuid.int) is not entry:
            raise self._kind.missing(f"{self._kind.name} {entry.name!r} is gone", subject=entry.subject)

    def claim(self, spec: S) -> E:
        """The entry for a definition, new or the one it is to replace; raises the kind's ``exists`` when its name or uuid is another's."""
        assert spec.uuid is not None
        named = self.named(spec.name)
        if named is not None and named.uuid != spec.uuid:
            raise self._kind.exists(f"{self._kind.name} {spec.name!r} already exists with uuid {named.uuid}", subject=named.subject)
        known = self._all.get(spec.uuid.int)
        if known is not None and known.name != spec.name:
            raise self._kind.exists(f"{self._kind.name} {known.name!r} is already defined with uuid {spec.uuid}", subject=known.subject)
        return known or self.new(spec.uuid, spec.name)

    def claim_new(self, spec: S) -> E:
        """An entry for a transient object; raises the kind's ``exists`` when there is one already."""
        if spec.uuid is not None and spec.uuid.int in self._all:
            raise self._kind.exists(
                f"{self._kind.name} {spec.name!r} already exists with uuid {spec.uuid}", subject=f"{self._kind.name}/{spec.uuid}"
            )
        return self.claim(spec)


def order_id() -> str:
    """A new one, as events have it for their cause."""
    return f"order-{os.urandom(8).hex()}"
