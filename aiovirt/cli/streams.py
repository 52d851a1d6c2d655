"""``event`` and ``watch``: the stream on a terminal."""

from __future__ import annotations

import argparse
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from anyio.abc import TaskStatus

from aiovirt import Domain, Host
from aiovirt.cli.domains import settle
from aiovirt.cli.output import Output, netdev_fields, view_fields
from aiovirt.errors import InvalidArgument, NoSuchDevice, NoSuchDomain
from aiovirt.events import DomainEvent, Event, Resync
from aiovirt.events.codec import event_types
from aiovirt.events.words import portrait
from aiovirt.model.netdev import Netdev
from aiovirt.model.view import HostView
from aiovirt.system.background import Background

__all__ = ["event", "watch"]


async def event(host: Host, args: argparse.Namespace, out: Output) -> None:
    """``event [--loop] [--all] [--domain D] [--event KIND] [--since CURSOR]``"""
    kinds = _kinds(args.event, everything=args.all)
    subject = host.domain(args.domain) if args.domain else None
    with anyio.fail_after(args.timeout):
        async with _until_interrupted(), host.events.subscribe(*kinds, subject=subject, after=args.since) as events:
            async for news in events:
                out.event(news)
                if not args.loop:
                    return


async def watch(host: Host, args: argparse.Namespace, out: Output) -> None:
    """``watch [NAME…]``: domains and devices together."""
    await settle(host)
    subjects = _subjects(host, args.names)
    with anyio.fail_after(args.timeout):
        async with _until_interrupted(), host.events.watch(where=lambda news: not subjects or news.subject in subjects) as events:
            _show_state(events.snapshot, subjects, out)
            async for news in events:
                if isinstance(news, Resync):
                    _show_state(news.snapshot, subjects, out)
                else:
                    out.event(news)


@asynccontextmanager
async def _until_interrupted() -> AsyncIterator[None]:
    """Ctrl-C and SIGTERM end the block, and that is its good end."""
    with anyio.CancelScope() as block:
        async with Background() as background:

            async def listen(*, task_status: TaskStatus[None]) -> None:
                with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
                    task_status.started()
                    async for _ in signals:
                        block.cancel()

            await background.group.start(listen)
            yield


def _kinds(name: str | None, *, everything: bool) -> tuple[type[Event], ...]:
    if name is None:
        return (Event,) if everything else (DomainEvent,)
    known = event_types()
    kind = known.get(name) or known.get(f"domain.{name}")
    if kind is None:
        raise InvalidArgument(f"there is no event {name!r}; there are {', '.join(sorted(known))}")
    return (kind,)


def _subjects(host: Host, names: list[str]) -> frozenset[str]:
    """The subjects of ``names``, none for all; raises NoSuchDomain for what is neither domain nor device."""
    return frozenset(_find(host, name).subject for name in names)


def _find(host: Host, name: str) -> Domain | Netdev:
    try:
        return host.domain(name)
    except NoSuchDomain:
        pass
    try:
        return host.devices.netdev(name)
    except NoSuchDevice:
        raise NoSuchDomain(f"there is neither a domain nor a network device {name!r}") from None


def _show_state(state: HostView, subjects: frozenset[str], out: Output) -> None:
    """What is there, one line each, before what changes."""
    domains = [view for view in state.domains.values() if not subjects or view.subject in subjects]
    netdevs = [device for device in state.netdevs.values() if not subjects or device.subject in subjects]
    for view in sorted(domains, key=lambda view: view.name):
        if out.json:
            out.object({"state": "domain", "cursor": state.cursor, **view_fields(view)})
        else:
            out.line(_state_line(out, view.name, "magenta", f"{view.state} ({view.reason})"))
    for device in sorted(netdevs, key=lambda device: device.ifindex):
        if out.json:
            out.object({"state": "netdev", "cursor": state.cursor, **netdev_fields(device)})
        else:
            out.line(_state_line(out, device.name, "blue", portrait(device)))
    if not out.json:
        out.line(out.paint("-- following; Ctrl-C ends --", "dim"))


def _state_line(out: Output, name: str, colour: str, words: str) -> str:
    return f"{'':12}  {out.paint(f'{name:<15}', colour)}  {words}"
