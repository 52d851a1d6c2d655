"""How a guest in memory begins, stops, goes on and ends: each order takes one turn of the loop."""

from __future__ import annotations

from uuid import UUID

import anyio.lowlevel

from aiovirt.drivers.door import Target
from aiovirt.drivers.handlers import Handlers
from aiovirt.drivers.test.guests import Guests
from aiovirt.model.fact import Fact
from aiovirt.model.orders import Create, Destroy, Reboot, Reset, Resume, Shutdown, Start, Suspend
from aiovirt.model.spec import Action
from aiovirt.system.deadlines import Deadline

__all__ = ["create", "destroy", "handles", "reboot", "reset", "resume", "shutdown", "start", "suspend"]

handles = Handlers[Guests]()


@handles(Start)
async def start(guests: Guests, domain: Target, order: Start, by: Deadline) -> None:
    """LAUNCHED where it is to stay paused, else RESUMED."""
    await guests.start(domain, paused=order.paused, by=by)


@handles(Create)
async def create(guests: Guests, domain: Target, order: Create, by: Deadline) -> UUID:
    """The same."""
    await guests.start(domain, paused=order.paused, by=by)
    return domain.uuid


@handles(Suspend)
async def suspend(guests: Guests, domain: Target, _: Suspend, by: Deadline) -> None:
    """PAUSED."""
    await guests.answer(domain.uuid, by)
    guests.report(domain.uuid, Fact.PAUSED)


@handles(Resume)
async def resume(guests: Guests, domain: Target, _: Resume, by: Deadline) -> None:
    """RESUMED."""
    await guests.answer(domain.uuid, by)
    guests.report(domain.uuid, Fact.RESUMED)


@handles(Shutdown)
async def shutdown(guests: Guests, domain: Target, _: Shutdown, by: Deadline) -> None:
    """The guest obeys at once: it powers off, and what its definition says follows."""
    await guests.answer(domain.uuid, by)
    guests.report(domain.uuid, Fact.GUEST_POWEROFF, by_guest=True)


@handles(Reboot)
async def reboot(guests: Guests, domain: Target, _: Reboot, by: Deadline) -> None:
    """The guest obeys at once: it powers off, and what its definition says of reboots follows."""
    await guests.answer(domain.uuid, by)
    guests.report(domain.uuid, Fact.GUEST_POWEROFF, by_guest=True)


@handles(Reset)
async def reset(guests: Guests, domain: Target, _: Reset, by: Deadline) -> None:
    """RESET, or as QEMU does it a power-off that was meant as a reboot, where the definition allows none."""
    await guests.answer(domain.uuid, by)
    if domain.live is not None and domain.live.on_reboot is Action.DESTROY:
        guests.report(domain.uuid, Fact.HOST_POWEROFF, rebooting=True)
    else:
        guests.report(domain.uuid, Fact.RESET)


@handles(Destroy)
async def destroy(guests: Guests, domain: Target, _: Destroy, by: Deadline) -> None:
    """EXITED; it needs no monitor."""
    del by
    running = domain.live
    await anyio.lowlevel.checkpoint()
    if domain.live is running:  # else it has ended meanwhile
        guests.end(domain.uuid)
