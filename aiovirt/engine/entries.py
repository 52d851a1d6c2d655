"""The domains that an engine answers for: what is known of each beyond its published state.

No I/O here. A name and a uuid belong to one domain; who wants one claims it before doing anything.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any
from uuid import UUID

import anyio
from msgspec.structs import replace

from aiovirt.drivers.door import Save
from aiovirt.errors import DomainExists, NoSuchDomain, OrderTimeout
from aiovirt.model.fact import Fact
from aiovirt.model.lifecycle import caused_by
from aiovirt.model.orders import Destroy, Request, Turn
from aiovirt.model.policy import FollowUp
from aiovirt.model.record import RunRecord
from aiovirt.model.spec import DomainSpec
from aiovirt.system.deadlines import Deadline
from aiovirt.system.lock import Lock

__all__ = ["Doing", "Entries", "Entry", "Following", "order_id"]

Doing = tuple[Request[Any], str]
"""An order, and its id."""


class Following:
    """What a definition says is done now, and what it is the ``cause`` of; ``scope`` ends it."""

    def __init__(self, what: FollowUp, cause: str) -> None:
        self.what = what
        self.cause = cause
        self.scope = anyio.CancelScope()


class Entry:
    """One domain. ``config`` is what it is defined as, ``live`` what it runs with, ``run`` its record."""

    def __init__(self, uuid: UUID, name: str, *, config: DomainSpec | None = None, keep: Save | None = None) -> None:
        self._keep = keep
        self.uuid = uuid
        self.subject = f"domain/{uuid}"  # in the event stream
        self.name = name
        self.config = config
        self.live: DomainSpec | None = None
        self.live_xml: str | None = None  # the XML that it runs with, where this version cannot read all of it
        self.is_unread = False  # it has a definition that this version cannot read
        self.run: RunRecord | None = None
        self.id: int | None = None
        self.autostart = False  # it is started with the host
        self.is_absent = False  # what is learned of it happened while no engine was there
        self.is_held = False  # it was left running, and its process was found alive
        self.reboot: str | None = None  # the order by which its next power-off is a reboot
        self._change = Lock()  # a change has it, a job once it begins
        self._job = Lock()  # a job has it, and each change that is not urgent
        self._pending: Doing | None = None
        self._long: Doing | None = None
        self._ending: tuple[Destroy, str] | None = None
        self.following: Following | None = None  # what its definition says is done now

    @property
    def is_persistent(self) -> bool:
        """Whether it has a definition, also one that this version cannot read."""
        return self.config is not None or self.is_unread

    @property
    def order(self) -> Request[Any] | None:
        """The order that is being carried out; destroy before all others, a change before a job."""
        current = self._ending or self._pending or self._long
        return current[0] if current else None

    @property
    def cause(self) -> str | None:
        """That order's id."""
        current = self._ending or self._pending or self._long
        return current[1] if current else None

    def cause_of(self, fact: Fact) -> str | None:
        """The id of the order whose doing this is, or None."""
        if fact is Fact.GUEST_POWEROFF and self.reboot is not None and self._ending is None:
            return self.reboot
        under_way = (self._ending, self._pending, self._long)
        ordered = next((each[1] for each in under_way if each is not None and caused_by(fact, each[0])), None)
        if ordered is None and self.following is not None and self.following.what.leads_to(fact):
            return self.following.cause
        return ordered

    async def save(self, run: RunRecord) -> None:
        """See :class:`aiovirt.drivers.door.Target`."""
        self.run = run
        if self._keep is not None:
            await self._keep(run)

    async def will_reboot(self, cause: str | None) -> None:
        """Its next power-off is the reboot that the order ``cause`` asks for, or with None is none; kept before this returns."""
        if self.reboot != cause:
            self.reboot = cause
            if self.run is not None:
                await self.save(replace(self.run, reboot=cause))

    def turn(self, request: Request[Any], by: Deadline) -> AbstractAsyncContextManager[None]:
        """One changing order at a time, and one job; what is urgent goes on beside a job.

        Raises OrderTimeout(sent=False) when its turn does not come. The domain may be another one, or gone, by then: see
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

    def ending_by(self, request: Destroy) -> None:
        """A destroy is under way, whatever else is; what follows up to the end of the process is its doing."""
        self._ending = self._ending or (request, order_id())

    def ended(self) -> None:
        """Its process is gone, or a destroy found none."""
        self._ending = None

    def is_followed_by(self, what: FollowUp, cause: str | None) -> Following:
        """``what`` is done from now on, in place of anything else that its definition said; ``cause`` is the fact's, if it has one."""
        if self.following is not None:
            self.following.scope.cancel()
        self.following = Following(what, cause or order_id())
        return self.following

    def was_followed_by(self, one: Following) -> None:
        """That is done, or cannot be."""
        if self.following is one:
            self.following = None


