"""aiovirt as a made-up later version of itself: it speaks a newer protocol, and has events, orders and records that today's lacks.

    python -m tests.support.newer hold FOLDER BACKEND    becomes the engine of a test's folder, until its standard input ends
    python -m tests.support.newer ask FOLDER BACKEND     attaches to the engine there, and asks for what that does not know

Each says what it has seen in one line of JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from uuid import UUID

import anyio
import msgspec
from anyio import to_thread

import aiovirt
from aiovirt.engine import attached, client
from aiovirt.errors import Error
from aiovirt.events import Event, MonitorHealth
from aiovirt.events.types import DomainEvent
from aiovirt.model import orders
from aiovirt.wire.attach import requests
from tests.real.conftest import PATIENCE, Place

__all__ = ["DomainSung", "PoolFilled", "main"]

VERSION = 2


class DomainSung(DomainEvent, frozen=True, kw_only=True, gc=False, tag="domain.sung"):
    """An event of a family that is known today."""

    song: str
    loud: bool = True


class PoolFilled(Event, frozen=True, kw_only=True, gc=False, tag="pool.filled"):
    """One of a family that is not."""

    subject: str  # type: ignore[assignment, unused-ignore] # pyright: ignore[reportIncompatibleMethodOverride]
    size: int


class Sing(orders.DomainOrder, frozen=True, kw_only=True, tag=True):
    """An order that is not known today."""

    rule = orders.Rule(verb="sing", turn=orders.Turn.CHANGE, permissions=())


class LaterStart(orders.Start, frozen=True, kw_only=True, tag="Start"):
    """One that is known, with a field that is not."""

    force_boot: bool = False


def become_newer() -> None:
    """In this process only."""
    for module in (attached, client):
        module.__dict__["VERSION"] = VERSION
    for kind in (Sing, LaterStart):
        requests._decoders[kind] = msgspec.msgpack.Decoder(None)


async def everything(host: aiovirt.Host, after: str) -> list[str]:
    """The topics of all events behind this cursor."""
    topics: list[str] = []
    end = host.events.cursor
    async with host.events.subscribe(after=after) as events:
        while events.cursor < end:
            topics.append((await events.receive()).topic)
    return topics


async def hold(place: Place) -> None:
    before = place.folder / "cursor"
    async with aiovirt.connect(place.uri) as host:
        after = before.read_text() if before.exists() else host.events.cursor
        before.write_text(after)
        for domain in host.domains():
            with anyio.fail_after(PATIENCE):
                async with host.events.watch(subject=domain) as events:
                    while domain.state.is_active and domain.status.monitor is not MonitorHealth.CONNECTED:
                        await events.receive()
            host.engine.bus.publish(DomainSung(uuid=domain.uuid, name=domain.name, song="la", cause="order-of-tomorrow"))
        host.engine.bus.publish(PoolFilled(subject="pool/images", size=2**40))
        health = {domain.name: [str(domain.state), str(domain.status.monitor)] for domain in host.domains()}
        say({"topics": await everything(host, after), "domains": health, "cursor": host.events.cursor})
        await to_thread.run_sync(sys.stdin.read)


async def ask(place: Place) -> None:
    async with place.attach() as host:
        uuid = host.domains()[0].uuid if host.domains() else UUID(int=1)
        answers: list[object] = []
        for request in (Sing(uuid=uuid), LaterStart(uuid=uuid, force_boot=True), LaterStart(uuid=uuid), orders.AskXML(uuid=uuid)):
            try:
                answers.append(type(await host.engine.call(request)).__name__)
            except Error as error:
                answers.append([type(error).__name__, int(error.code), str(error)])
        say({"answers": answers, "attached": isinstance(host.engine, attached.AttachedEngine)})


def say(what: dict[str, object]) -> None:
    print(json.dumps(what), flush=True)


def main(what: str, folder: str, backend: str) -> None:
    """The command line described above."""
    become_newer()
    anyio.run({"hold": hold, "ask": ask}[what], Place(Path(folder)), backend=backend)


if __name__ == "__main__":
    main(*sys.argv[1:])
