"""Domain monitoring: what is seen of domains. ``list`` and ``domstate`` are used most, so nothing heavy is imported here."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING

from aiovirt.cli import views
from aiovirt.cli.verb import DOMAIN, flag, glance, one_of, verb

if TYPE_CHECKING:
    from aiovirt.cli.output import Output
    from aiovirt.engine.host import Host
    from aiovirt.model.view import DomainView


@verb(
    "list",
    "list the active domains",
    *one_of(flag("--all", "inactive ones too"), flag("--inactive", "inactive ones only")),
    *one_of(flag("--persistent", "only those with a definition"), flag("--transient", "only those without a definition")),
    *one_of(flag("--autostart", "only those started with the host"), flag("--no-autostart", "only those that are not")),
    flag("--state-running", "those that run"),
    flag("--state-paused", "those that are paused"),
    flag("--state-shutoff", "those that are shut off"),
    flag("--state-other", "those in other states"),
    flag("--name", "names only"),
    flag("--uuid", "uuids only"),
    flag("--id", "ids only"),
    flag("--table", "a table, as without this"),
    flag("--title", "with the domains' titles"),
    reads=True,
    glance=views.list_at_a_glance,
)
async def list_domains(host: Host, args: Namespace, out: Output) -> None:
    from aiovirt.cli.domains import look_up, settle

    await settle(host)
    seen = views.wanted([domain.view for domain in host.domains()], args)
    if views.suffice(args):
        views.show(seen, {}, args, out)
    else:
        views.show(seen, await look_up(host, seen, args), args, out)


@glance("domstate", "print a domain's state", DOMAIN, flag("--reason", "and why it is in it"))
def domstate(seen: Sequence[DomainView], args: Namespace, out: Output) -> None:
    view = views.find(seen, args.domain)
    if out.json:
        out.object(views.known(view))
    else:
        out.line(f"{view.state} ({view.reason})" if args.reason else str(view.state))
        out.note()


@verb("dominfo", "what is known of a domain", DOMAIN, reads=True)
async def dominfo(host: Host, args: Namespace, out: Output) -> None:
    from aiovirt.cli.domains import describe, find, settle
    from aiovirt.model.units import KiB

    await settle(host)
    domain = find(host, args.domain)
    known = describe(domain)
    spec, started = await domain.spec(), await domain.get_autostart()
    machine = domain.machine
    vcpus = machine.vcpus if machine else spec.vcpus
    memory = machine.balloon if machine and machine.balloon is not None else spec.memory
    if out.json:
        live = {name: getattr(machine, name) for name in ("balloon", "devices", "jobs")} if machine else {}
        out.object({**known, "vcpus": vcpus, "memory": spec.memory, "type": spec.type, "autostart": started, **live})
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


@verb(
    "domblklist",
    "list a domain's disks",
    DOMAIN,
    flag("--inactive", "as it will start next, not as it runs"),
    flag("--details", "with what they are"),
    reads=True,
)
async def domblklist(host: Host, args: Namespace, out: Output) -> None:
    from aiovirt.cli.domains import find

    domain = find(host, args.domain)
    spec = await domain.spec(inactive=args.inactive)
    if out.json:
        for disk in spec.disks:
            out.object({"type": "file", "device": disk.device, "target": disk.target, "source": disk.source or None})
        return
    header = ("Type", "Device", "Target", "Source")
    rows = [("file", str(disk.device), disk.target, disk.source or "-") for disk in spec.disks]
    shown = slice(0 if args.details else 2, None)
    out.table(header[shown], [row[shown] for row in rows])
