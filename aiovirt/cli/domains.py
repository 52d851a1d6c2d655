"""The verbs about domains, one function each, in virsh's words."""

from __future__ import annotations

import argparse
import re
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from typing import Any, Final

import anyio

from aiovirt import Domain, Host
from aiovirt.cli import views
from aiovirt.cli.deadline import Deadline
from aiovirt.cli.output import Output
from aiovirt.cli.terminal import input_descriptor
from aiovirt.errors import SystemFailure, XMLInvalid
from aiovirt.events import DomainEvent, MonitorHealth
from aiovirt.model.orders import DEFAULT_TIMEOUT
from aiovirt.model.units import KiB
from aiovirt.model.words import MAX_XML_BYTES
from aiovirt.system.readiness import read_path, read_within

__all__ = [
    "autostart",
    "create",
    "define",
    "describe",
    "destroy",
    "dominfo",
    "domstate",
    "dumpxml",
    "list",
    "reset",
    "resume",
    "settle",
    "shutdown",
    "start",
    "suspend",
    "undefine",
    "wait",
]

SETTLE: Final = 1.0
Arguments = argparse.Namespace


async def list(host: Host, args: Arguments, out: Output) -> None:  # noqa: A001 - virsh's verb
    """``list [--all|--inactive] [--name|--uuid]``"""
    await settle(host)
    views.list((domain.view for domain in host.domains()), args, out)


async def define(host: Host, args: Arguments, out: Output) -> None:
    """``define FILE``"""
    domain = await host.define(await _read(args.file), timeout=_timeout(args))
    _tell(out, domain, "defined", f"Domain '{domain.name}' defined from {args.file}")


async def create(host: Host, args: Arguments, out: Output) -> None:
    """``create FILE [--paused]``"""
    domain = await host.create(await _read(args.file), paused=args.paused, timeout=_timeout(args))
    _tell(out, domain, "created", f"Domain '{domain.name}' created from {args.file}")


async def undefine(host: Host, args: Arguments, out: Output) -> None:
    """``undefine DOMAIN``"""
    domain = host.domain(args.domain)
    before = describe(domain)
    await domain.undefine(timeout=_timeout(args))
    _tell(out, before, "undefined", f"Domain '{before['name']}' has been undefined")


async def start(host: Host, args: Arguments, out: Output) -> None:
    """``start DOMAIN [--paused]``"""
    domain = host.domain(args.domain)
    await domain.start(paused=args.paused, timeout=_timeout(args))
    _tell(out, domain, "started", f"Domain '{domain.name}' started")


async def shutdown(host: Host, args: Arguments, out: Output) -> None:
    """``shutdown DOMAIN``"""
    domain = host.domain(args.domain)
    before = describe(domain)
    await domain.shutdown(timeout=_timeout(args))
    _tell(out, before, "being shut down", f"Domain '{before['name']}' is being shutdown")


async def destroy(host: Host, args: Arguments, out: Output) -> None:
    """``destroy DOMAIN``"""
    domain = host.domain(args.domain)
    before = describe(domain)
    await domain.destroy(timeout=_timeout(args))
    stays = "the definition stays" if before["persistent"] else "it was transient, and is gone"
    _tell(out, before, "powered off", f"Domain '{before['name']}' powered off; {stays}")


async def suspend(host: Host, args: Arguments, out: Output) -> None:
    """``suspend DOMAIN``"""
    domain = host.domain(args.domain)
    await domain.suspend(timeout=_timeout(args))
    _tell(out, domain, "suspended", f"Domain '{domain.name}' suspended")


async def resume(host: Host, args: Arguments, out: Output) -> None:
    """``resume DOMAIN``"""
    domain = host.domain(args.domain)
    await domain.resume(timeout=_timeout(args))
    _tell(out, domain, "resumed", f"Domain '{domain.name}' resumed")


async def reset(host: Host, args: Arguments, out: Output) -> None:
    """``reset DOMAIN``"""
    domain = host.domain(args.domain)
    await domain.reset(timeout=_timeout(args))
    _tell(out, domain, "reset", f"Domain '{domain.name}' was reset")


async def autostart(host: Host, args: Arguments, out: Output) -> None:
    """``autostart DOMAIN [--disable]``"""
    domain = host.domain(args.domain)
    await domain.set_autostart(not args.disable, timeout=_timeout(args))
    marked = "unmarked" if args.disable else "marked"
    _tell(out, domain, f"{marked} as autostarted", f"Domain '{domain.name}' {marked} as autostarted")