class _Turn:
    """See :meth:`Entry.turn`."""

    __slots__ = ("_by", "_doing", "_entry", "_taken")

    def __init__(self, entry: Entry, request: Request[Any], by: Deadline) -> None:
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


class Entries:
    """All of them, by uuid. ``keep`` is what keeps the record of a run, None where nothing is kept."""

    def __init__(self, keep: Save | None = None) -> None:
        self._keep = keep
        self._all: dict[int, Entry] = {}  # by the number of its uuid: a UUID takes long to hash

    def __iter__(self) -> Iterator[Entry]:
        return iter(tuple(self._all.values()))

    def find(self, uuid: UUID) -> Entry | None:
        """The entry, or None."""
        return self._all.get(uuid.int)

    def get(self, uuid: UUID) -> Entry:
        """The entry; raises NoSuchDomain."""
        try:
            return self._all[uuid.int]
        except KeyError:
            raise NoSuchDomain(f"no domain has the uuid {uuid}", subject=f"domain/{uuid}") from None

    def named(self, name: str) -> Entry | None:
        """The entry of this name, or None."""
        return next((entry for entry in self._all.values() if entry.name == name), None)

    def new(self, uuid: UUID, name: str, config: DomainSpec | None = None) -> Entry:
        """One more."""
        return self.add(Entry(uuid, name, config=config, keep=self._keep))

    def add(self, entry: Entry) -> Entry:
        """Takes it in."""
        self._all[entry.uuid.int] = entry
        return entry

    def drop(self, entry: Entry) -> None:
        """Forgets it; another one that has taken its place stays."""
        if self._all.get(entry.uuid.int) is entry:
            del self._all[entry.uuid.int]

    def check(self, entry: Entry) -> None:
        """Raises NoSuchDomain when it was forgotten while its order waited for its turn."""
        if self._all.get(entry.uuid.int) is not entry:
            raise NoSuchDomain(f"domain {entry.name!r} is gone", subject=entry.subject)

    def claim(self, spec: DomainSpec) -> Entry:
        """The entry for a definition, new or the one it is to replace; raises DomainExists when its name or uuid is another's."""
        assert spec.uuid is not None
        named = self.named(spec.name)
        if named is not None and named.uuid != spec.uuid:
            raise DomainExists(f"domain {spec.name!r} already exists with uuid {named.uuid}", subject=named.subject)
        known = self._all.get(spec.uuid.int)
        if known is not None and known.name != spec.name:
            raise DomainExists(f"domain {known.name!r} is already defined with uuid {spec.uuid}", subject=known.subject)
        return known or self.new(spec.uuid, spec.name)

    def claim_new(self, spec: DomainSpec) -> Entry:
        """An entry for a transient domain; raises DomainExists when there is one already."""
        if spec.uuid is not None and spec.uuid.int in self._all:
            raise DomainExists(f"domain {spec.name!r} already exists with uuid {spec.uuid}", subject=f"domain/{spec.uuid}")
        return self.claim(spec)


def order_id() -> str:
    """A new one, as events have it for their cause."""
    return f"order-{os.urandom(8).hex()}"
