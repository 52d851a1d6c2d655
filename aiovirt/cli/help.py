"""``aiovirt help``: the verbs by virsh's groups, and what one takes."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from aiovirt.cli.output import Output
from aiovirt.cli.parser import parser_of
from aiovirt.cli.verb import Verb, all_verbs, find_verb
from aiovirt.cli.virsh import TITLES
from aiovirt.errors import InvalidArgument

__all__ = ["show"]


def show(wanted: str | None, out: Output) -> int:
    """All of it, or what is ``wanted``: a group or a verb. Raises InvalidArgument where that is neither."""
    if wanted is not None and (verb := find_verb(wanted)):
        out.text(parser_of(verb, []).format_help().removesuffix("\n"))
        return 0
    verbs = [each for each in all_verbs().values() if wanted in (None, each.group)]
    if not verbs:
        raise InvalidArgument(f"command or command group {wanted!r} doesn't exist")
    if out.json:
        for each in verbs:
            out.object({"verb": each.name, "group": each.group, "help": each.text})
    else:
        _show(verbs, out)
    return 0


def _show(verbs: Iterable[Verb], out: Output) -> None:
    for group, members in groupby(verbs, key=lambda each: each.group):
        out.line(f" {TITLES[group]} (help keyword '{group}'):")
        for each in members:
            out.line(f"    {each.name:<30} {each.text}")
        out.note()
