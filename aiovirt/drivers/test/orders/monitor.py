"""A guest in memory has no hypervisor that could be spoken to."""

from __future__ import annotations

import anyio.lowlevel

from aiovirt.drivers.door import Target
from aiovirt.drivers.handlers import Handlers
from aiovirt.drivers.test.guests import Guests
from aiovirt.model.orders import AskLog, AskQMP
from aiovirt.system.deadlines import Deadline

__all__ = ["handles", "log"]

handles = Handlers[Guests]()
handles.without("a domain of test:///default has no QMP monitor", AskQMP)


@handles(AskLog)
async def log(guests: Guests, domain: Target, _: AskLog, by: Deadline) -> str:
    """Nothing is ever said."""
    del guests, domain, by
    await anyio.lowlevel.checkpoint()
    return ""