async def dumpxml(host: Host, args: Arguments, out: Output) -> None:
    """``dumpxml DOMAIN [--inactive]``"""
    domain = host.domain(args.domain)
    xml = await domain.xml(inactive=args.inactive)
    if out.json:
        out.object({**describe(domain), "xml": xml})
    else:
        out.xml(xml)


async def domstate(host: Host, args: Arguments, out: Output) -> None:
    """``domstate DOMAIN [--reason]``"""
    await settle(host)
    views.domstate([host.domain(args.domain).view], args, out)


async def dominfo(host: Host, args: Arguments, out: Output) -> None:
    """``dominfo DOMAIN``"""
    await settle(host)
    domain = host.domain(args.domain)
    known = describe(domain)
    spec, started = await domain.spec(), await domain.get_autostart()
    machine = domain.machine
    vcpus = machine.vcpus if machine else spec.vcpus
    memory = machine.balloon if machine and machine.balloon is not None else spec.memory
    if out.json:
        told = {name: getattr(machine, name) for name in ("balloon", "devices", "jobs")} if machine else {}
        out.object({**known, "vcpus": vcpus, "memory": spec.memory, "type": spec.type, "autostart": started, **told})
        return
    out.fields(
        {
            "Id": str(known["id"] or "-"),
            "Name": str(known["name"]),
            "UUID": str(known["uuid"]),
            "OS Type": "hvm",
            "State": views.state_words(known),
            "CPU(s)": str(vcpus),
            "Max memory": f"{spec.memory // KiB} KiB",
            "Used memory": f"{memory // KiB} KiB",
            "Persistent": "yes" if known["persistent"] else "no",
            "Autostart": "enable" if started else "disable",
            "Monitor": str(known["monitor"] or "-"),
        }
    )


async def wait(host: Host, args: Arguments, out: Output) -> None:
    """``wait DOMAIN --for STATE``"""
    await settle(host)
    domain = host.domain(args.domain)
    before = describe(domain)
    with anyio.fail_after(args.timeout.hand_over()):
        await domain.wait_for_state(args.state)
    _tell(out, before | {"state": args.state}, f"{args.state}", f"Domain '{before['name']}' is {args.state}")


def describe(domain: Domain) -> dict[str, Any]:
    """A domain as ``--json`` prints it."""
    return views.known(domain.view)


async def settle(host: Host) -> None:
    """Gives guests that were left running a second to be heard again; one that is stuck is shown as it is."""
    with anyio.move_on_after(SETTLE):
        async with host.events.subscribe(DomainEvent) as news:
            while any(domain.status.monitor is MonitorHealth.STALLED for domain in host.domains()):
                await news.receive()


def _tell(out: Output, domain: Domain | dict[str, Any], result: str, sentence: str) -> None:
    """What was done: a sentence, or the domain with ``result``."""
    if not out.json:
        out.line(sentence)
        return
    known = domain if isinstance(domain, dict) else describe(domain)
    out.object({**known, "result": result})


def _timeout(args: Arguments) -> float:
    deadline: Deadline = args.timeout
    return deadline.hand_over() or DEFAULT_TIMEOUT


_DECLARED: Final = re.compile(rb"""<\?xml\s[^>]{0,200}?\sencoding\s*=\s*(['"])([A-Za-z][A-Za-z0-9._-]{0,39})\1""")


async def _read(file: str) -> str:
    name = "standard input" if file == "-" else file
    try:
        data = await (read_within(input_descriptor(), name, MAX_XML_BYTES) if file == "-" else read_path(file, MAX_XML_BYTES))
    except (OSError, ValueError) as error:  # ValueError: no path can have a NUL in it
        raise SystemFailure(f"cannot read {name}: {getattr(error, 'strerror', None) or error}") from error
    encoding = _encoding_of(data)
    try:
        return data.decode("utf-8-sig" if encoding.upper() == "UTF-8" else encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SystemFailure(f"{name} is not {encoding} text: line {line} has the byte 0x{data[error.start]:02x}") from error
    except (LookupError, UnicodeError) as error:
        raise XMLInvalid(f"{name} says that it is in the encoding {encoding!r}, which cannot be read", line=1) from error


def _encoding_of(data: bytes) -> str:
    """What XML says that it is in (XML 1.0, 4.3.3 and appendix F): its byte order mark, before its declaration, before UTF-8."""
    if data.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        return "UTF-16"
    declared = None if data.startswith(BOM_UTF8) else _DECLARED.match(data)
    return declared[2].decode() if declared else "UTF-8"
