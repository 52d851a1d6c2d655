"""The QEMU driver: its guests, and the orders that it carries out."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

from aiovirt.drivers.door import Target
from aiovirt.drivers.handlers import Handlers
from aiovirt.drivers.qemu.guests import Guests
from aiovirt.drivers.qemu.orders import life, monitor
from aiovirt.model.orders import Request
from aiovirt.system.deadlines import Deadline

__all__ = ["HANDLERS", "QemuDriver"]

R = TypeVar("R")

HANDLERS = Handlers(life.handles, monitor.handles)


class QemuDriver(Guests):
    """See :class:`aiovirt.drivers.door.Driver`."""

    name = "qemu"

    can = HANDLERS.refusal

    def perform(self, order: Request[R], domain: Target, by: Deadline) -> Awaitable[R]:
        """Passes it to the one function for it."""
        return HANDLERS.functions[type(order)](self, domain, order, by)
