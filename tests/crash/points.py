"""How many points of failure a run looks at."""

from __future__ import annotations

import os


def points(usual: int) -> int:
    """AIOVIRT_CRASH_POINTS if that says more; else ``usual``."""
    return max(usual, int(os.environ.get("AIOVIRT_CRASH_POINTS", "0")))
