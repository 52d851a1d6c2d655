"""A network namespace of one's own, with a sysfs that shows it: by unshare(1) and mount(8), no root needed.

Where user namespaces are refused to those who are not root, there is none to be had. Everything here
blocks, and is for before a loop runs.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence

__all__ = ["furnish", "run_inside", "why_refused"]


def why_refused() -> str | None:
    """None where namespaces can be had here, else the system's words. Blocks for a moment."""
    try:
        tried = subprocess.run([*_unshare(), "true"], capture_output=True, text=True, check=False)  # noqa: S603, TID251 - no loop runs
    except OSError as error:
        return f"unshare: {error.strerror}"
    return tried.stderr.strip() or "refused" if tried.returncode else None


def run_inside(command: Sequence[str]) -> int:
    """Runs ``command`` in namespaces of its own; returns its exit status. Blocks until it has ended."""
    return subprocess.run([*_unshare(), *command], check=False).returncode  # noqa: S603, TID251 - as above


def furnish() -> None:
    """Inside: puts a sysfs of this namespace on /sys. Raises OSError, CalledProcessError."""
    subprocess.run(["mount", "-t", "sysfs", "sysfs", "/sys"], check=True)  # noqa: S607, TID251 - as above; found as any command is


def _unshare() -> list[str]:
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return ["unshare", *user, "--net", "--mount", "--"]
