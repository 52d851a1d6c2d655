"""The domains that an engine answers for: what is known of each beyond its published state. No I/O here."""

from __future__ import annotations

from uuid import UUID

import anyio
from msgspec.structs import replace

from aiovirt.drivers.door import Save
from aiovirt.engine.domains import DOMAIN
from aiovirt.engine.objects import Doing, ObjectEntry, order_id
from aiovirt.model.fact import Fact
from aiovirt.model.lifecycle import caused_by
from aiovirt.model.orders import Destroy
from aiovirt.model.policy import FollowUp
from aiovirt.model.record import RunRecord
from aiovirt.model.spec import DomainSpec

__all__ = ["Entry", "Following"]


class Following:
    """What a definition says is done now, and what it is the ``cause`` of; ``scope`` ends it."""

    def __init__(self, what: FollowUp, cause: str) -> None:
        self.what = what
        self.cause = cause
        self.scope = anyio.CancelScope()


class Entry(ObjectEntry[DomainSpec]):
    """One domain. ``live`` is what it runs with, ``run`` its record; ``keep`` puts that on disk, and is None where nothing is kept."""

    def __init__(self, uuid: UUID, name: str, *, config: DomainSpec | None = None, keep: Save | None = None) -> None:
        super().__init__(DOMAIN, uuid, name, config)
        self._keep = keep
        self.live: DomainSpec | None = None
        self.live_xml: str | None = None  # the XML that it runs with, where this version cannot read all of it
        self.run: RunRecord | None = None
        self.id: int | None = None
        self.is_absent = False  # what is learned of it happened while no engine was there
        self.is_held = False  # it was left running, and its process was found alive
        self.reboot: str | None = None  # the order by which its next power-off is a reboot
        self._ending: tuple[Destroy, str] | None = None
        self.following: Following | None = None  # what its definition says is done now

    @property
    def doing(self) -> Doing | None:
        """What is being carried out; destroy before all others, a change before a job."""
        return self._ending or self._pending or self._long

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
