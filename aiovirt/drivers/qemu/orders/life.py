"""How a QEMU guest begins, stops, goes on and ends."""

from __future__ import annotations

from uuid import UUID

from aiovirt.drivers.door import Target
from aiovirt.drivers.handlers import Handlers
from aiovirt.drivers.qemu import commands
from aiovirt.drivers.qemu.guests import Guests
from aiovirt.model.orders import Create, Destroy, Reboot, Reset, Resume, Shutdown, Start, Suspend
from aiovirt.system.deadlines import Deadline

__all__ = ["create", "destroy", "handles", "reboot", "reset", "resume", "shutdown", "start", "suspend"]

handles = Handlers[Guests]()


@handles(Start)
async def start(guests: Guests, domain: Target, order: Start, by: Deadline) -> None:
    """A process of its own, and ``cont`` once it can be spoken to."""
    await guests.start(domain, paused=order.paused, by=by)


@handles(Create)
async def create(guests: Guests, domain: Target, order: Create, by: Deadline) -> UUID:
    """The same."""
    await guests.start(domain, paused=order.paused, by=by)
    return domain.uuid


@handles(Suspend)
async def suspend(guests: Guests, domain: Target, _: Suspend, by: Deadline) -> None:
    """QMP ``stop``."""
    await guests.execute(domain.uuid, commands.stop, by)


@handles(Resume)
async def resume(guests: Guests, domain: Target, _: Resume, by: Deadline) -> None:
    """QMP ``cont``."""
    await guests.execute(domain.uuid, commands.cont, by)


@handles(Shutdown)
async def shutdown(guests: Guests, domain: Target, _: Shutdown, by: Deadline) -> None:
    """QMP ``system_powerdown``: the ACPI power button."""
    await guests.execute(domain.uuid, commands.system_powerdown, by)


@handles(Reboot)
async def reboot(guests: Guests, domain: Target, _: Reboot, by: Deadline) -> None:
    """QMP ``system_powerdown``, too; what follows once the guest has powered off, the engine orders."""
    await guests.execute(domain.uuid, commands.system_powerdown, by)


@handles(Reset)
async def reset(guests: Guests, domain: Target, _: Reset, by: Deadline) -> None:
    """QMP ``system_reset``."""
    await guests.execute(domain.uuid, commands.system_reset, by)


@handles(Destroy)
async def destroy(guests: Guests, domain: Target, order: Destroy, by: Deadline) -> None:
    """The end of its process, politely first; it needs no monitor."""
    await guests.destroy(domain.uuid, by, graceful=order.graceful)
