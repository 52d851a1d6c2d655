"""What a program says when it is run for its answer alone."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

__all__ = ["answer_of"]


def answer_of(command: Sequence[str], *, timeout: float) -> bytes:
    """Its standard output, empty where it cannot be run or takes longer than ``timeout`` seconds. Blocks: call it in a thread."""
    try:
        done = subprocess.run(  # noqa: S603, TID251 - an argv list, no shell; in a thread
            command, check=False, capture_output=True, stdin=subprocess.DEVNULL, timeout=timeout
        )
    except (OSError, subprocess.SubprocessError):
        return b""
    return done.stdout
