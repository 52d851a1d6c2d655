"""What is on the command lines of this machine's processes (proc(5), cmdline). All blocks: for threads, or where no loop runs."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

__all__ = ["count_by_words", "has_word"]


def has_word(pid: int, part: str) -> bool:
    """Whether ``part`` is in the command line of this process. Blocks: for threads."""
    try:
        return os.fsencode(part) in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def count_by_words(name: str, part: str) -> int:
    """How many processes of programs whose name begins so have ``part`` in their command line. Blocks: for threads."""
    found = 0
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (folder / "cmdline").read_bytes()
            found += os.path.basename(words.partition(b"\0")[0]).startswith(os.fsencode(name)) and os.fsencode(part) in words
    return found
