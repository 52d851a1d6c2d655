"""What stands before every order: its permission, whether the driver can, the domain's state, and its turn.

Nothing is sent before all of that holds. What holds for an order is declared with it (:mod:`aiovirt.model.orders.rule`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol, TypeVar
from uuid import UUID

from aiovirt.drivers.door import Driver
from aiovirt.engine.entries import Entry
from aiovirt.engine.records import Records
from aiovirt.errors import AccessDenied, Error, OperationInvalid, OrderTimeout, Unsupported
from aiovirt.events.feed import Events
from aiovirt.events.types import DomainEvent, DomainLifecycle, DomainReboot, Event
from aiovirt.model.caller import Caller
from aiovirt.model.orders import REQUESTS, AskAbility, Destroy, Request
from aiovirt.model.orders.rule import Rule, Turn
from aiovirt.model.state import DomainState, Lifecycle
from aiovirt.system.deadlines import Deadline
from aiovirt.system.log import get_logger

__all__ = ["Able", "Admission", "ability", "check_ability", "check_permissions"]

R = TypeVar("R")
CLOSING_TIMEOUT: Final = 10.0
_READ: Final = Turn.READ
_NOW: Final = Turn.NOW
log = get_logger("engine")


class Able(Protocol):
    """Who carries orders out: a driver of our own, or a remote's."""

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    def can(self, order: type[Request[Any]], /) -> str | None:
        """Why it cannot carry out orders of this kind, or None when it can."""
        ...


def check_permissions(kind: type[Request[Any]], caller: Caller) -> None:
    """Raises AccessDenied where ``caller`` may not give such an order."""
    if caller.permissions is not None and (lacking := caller.lacks(kind.rule.permissions)) is not None:
        raise AccessDenied(f"{kind.rule.verb} needs the permission {lacking}")


def check_ability(kind: type[Request[Any]], driver: Able) -> None:
    """Raises Unsupported where ``driver`` cannot carry such an order out."""
    if (why := driver.can(kind)) is not None:
        message = f"the {driver.name} driver cannot {kind.rule.verb}: {why}"
        raise Unsupported(message, order=kind.__name__, driver=driver.name, reason=why)


def ability(name: str, driver: Able, *, by_engine: bool) -> str | None:
    """Why orders of the class ``name`` cannot be carried out, or None; ``by_engine`` is whether the engine does some itself."""
    kind = REQUESTS.get(name)
    if kind is None:
        return "this engine does not know it"
    return None if by_engine and kind.rule.by_engine else driver.can(kind)


