"""The command line's grammar: what every verb takes, and the parser of the one verb that is named."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, Final

from aiovirt.cli.deadline import Deadline
from aiovirt.cli.terminal import Parser
from aiovirt.cli.verb import Argument, Verb, find_verb, flag, option

__all__ = ["COMMON", "EPILOG", "VERSION", "parse", "parser_of", "seconds", "unbuilt"]

DESCRIPTION: Final = "Virtual machines and this host's devices, with virsh's verbs."
EPILOG: Final = """aiovirt help lists the verbs, aiovirt help VERB says what one takes.
Exit status: 0 done, 1 failed, 2 usage, 4 no such object, 124 deadline passed.
Without -c: AIOVIRT_DEFAULT_URI, LIBVIRT_DEFAULT_URI, then qemu:///system for root and qemu:///session for everyone else."""


def seconds(text: str) -> float:
    """argparse's type of a time; raises ArgumentTypeError."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return value


def _deadline(text: str) -> Deadline:
    return Deadline(seconds(text))


_BACKENDS: Final = ["asyncio", "uvloop", "trio"]

COMMON: Final = (
    option("-c", "the host, such as test:///default or qemu:///session", "--connect", metavar="URI", dest="connect"),
    flag("-r", "change nothing: a verb that would is refused", "--readonly"),
    flag("-q", "no headings, and no words about what went well", "--quiet"),
    flag("--json", "one JSON object a line"),
    option("--timeout", "give up after so long, with status 124", type=_deadline, metavar="SECONDS"),
    option("--backend", "the event loop (asyncio)", choices=_BACKENDS, default="asyncio"),
)
"""What may stand before or after any verb."""

VERSION: Final = flag("-v", "print the version and leave", "--version")


def parse(words: Sequence[str]) -> argparse.Namespace:
    """The arguments, with ``verb``: the Verb, or None where there is none. Raises SystemExit as argparse does."""
    at = _place_of_verb(words)
    if at is None:
        arguments, verb = unbuilt().parse_args(words), None
    else:
        verb = find_verb(words[at])
        if verb is None:
            unbuilt().error(_unknown(words[at]))
        rest = [*words[:at], *words[at + 1 :]]
        arguments = parser_of(verb, rest).parse_intermixed_args(rest, argparse.Namespace(version=False))
    arguments.verb = verb
    arguments.timeout = arguments.timeout or Deadline(None)
    return arguments


def unbuilt() -> Parser:
    """The parser of what stands before the verb."""
    parser = Parser(
        prog="aiovirt",
        usage="aiovirt [option ...] VERB ...",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add(parser, (*COMMON, VERSION), [])
    return parser


def parser_of(verb: Verb, words: Sequence[str]) -> Parser:
    """The parser of one verb, in which those of ``words`` that are told by their names are options."""
    parser = Parser(prog=f"aiovirt {verb.name}", description=verb.text[0].upper() + verb.text[1:] + ".")
    _add(parser, verb.arguments, words)
    own = {name for each in verb.arguments for name in each.names}
    _add(parser, [each for each in COMMON if own.isdisjoint(each.names)], words)
    return parser


def _add(parser: argparse.ArgumentParser, arguments: Sequence[Argument], words: Sequence[str]) -> None:
    groups: dict[str, argparse._MutuallyExclusiveGroup] = {}
    for each in arguments:
        names, keywords = each.names, each.keywords
        if each.is_positional and _is_named(each.names[0], words):
            names = (f"--{names[0]}",)
            keywords = _as_option(keywords)
        if each.group and each.group not in groups:
            groups[each.group] = parser.add_mutually_exclusive_group()
        (groups[each.group] if each.group else parser).add_argument(*names, **keywords)


def _as_option(keywords: dict[str, Any]) -> dict[str, Any]:
    """What argparse needs for a positional argument that is told by its name: it may be repeated where several are taken."""
    nargs = keywords.get("nargs")
    repeated = {"action": "append"} if nargs in {"*", "+"} else {}
    others = {name: value for name, value in keywords.items() if name != "nargs"}
    return {**others, **repeated, "required": nargs in {None, "+"}}


def _is_named(name: str, words: Sequence[str]) -> bool:
    """Whether what is else told by its place is told by its name."""
    return any(word == f"--{name}" or word.startswith(f"--{name}=") for word in words)


# -- where the verb is -------------------------------------------------------------------------


def _place_of_verb(words: Sequence[str]) -> int | None:
    """The index of the verb, behind the options of ``aiovirt`` itself; None where there is none, or what is no such option."""
    at = 0
    while at < len(words) and words[at].startswith("-") and words[at] not in {"-", "--"}:
        takes = _words_of(words[at])
        if not takes:
            return None
        at += takes
    return at if at < len(words) else None


def _words_of(word: str) -> int:
    """How many words an option is: 2 where its value follows, 0 where it is none of ours."""
    if not word.startswith("--"):
        letters = word[1:]
        for at, letter in enumerate(letters):
            if f"-{letter}" in _VALUED:
                return 1 if letters[at + 1 :] else 2
            if f"-{letter}" not in _FLAGS:
                return 0
        return 1
    name, is_whole, _ = word.partition("=")
    meant = {each.names for each in (*COMMON, VERSION) for known in each.names if known == name or known.startswith(name)}
    if len(meant) != 1:
        return 0
    return 2 if not is_whole and meant.pop()[0] in _VALUED else 1


_VALUED: Final = frozenset(name for each in COMMON if "action" not in each.keywords for name in each.names)
_FLAGS: Final = frozenset(name for each in (*COMMON, VERSION) for name in each.names) - _VALUED


# -- what is no verb ---------------------------------------------------------------------------


def _unknown(name: str) -> str:
    """What is said of a verb that is not here."""
    from difflib import get_close_matches

    from aiovirt.cli import virsh
    from aiovirt.cli.verb import all_verbs

    if name in virsh.names():
        return virsh.not_here(name)
    ours = all_verbs()
    close = get_close_matches(name, ours, n=3) or get_close_matches(name, virsh.names(), n=1)
    meant = f"; did you mean {' or '.join(close)}?" if close else "; aiovirt help lists the verbs"
    return f"there is no verb {name!r}{meant}"
