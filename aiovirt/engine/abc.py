"""What a Host needs of an engine, wherever that engine runs.

Reads come from a fold of the journal that the holder of this door keeps; everything else is a
request that is awaited. Both look the same in this process and across a socket.
"""

from __future__ import annotations

from typing import Protocol, TypeVar
from uuid import UUID

from aiovirt.events.bus import Bus
from aiovirt.model.orders import Request

__all__ = ["Engine"]

R = TypeVar("R")


class Engine(Protocol):
    """``uri`` as it was asked for, ``uuid`` of the host, ``bus`` with its state and its events."""

    @property
    def uri(self) -> str: ...

    @property
    def uuid(self) -> UUID: ...

    @property
    def bus(self) -> Bus: ...

    async def call(self, request: Request[R]) -> R:
        """Does it, or raises an error of :mod:`aiovirt.errors`. Cancelling the call gives the order up."""
        ...
