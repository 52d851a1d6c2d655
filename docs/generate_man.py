"""Writes docs/aiovirt.1, the manual page, from the verbs themselves.

    python -m docs.generate_man

What a verb and its arguments say of themselves is taken from there and never written here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Final

from aiovirt.cli.parser import COMMON, VERSION
from aiovirt.cli.verb import Argument, Verb, all_verbs
from aiovirt.cli.virsh import TITLES

__all__ = ["FILE", "render"]

FILE: Final = Path(__file__).with_name("aiovirt.1")

HEAD: Final = r""".\" Written by python -m docs.generate_man (make docs) from the verbs. Not to be edited.
.TH AIOVIRT 1 "" aiovirt "Virtual machines"
.SH NAME
aiovirt \- virtual machines and this host's devices, with virsh's verbs
.SH SYNOPSIS
.B aiovirt
[\fIOPTION\fR ...] \fIVERB\fR [\fIARGUMENT\fR ...]
.SH DESCRIPTION
A domain is named by its name, its id as
.B list
prints it, or its uuid. What a verb takes by its place may be told by its name as well:
.B aiovirt start \-\-domain web
is
.BR "aiovirt start web" .
With
.B \-\-json
each thing is one JSON object on a line of its own; keys are added, and never taken away."""

TAIL: Final = r""".SH EXIT STATUS
.TP
.B 0
done
.TP
.B 1
failed, and standard error has one line that says why
.TP
.B 2
wrong usage
.TP
.B 4
there is no such domain or device
.TP
.B 124
the deadline of
.B \-\-timeout
passed
.SH ENVIRONMENT
.TP
.BR AIOVIRT_DEFAULT_URI ", " LIBVIRT_DEFAULT_URI
the host where
.B \-c
names none, the first that is set; else qemu:///system for root and qemu:///session for everyone else
.TP
.BR AIOVIRT_CONFIG_DIR ", " AIOVIRT_STATE_DIR ", " AIOVIRT_RUNTIME_DIR
folders in place of the usual ones; a root that is said in the URI comes first
.TP
.BR VISUAL ", " EDITOR
what
.B edit
runs: words as a shell splits them, and no shell
.TP
.B NO_COLOR
no colours, whatever the terminal
.TP
.B AIOVIRT_LOG
how much is logged on standard error: DEBUG, INFO, WARNING
.SH SEE ALSO
.BR virsh (1),
.BR qemu (1)
"""


def render() -> str:
    """The page, as roff(7)."""
    verbs = groupby(all_verbs().values(), key=lambda each: each.group)
    groups = [
        "\n".join([f'.SH "{_text(TITLES[group].upper())}"', *(line for each in some for line in _verb(each))]) for group, some in verbs
    ]
    options = "\n".join([".SH OPTIONS", *_arguments((*COMMON, VERSION))])
    return "\n".join([HEAD, options, *groups, TAIL])


def _verb(verb: Verb) -> Iterator[str]:
    shown = [each for each in verb.arguments if each.keywords["help"] != "==SUPPRESS=="]
    yield ".SS " + " ".join([_bold(verb.name), *map(_usage, shown)])
    yield _text(verb.text[0].upper() + verb.text[1:] + ".")
    yield from _arguments(shown)


def _arguments(arguments: Iterable[Argument]) -> Iterator[str]:
    for each in arguments:
        yield ".TP"
        yield ", ".join(_bold(name) if not each.is_positional else _italic(_value(each)) for name in each.names) + _after(each)
        yield _text(each.keywords["help"])


def _usage(argument: Argument) -> str:
    if not argument.is_positional:
        shown = _bold(argument.names[0]) + _after(argument)
        return shown if argument.keywords.get("required") else f"[{shown}]"
    value = _italic(_value(argument))
    return {"?": f"[{value}]", "*": f"[{value} ...]", "+": f"{value} ..."}.get(str(argument.keywords.get("nargs")), value)


def _after(argument: Argument) -> str:
    return "" if argument.is_positional or "action" in _flagged(argument) else f" {_italic(_value(argument))}"


def _flagged(argument: Argument) -> dict[str, object]:
    return {name: value for name, value in argument.keywords.items() if (name, value) == ("action", "store_true")}


def _value(argument: Argument) -> str:
    if choices := argument.keywords.get("choices"):
        return "|".join(choices)
    return str(argument.keywords.get("metavar") or argument.names[0].lstrip("-")).upper()


def _bold(text: str) -> str:
    return rf"\fB{_text(text)}\fR"


def _italic(text: str) -> str:
    return rf"\fI{_text(text)}\fR"


def _text(text: str) -> str:
    r"""Words that roff(7) shows as they are: hyphens that can be copied, and no line that is taken for a request."""
    shown = text.replace("\\", r"\e").replace("-", r"\-").replace("^", r"\(ha").replace("'", r"\(aq").replace("…", "...")
    return rf"\&{shown}" if shown.startswith((".", r"\(aq")) else shown


if __name__ == "__main__":
    FILE.write_text(render(), encoding="utf-8")
