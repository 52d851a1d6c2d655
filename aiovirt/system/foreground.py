"""A program that has the terminal for itself while we wait: an editor."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Sequence
from functools import partial

import anyio

from aiovirt.errors import SystemFailure
from aiovirt.system import to_thread

__all__ = ["run_in_foreground"]


async def run_in_foreground(command: Sequence[str]) -> int:
    r"""Runs it with our standard streams; returns its exit status, negative for a signal. Raises SystemFailure where it cannot be run.

    ^C and ^\\ at the terminal are meant for it: they do not end us, as with system(3). Cancelled, it ends the program (SIGTERM).
    """
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGQUIT):
        try:
            process = await to_thread.run_sync(partial(subprocess.Popen[bytes], command))
        except (OSError, ValueError) as error:
            raise SystemFailure(f"cannot run {command[0]!r}: {getattr(error, 'strerror', None) or error}") from error
        try:
            return await to_thread.run_sync(process.wait, abandon_on_cancel=True)
        except BaseException:
            process.terminate()  # it is not left with a terminal that is somebody else's again
            raise
