"""``--timeout``: counted from the start of the command, over all that it does."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anyio import CancelScope

__all__ = ["Deadline"]


class Deadline:
    """``seconds`` from now; None for never."""

    def __init__(self, seconds: float | None) -> None:
        self.seconds = math.inf if seconds is None else seconds
        self._until = time.monotonic() + self.seconds
        self._scope: CancelScope | None = None

    @property
    def left(self) -> float:
        """Seconds, 0 when it has passed."""
        return max(self._until - time.monotonic(), 0.0)

    def scope(self) -> CancelScope:
        """A scope that ends then; to be entered at once."""
        import anyio

        self._scope = anyio.CancelScope(deadline=anyio.current_time() + self.left)
        return self._scope

    def hand_over(self) -> float | None:
        """The seconds left for who keeps the deadline itself from here, as an order does; None for ever."""
        if self._scope is not None:
            self._scope.deadline = math.inf
        return None if self.seconds == math.inf else max(self.left, 0.001)
