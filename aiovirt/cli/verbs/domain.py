"""Domain management: what changes domains, and what names them."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING

from aiovirt.cli import views
from aiovirt.cli.verb import DOMAIN, argument, flag, glance, option, verb

if TYPE_CHECKING:
    from aiovirt.cli.output import Output
    from aiovirt.engine.host import Host
    from aiovirt.model.view import DomainView

_XML = argument("file", "the XML, - for standard input", words="file")
_PAUSED = flag("--paused", "leave its vCPUs stopped")


@verb("define", "keep a definition from an XML file", _XML, flag("--validate", "refuse what libvirt does not know"))
async def define(host: Host, args: Namespace, out: Output) -> None:
    from aiovirt.cli.domains import read, tell, timeout_of

    domain = await host.define(await read(args.file), validate=args.validate, timeout=timeout_of(args))
    tell(out, domain, "defined", f"Domain '{domain.name}' defined from {args.file}")


@verb("create", "boot a transient domain from an XML file", _XML, _PAUSED)
async def create(host: Host, args: Namespace, out: Output) -> None:
    from aiovirt.cli.domains import read, tell, timeout_of

    domain = await host.create(await read(args.file), paused=args.paused, timeout=timeout_of(args))
    tell(out, domain, "created", f"Domain '{domain.name}' created from {args.file}")


@verb("undefine", "forget a domain's definition", DOMAIN)
async def undefine(host: Host, args: Namespace, out: Output) -> None:
    from aiovirt.cli.domains import describe, find, tell, timeout_of

    domain = find(host, args.domain)
    before = describe(domain)
    await domain.undefine(timeout=timeout_of(args))
    tell(out, before, "undefined", f"Domain '{before['name']}' has been undefined")


@verb("start", "boot a defined domain", DOMAIN, _PAUSED)
async def start(host: Host, args: Namespace, out: Output) -> None:
    from aiovirt.cli.domains import find, tell, timeout_of

    domain = find(host, args.domain)
    await domain.start(paused=args.paused, timeout=timeout_of(args))
    tell(out, domain, "started", f"Domain '{domain.name}' started")


@verb("shutdown", "press a domain's power button", DOMAIN)
async def shutdown(host: Host, args: Namespace, out: Output) -> None:
    from aiovirt.cli.domains import describe, find, tell, timeout_of

    domain = find(host, args.domain)
    before = describe(domain)
    await domain.shutdown(timeout=timeout_of(args))
    tell(out, before, "being shut down", f"Domain '{before['name']}' is being shutdown")


@verb("destroy", "power a domain off now; its definition stays", DOMAIN)
async def destroy(host: Host, args: Namespace, out: Output) -> None:
    from aiovirt.cli.domains import describe, find, tell, timeout_of

    domain = find(host, args.domain)
    before = describe(domain)
    await domain.destroy(timeout=timeout_of(args))
    stays = "the definition stays" if before["persistent"] else "it was transient, and is gone"
    tell(out, before, "powered off", f"Domain '{before['name']}' powered off; {stays}")


@verb("suspend", "stop a domain's vCPUs", DOMAIN)
async def suspend(host: Host, args: Namespace, out: Output) -> None:
    from aiovirt.cli.domains import find, tell, timeout_of

    domain = find(host, args.domain)
    await domain.suspend(timeout=timeout_of(args))
    tell(out, domain, "suspended", f"Domain '{domain.name}' suspended")


@verb("resume", "let a domain's vCPUs run again", DOMAIN)
async def resume(host: Host, args: Namespace, out: Output) -> None:
    from aiovirt.cli.domains import find, tell, timeout_of

    domain = find(host, args.domain)
    await domain.resume(timeout=timeout_of(args))
    tell(out, domain, "resumed", f"Domain '{domain.name}' resumed")


@verb("reboot", "press a domain's power button; once it has powered off, it boots again", DOMAIN)
async def reboot(host: Host, args: Namespace, out: Output) -> None:
    from aiovirt.cli.domains import find, tell, timeout_of

    domain = find(host, args.domain)
    await domain.reboot(timeout=timeout_of(args))
    tell(out, domain, "being rebooted", f"Domain '{domain.name}' is being rebooted")


@verb("reset", "press a domain's reset button", DOMAIN)
async def reset(host: Host, args: Namespace, out: Output) -> None:
    from aiovirt.cli.domains import find, tell, timeout_of

    domain = find(host, args.domain)
    await domain.reset(timeout=timeout_of(args))
    tell(out, domain, "reset", f"Domain '{domain.name}' was reset")


@verb("autostart", "start a domain with the host, by the first engine after each boot", DOMAIN, flag("--disable", "no longer"))
async def autostart(host: Host, args: Namespace, out: Output) -> None:
    from aiovirt.cli.domains import find, tell, timeout_of

    domain = find(host, args.domain)
    await domain.set_autostart(not args.disable, timeout=timeout_of(args))
    marked = "unmarked" if args.disable else "marked"
    tell(out, domain, f"{marked} as autostarted", f"Domain '{domain.name}' {marked} as autostarted")


@verb("dumpxml", "print a domain's XML", DOMAIN, flag("--inactive", "as it will start next, not as it runs"), reads=True)
async def dumpxml(host: Host, args: Namespace, out: Output) -> None:
    from aiovirt.cli.domains import describe, find

    domain = find(host, args.domain)
    xml = await domain.xml(inactive=args.inactive)
    if out.json:
        out.object({**describe(domain), "xml": xml})
    else:
        out.xml(xml)


@verb(
    "edit",
    "change a domain's definition in your editor ($VISUAL, $EDITOR, vi)",
    DOMAIN,
    flag("--skip-validate", "take what libvirt does not know"),
)
async def edit(host: Host, args: Namespace, out: Output) -> None:
    from aiovirt.cli.editing import edit

    await edit(host, args, out)


# -- its console -------------------------------------------------------------------------------


@verb(
    "console",
    "sit at a domain's serial console; ^] leaves",
    DOMAIN,
    option("--devname", "which: serial0; else the first", metavar="ALIAS"),
    flag("--force", "end the session of whoever sits there"),
    flag("--safe", "only where nobody else can sit there meanwhile, which is always so here"),
)
async def console(host: Host, args: Namespace, out: Output) -> None:
    from aiovirt.cli.consoles import console

    await console(host, args, out)


@verb("ttyconsole", "print the path of a domain's console, where it is a pty", DOMAIN, reads=True)
async def ttyconsole(host: Host, args: Namespace, out: Output) -> None:
    from aiovirt.cli.consoles import ttyconsole

    await ttyconsole(host, args, out)


# -- what names them ---------------------------------------------------------------------------


def _name(views_: Sequence[DomainView], args: Namespace, out: Output, which: str) -> None:
    view = views.find(views_, args.domain)
    if out.json:
        out.object(views.known(view))
        return
    value = getattr(view, which)
    out.line("-" if value is None else str(value))
    out.note()


@glance("domid", "print a domain's id, - where it is not active", DOMAIN)
def domid(seen: Sequence[DomainView], args: Namespace, out: Output) -> None:
    _name(seen, args, out, "id")


@glance("domname", "print a domain's name", DOMAIN)
def domname(seen: Sequence[DomainView], args: Namespace, out: Output) -> None:
    _name(seen, args, out, "name")


@glance("domuuid", "print a domain's uuid", DOMAIN)
def domuuid(seen: Sequence[DomainView], args: Namespace, out: Output) -> None:
    _name(seen, args, out, "uuid")


# -- QEMU itself -------------------------------------------------------------------------------


@verb(
    "qemu-monitor-command",
    "give a command to a domain's QEMU, and print its answer",
    DOMAIN,
    argument("cmd", '{"execute": …, "arguments": …}, or with --hmp words', nargs="+", metavar="command"),
    flag("--hmp", "a command of the human monitor"),
    flag("--pretty", "the answer on several lines"),
    flag("--return-value", "only what the answer's return has"),
)
async def qemu_monitor_command(host: Host, args: Namespace, out: Output) -> None:
    from aiovirt.cli.domains import find
    from aiovirt.cli.monitors import ask

    await ask(find(host, args.domain), args, out)


@verb(
    "qemu-monitor-event",
    "print what a QEMU tells when it does",
    argument("domain", "of one domain: name, id or uuid", words="domain", nargs="?"),
    argument("event", "of this name only", nargs="?"),
    flag("--regex", "the name is a regular expression"),
    flag("--no-case", "the name's case does not matter"),
    flag("--pretty", "its data on several lines"),
    flag("--loop", "go on until interrupted"),
    flag("--timestamp", "each with its time"),
    reads=True,
)
async def qemu_monitor_event(host: Host, args: Namespace, out: Output) -> None:
    from aiovirt.cli.domains import find
    from aiovirt.cli.monitors import listen

    await listen(host, find(host, args.domain) if args.domain else None, args, out)
