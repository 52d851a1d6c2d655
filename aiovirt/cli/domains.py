"""What the verbs about domains share: who is meant, how long it may take, what is said when it is done."""

from __future__ import annotations

import argparse
import re
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final
from uuid import UUID

import anyio

from aiovirt import Domain, Host
from aiovirt.cli import views
from aiovirt.cli.deadline import Deadline
from aiovirt.cli.output import Output
from aiovirt.cli.terminal import input_descriptor
from aiovirt.errors import NoSuchDomain, SystemFailure, XMLInvalid
from aiovirt.events import DomainEvent, MonitorHealth
from aiovirt.model.orders import DEFAULT_TIMEOUT
from aiovirt.model.view import DomainView
from aiovirt.model.words import MAX_XML_BYTES
from aiovirt.system.readiness import read_path, read_within

__all__ = ["as_text", "describe", "find", "look_up", "read", "settle", "tell", "timeout_of"]

SETTLE: Final = 1.0


def find(host: Host, text: str) -> Domain:
    """The domain of this name, id or uuid; raises NoSuchDomain, InvalidArgument where two could be meant."""
    return host.domain(views.find([domain.view for domain in host.domains()], text).uuid)


def describe(domain: Domain) -> dict[str, Any]:
    """A domain as ``--json`` prints it."""
    return views.known(domain.view)


async def settle(host: Host) -> None:
    """Gives guests that were left running a second to be heard again; one that is stuck is shown as it is."""
    with anyio.move_on_after(SETTLE):
        async with host.events.subscribe(DomainEvent) as events:
            while any(domain.status.monitor is MonitorHealth.STALLED for domain in host.domains()):
                await events.receive()


async def look_up(host: Host, seen: Iterable[DomainView], args: argparse.Namespace) -> dict[UUID, dict[str, Any]]:
    """What ``list`` needs of definitions, by uuid; those that are gone meanwhile, or not wanted, are left out."""
    found: dict[UUID, dict[str, Any]] = {}
    for view in seen:
        with suppress(NoSuchDomain):
            domain, more = host.domain(view.uuid), dict[str, Any]()
            if args.autostart or args.no_autostart:
                more["autostart"] = await domain.get_autostart()
                if more["autostart"] is not args.autostart:
                    continue
            if args.title:
                more["title"] = (await domain.spec()).title
            found[view.uuid] = more
    return found


def tell(out: Output, domain: Domain | dict[str, Any], result: str, sentence: str) -> None:
    """What was done: a sentence, or the domain with ``result``."""
    if not out.json:
        out.note(sentence)
        return
    known = domain if isinstance(domain, dict) else describe(domain)
    out.object({**known, "result": result})


def timeout_of(args: argparse.Namespace) -> float:
    """The seconds that an order may take: those that ``--timeout`` leaves, or the usual ones."""
    deadline: Deadline = args.timeout
    return deadline.hand_over() or DEFAULT_TIMEOUT


async def read(file: str) -> str:
    """A file of text, ``-`` for standard input. Raises SystemFailure."""
    name = "standard input" if file == "-" else file
    try:
        data = await (read_within(input_descriptor(), name, MAX_XML_BYTES) if file == "-" else read_path(file, MAX_XML_BYTES))
    except (OSError, ValueError) as error:  # ValueError: no path can have a NUL in it
        raise SystemFailure(f"cannot read {name}: {getattr(error, 'strerror', None) or error}") from error
    return as_text(data, name)


def as_text(data: bytes, name: str) -> str:
    """XML in the encoding that it says it is in. Raises SystemFailure, which names the line and the byte; XMLInvalid."""
    encoding = _encoding_of(data)
    try:
        return data.decode("utf-8-sig" if encoding.upper() == "UTF-8" else encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SystemFailure(f"{name} is not {encoding} text: line {line} has the byte 0x{data[error.start]:02x}") from error
    except (LookupError, UnicodeError) as error:
        raise XMLInvalid(f"{name} says that it is in the encoding {encoding!r}, which cannot be read", line=1) from error


_DECLARED: Final = re.compile(rb"""<\?xml\s[^>]{0,200}?\sencoding\s*=\s*(['"])([A-Za-z][A-Za-z0-9._-]{0,39})\1""")


def _encoding_of(data: bytes) -> str:
    """What XML says that it is in (XML 1.0, 4.3.3 and appendix F): its byte order mark, before its declaration, before UTF-8."""
    if data.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        return "UTF-16"
    declared = None if data.startswith(BOM_UTF8) else _DECLARED.match(data)
    return declared[2].decode() if declared else "UTF-8"
