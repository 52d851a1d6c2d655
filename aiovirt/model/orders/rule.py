"""What a request is, and what is declared of each one: its rule.

An order is declared once, as a class in a file of its family, with the decorator :func:`order`. From that follow what an
engine checks before it carries the order out, the messages between engine and attached process, and ``docs/drivers.md``.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, ClassVar, Final, Generic, Literal, TypeVar
from uuid import UUID

from msgspec import Struct

from aiovirt.model.fact import Fact
from aiovirt.model.state import DomainState, Lifecycle

__all__ = [
    "ACTIVE",
    "DEFAULT_TIMEOUT",
    "REQUESTS",
    "DefineObject",
    "DomainOrder",
    "ObjectOrder",
    "Procedure",
    "Request",
    "Rule",
    "Turn",
    "order",
]

R_co = TypeVar("R_co", covariant=True)
Q = TypeVar("Q", bound="Request[Any]")

DEFAULT_TIMEOUT: Final = 30.0
ACTIVE: Final = frozenset(state for state in DomainState if state.is_active)
"""The states of a domain that runs."""


class Turn(Enum):
    """What an order waits for. Turns are taken domain by domain."""

    READ = "waits for nothing, and changes nothing"
    CHANGE = "waits for the change before it: one at a time"
    JOB = "takes long: one at a time; what reads, what waits for nothing and what is urgent go on beside it"
    NOW = "waits for nothing"


class Procedure(Struct, frozen=True):
    """The procedure of libvirt's RPC that does the same: ``program`` is that of a protocol file, ``number`` is in it."""

    number: int
    program: str = "remote"


class Rule(Struct, frozen=True, kw_only=True):
    """What holds for one kind of order.

    ``verb`` is how the command line spells it, or Python where that has no such verb. ``permissions`` are libvirt's, as
    ``object:permission``; all are needed. ``states`` are those of the domain in which it is allowed, None where that does not matter; in
    those of ``already`` there is nothing left to do. ``leads_to`` is what is its doing when a driver reports it, and ``done``
    the events of the domain any of which ends it (``reboot`` is a DomainReboot); without them it is done when the driver says
    so. With ``asks_after`` the hypervisor was asked how the domain is before it is done. ``reboots`` is whether the guest's next
    power-off is a reboot from then on, None for an order that changes nothing of that. ``urgent`` orders wait for no job. What is done
    ``by_engine`` is the same whatever the driver, which has no part in it.
    """

    verb: str
    turn: Turn
    permissions: tuple[str, ...]
    procedure: Procedure | None = None
    states: frozenset[DomainState] | None = None
    already: frozenset[DomainState] = frozenset()
    leads_to: frozenset[Fact] = frozenset()
    done: frozenset[Lifecycle | Literal["reboot"]] = frozenset()
    asks_after: bool = False
    reboots: bool | None = None
    urgent: bool = False
    by_engine: bool = False


class Request(Struct, Generic[R_co], frozen=True, kw_only=True, tag=True, omit_defaults=True, forbid_unknown_fields=True):
    """Something asked; ``timeout`` is in seconds."""

    rule: ClassVar[Rule]

    timeout: float = DEFAULT_TIMEOUT


class ObjectOrder(Request[None], frozen=True, kw_only=True, tag=True):
    """An order about one object of some kind."""

    uuid: UUID


class DefineObject(Request[UUID], frozen=True, kw_only=True, tag=True):
    """Keep the definition in ``xml``; answers with its uuid. With ``validate`` nothing in it may be unknown to libvirt."""

    xml: str
    validate: bool = False


class DomainOrder(ObjectOrder, frozen=True, kw_only=True, tag=True):
    """An order about one domain."""


REQUESTS: Final[dict[str, type[Request[Any]]]] = {}
"""Every request there is, by the name of its class."""


def order(rule: Rule) -> Callable[[type[Q]], type[Q]]:
    """Declares a class as a request with this rule."""

    def declare(kind: type[Q]) -> type[Q]:
        if kind.__name__ in REQUESTS:
            raise ValueError(f"there is a request {kind.__name__} already")
        kind.rule = rule
        REQUESTS[kind.__name__] = kind
        return kind

    return declare
