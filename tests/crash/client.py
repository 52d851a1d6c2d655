"""One of the processes that are attached to an engine that is killed: it gives orders, and tells what it is sure of.

    python -m tests.crash.client FOLDER BACKEND

For each line that it is given, a :class:`Round`, it attaches, says so in a line, and gives orders until the engine is
gone; then it says what it knows, a :class:`Known` for each guest, and how far it has read.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import anyio
import msgspec
from anyio import to_thread
from msgspec import Struct

from aiovirt import Host
from aiovirt.errors import Error, HostGone, NoSuchDomain
from aiovirt.events.cursor import parse_cursor
from tests.real.conftest import PATIENCE, Place

__all__ = ["Known", "Round", "Told", "settle"]


class Known(Struct):
    """What is known for certain of a guest: None where an order was under way when the engine was killed."""

    defined: bool | None = False
    active: bool | None = False


Told = dict[str, Known]


class Round(Struct):
    """What is known, the cursor up to which all was read (none: from here on), and how many orders were given so far."""

    seed: float
    told: Told
    after: str = ""
    given: int = 0


async def give(host: Host, place: Place, known: Known, name: str, order: str) -> None:
    """One order, and what is certain before, while and after it."""
    match order:
        case "define":
            known.defined = None
            await host.define(place.spec(name))
            known.defined = True
        case "undefine":
            known.defined = None
            await host.domain(name).undefine()
            known.defined = False
        case "start":
            known.active = None
            await host.domain(name).start(paused=True)
            known.active = True
        case "destroy":
            known.active = None
            await host.domain(name).destroy()
            known.active = False
        case _:
            await getattr(host.domain(name), order)()


async def drive(host: Host, place: Place, part: Round) -> None:
    """Orders without end, each one that may be given, until the host is gone."""
    choose = random.Random(part.seed)  # noqa: S311 - a script of orders
    while True:
        name = choose.choice(list(part.told))
        known = part.told[name]
        if known.active:
            order = choose.choice(["destroy", "suspend", "resume", "reset"])
        else:
            order = choose.choice(["start", "start", "define", "undefine"]) if known.defined else "define"
        part.given += 1
        try:
            await give(host, place, known, name, order)
        except HostGone:
            return
        except Error:
            settle(host, known, name)


def settle(host: Host, known: Known, name: str) -> None:
    """What is so now is so: an order that was refused changed nothing."""
    try:
        domain = host.domain(name)
        known.defined, known.active = domain.is_persistent, domain.is_active
    except NoSuchDomain:
        known.defined = known.active = False


async def read(host: Host, part: Round, *, task_status: anyio.abc.TaskStatus[None]) -> None:
    """Each event follows the one before, to the end."""
    async with host.events.subscribe(after=part.after) as events:
        task_status.started()
        try:
            while True:
                event = await events.receive()
                (epoch, number), (new, next_number) = parse_cursor(part.after), parse_cursor(event.cursor)
                assert (new, next_number) == (epoch, number + 1), f"{event.cursor} after {part.after}"
                part.after = event.cursor
        except HostGone as gone:
            assert gone.cursor == part.after


async def take_part(place: Place, part: Round) -> None:
    """Reads and gives orders until the engine is gone."""
    async with place.attach() as host:
        part.after = part.after or host.events.cursor
        async with anyio.create_task_group() as tasks:
            with anyio.fail_after(PATIENCE):
                await tasks.start(read, host, part)
            print("attached", flush=True)
            await drive(host, place, part)


async def main(folder: str) -> None:
    place = Place(Path(folder))
    while line := await to_thread.run_sync(sys.stdin.readline):
        part = msgspec.json.decode(line, type=Round)
        await take_part(place, part)
        print(msgspec.json.encode(part).decode(), flush=True)


if __name__ == "__main__":
    backend = sys.argv[2]
    options = {"use_uvloop": True} if backend == "uvloop" else {}
    anyio.run(main, sys.argv[1], backend="trio" if backend == "trio" else "asyncio", backend_options=options)
