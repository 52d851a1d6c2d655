"""The test driver: its guests, and the orders that it carries out."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, TypeVar

from aiovirt.drivers.door import Target
from aiovirt.drivers.handlers import Handlers
from aiovirt.drivers.test.guests import Guests, first_domain
from aiovirt.drivers.test.orders import life, monitor
from aiovirt.model.orders import Request
from aiovirt.system.deadlines import Deadline

__all__ = ["HANDLERS", "TestDriver", "first_domain"]

R = TypeVar("R")

HANDLERS = Handlers(life.handles, monitor.handles)


class TestDriver(Guests):
    """See :class:`aiovirt.drivers.door.Driver`."""

    __test__ = False  # not a test case, whatever a collector thinks of the name
    name = "test"

    def can(self, order: type[Request[Any]]) -> str | None:
        """Why not, or None when it can."""
        return HANDLERS.refusal(order)

    def perform(self, order: Request[R], domain: Target, by: Deadline) -> Awaitable[R]:
        """Passes it to the one function for it."""
        return HANDLERS.perform(self, domain, order, by)
