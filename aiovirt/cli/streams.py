"""``event`` and ``watch``: the stream on a terminal."""

from __future__ import annotations

import argparse
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Final

import anyio
from anyio.abc import TaskStatus
from msgspec import to_builtins

from aiovirt import Domain, Host
from aiovirt.cli.domains import find, settle
from aiovirt.cli.output import WHO, Output, netdev_fields, view_fields
from aiovirt.errors import EventGap, HostGone, InvalidArgument, NoSuchDevice, NoSuchDomain
from aiovirt.events import DomainQMP, Event, Resync, Subscription
from aiovirt.events.registry import event_families, event_types
from aiovirt.events.words import pci_summary, summary
from aiovirt.model.netdev import Netdev
from aiovirt.model.pci import PCIDevice
from aiovirt.model.view import HostView
from aiovirt.system.background import Background
from aiovirt.system.readiness import wait_hung_up
from aiovirt.text import padded, plain

__all__ = ["event", "until_interrupted", "watch"]

QUIET: Final = 30.0
"""Seconds without a line after which a program that reads us gets a bookmark."""


async def event(host: Host, args: argparse.Namespace, out: Output) -> None:
    """``event [DOMAIN | --subject S] [TYPE…] [--type TYPE]… [--loop] [--all] [--since CURSOR]``"""
    if args.domain and args.subject:
        raise InvalidArgument("a domain and --subject: only one of them can be followed")
    kinds = _kinds(_names(args))
    subject = find(host, args.domain) if args.domain else await _subject(host, args.subject)
    with anyio.fail_after(args.timeout.hand_over()):
        async with until_interrupted(out), host.events.subscribe(*kinds, subject=subject, after=args.since) as events:
            while True:
                out.event(await _next(host, events, out))
                if not args.loop:
                    return


async def _next(host: Host, events: Subscription[Event], out: Output) -> Event:
    """The next event; a program that reads us is told in quiet times how far we have seen."""
    while True:
        with anyio.move_on_after(QUIET if out.json else None):
            return await events.receive()
        out.bookmark(events.cursor, host.uuid)


async def watch(host: Host, args: argparse.Namespace, out: Output) -> None:
    """``watch [NAME…]``: domains and devices together, from one engine to the next."""
    await settle(host)
    subjects = frozenset([(await _find(host, name)).subject for name in args.names])
    with anyio.fail_after(args.timeout.hand_over()):
        async with until_interrupted(out):
            try:
                await _follow(host, subjects, out)
            except HostGone as gone:
                await _follow_the_next(host, subjects, out, gone.cursor)


async def _follow(host: Host, subjects: frozenset[str], out: Output) -> None:
    """What is there, and then what changes; raises HostGone at its end."""
    async with host.events.watch(*_kinds([""]), where=lambda news: not subjects or news.subject in subjects) as events:
        _show_state(events.snapshot, subjects, out)
        async for news in events:
            if isinstance(news, Resync):
                _show_state(news.snapshot, subjects, out)
            else:
                out.event(news)


async def _follow_the_next(before: Host, subjects: frozenset[str], out: Output, cursor: str) -> None:
    """Goes on behind ``cursor`` with whoever holds the host next, and with who does after that."""
    while True:
        if out.json:
            out.object({"state": "gone", "cursor": cursor})
        else:
            out.line(out.paint("-- the engine is gone; waiting for the next --", "dim"))
        async with before.reconnect() as host:
            try:
                await _go_on(host, subjects, out, cursor)
            except HostGone as gone:
                cursor = gone.cursor


async def _go_on(host: Host, subjects: frozenset[str], out: Output, cursor: str) -> None:
    """Each event behind ``cursor``; where some of those are gone, what is there, and then what changes. Raises HostGone."""
    try:
        async with host.events.subscribe(
            *_kinds([""]), where=lambda news: not subjects or news.subject in subjects, after=cursor
        ) as events:
            async for news in events:
                out.event(news)
    except EventGap:
        await _follow(host, subjects, out)


