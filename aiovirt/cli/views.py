"""Domains as they are, in virsh's tables and words: all that can be printed of what was read at once."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from aiovirt.cli.terminal import complain
from aiovirt.errors import NoSuchDomain
from aiovirt.model.state import MonitorHealth

if TYPE_CHECKING:
    from aiovirt.cli.output import Output
    from aiovirt.model.view import DomainView

__all__ = ["domstate", "find", "known", "list", "state_words"]


def list(views: Iterable[DomainView], args: argparse.Namespace, out: Output) -> None:  # noqa: A001 - virsh's verb
    """``list [--all|--inactive] [--name|--uuid]``"""
    found = [known(view) for view in views if args.all or view.is_active is not args.inactive]
    if out.json:
        for line in found:
            out.object(line)
    elif args.name or args.uuid:
        for line in found:
            out.line(str(line["name" if args.name else "uuid"]))
    else:
        rows = [(str(line["id"] or "-"), str(line["name"]), state_words(line)) for line in found]
        out.table(("Id", "Name", "State"), rows)
        if not rows:
            _point_to_libvirt()


def _point_to_libvirt() -> None:
    """Who looks for guests here may have them there."""
    from aiovirt.system.commandlines import count_by_words

    if (count := count_by_words("qemu-", "/libvirt/")) > 0:
        guests = "1 guest" if count == 1 else f"{count} guests"
        complain(f"note: libvirt has {guests} running on this machine, which are not aiovirt's: see virsh list")


def domstate(views: Iterable[DomainView], args: argparse.Namespace, out: Output) -> None:
    """``domstate DOMAIN [--reason]``"""
    view = find(views, args.domain)
    if out.json:
        out.object(known(view))
    else:
        out.line(f"{view.state} ({view.reason})" if args.reason else str(view.state))
        out.line()


def find(views: Iterable[DomainView], name_or_uuid: str) -> DomainView:
    """One domain; raises NoSuchDomain. A name comes before a uuid that is spelled the same."""
    found = [view for view in views if name_or_uuid == view.name or name_or_uuid.lower() == str(view.uuid)]
    for view in sorted(found, key=lambda view: view.name != name_or_uuid):
        return view
    raise NoSuchDomain(f"no domain has the name or uuid {name_or_uuid!r}")


def known(view: DomainView) -> dict[str, Any]:
    """A domain as ``--json`` prints it."""
    return {
        "id": view.id,
        "name": view.name,
        "uuid": view.uuid,
        "state": view.state,
        "reason": view.reason,
        "persistent": view.persistent,
        "monitor": view.monitor,
        "as_of": view.as_of,
    }


def state_words(line: dict[str, Any]) -> str:
    """Its state, and how its monitor is where that is not well."""
    monitor = line["monitor"]
    words = str(line["state"])
    return words if monitor in (None, MonitorHealth.CONNECTED) else f"{words} (monitor {monitor})"
