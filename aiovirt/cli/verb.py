"""What a verb is: one decorated function in the file of its group, ``verbs/<group>.py``.

    @verb("suspend", "stop a domain's vCPUs", DOMAIN)
    async def suspend(host: Host, args: Namespace, out: Output) -> None: ...

There is no list of verbs. virsh's manual (:mod:`aiovirt.cli.virsh`) says in which group a verb of virsh is; the others are in the
group ``own``. Only the module of the group that was named is imported.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Awaitable, Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, TypeVar

from aiovirt.cli.virsh import OWN, group_of

if TYPE_CHECKING:
    from aiovirt.cli.output import Output
    from aiovirt.engine.host import Host
    from aiovirt.model.view import DomainView

__all__ = ["DOMAIN", "Argument", "Verb", "all_verbs", "argument", "find_verb", "flag", "glance", "local", "one_of", "option", "verb"]

Run: TypeAlias = "Callable[[Host, Namespace, Output], Awaitable[None]]"
Glance: TypeAlias = "Callable[[Sequence[DomainView], Namespace, Output], bool]"
Local: TypeAlias = "Callable[[Namespace, Output], int | None]"
R = TypeVar("R", bound="Run")
S = TypeVar("S", bound="Callable[[Sequence[DomainView], Namespace, Output], None]")
L = TypeVar("L", bound="Local")


class Argument(NamedTuple):
    """One argument, as argparse's ``add_argument`` takes it; of those that share ``group`` only one may be given.

    ``words`` is where its possible values come from, for completion: ``domain``, ``device``, ``file``, ``verb``, or "".
    """

    names: tuple[str, ...]
    keywords: dict[str, Any]
    words: str = ""
    group: str = ""

    @property
    def is_positional(self) -> bool:
        """Whether it is told by its place. It may be told by its name as well, as virsh has it: ``--domain NAME``."""
        return not self.names[0].startswith("-")


class Verb(NamedTuple):
    """A verb; one of ``run`` (on a host), ``local`` (which needs no host) is there.

    ``glance`` carries it out where the domains as they are suffice, and returns False where they do not. ``reads``: it
    changes nothing, so that ``--readonly`` lets it through.
    """

    name: str
    text: str
    group: str
    arguments: tuple[Argument, ...]
    reads: bool
    run: Run | None = None
    glance: Glance | None = None
    local: Local | None = None


_VERBS: Final[dict[str, Verb]] = {}


# -- declaring ---------------------------------------------------------------------------------


def argument(name: str, text: str, *, words: str = "", **keywords: object) -> Argument:
    """What is told by its place. ``keywords`` are argparse's."""
    return Argument((name,), {"help": text, **keywords}, words)


def option(name: str, text: str, *more: str, words: str = "", **keywords: object) -> Argument:
    """``--name VALUE``; ``more`` are other spellings."""
    return Argument((name, *more), {"help": text, **keywords}, words)


def flag(name: str, text: str, *more: str) -> Argument:
    """``--name``."""
    return Argument((name, *more), {"help": text, "action": "store_true"})


def one_of(*arguments: Argument) -> tuple[Argument, ...]:
    """Options of which only one may be given."""
    return tuple(each._replace(group=arguments[0].names[0]) for each in arguments)


DOMAIN: Final = argument("domain", "name, id or uuid", words="domain")


def verb(name: str, text: str, *arguments: Argument, reads: bool = False, glance: Glance | None = None) -> Callable[[R], R]:
    """A verb on a host: ``async def (host, args, out)``."""

    def declare(run: R) -> R:
        _add(Verb(name, text, _group(run), arguments, reads, run=run, glance=glance))
        return run

    return declare


def glance(name: str, text: str, *arguments: Argument) -> Callable[[S], S]:
    """A verb for which the domains as they are suffice: ``def (views, args, out)``."""

    def declare(show: S) -> S:
        def look(views: Sequence[DomainView], args: Namespace, out: Output) -> bool:
            show(views, args, out)
            return True

        async def run(host: Host, args: Namespace, out: Output) -> None:
            from aiovirt.cli.domains import settle

            await settle(host)
            show([domain.view for domain in host.domains()], args, out)

        _add(Verb(name, text, _group(show), arguments, reads=True, run=run, glance=look))
        return show

    return declare


def local(name: str, text: str, *arguments: Argument, reads: bool = True) -> Callable[[L], L]:
    """A verb that connects to nothing, or does so itself: ``def (args, out)``, which may return an exit status."""

    def declare(function: L) -> L:
        _add(Verb(name, text, _group(function), arguments, reads, local=function))
        return function

    return declare


def _group(function: Callable[..., object]) -> str:
    return function.__module__.rpartition(".")[2]


def _add(declared: Verb) -> None:
    if declared.group != group_of(declared.name):
        raise ValueError(f"the verb {declared.name} belongs into verbs/{group_of(declared.name)}.py, by virsh's manual")
    _VERBS[declared.name] = declared


# -- finding -----------------------------------------------------------------------------------


def find_verb(name: str) -> Verb | None:
    """The verb of this name; None where it is not here."""
    room = f"{_ROOM}.{group_of(name)}"
    try:
        import_module(room)
    except ModuleNotFoundError as error:
        if error.name != room:
            raise
    return _VERBS.get(name)


def all_verbs() -> dict[str, Verb]:
    """Every verb by its name, groups and names in the order of the alphabet, those that virsh does not have last."""
    from pkgutil import iter_modules

    import aiovirt.cli.verbs as room

    for module in iter_modules(room.__path__):
        import_module(f"{_ROOM}.{module.name}")
    return {each.name: each for each in sorted(_VERBS.values(), key=lambda each: (each.group == OWN, each.group, each.name))}


_ROOM: Final = "aiovirt.cli.verbs"
