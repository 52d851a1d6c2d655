"""Domains as they are, in virsh's tables and words: all that can be printed of what was read at once."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from aiovirt.cli.terminal import complain
from aiovirt.errors import InvalidArgument, NoSuchDomain
from aiovirt.model.state import MonitorHealth

if TYPE_CHECKING:
    from aiovirt.cli.output import Output
    from aiovirt.model.view import DomainView

__all__ = ["find", "known", "list", "state_words"]


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


def find(views: Sequence[DomainView], text: str) -> DomainView:
    """The domain of this name, id or uuid. A name comes before a uuid that is spelled the same.

    Raises NoSuchDomain, and InvalidArgument where ``text`` is one domain's name and another one's id.
    """
    named = [view for view in views if view.name == text]
    numbered = [view for view in views if text.isdecimal() and view.id is not None and str(view.id) == text]
    if named and numbered and named != numbered:
        raise InvalidArgument(f"{text!r} is a domain's name, and the id of {numbered[0].name!r}: their uuids tell them apart")
    for view in (*named, *numbered, *(view for view in views if str(view.uuid) == text.lower())):
        return view
    raise NoSuchDomain(f"no domain has the name, id or uuid {text!r}")


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
