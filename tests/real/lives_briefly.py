"""An engine that prints its newest cursor and then waits to be killed."""

from __future__ import annotations

import sys

import anyio

import aiovirt


async def main() -> None:
    async with aiovirt.connect(sys.argv[1]) as host:
        await anyio.lowlevel.checkpoint()
        print(host.events.cursor, flush=True)
        await anyio.sleep_forever()


anyio.run(main)
