"""The door to a hypervisor whose guests belong to somebody else (another host's daemon, a cluster, a cloud).

Nothing of such a guest is kept here: the remote is asked how it is, and what differs from what was known becomes events.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from enum import Enum, auto
from typing import Any, Literal, Protocol, TypeVar
from uuid import UUID

from msgspec import Struct

from aiovirt.model.machine import Machine
from aiovirt.model.orders import Request
from aiovirt.model.state import DomainState, Reason
from aiovirt.system.deadlines import Deadline

__all__ = ["EVERYTHING", "Change", "DomainReading", "Everything", "Remote"]

R = TypeVar("R")


class Everything(Enum):
    """Any domain may be another one now, and there may be others."""

    EVERYTHING = auto()


EVERYTHING: Literal[Everything.EVERYTHING] = Everything.EVERYTHING
Change = UUID | Everything


class DomainReading(Struct, frozen=True, kw_only=True):
    """How a domain is. ``id`` is another one for each of its runs, and None while it is not active."""

    uuid: UUID
    name: str
    state: DomainState
    reason: Reason = Reason.UNKNOWN
    id: int | None = None
    persistent: bool = True
    machine: Machine | None = None


class Remote(Protocol):
    """A connection to it. Every method raises errors of :mod:`aiovirt.errors` only."""

    name: str

    async def domains(self) -> Mapping[UUID, DomainReading]:
        """All domains, as they were at one moment between the call and its return."""
        ...

    async def domain(self, uuid: UUID) -> DomainReading | None:
        """The same of one; None where there is none."""
        ...

    def changes(self) -> AsyncIterator[Change]:
        """What may have changed: a domain, or :data:`EVERYTHING`, which is what a driver that polls says.

        The first is EVERYTHING, said once nothing that changes from then on is missed. The end, or an error, is that of the connection.
        Too many changes are harmless; one that is missing is an event that nobody sees.
        """
        ...

    def can(self, order: type[Request[Any]]) -> str | None:
        """Why orders of this kind cannot be carried out there, or None when they can."""
        ...

    async def perform(self, order: Request[R], by: Deadline) -> R:
        """Carries out one that it can. Raises OrderTimeout with whether it was sent, OperationInvalid, NoSuchDomain, ConnectionLost."""
        ...
