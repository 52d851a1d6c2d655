"""Domains as they are, in virsh's tables and words: all that can be printed of what was read at once."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from aiovirt.cli.terminal import complain
from aiovirt.errors import InvalidArgument, NoSuchDomain
from aiovirt.model.state import DomainState, MonitorHealth

if TYPE_CHECKING:
    from aiovirt.cli.output import Output
    from aiovirt.model.view import DomainView

__all__ = ["find", "known", "list_at_a_glance", "show", "state_words", "suffice", "wanted"]


def list_at_a_glance(views: Sequence[DomainView], args: argparse.Namespace, out: Output) -> bool:
    """``list``, where the domains as they are suffice; returns False where they do not."""
    if not suffice(args):
        return False
    show(wanted(views, args), {}, args, out)
    return True


def suffice(args: argparse.Namespace) -> bool:
    """Whether ``list`` asks for nothing that is only in definitions."""
    return not (args.title or args.autostart or args.no_autostart)


def wanted(views: Iterable[DomainView], args: argparse.Namespace) -> list[DomainView]:
    """The domains that ``list`` is to show, as far as can be told by what they are now."""
    states = [test for name, test in _BY_STATE.items() if getattr(args, f"state_{name}")]
    return [
        view
        for view in views
        if (args.all or states or view.is_active is not args.inactive)
        and not (args.inactive and view.is_active)
        and (not states or any(test(view.state) for test in states))
        and not (args.persistent and not view.persistent)
        and not (args.transient and view.persistent)
    ]


_BY_STATE: Final[dict[str, Callable[[DomainState], bool]]] = {
    "running": lambda state: state is DomainState.RUNNING,
    "paused": lambda state: state is DomainState.PAUSED,
    "shutoff": lambda state: state is DomainState.SHUTOFF,
    "other": lambda state: state not in {DomainState.RUNNING, DomainState.PAUSED, DomainState.SHUTOFF},
}


def show(views: Iterable[DomainView], more: dict[UUID, dict[str, Any]], args: argparse.Namespace, out: Output) -> None:
    """``list``: a table, one value or several on a line, or objects. ``more`` has what else is asked for, by uuid.

    Where there is more to be had at all, what is not in it is left out: it is gone, or was not wanted.
    """
    found = [{**known(view), **more.get(view.uuid, {})} for view in views if suffice(args) or view.uuid in more]
    columns = [name for name in ("uuid", "id", "name") if getattr(args, name)]
    if args.table and columns:
        raise InvalidArgument(f"Options --table and --{columns[0]} are mutually exclusive")
    if out.json:
        for line in found:
            out.object(line)
    elif columns:
        for line in found:
            out.line(" ".join(_cell(line, name) for name in columns))
    else:
        _table(found, args, out)


def _table(found: list[dict[str, Any]], args: argparse.Namespace, out: Output) -> None:
    titles = ("Title",) if args.title else ()
    rows = [(_cell(line, "id"), line["name"], state_words(line), *(line["title"] or "" for _ in titles)) for line in found]
    out.table(("Id", "Name", "State", *titles), rows)
    if not rows:
        _point_to_libvirt()


def _cell(line: dict[str, Any], name: str) -> str:
    return str(line[name] if line[name] is not None else "-")


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
