"""What ``qemu-monitor-command`` and ``qemu-monitor-event`` do: speak with QEMU itself."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from typing import Any

import anyio
import msgspec

from aiovirt.cli.domains import timeout_of
from aiovirt.cli.output import Output, stamp
from aiovirt.cli.streams import until_interrupted
from aiovirt.engine.domain import Domain
from aiovirt.engine.host import Host
from aiovirt.errors import InvalidArgument
from aiovirt.events import DomainQMP
from aiovirt.text import plain, plain_json

__all__ = ["ask", "listen"]

_INDENT = 2


class _Command(msgspec.Struct, forbid_unknown_fields=True):
    """What is said to a monitor; an ``id`` is for the session that is not the user's here."""

    execute: str
    arguments: dict[str, Any] | None = None
    id: Any = None


async def ask(domain: Domain, args: argparse.Namespace, out: Output) -> None:
    """Gives the command, and prints the answer."""
    words = " ".join(args.cmd)
    timeout = timeout_of(args)
    if args.hmp:
        said = await domain.qmp("human-monitor-command", {"command-line": words}, timeout=timeout)
        out.text(str(said).rstrip("\r\n"))
        return
    command = _read(words)
    answer = await domain.qmp(command.execute, command.arguments, timeout=timeout)
    out.object(answer if args.return_value else {"return": answer}, indent=_INDENT if args.pretty else 0)


async def listen(host: Host, domain: Domain | None, args: argparse.Namespace, out: Output) -> None:
    """Prints what one QEMU says, or all of them."""
    wanted, count = _wanted(args), 0
    try:
        with anyio.fail_after(args.timeout.hand_over()):
            async with until_interrupted(out), host.events.subscribe(DomainQMP, subject=domain) as events:
                async for event in events:
                    if wanted(event.event):
                        count += 1
                        if out.json:
                            out.event(event)
                        else:
                            out.text(_line(event, args))
                        if not args.loop:
                            return
    finally:
        if not out.json:
            out.note(f"events received: {count}")


def _read(words: str) -> _Command:
    try:
        return msgspec.json.decode(words, type=_Command)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise InvalidArgument(f'not a QMP command ({{"execute": …}}), nor asked for with --hmp: {error}') from error


def _wanted(args: argparse.Namespace) -> Callable[[str], bool]:
    """By its name, or by a regular expression that is found in it."""
    flags = re.IGNORECASE if args.no_case else re.NOFLAG
    text: str = args.event or ""
    try:
        pattern = re.compile(text if args.regex else f"{re.escape(text)}\\Z" if text else "", flags)
    except re.error as error:
        raise InvalidArgument(f"{text!r} is no regular expression: {error}") from error
    return lambda name: (pattern.search if args.regex else pattern.match)(name) is not None


def _line(event: DomainQMP, args: argparse.Namespace) -> str:
    """virsh's."""
    seconds, nanoseconds = divmod(event.source_time or event.time, 10**9)
    data = event.data
    details = _json(data, pretty=args.pretty) if data else "<null>"
    what, whom = plain(event.event), plain(event.name)
    if args.timestamp:
        return f"{stamp(event.time)}: event {what} for domain '{whom}': {details}"
    return f"event {what} at {seconds}.{nanoseconds // 1000:06} for domain '{whom}': {details}"


def _json(value: object, *, pretty: bool) -> str:
    line = msgspec.json.encode(value)
    return plain_json((msgspec.json.format(line, indent=_INDENT) if pretty else line).decode())
