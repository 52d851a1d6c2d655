"""All events as they come, for a forwarder to many clients: one wake for all of them, and a look at any that memory has."""

from __future__ import annotations

from typing import Final

from aiovirt.events.bus import Bus
from aiovirt.events.filters import make_filter

__all__ = ["Tail"]

_ALL: Final = make_filter((), None)


class Tail:
    """``bus``'s events. One task waits for events; :meth:`after` costs the writer nothing."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._waker = bus.new_waker()
        self._place = bus.index.enter(_ALL)
        self._seen = bus.head

    async def wait(self) -> None:
        """Returns when something was published since it last did, or the bus is closed."""
        bus = self._bus
        if bus.ring.head == self._seen and not bus.closed:
            among = bus.index.park(self._place, self._waker)
            try:
                await self._waker.wait()
            finally:
                bus.index.unpark(among, self._waker)
        self._seen = bus.ring.head

    def after(self, position: int, most: int) -> list[bytes] | None:
        """Up to so many events that follow the one at ``position``, encoded, or None where memory has lost the first of them."""
        head, first = self._bus.head, position + 1
        if first > head:
            return []
        if first < self._bus.ring.first:
            return None
        return self._bus.payloads(first, min(head, position + most))