@asynccontextmanager
async def until_interrupted(out: Output | None = None) -> AsyncIterator[None]:
    """Ctrl-C and SIGTERM end the block, and that is its good end; so it is when nobody reads ``out`` any more."""
    with anyio.CancelScope() as block:
        async with Background() as background:

            async def listen(*, task_status: TaskStatus[None]) -> None:
                with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
                    task_status.started()
                    async for _ in signals:
                        block.cancel()

            async def notice(descriptor: int) -> None:
                await wait_hung_up(descriptor)
                block.cancel()

            await background.group.start(listen)
            if out is not None and (descriptor := out.descriptor) is not None:
                background.group.start_soon(notice, descriptor)
            yield


def _names(args: argparse.Namespace) -> list[str]:
    """What is asked for: topics, families, and "" for everything."""
    names: list[str] = [*(args.types or []), *(args.event or [])]
    if args.all:
        return [*names, ""]
    return names or ["domain" if args.since is None and args.subject is None else ""]


def _kinds(names: list[str]) -> tuple[type[Event], ...]:
    """The classes of the events that ``names`` stand for; domain.qmp only where it is named itself, as virsh has it."""
    topics, families = event_types(), {"": Event} | event_families()
    kinds: set[type[Event]] = set()
    for name in names:
        if (kind := topics.get(name) or topics.get(f"domain.{name}")) is not None:
            kinds.add(kind)
        elif name in families:
            kinds |= {kind for kind in topics.values() if issubclass(kind, families[name]) and kind is not DomainQMP}
        else:
            raise InvalidArgument(f"there is no event {name!r}; there are {', '.join([*event_families(), *sorted(topics)])}")
    return tuple(kinds)


async def _subject(host: Host, text: str | None) -> Domain | Netdev | PCIDevice | str | None:
    """A subject as events have it, or what goes by this name; raises NoSuchDomain for what is neither domain nor device."""
    if text is None or "/" in text or text == "host":
        return text
    return await _find(host, text)


async def _find(host: Host, name: str) -> Domain | Netdev | PCIDevice:
    for look in (partial(find, host), host.devices.netdev, host.devices.pci_device):
        with suppress(NoSuchDomain, NoSuchDevice):
            return look(name)
    with suppress(NoSuchDevice):
        return await host.devices.refresh(name)  # an altname that the kernel did not tell of
    raise NoSuchDomain(f"there is neither a domain nor a network device nor a PCI function {name!r}")


def _show_state(state: HostView, subjects: frozenset[str], out: Output) -> None:
    """What is there, one line each, before what changes; of PCI functions, of which there are many, those asked for."""
    domains = [view for view in state.domains.values() if not subjects or view.subject in subjects]
    netdevs = [device for device in state.netdevs.values() if not subjects or device.subject in subjects]
    for view in sorted(domains, key=lambda view: view.name):
        if out.json:
            out.object({"state": "domain", "cursor": state.cursor, **view_fields(view)})
        else:
            _state_line(out, view.name, "magenta", f"{view.state} ({view.reason})")
    for device in sorted(netdevs, key=lambda device: device.ifindex):
        if out.json:
            out.object({"state": "netdev", "cursor": state.cursor, **netdev_fields(device)})
        else:
            _state_line(out, device.name, "blue", summary(device))
    for function in sorted(state.pci.values(), key=lambda function: function.address):
        if out.json and (not subjects or function.subject in subjects):
            out.object({"state": "pci", "cursor": state.cursor, **to_builtins(function)})
        elif function.subject in subjects:
            _state_line(out, function.address, "blue", pci_summary(function))
    if not out.json:
        out.line(out.paint("-- following; Ctrl-C ends --", "dim"))


def _state_line(out: Output, name: str, colour: str, words: str) -> None:
    out.line(f"{'':12}  ", out.paint(padded(plain(name), WHO), colour), f"  {words}")
