"""The demo's network device: a veth pair comes, changes and goes, each step seen before the next is taken."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from msgspec import Struct

from aiovirt import Host
from aiovirt.events import NetdevAdded, NetdevChanged, NetdevEvent, NetdevRemoved, NetdevRenamed
from aiovirt.system.rtnl import Route, Rtnl

__all__ = ["plug"]

NIC, PEER, RENAMED = "demo0", "demo1", "lan0"


class _Step(Struct, frozen=True):
    """What is done (rtnetlink's verb, device and attributes, one after another), and by what it is known to have happened."""

    words: str
    kind: type[NetdevEvent]
    seen: Callable[[Any], bool]
    requests: tuple[tuple[str, str, dict[str, object]], ...]


_STEPS: Final = (
    _Step(
        "a network device is plugged in",
        NetdevAdded,
        lambda event: event.device.name == NIC,
        (("add", NIC, {"kind": "veth", "peer": {"ifname": PEER}}),),
    ),
    _Step(f"it is renamed to {RENAMED}", NetdevRenamed, lambda event: event.new.name == RENAMED, (("set", NIC, {"ifname": RENAMED}),)),
    _Step(
        "it gets another MAC", NetdevChanged, lambda event: "mac" in event.changes, (("set", RENAMED, {"address": "52:54:00:de:40:01"}),)
    ),
    _Step("and another MTU", NetdevChanged, lambda event: "mtu" in event.changes, (("set", RENAMED, {"mtu": 9000}),)),
    _Step(
        "both ends go up: it has a carrier",
        NetdevChanged,
        lambda event: event.new.name == RENAMED and event.new.carrier,
        (("set", RENAMED, {"state": "up"}), ("set", PEER, {"state": "up"})),
    ),
    _Step(
        "its peer goes down: the carrier is lost",
        NetdevChanged,
        lambda event: event.new.name == RENAMED and not event.new.carrier,
        (("set", PEER, {"state": "down"}),),
    ),
    _Step("it is unplugged", NetdevRemoved, lambda event: event.device.name == RENAMED, (("del", RENAMED, {}),)),
)


async def plug(host: Host, say: Callable[[str], object], shown: Callable[[str], Awaitable[object]]) -> None:
    """Goes through the steps, announcing each once ``shown`` has what came of the one before (up to that cursor).

    The last of them leaves nothing behind.
    """
    rtnl = Rtnl()
    await rtnl.ask(lambda route: _change(route, ()))  # pyroute2 takes a while to load: not within the first step
    for step in _STEPS:
        say(f"-- {step.words}")
        async with host.events.expect(step.kind, where=step.seen) as seen:
            await rtnl.ask(partial(_change, requests=step.requests))
        await shown(seen.value.cursor)


async def _change(route: Route, requests: tuple[tuple[str, str, dict[str, object]], ...]) -> None:
    for command, name, attributes in requests:
        which = {"ifname": name} if command == "add" else {"index": (await route.link_lookup(ifname=name))[0]}
        await route.link(command, **which, **attributes)
