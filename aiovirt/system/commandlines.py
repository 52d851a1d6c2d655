"""What is on the command lines of this machine's processes (proc(5), cmdline): a hint for people, and never a proof.

All blocks: for threads, or where no loop runs.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

__all__ = ["count_by_words"]


def count_by_words(name: str, part: str) -> int:
    """How many processes of programs whose name begins so have ``part`` in their command line. Blocks: for threads."""
    found = 0
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (folder / "cmdline").read_bytes()
            found += os.path.basename(words.partition(b"\0")[0]).startswith(os.fsencode(name)) and os.fsencode(part) in words
    return found
