"""``engine``: holds a host in the foreground, for others to attach to."""

from __future__ import annotations

import argparse
import gc
import os
from collections.abc import Awaitable, Callable
from functools import partial

import anyio

from aiovirt.cli.output import Output
from aiovirt.cli.streams import until_interrupted
from aiovirt.engine.connect import Connection, free
from aiovirt.engine.holder import Holder
from aiovirt.engine.host import Host
from aiovirt.engine.paths import Claim, Role
from aiovirt.errors import SystemFailure, Unsupported
from aiovirt.system.listener import Listener
from aiovirt.system.log import get_logger
from aiovirt.system.service import handed_over, tell_service
from aiovirt.text import plain

__all__ = ["engine"]

log = get_logger("cli")


async def engine(args: argparse.Namespace, out: Output) -> None:
    """``engine [--idle SECONDS] [--take-over] [--wait]``, and ``engine --stop``"""
    if args.stop:
        await _stop(args.connect)
        return
    sockets = handed_over(os.environ)
    listen = partial(Listener, str(sockets[0].getsockname()), handed_over=sockets[0]) if sockets else None
    for opened in sockets[1:]:
        opened.close()
    connection = Connection(args.connect, {}, Role.HOLDER, listen, Claim(take_over=args.take_over, wait=args.wait))
    async with connection as host, until_interrupted():
        holder = connection.holder
        if holder is None:
            raise Unsupported(f"{host.uri} is in memory: nobody can attach to it")
        holder.yields_when_idle = args.idle is not None
        holder.keeps = "it belongs to a service: stop the service and its socket" if sockets else ""
        holder.has_successor = bool(sockets)  # who attaches then starts it
        gc.freeze()  # what is there from the start is there to the end, and need not be looked through
        _tell(host, out)
        tell_service(f"READY=1\nSTATUS=Holding {plain(host.uri)}")
        try:
            await _until_it_is_over(holder, args.idle)
        finally:
            tell_service("STOPPING=1")


async def _until_it_is_over(holder: Holder, idle: float | None) -> None:
    """Until somebody else is to have the host, or nobody has needed it for ``idle`` seconds."""
    async with anyio.create_task_group() as tasks:

        async def first(waits: Callable[[], Awaitable[None]]) -> None:
            await waits()
            tasks.cancel_scope.cancel()

        tasks.start_soon(first, holder.asked_for)
        if idle:
            tasks.start_soon(first, partial(holder.idle, idle))


async def _stop(uri: str | None) -> None:
    """Who holds the host is asked to leave it; returns when it is free. Its guests run on, and its clients wait for the next engine."""
    async with until_interrupted():
        await free(uri)


def _tell(host: Host, out: Output) -> None:
    """That it is there. Where that goes to a log, a full disk is no reason not to hold the host."""
    is_log = out.is_file
    try:
        if out.json:
            out.object({"uri": host.uri, "host": host.uuid, "pid": os.getpid(), "cursor": host.events.cursor})
        else:
            out.line(f"Holding {host.uri} as process {os.getpid()}; its guests go on when this ends")
    except SystemFailure as failure:
        if not is_log:
            raise
        log.warning("its own log cannot be written", why=str(failure))
