"""Clients of an engine, many in one process: each attaches, hears all that it is told for some seconds, and comes again.

    python -m tests.soak.crowd SOCKET COUNT

They keep nothing of what they hear: so 200 of them cost little but for the engine. For a line on its input all go, until the
next one; each is answered with a line.
"""

from __future__ import annotations

import asyncio
import random
import sys

import anyio
from anyio import to_thread

from aiovirt.wire.attach.frames import framed
from aiovirt.wire.attach.messages import VERSION, Hello, encode

STAYS = (5.0, 30.0)
"""Seconds, at least and at most."""
CHUNK = 65_536


async def attend(path: str, number: int) -> None:
    """One after another, in its place."""
    dice = random.Random(number)  # noqa: S311 - a pace
    while True:
        reader, writer = await asyncio.open_unix_connection(path)
        try:
            writer.write(framed(encode(Hello(VERSION, "crowd"))))
            with anyio.move_on_after(dice.uniform(*STAYS)):
                while await reader.read(CHUNK):
                    pass
        finally:
            writer.close()


async def main(path: str, count: int) -> None:
    while True:
        async with anyio.create_task_group() as tasks:
            for number in range(count):
                tasks.start_soon(attend, path, number)
            if not await to_thread.run_sync(sys.stdin.readline):
                tasks.cancel_scope.cancel()
                return
            tasks.cancel_scope.cancel()
        print("gone", flush=True)
        if not await to_thread.run_sync(sys.stdin.readline):
            return
        print("back", flush=True)


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], int(sys.argv[2]))
