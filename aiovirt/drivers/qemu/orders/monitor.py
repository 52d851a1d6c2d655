"""What is asked of a QEMU in its own words."""

from __future__ import annotations

from aiovirt.drivers.door import Target
from aiovirt.drivers.handlers import Handlers
from aiovirt.drivers.qemu.guests import Guests
from aiovirt.model.orders import AskLog, AskQMP
from aiovirt.system.deadlines import Deadline

__all__ = ["handles", "log", "qmp"]

handles = Handlers[Guests]()


@handles(AskQMP)
async def qmp(guests: Guests, domain: Target, order: AskQMP, by: Deadline) -> bytes:
    """Any command; the answer is its ``return`` as JSON."""
    return await guests.qmp(domain.uuid, order.command, order.arguments, by)


@handles(AskLog)
async def log(guests: Guests, domain: Target, _: AskLog, by: Deadline) -> str:
    """The end of its log, and of the one before where that is short. A file is read, however long that takes."""
    del by
    return await guests.log(domain.name)
