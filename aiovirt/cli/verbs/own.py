"""The verbs that virsh does not have."""

from __future__ import annotations

import argparse
from argparse import Namespace
from typing import TYPE_CHECKING

from aiovirt.cli.parser import seconds
from aiovirt.cli.verb import DOMAIN, argument, flag, local, option, verb
from aiovirt.cli.verbs import events
from aiovirt.model.state import DomainState

if TYPE_CHECKING:
    from aiovirt.cli.output import Output
    from aiovirt.engine.host import Host

_STATES = {state.name.lower(): state for state in DomainState if state is not DomainState.NOSTATE}


def _state(text: str) -> DomainState:
    known = _STATES | {str(state): state for state in _STATES.values()}
    if text.lower() not in known:
        raise argparse.ArgumentTypeError(f"{text!r} is not one of {', '.join(_STATES)}")
    return known[text.lower()]


@verb("events", "print what happens, from a cursor on: the same as event", *events.ARGUMENTS, reads=True)
async def event_too(host: Host, args: Namespace, out: Output) -> None:
    await events.event(host, args, out)


@verb(
    "wait",
    "wait until a domain is in a state",
    DOMAIN,
    option("--for", ", ".join(_STATES), dest="state", required=True, type=_state, metavar="STATE"),
    reads=True,
)
async def wait(host: Host, args: Namespace, out: Output) -> None:
    import anyio

    from aiovirt.cli.domains import describe, find, settle, tell

    await settle(host)
    domain = find(host, args.domain)
    before = describe(domain)
    with anyio.fail_after(args.timeout.hand_over()):
        await domain.wait_for_state(args.state)
    tell(out, before | {"state": args.state}, f"{args.state}", f"Domain '{before['name']}' is {args.state}")


@verb(
    "watch",
    "what is there, and then everything that changes, until interrupted",
    argument("names", "domains or network devices; none for all", words="domain", nargs="*", metavar="NAME"),
    reads=True,
)
async def watch(host: Host, args: Namespace, out: Output) -> None:
    from aiovirt.cli.streams import watch

    await watch(host, args, out)


@verb("log", "print the last that a domain's QEMU has said of itself", DOMAIN, reads=True)
async def log(host: Host, args: Namespace, out: Output) -> None:
    from aiovirt.cli.domains import find

    domain = find(host, args.domain)
    said = await domain.log()
    if out.json:
        out.object({"name": domain.name, "uuid": domain.uuid, "log": said})
        return
    if said:
        out.text(said.rstrip("\r\n"))


@verb(
    "qmp-proxy",
    "let others speak QMP with a domain, beside the engine, until interrupted or it stops",
    DOMAIN,
    argument("socket", "where, a path: for qmp-shell, qmp-tui and their like", words="file"),
)
async def qmp_proxy(host: Host, args: Namespace, out: Output) -> None:
    from aiovirt.cli.domains import find
    from aiovirt.cli.streams import until_interrupted

    domain = find(host, args.domain)
    async with until_interrupted(), domain.qmp_proxy(args.socket):
        if out.json:
            out.object({"domain": domain.name, "uuid": domain.uuid, "socket": args.socket})
        else:
            out.note(f"Speaking QMP for domain '{domain.name}' at {args.socket}; Ctrl-C ends")
        await domain.wait_for_state(DomainState.SHUTOFF)


@local(
    "engine",
    "hold a host in the foreground, for others to attach to; its guests outlive it",
    flag("--take-over", "ask the engine that holds the host to hand it over"),
    flag("--wait", "wait until the host is free"),
    flag("--stop", "ask the engine that holds the host to leave it, and hold nothing"),
    option("--idle", "leave when for so long nobody was attached and no guest ran", type=seconds, metavar="SECONDS"),
    reads=False,
)
def engine(args: Namespace, out: Output) -> int:
    from aiovirt.cli.engine import engine
    from aiovirt.cli.running import run_on

    async def hold() -> int:
        await engine(args, out)
        return 0

    return run_on(args.backend, hold)


@local(
    "completion",
    "print what makes a shell complete verbs, options and names",
    argument("shell", "bash, zsh or fish", choices=("bash", "zsh", "fish")),
)
def completion(args: Namespace, out: Output) -> None:
    from aiovirt.cli.completion import SHELLS
    from aiovirt.cli.verb import all_verbs

    out.text(SHELLS[args.shell](all_verbs()))
