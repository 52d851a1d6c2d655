"""What a descriptor of any kind reports: that there is something to read, that nobody is at the far side any more.

The descriptor is often not ours alone (standard input, standard output), so it stays as it is: it is not made non-blocking,
and it is an epoll(7) of its own that the loop waits for.
"""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import anyio

from aiovirt.errors import SystemFailure
from aiovirt.system import to_thread

__all__ = ["polled", "read_path", "read_within", "wait_hung_up"]

CHUNK: Final = 65_536


async def wait_hung_up(descriptor: int) -> None:
    """Returns when nobody reads any more what is written to ``descriptor``; never for a file, which nobody has to read."""
    with polled(descriptor, 0) as poll:  # POLLERR and POLLHUP are reported in any case
        if poll is None:
            await anyio.sleep_forever()
        else:
            await anyio.wait_readable(poll)


async def read_path(path: str, limit: int) -> bytes:
    """All that is in a file, or comes through a FIFO; see :func:`read_within`. Raises OSError, too."""
    # Without O_NONBLOCK a FIFO that nobody writes to could not even be opened.
    access = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
    descriptor = await to_thread.run_sync(os.open, path, access)
    try:
        return await read_within(descriptor, path, limit)
    finally:
        os.close(descriptor)


async def read_within(descriptor: int, name: str, limit: int) -> bytes:
    """All that comes from ``descriptor``. May be cancelled while it waits for more.

    Raises SystemFailure where that is over ``limit`` bytes, OSError. ``name`` is what it is called then.
    """
    data = bytearray()
    with polled(descriptor, getattr(select, "EPOLLIN", 0)) as poll:
        while len(data) <= limit:
            if poll is not None:
                await anyio.wait_readable(poll)
            part = await to_thread.run_sync(_read, descriptor, min(CHUNK, limit + 1 - len(data)))
            if part is None:
                continue
            if not part:
                return bytes(data)
            data += part
    raise SystemFailure(f"{name} has more than {limit} bytes")


def _read(descriptor: int, size: int) -> bytes | None:
    try:
        return os.read(descriptor, size)
    except BlockingIOError:  # another process has read what there was
        return None


@contextmanager
def polled(descriptor: int, events: int) -> Iterator[int | None]:
    """A descriptor that can be read when ``descriptor`` has one of ``events``; None where it always has, as a file does."""
    if not hasattr(select, "epoll"):
        yield None
        return
    with select.epoll() as poll:
        try:
            poll.register(descriptor, events)
        except PermissionError:
            yield None
            return
        try:
            yield poll.fileno()
        finally:
            anyio.notify_closing(poll.fileno())
