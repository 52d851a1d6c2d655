"""Catches what blocks an event loop's thread: the calls of our own code that Python audits.

A call counts when a loop (asyncio, uvloop, trio) runs in the calling thread, and the nearest frame
that is ours is in ``aiovirt/`` outside ``aiovirt/testing/``. What the import system reads does not
count, nor what tests do themselves. ``os.stat``, ``os.readlink`` and reads of a file that is
already open are not audited by Python, and so are not seen here.
"""

from __future__ import annotations

import asyncio
import fnmatch
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, SupportsIndex

import trio

import aiovirt

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

__all__ = ["BlockingCalls", "watch_blocking_calls"]

OURS = f"{Path(aiovirt.__file__).parent}/"
DOORS = f"{OURS}testing/"
TESTS = f"{Path(__file__).parent}/"

# The names are Python's: https://docs.python.org/3/library/audit_events.html
BLOCKING = (
    "fcntl.flock",
    "fcntl.lockf",
    "glob.glob*",
    "open",
    "os.chmod",
    "os.chown",
    "os.exec",
    "os.fork*",
    "os.link",
    "os.listdir",
    "os.lockf",
    "os.mkdir",
    "os.posix_spawn",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.scandir",
    "os.spawn",
    "os.symlink",
    "os.system",
    "os.truncate",
    "os.utime",
    "os.*xattr",
    "pathlib.Path.*glob",
    "shutil.*",
    "socket.connect",
    "socket.getaddrinfo",
    "socket.gethostby*",
    "socket.getnameinfo",
    "sqlite3.connect",
    "subprocess.Popen",
    "tempfile.*",
    "time.sleep",
)


class BlockingCalls:
    """The blocking calls seen since the last :meth:`take`."""

    def __init__(self) -> None:
        self.armed = True
        self._seen: list[str] = []
        self._blocking: dict[str, bool] = {}

    def take(self) -> list[str]:
        """Each call, with where it was made; the list is empty afterwards."""
        seen, self._seen = self._seen, []
        return seen

    def hook(self, event: str, args: tuple[object, ...]) -> None:
        """What ``sys.addaudithook`` takes."""
        if not self.armed or not self._is_blocking(event) or _returns_at_once(event, args) or not _on_a_loop():
            return
        frame = _culprit(sys._getframe(1))
        if frame is not None:
            self._seen.append(f"{event}{args!r} in {frame.f_code.co_qualname} ({frame.f_code.co_filename}:{frame.f_lineno})")

    def _is_blocking(self, event: str) -> bool:
        known = self._blocking.get(event)
        if known is None:
            known = self._blocking[event] = any(fnmatch.fnmatchcase(event, pattern) for pattern in BLOCKING)
        return known


@contextmanager
def watch_blocking_calls() -> Iterator[BlockingCalls]:
    """Watches this whole process. Python never lets go of a hook; after the block it does nothing any more."""
    calls = BlockingCalls()
    sys.addaudithook(calls.hook)
    try:
        with _audited_sleep():
            yield calls
    finally:
        calls.armed = False


@contextmanager
def _audited_sleep() -> Iterator[None]:
    """``time.sleep`` raises its audit event from Python 3.13 on; before, this does."""
    sleep = time.sleep

    def audited(seconds: float | SupportsIndex) -> None:
        sys.audit("time.sleep", seconds)
        sleep(seconds)

    if sys.version_info < (3, 13):
        time.sleep = audited
    try:
        yield
    finally:
        time.sleep = sleep


def _returns_at_once(event: str, args: tuple[object, ...]) -> bool:
    """Whether this very call cannot block: a descriptor that is open already, a socket that does not wait."""
    if event == "open":
        return isinstance(args[0], int)
    return event == "socket.connect" and args[0].gettimeout() == 0  # type: ignore[attr-defined]


def _on_a_loop() -> bool:
    return asyncio._get_running_loop() is not None or trio.lowlevel.in_trio_run()


def _culprit(frame: FrameType | None) -> FrameType | None:
    """The nearest frame that is ours, or None where the import system, the test kit or a test comes first."""
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(("<frozen importlib", DOORS, TESTS)) and name != __file__:
            return None
        if name.startswith(OURS):
            return frame
        frame = frame.f_back
    return None
