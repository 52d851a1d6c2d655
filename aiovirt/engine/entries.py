"""The domains that an engine answers for: what is known of each beyond its published state.

No I/O here. A name and a uuid belong to one domain; who wants one claims it before doing anything.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from uuid import UUID

import anyio

from aiovirt.errors import DomainExists, NoSuchDomain, OrderTimeout
from aiovirt.model.orders import Destroy, Request
from aiovirt.model.record import RunRecord
from aiovirt.model.spec import DomainSpec

__all__ = ["Entries", "Entry"]


class Entry:
    """One domain. ``config`` is what it is defined as, ``live`` what it runs with, ``run`` its record."""

    def __init__(self, uuid: UUID, name: str, *, config: DomainSpec | None = None) -> None:
        self.uuid = uuid
        self.name = name
        self.config = config
        self.live: DomainSpec | None = None
        self.run: RunRecord | None = None
        self.id: int | None = None
        self._turn = anyio.Lock()
        self._pending: tuple[Request[Any], str] | None = None
        self._ending: tuple[Destroy, str] | None = None

    @property
    def subject(self) -> str:
        """In the event stream: ``domain/<uuid>``."""
        return f"domain/{self.uuid}"

    @property
    def order(self) -> Request[Any] | None:
        """The order that is being carried out; destroy before all others."""
        current = self._ending or self._pending
        return current[0] if current else None

    @property
    def cause(self) -> str | None:
        """That order's id."""
        current = self._ending or self._pending
        return current[1] if current else None

    @asynccontextmanager
    async def turn(self, request: Request[Any]) -> AsyncIterator[None]:
        """One changing order at a time; raises OrderTimeout(sent=False) when its turn does not come."""
        with anyio.move_on_after(request.timeout) as deadline:
            await self._turn.acquire()
        if deadline.cancelled_caught:
            raise OrderTimeout(f"another order on {self.name} has not ended", sent=False, subject=self.subject)
        self._pending = (request, _order_id())
        try:
            yield
        finally:
            self._pending = None
            self._turn.release()

    @contextmanager
    def ending(self, request: Destroy) -> Iterator[None]:
        """A destroy is under way, whatever else is."""
        self._ending = (request, _order_id())
        try:
            yield
        finally:
            self._ending = None


class Entries:
    """All of them, by uuid."""

    def __init__(self) -> None:
        self._all: dict[UUID, Entry] = {}

    def __iter__(self) -> Iterator[Entry]:
        return iter(tuple(self._all.values()))

    def find(self, uuid: UUID) -> Entry | None:
        """The entry, or None."""
        return self._all.get(uuid)

    def get(self, uuid: UUID) -> Entry:
        """The entry; raises NoSuchDomain."""
        try:
            return self._all[uuid]
        except KeyError:
            raise NoSuchDomain(f"no domain has the uuid {uuid}", subject=f"domain/{uuid}") from None

    def add(self, entry: Entry) -> Entry:
        """Takes it in."""
        self._all[entry.uuid] = entry
        return entry

    def drop(self, entry: Entry) -> None:
        """Forgets it."""
        self._all.pop(entry.uuid, None)

    def claim(self, spec: DomainSpec) -> tuple[Entry, bool]:
        """(entry, whether it was there) for a definition; raises DomainExists when its name or uuid is another's."""
        assert spec.uuid is not None
        named = next((entry for entry in self._all.values() if entry.name == spec.name), None)
        if named is not None and named.uuid != spec.uuid:
            raise DomainExists(f"domain {spec.name!r} already exists with uuid {named.uuid}", subject=named.subject)
        known = self._all.get(spec.uuid)
        if known is not None and known.name != spec.name:
            raise DomainExists(f"domain {known.name!r} is already defined with uuid {spec.uuid}", subject=known.subject)
        return (known, True) if known else (self.add(Entry(spec.uuid, spec.name)), False)

    def claim_new(self, spec: DomainSpec) -> Entry:
        """An entry for a transient domain; raises DomainExists when there is one already."""
        entry, known = self.claim(spec)
        if known:
            raise DomainExists(f"domain {spec.name!r} already exists with uuid {entry.uuid}", subject=entry.subject)
        return entry


def _order_id() -> str:
    return f"order-{secrets.token_hex(8)}"
