"""How the tasks of a watch share the loop: a bell between them, and turns no longer than others can wait for."""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic
from typing import Final

import anyio

__all__ = ["MESSAGES", "TURN", "Bell", "one_turn"]

MESSAGES: Final = 64
"""Messages taken before others on the loop have their turn."""

TURN: Final = 0.0005
"""Seconds after which they have it in any case. Four tasks of a watch may have a turn in one turn of the loop: 2 ms in all."""


class Bell:
    """Rung as often as one likes, it wakes its one waiter once."""

    def __init__(self) -> None:
        self._event = anyio.Event()

    def ring(self) -> None:
        """Whoever waits, or waits next, goes on."""
        self._event.set()

    async def wait(self) -> None:
        """Until it was rung since the last wait ended."""
        await self._event.wait()
        self._event = anyio.Event()


def one_turn() -> Iterator[None]:
    """As many steps as one turn has: the first in any case."""
    end = monotonic() + TURN
    for _ in range(MESSAGES):
        yield
        if monotonic() > end:
            return
