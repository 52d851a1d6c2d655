"""Descriptors that are kept for when there are no others, and what is refused before there are none.

A process has so many (RLIMIT_NOFILE) and no more, whatever it needs them for. Those kept here are closed for as long as it
takes to write what must be written.
"""

from __future__ import annotations

import errno
import os
import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVarTuple

from aiovirt.errors import SystemFailure
from aiovirt.system.log import get_logger

__all__ = ["RESERVE", "Reserve"]

KEPT: Final = 8
"""Descriptors in reserve."""
LENT: Final = 4
"""Of those, closed at once."""
NEEDED: Final = 8
"""Descriptors that a start needs at most, for a while or for good: fewer than so many beside the reserve are too few."""
Ts = TypeVarTuple("Ts")
log = get_logger("engine")


class Reserve:
    """That of a process. It is kept for as long as somebody is in a block of :meth:`kept`."""

    def __init__(self) -> None:
        self._held: list[int] = []
        self._users = 0
        self._is_short = False

    @contextmanager
    def kept(self) -> Iterator[None]:
        """For an engine's life."""
        self._users += 1
        if not self._fill():
            self._tell(is_short=True)
        try:
            yield
        finally:
            self._users -= 1
            if not self._users:
                self._give_up(len(self._held))

    def check(self, what: str) -> None:
        """Raises SystemFailure when there are too few descriptors for ``what``; says so when that begins and ends.

        Outside of all blocks nothing is needed, and nothing refused.
        """
        short = self._users > 0 and not (self._fill() and _are_free(NEEDED))
        self._tell(is_short=short)
        if short:
            raise SystemFailure(f"{what}: too many open files: this process may have {_limit()} (RLIMIT_NOFILE)")

    def run(self, work: Callable[[*Ts], None], *arguments: *Ts) -> None:
        """Does what must be done, and once more with some of the reserve where there was no descriptor for it. Blocks: for threads."""
        try:
            work(*arguments)
        except OSError as error:
            if error.errno != errno.EMFILE or not self._held:
                raise
            self._tell(is_short=True)
            self._give_up(LENT)
            try:
                work(*arguments)
            finally:
                self._fill()

    def _tell(self, *, is_short: bool) -> None:
        if is_short is self._is_short:
            return
        self._is_short = is_short
        if is_short:
            log.error("descriptors are short: no client and no guest is taken on", why="Too many open files", limit=_limit())
        else:
            log.warning("there are descriptors again")

    def _fill(self) -> bool:
        try:
            while len(self._held) < KEPT * bool(self._users):
                self._held.append(_one())
        except OSError:
            return False  # what is kept now is all there is
        return True

    def _give_up(self, count: int) -> None:
        for _ in range(min(count, len(self._held))):
            os.close(self._held.pop())


def _one() -> int:
    """A descriptor for which no path is looked up: this is done on the loop."""
    return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC).detach()


def _are_free(count: int) -> bool:
    free: list[int] = []
    try:
        for _ in range(count):
            free.append(_one())  # noqa: PERF401 - those before one that fails are to be closed
    except OSError as error:
        return error.errno not in {errno.EMFILE, errno.ENFILE}
    finally:
        for descriptor in free:
            os.close(descriptor)
    return True


def _limit() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


RESERVE: Final = Reserve()
"""That of this process, which has one limit."""