class Admission:
    """Of orders about the domains in ``records``, which ``driver`` carries out."""

    def __init__(self, records: Records, driver: Driver) -> None:
        self._records = records
        self._driver = driver
        self._events = Events(records.bus)

    def check(self, kind: type[Request[Any]], caller: Caller) -> None:
        """Raises AccessDenied where ``caller`` may not give such an order, Unsupported where the driver cannot carry it out."""
        check_permissions(kind, caller)
        if not kind.rule.by_engine:
            check_ability(kind, self._driver)

    async def ability(self, question: AskAbility, _: Deadline) -> str | None:
        """Why orders of a class cannot be carried out, or None."""
        return ability(question.order, self._driver, by_engine=True)

    def perform(self, order: Any, by: Deadline) -> Awaitable[Any]:  # noqa: ANN401 - any order about one domain, and its own answer
        """What carries out an order about one domain, once it is its turn: to be awaited.

        Raises NoSuchDomain, OperationInvalid where the domain is not in a state for it, OrderTimeout, and what the driver raises.
        """
        entry = self._records.entries.get(order.uuid)
        rule: Rule = order.rule
        if rule.turn is not _READ and rule.turn is not _NOW:
            return self._in_turn(entry, order, by)
        if rule.states is not None and (state := self._records.state_of(entry.uuid)) not in rule.states:
            raise OperationInvalid(_why_not(state, rule.states), subject=entry.subject)
        return self._end(entry, order, by) if type(order) is Destroy else self._driver.perform(order, entry, by)

    async def _in_turn(self, entry: Entry, order: Any, by: Deadline) -> Any:  # noqa: ANN401 - its own answer
        rule: Rule = order.rule
        self._check_active(entry, rule)
        async with entry.turn(order, by):
            await self._settle(entry, rule, by)
            if self._records.state_of(entry.uuid) in rule.already:
                return None
            if rule.reboots is None:
                return await self.carry_out(entry, order, by)
            async with self._rebooting(entry, reboots=rule.reboots):
                return await self.carry_out(entry, order, by)

    @asynccontextmanager
    async def _rebooting(self, entry: Entry, *, reboots: bool) -> AsyncIterator[None]:
        """Its next power-off is a reboot from here on, or is none; as it was before where the block's order was not carried out."""
        before = entry.reboot
        await entry.will_reboot(entry.cause if reboots else None)
        try:
            yield
        except Error as error:
            if not getattr(error, "sent", False) and self._records.state_of(entry.uuid).is_active:
                await entry.will_reboot(before)
            raise

    @asynccontextmanager
    async def turn(self, entry: Entry, order: Request[Any], by: Deadline) -> AsyncIterator[None]:
        """Its turn: no order is under way whose outcome is not known, and the domain is in a state for this one."""
        async with entry.turn(order, by):
            await self._settle(entry, order.rule, by)
            yield

    async def _settle(self, entry: Entry, rule: Rule, by: Deadline) -> None:
        if self._records.state_of(entry.uuid).is_active:
            await self._driver.settle(entry.uuid, by)
        self._records.entries.check(entry)
        self._check_state(entry, rule)

    async def carry_out(self, entry: Entry, order: Request[R], by: Deadline) -> R:
        """Gives the order to the driver and waits for the event by which it is done, from where the journal stood before.

        Raises OperationInvalid when the domain ended instead, OrderTimeout(sent=True) when it is not seen in time.
        """
        rule = order.rule
        if not rule.done:
            return await self._driver.perform(order, entry, by)
        before = self._records.bus.ring.head
        answer = await self._driver.perform(order, entry, by)
        if not any(_ends(event, entry, rule) for event in self._since(before)):
            await self._await_end(entry, rule, before, by)
        if rule.asks_after:
            await self._ask_after(entry, order, by)
        return answer

    def _since(self, position: int) -> list[Event]:
        """What came behind it, as far as memory has it. Most often that is enough: QEMU says what it did before it answers."""
        bus = self._records.bus
        head, first = bus.head, position + 1
        return bus.ring.span(first, head) if bus.ring.first <= first <= head else []

    async def _await_end(self, entry: Entry, rule: Rule, position: int, by: Deadline) -> None:
        with by.scope():
            async with self._events.subscribe(DomainEvent, subject=entry.subject, after=self._records.bus.chain.cursor(position)) as events:
                while not _ends(await events.receive(), entry, rule):
                    pass
            return
        raise OrderTimeout("its outcome was not seen in time", sent=True, subject=entry.subject)

    async def _ask_after(self, entry: Entry, order: Request[Any], by: Deadline) -> None:
        try:
            await self._driver.settle(entry.uuid, by)
        except OrderTimeout as late:
            why = f"{order.rule.verb} was done; how the domain is now was not seen in time"
            raise OrderTimeout(why, sent=True, subject=entry.subject) from late

    async def _end(self, entry: Entry, order: Destroy, by: Deadline) -> None:
        entry.ending_by(order)
        try:
            await self.carry_out(entry, order, by)
        except OperationInvalid:
            entry.ended()  # there was nothing to end: what comes next is not this order's doing
            raise

    async def destroy_owned(self, uuid: UUID) -> None:
        """Ends a guest that lives for its connection alone; one that has ended, or cannot, keeps nobody."""
        try:
            await self.perform(Destroy(uuid=uuid), Deadline.after(CLOSING_TIMEOUT))
        except Error as error:
            log.info("a guest was not ended", domain=str(uuid), error=str(error))

    def _check_active(self, entry: Entry, rule: Rule) -> None:
        """What is only for running domains does not wait for its turn with one that does not run."""
        if rule.states is not None and DomainState.SHUTOFF not in rule.states:
            state = self._records.state_of(entry.uuid)
            if not state.is_active:
                raise OperationInvalid("the domain is not running", subject=entry.subject)

    def _check_state(self, entry: Entry, rule: Rule) -> None:
        if rule.states is not None and (state := self._records.state_of(entry.uuid)) not in rule.states:
            raise OperationInvalid(_why_not(state, rule.states), subject=entry.subject)


def _ends(event: Event, entry: Entry, rule: Rule) -> bool:
    """Whether it is that by which an order about ``entry`` is done; raises OperationInvalid where the domain has ended instead."""
    if not isinstance(event, DomainLifecycle | DomainReboot) or event.uuid != entry.uuid:
        return False
    happened = event.kind if isinstance(event, DomainLifecycle) else "reboot"
    if happened in rule.done:
        return True
    if happened is Lifecycle.STOPPED:
        raise OperationInvalid("the domain ended first", subject=entry.subject)
    return False


_RUNNING: Final = frozenset({DomainState.RUNNING})


def _why_not(state: DomainState, allowed: frozenset[DomainState]) -> str:
    if not state.is_active or allowed == _RUNNING:
        return "the domain is not running"
    if state is DomainState.RUNNING or DomainState.SHUTOFF in allowed:
        return "the domain is already running"
    return f"the domain is {state}"
