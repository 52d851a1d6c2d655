"""What virsh has about itself."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from aiovirt.cli.verb import argument, local

if TYPE_CHECKING:
    from aiovirt.cli.output import Output


@local(
    "help",
    "list the verbs, or those of one group, or say what one takes",
    argument("command", "a verb or a group", words="verb", nargs="?"),
)
def help_(args: Namespace, out: Output) -> int:
    from aiovirt.cli.help import show

    return show(args.command, out)
