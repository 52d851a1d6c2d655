"""The grammar of the command line: one table of verbs."""

from __future__ import annotations

import argparse
from typing import Final

from aiovirt.cli.deadline import Deadline
from aiovirt.cli.terminal import Parser
from aiovirt.model.state import DomainState

__all__ = ["build_parser"]

_EPILOG: Final = """exit status: 0 done, 1 failed, 2 usage, 4 no such object, 124 deadline passed.
Without -c: AIOVIRT_DEFAULT_URI, then qemu:///system for root and qemu:///session for everyone else."""


def build_parser() -> argparse.ArgumentParser:
    """``aiovirt [-c URI] VERB …``"""
    parser = Parser(
        prog="aiovirt",
        description="Virtual machines and this host's devices, with virsh's verbs.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-c", "--connect", metavar="URI", help="the host, such as test:///default or qemu:///session")
    parser.add_argument("--backend", choices=["asyncio", "uvloop", "trio"], default="asyncio", help="the event loop (asyncio)")
    parser.add_argument("--version", action="store_true", help="print the version and leave")
    _common(parser, default=False)
    verbs = parser.add_subparsers(dest="verb", metavar="VERB")
    _domain_verbs(verbs)
    _event_verbs(verbs)
    _device_verbs(verbs)
    _monitor_verbs(verbs)
    return parser


Verbs = argparse._SubParsersAction  # noqa: SLF001 - argparse has no public name for it


def _common(parser: argparse.ArgumentParser, *, default: object = argparse.SUPPRESS) -> None:
    """Options that may stand before or after the verb."""
    parser.add_argument("--json", action="store_true", default=default, help="one JSON object a line")
    timeout = Deadline(None) if default is False else default
    parser.add_argument("--timeout", type=_deadline, metavar="SECONDS", default=timeout, help="give up after so long, with status 124")


def _verb(verbs: Verbs[Parser], name: str, text: str, *, alias: str | None = None) -> argparse.ArgumentParser:
    parser = verbs.add_parser(name, aliases=[alias] if alias else [], help=text, description=text[0].upper() + text[1:] + ".")
    parser.set_defaults(verb=name)  # also when it was called by its alias
    _common(parser)
    return parser


def _domain_verbs(verbs: Verbs[Parser]) -> None:
    listing = _verb(verbs, "list", "list the active domains")
    which = listing.add_mutually_exclusive_group()
    which.add_argument("--all", action="store_true", help="inactive ones too")
    which.add_argument("--inactive", action="store_true", help="inactive ones only")
    form = listing.add_mutually_exclusive_group()
    form.add_argument("--name", action="store_true", help="names only")
    form.add_argument("--uuid", action="store_true", help="uuids only")
    for name, text in (
        ("undefine", "forget a domain's definition"),
        ("shutdown", "press a domain's power button"),
        ("destroy", "power a domain off now; its definition stays"),
        ("suspend", "stop a domain's vCPUs"),
        ("resume", "let a domain's vCPUs run again"),
        ("reset", "press a domain's reset button"),
        ("dominfo", "what is known of a domain"),
    ):
        _verb(verbs, name, text).add_argument("domain", help="name or uuid")
    start = _verb(verbs, "start", "boot a defined domain")
    start.add_argument("domain", help="name or uuid")
    start.add_argument("--paused", action="store_true", help="leave its vCPUs stopped")
    _verb(verbs, "define", "keep a definition from an XML file").add_argument("file", help="the XML, - for standard input")
    create = _verb(verbs, "create", "boot a transient domain from an XML file")
    create.add_argument("file", help="the XML, - for standard input")
    create.add_argument("--paused", action="store_true", help="leave its vCPUs stopped")
    autostart = _verb(verbs, "autostart", "start a domain with the host, by the first engine after each boot")
    autostart.add_argument("domain", help="name or uuid")
    autostart.add_argument("--disable", action="store_true", help="no longer")
    dumpxml = _verb(verbs, "dumpxml", "print a domain's XML")
    dumpxml.add_argument("domain", help="name or uuid")
    dumpxml.add_argument("--inactive", action="store_true", help="as it will start next, not as it runs")
    state = _verb(verbs, "domstate", "print a domain's state")
    state.add_argument("domain", help="name or uuid")
    state.add_argument("--reason", action="store_true", help="and why it is in it")
    wait = _verb(verbs, "wait", "wait until a domain is in a state")
    wait.add_argument("domain", help="name or uuid")
    wait.add_argument("--for", dest="state", required=True, type=_state, metavar="STATE", help=", ".join(_STATES))


