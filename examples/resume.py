"""A reader that goes on where it was: every event once, also when it is killed, or the host's engine is.

    python examples/resume.py CURSOR_FILE [URI] >>events.jsonl

It prints each event as a line of JSON, and then stores the event's cursor. The next start reads the
cursor and goes on right after it; events that came while nobody ran are in the host's journal.

When the engine that it reads from ends (a crash, an update), ``follow`` waits for the next one, and goes on there, right
after the last event; ``follow(start_engine=True)`` would start that itself.

Handling an event and storing its cursor are two steps, and a kill can come between them:

- The cursor is stored **after**, as here: at least once. The one event that was being handled when the
  kill came is handled again.
- Stored **before**: at most once. That event is never handled.
- Stored **together**: exactly once. Put the cursor where the event's effect goes, in one transaction; or
  have what handles it pass over cursors that it knows already. Here every line carries its cursor
  (``id``), so whoever reads the lines can do that.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import anyio
from anyio import to_thread

import aiovirt
from aiovirt.events import Event, encode


async def follow(file: Path, uri: str | None) -> None:
    """Handles every event after the cursor in ``file``, for ever."""
    after = await to_thread.run_sync(load, file)
    async with aiovirt.connect(uri) as host:
        while True:
            try:
                async with host.events.follow(after=after) as events:
                    await to_thread.run_sync(store, file, events.cursor)  # the first start has begun, too
                    async for event in events:
                        await to_thread.run_sync(handle, file, event)
            except aiovirt.EventGap as gap:
                print(f"missed: {gap}; going on after {gap.resume}", file=sys.stderr)
                after = gap.resume


def handle(file: Path, event: Event) -> None:
    """What is to be done with an event, and then the note that it is done. Blocks: for threads."""
    print(encode(event).decode(), flush=True)
    store(file, event.cursor)


def load(file: Path) -> str | None:
    """The cursor that was stored, None where there is none yet."""
    try:
        return file.read_text().strip()
    except FileNotFoundError:
        return None


def store(file: Path, cursor: str) -> None:
    """Whenever the power fails, ``file`` holds this cursor or the one before, and never half of one."""
    new = file.with_name(file.name + ".new")
    with new.open("w") as out:
        out.write(cursor + "\n")
        out.flush()
        os.fsync(out.fileno())
    new.replace(file)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: python examples/resume.py CURSOR_FILE [URI]")
    try:
        anyio.run(follow, Path(sys.argv[1]), sys.argv[2] if len(sys.argv) == 3 else None)
    except aiovirt.Error as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
