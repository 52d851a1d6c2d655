"""The orders of a driver: one function for each that it can carry out, and why it cannot carry out each other one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

from aiovirt.drivers.door import Target
from aiovirt.model.orders import Request
from aiovirt.system.deadlines import Deadline

__all__ = ["Handlers"]

G = TypeVar("G")
R = TypeVar("R")
Function = Callable[[G, Target, Any, Deadline], Awaitable[R]]


class Handlers(Generic[G]):
    """A table of orders, with those of its ``families``, each order in one of them; ``G`` is what its functions work with.

    handles = Handlers[Guests]()


    @handles(Suspend)
    async def suspend(guests: Guests, domain: Target, order: Suspend, by: Deadline) -> None: ...


    handles.without("xl has no such command", InjectNMI)
    """

    def __init__(self, *families: Handlers[G]) -> None:
        self.functions: dict[type[Request[Any]], Function[G, Any]] = {}
        self.refusals: dict[type[Request[Any]], str] = {}
        for family in families:
            for kind in (*family.functions, *family.refusals):
                self._check(kind)
            self.functions |= family.functions
            self.refusals |= family.refusals

    def __call__(self, kind: type[Request[R]]) -> Callable[[Function[G, R]], Function[G, R]]:
        """The decorated function carries out orders of this kind; raises ValueError where the table has this order already."""

        def register(function: Function[G, R]) -> Function[G, R]:
            self._check(kind)
            self.functions[kind] = function
            return function

        return register

    def without(self, why: str, *kinds: type[Request[Any]]) -> None:
        """These it cannot carry out, and why; raises ValueError where the table has one of them already."""
        for kind in kinds:
            self._check(kind)
            self.refusals[kind] = why

    def _check(self, kind: type[Request[Any]]) -> None:
        if kind in self.functions or kind in self.refusals:
            raise ValueError(f"the table has {kind.__name__} already")

    def refusal(self, order: type[Request[Any]]) -> str | None:
        """Why orders of this kind cannot be carried out, or None when they can."""
        if order in self.functions:
            return None
        return self.refusals.get(order, "this driver does not know it")

    def __contains__(self, kind: type[Request[Any]]) -> bool:
        """Whether it says anything about this order."""
        return kind in self.functions or kind in self.refusals

    def perform(self, guests: G, domain: Target, order: Request[R], by: Deadline) -> Awaitable[R]:
        """What carries it out, to be awaited; only for one that is not refused."""
        return self.functions[type(order)](guests, domain, order, by)
