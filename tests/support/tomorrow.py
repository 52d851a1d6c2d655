"""aiovirt with the events of :mod:`tests.support.pools`, in a process of its own.

    python -m tests.support.tomorrow FOLDER write    publishes some in a journal, and ends as if it were killed
    python -m tests.support.tomorrow FOLDER read     goes on with that journal, and says what there is

What it says is one line of JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import anyio

from aiovirt.cli import streams  # all of aiovirt is there before the new classes are
from aiovirt.events import decode, encode
from aiovirt.events.filters import make_filter
from aiovirt.events.registry import event_families, event_types, table_types
from aiovirt.events.replica import Replica
from aiovirt.events.segment import decode_checkpoint, encode_checkpoint
from aiovirt.events.state import HostState
from docs import generate_events
from tests.crash.engines import HUGE, engine, read_after
from tests.events import samples
from tests.support.pools import POOLS, Pool, PoolDefined, PoolEvent, PoolUndefined

__all__ = ["main"]

BOOT = "boot"


async def write(folder: Path) -> None:
    async with engine(folder, BOOT, HUGE, clean=False) as (bus, _):
        bus.publish(PoolDefined(pool=Pool("images", 1)))
        before = bus.snapshot()
        bus.publish(PoolDefined(pool=Pool("images", 2)))
        bus.publish(PoolDefined(pool=Pool("isos", 3)))
        bus.publish(PoolUndefined(pool=Pool("isos", 3)))
        assert before.table(POOLS) == {"images": Pool("images", 1)}, "what was lent out does not change"
        assert bus.cursor


async def read(folder: Path) -> None:
    async with engine(folder, BOOT, HUGE) as (bus, opened):
        events = [event for event in await read_after(bus) if isinstance(event, PoolEvent)]
        wanted = make_filter(("pool",), None)
        checkpoint = encode_checkpoint(bus.state.checkpoint(bus.cursor))
        assert opened.journal
        other = Replica(
            host=samples.HOST, chain=bus.chain, head=bus.head, state=HostState(decode_checkpoint(checkpoint)), past=opened.journal
        )
        say = {
            "resumed": opened.started.resumed,
            "pools": {name: pool.size for name, pool in bus.snapshot().table(POOLS).items()},
            "elsewhere": {name: pool.size for name, pool in other.snapshot().table(POOLS).items()},
            "events": [event.topic for event in events],
            "wanted": all(wanted.matches(event) for event in events) and len(events) == len(wanted.select([opened.started, *events])),
            "outside": [decode(encode(event)) for event in events] == events,
            "topics": [topic for topic, kind in event_types().items() if event_families()["pool"] in kind.__mro__],
            "table": table_types()["pools"] is POOLS,
            "by type": PoolDefined in streams._kinds(["pool"]),
            "documented": "### pool.defined\n\n`tests.support.pools.PoolDefined`" in generate_events.render(),
        }
        print(json.dumps(say), flush=True)


def main(folder: str, what: str) -> None:
    """The command line described above."""
    anyio.run({"write": write, "read": read}[what], Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