def _event_verbs(verbs: Verbs[Parser]) -> None:
    event = _verb(verbs, "event", "print a domain event when it comes", alias="events")
    event.add_argument("--loop", action="store_true", help="go on until interrupted")
    event.add_argument("--all", action="store_true", help="events of devices and of the host too")
    event.add_argument(
        "--type",
        metavar="TYPE",
        action="append",
        dest="types",
        help="of this kind (domain.lifecycle) or family (domain, device, netdev, host); may be repeated. "
        "What QEMU itself says (domain.qmp) is shown only when it is asked for here",
    )
    event.add_argument("--event", metavar="TYPE", action="append", dest="types", help="the same, virsh's spelling: lifecycle")
    about = event.add_mutually_exclusive_group()
    about.add_argument("--domain", help="of one domain: name or uuid")
    about.add_argument("--subject", help="of one domain or device: a name, domain/UUID, netdev/ID, or all that begin so: netdev/")
    event.add_argument("--since", metavar="CURSOR", help="all that came after this event, and what comes")
    watch = _verb(verbs, "watch", "what is there, and then everything that changes, until interrupted")
    watch.add_argument("names", nargs="*", metavar="NAME", help="domains or network devices; none for all")
    engine = _verb(verbs, "engine", "hold a host in the foreground, for others to attach to; its guests outlive it")
    engine.add_argument("--take-over", action="store_true", help="ask the engine that holds the host to hand it over")
    engine.add_argument("--wait", action="store_true", help="wait until the host is free")
    engine.add_argument("--stop", action="store_true", help="ask the engine that holds the host to leave it, and hold nothing")
    engine.add_argument("--idle", type=_seconds, metavar="SECONDS", help="leave when for so long nobody was attached and no guest ran")
    demo = _verb(verbs, "demo", "two real guests and a network device on one stream of events")
    demo.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)


def _device_verbs(verbs: Verbs[Parser]) -> None:
    listing = _verb(verbs, "nodedev-list", "list this host's devices by libvirt's names")
    form = listing.add_mutually_exclusive_group()
    form.add_argument("--tree", action="store_true", help="as a tree, each below what it hangs from")
    form.add_argument("--ports", action="store_true", help="as ports of network cards, with PF and VFs, and how it is known who is on them")
    form.add_argument("--details", action="store_true", help="a table of the network devices")
    listing.add_argument("--cap", type=_capabilities, metavar="NAME,…", help="only devices that can this: system, pci, net")
    described = "libvirt's name for it, a network device's own name, or a PCI address"
    for name, text in (("nodedev-info", "what is known of a device"), ("nodedev-dumpxml", "print a device's XML, as libvirt has it")):
        _verb(verbs, name, text).add_argument("device", help=described)
    event = _verb(verbs, "nodedev-event", "print a device's event when it comes, as virsh does")
    event.add_argument("--loop", action="store_true", help="go on until interrupted")
    which = event.add_mutually_exclusive_group()
    which.add_argument("--all", action="store_true", help="events of both types, which is what is shown without this too")
    which.add_argument("--event", choices=["lifecycle", "update"], help="of this type only")
    event.add_argument("--device", help="of one device: " + described)
    event.add_argument("--timestamp", action="store_true", help="each with its time")


def _monitor_verbs(verbs: Verbs[Parser]) -> None:
    command = _verb(verbs, "qemu-monitor-command", "give a command to a domain's QEMU, and print its answer")
    command.add_argument("domain", help="name or uuid")
    command.add_argument("command", nargs="+", help='{"execute": …, "arguments": …}, or with --hmp words')
    command.add_argument("--hmp", action="store_true", help="a command of the human monitor")
    command.add_argument("--pretty", action="store_true", help="the answer on several lines")
    command.add_argument("--return-value", action="store_true", help="only what the answer's return has")
    event = _verb(verbs, "qemu-monitor-event", "print what a QEMU tells when it does, as virsh does")
    event.add_argument("--domain", help="of one domain: name or uuid")
    event.add_argument("--event", metavar="NAME", help="of this name only")
    event.add_argument("--regex", action="store_true", help="the name is a regular expression")
    event.add_argument("--no-case", action="store_true", help="the name's case does not matter")
    event.add_argument("--pretty", action="store_true", help="its data on several lines")
    event.add_argument("--loop", action="store_true", help="go on until interrupted")
    event.add_argument("--timestamp", action="store_true", help="each with its time")
    proxy = _verb(verbs, "qmp-proxy", "let others speak QMP with a domain, beside the engine, until interrupted or it stops")
    proxy.add_argument("domain", help="name or uuid")
    proxy.add_argument("socket", help="where, a path: for qmp-shell, qmp-tui and their like")
    _verb(verbs, "log", "print the last that a domain's QEMU has said of itself").add_argument("domain", help="name or uuid")


_CAPABILITIES: Final = [
    "system",
    "pci",
    "usb_device",
    "usb",
    "net",
    "scsi_host",
    "scsi_target",
    "scsi",
    "storage",
    "fc_host",
    "vports",
    "scsi_generic",
    "drm",
    "mdev_types",
    "mdev",
    "ccw",
    "css",
    "vdpa",
    "ap_card",
    "ap_queue",
    "ap_matrix",
    "vpd",
    "ccwgroup",
    "ccwgroup_member",
]
"""All of libvirt's. Devices that can another than system, pci and net are not listed: of those there are none."""


def _capabilities(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in _CAPABILITIES:
            raise argparse.ArgumentTypeError(f"{name!r} is no capability; there are {', '.join(_CAPABILITIES)}")
    return names


_STATES: Final = {state.name.lower(): state for state in DomainState if state is not DomainState.NOSTATE}


def _state(text: str) -> DomainState:
    known = _STATES | {str(state): state for state in _STATES.values()}
    if text.lower() not in known:
        raise argparse.ArgumentTypeError(f"{text!r} is not one of {', '.join(_STATES)}")
    return known[text.lower()]


def _deadline(text: str) -> Deadline:
    return Deadline(_seconds(text))


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return value
