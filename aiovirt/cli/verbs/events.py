"""Domain events, and with them all that happens."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from aiovirt.cli.verb import argument, flag, option, verb

if TYPE_CHECKING:
    from aiovirt.cli.output import Output
    from aiovirt.engine.host import Host

ARGUMENTS = (
    argument("domain", "of one domain: name, id or uuid", words="domain", nargs="?"),
    argument("event", "of this kind: lifecycle, reboot", nargs="*", metavar="TYPE"),
    flag("--loop", "go on until interrupted"),
    flag("--all", "events of devices and of the host too"),
    option(
        "--type",
        "of this kind (domain.lifecycle) or family (domain, device, netdev, host); may be repeated. "
        "What QEMU itself says (domain.qmp) is shown only when it is asked for here",
        metavar="TYPE",
        action="append",
        dest="types",
    ),
    option("--subject", "of one domain or device: a name, domain/UUID, netdev/ID, or all that begin so: netdev/"),
    option("--since", "all that came after this event, and what comes", metavar="CURSOR"),
)


async def event(host: Host, args: Namespace, out: Output) -> None:
    from aiovirt.cli.streams import event

    await event(host, args, out)


verb("event", "print a domain event when it comes", *ARGUMENTS, reads=True)(event)
