"""``console`` and ``ttyconsole``: which device of a guest is its console, and a session there."""

from __future__ import annotations

import argparse
import os
import re
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import anyio
import msgspec

from aiovirt import Domain, Host
from aiovirt.cli.domains import find, timeout_of
from aiovirt.cli.output import Output
from aiovirt.cli.terminal import input_descriptor
from aiovirt.engine.paths import find_folders
from aiovirt.engine.uri import parse_uri
from aiovirt.errors import InvalidArgument, OperationFailed, OperationInvalid, SystemFailure
from aiovirt.system import to_thread
from aiovirt.system.background import Background
from aiovirt.system.tty import Turn, open_console, raw, relay

__all__ = ["Chardev", "Console", "console", "consoles_of", "ttyconsole"]

_NAMES: Final = re.compile(r"(?:char)?((?:serial|console)\d+)")
_PTY: Final = re.compile(r"pty:(/.+)", re.DOTALL)
_SOCKET: Final = re.compile(r"(?:disconnected:)?unix:(/.+),server=on", re.DOTALL)


class Chardev(msgspec.Struct):
    """One of ``query-chardev``."""

    label: str
    filename: str


class Console(msgspec.Struct, frozen=True):
    """A device that can be a console: its ``alias``, ``serial0``; the path of its pty or of the socket where QEMU listens."""

    alias: str
    path: str
    is_pty: bool


def consoles_of(chardevs: Sequence[Chardev]) -> list[Console]:
    """Those that somebody can sit at, in QEMU's order by their names."""
    found: list[Console] = []
    for each in chardevs:
        named, pty, sock = _NAMES.fullmatch(each.label), _PTY.fullmatch(each.filename), _SOCKET.fullmatch(each.filename)
        where = pty or sock
        if named and where:
            found.append(Console(named[1], where[1], pty is not None))
    return sorted(found, key=lambda each: (len(each.alias), each.alias))


async def ttyconsole(host: Host, args: argparse.Namespace, out: Output) -> None:
    """The path of the first pty."""
    domain = find(host, args.domain)
    ptys = [each for each in await _consoles(domain, args) if each.is_pty]
    if not ptys:
        raise OperationFailed(f"domain {domain.name!r} has no console that is a pty")
    if out.json:
        out.object({"name": domain.name, "uuid": domain.uuid, "tty": ptys[0].path})
    else:
        out.line(ptys[0].path)
        out.note()


async def console(host: Host, args: argparse.Namespace, out: Output) -> None:
    """A session at a guest's console: until ^], the end of the guest, or a signal."""
    domain, keys, screen = find(host, args.domain), input_descriptor(), out.descriptor
    if out.json:
        raise InvalidArgument("a console is no JSON")
    if not os.isatty(keys) or screen is None:
        raise SystemFailure("Cannot run interactive console without a controlling TTY")
    if not domain.state.is_active:
        raise OperationInvalid("The domain is not running")
    wanted = _chosen(domain, await _consoles(domain, args), args.devname)
    folders = find_folders(parse_uri(host.uri), os.environ, {})
    turn = Turn(folders.runtime / "consoles.lock", f"{domain.uuid} {wanted.alias}")
    try:
        await turn.take(force=args.force)
        descriptor = await to_thread.run_sync(open_console, wanted.path)
        try:
            out.note(f"Connected to domain '{domain.name}'")
            out.note("Escape character is ^] (Ctrl + ])")
            async with _until_signalled():
                with raw(keys):
                    await relay(descriptor, keys, screen)
        finally:
            anyio.notify_closing(descriptor)
            os.close(descriptor)
    finally:
        turn.leave()
    out.note()


@asynccontextmanager
async def _until_signalled() -> AsyncIterator[None]:
    """What ends a session from outside ends the block, so that the terminal is as it was."""
    with anyio.CancelScope() as block:
        async with Background() as background:

            async def listen(*, task_status: anyio.abc.TaskStatus[None]) -> None:
                with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT) as signals:
                    task_status.started()
                    async for _ in signals:
                        block.cancel()

            await background.group.start(listen)
            yield


async def _consoles(domain: Domain, args: argparse.Namespace) -> list[Console]:
    return consoles_of(await domain.qmp("query-chardev", returns=list[Chardev], timeout=timeout_of(args)))


def _chosen(domain: Domain, consoles: Sequence[Console], name: str | None) -> Console:
    """The one that is named, by its alias or as QEMU calls it, else the first."""
    alias = (name or "").removeprefix("char")
    for each in consoles:
        if name is None or each.alias == alias:
            return each
    if name is None:
        raise OperationFailed(f"domain {domain.name!r} has no console that is a pty or a unix socket")
    there = ", ".join(each.alias for each in consoles) or "none"
    raise InvalidArgument(f"domain {domain.name!r} has no console {name!r}; there are {there}")
