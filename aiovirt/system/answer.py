"""What a program says when it is run for its answer alone."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence

from aiovirt.system.again import is_passing

__all__ = ["answer_of"]


def answer_of(command: Sequence[str], *, timeout: float) -> bytes:
    """Its standard output, empty where it cannot be run or takes longer than ``timeout`` seconds. Blocks: call it in a thread.

    Raises OSError where there is too little of something to run it just now: that says nothing of the program.

    It runs in a session of its own: what it has started itself, as scripts do, is ended with it then.
    """
    try:
        with subprocess.Popen(  # noqa: S603 - an argv list, no shell; in a thread
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
        ) as asked:
            try:
                return asked.communicate(timeout=timeout)[0]
            except BaseException:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(asked.pid, signal.SIGKILL)
                raise
    except (OSError, subprocess.SubprocessError) as error:
        if is_passing(error) or isinstance(error, BlockingIOError):  # the latter: fork(2) has no process for this user
            raise
        return b""
