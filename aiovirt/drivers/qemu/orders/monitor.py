"""What is asked of a QEMU in its own words."""

from __future__ import annotations

import msgspec

from aiovirt.drivers.door import Target
from aiovirt.drivers.handlers import Handlers
from aiovirt.drivers.qemu.guests import Guests
from aiovirt.drivers.qemu.machine import CHANGED_BY_COMMANDS
from aiovirt.errors import InvalidArgument
from aiovirt.model.orders import AskLog, AskQMP
from aiovirt.system.deadlines import Deadline

__all__ = ["handles", "log", "qmp"]

handles = Handlers[Guests]()


@handles(AskQMP)
async def qmp(guests: Guests, domain: Target, order: AskQMP, by: Deadline) -> bytes:
    """Any command; the answer is its ``return`` as JSON."""
    guest = guests.guest(domain.uuid)
    monitor = guest.ready_monitor or await (await guests.reached(domain.uuid, by)).usable_monitor(by)
    answer = await monitor.execute(order.command, _plain(order.arguments), returns=msgspec.Raw, by=by)
    if order.command in CHANGED_BY_COMMANDS:
        guest.look_again()
    return bytes(answer)


@handles(AskLog)
async def log(guests: Guests, domain: Target, _: AskLog, by: Deadline) -> str:
    """The end of its log, and of the one before where that is short. A file is read, however long that takes."""
    del by
    return await guests.log(domain.name)


def _plain(arguments: bytes) -> dict[str, object] | None:
    """What QEMU can read of any JSON object: no member twice. None for one with no members. Raises InvalidArgument for what is none."""
    if arguments == b"{}":
        return None
    try:
        return msgspec.json.decode(arguments, type=dict[str, object])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InvalidArgument(f"the arguments are no JSON object that QEMU reads: {error}") from error
