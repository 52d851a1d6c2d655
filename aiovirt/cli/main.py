"""``aiovirt``: reads the command line, runs one verb, and turns how it ended into an exit status."""

from __future__ import annotations

import argparse
import functools
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Final, TypeAlias

from aiovirt.cli.output import Output
from aiovirt.cli.parser import build_parser
from aiovirt.errors import Error, EventGap, NoSuchDevice, NoSuchDomain

if TYPE_CHECKING:
    from aiovirt.engine.host import Host

__all__ = ["main", "run_on"]

Verb: TypeAlias = "Callable[[Host, argparse.Namespace, Output], Awaitable[None]]"

DONE, FAILED, USAGE, NO_SUCH_OBJECT, INTERRUPTED, DEADLINE = 0, 1, 2, 4, 130, 124

_GLANCES: Final = frozenset({"list", "domstate"})

# verb -> the module that carries it out, by a function of its name
_HOME: Final = {
    "event": "streams",
    "watch": "streams",
    "nodedev-list": "nodedevs",
    "nodedev-info": "nodedevs",
    "nodedev-dumpxml": "nodedevs",
    "nodedev-event": "nodedevs",
    "qemu-monitor-command": "monitors",
    "qemu-monitor-event": "monitors",
    "qmp-proxy": "monitors",
    "log": "monitors",
    "engine": "engine",
    "demo": "demo",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb; returns the exit status."""
    parser = build_parser()
    arguments = parser.parse_args(argv)
    if arguments.version:
        from importlib.metadata import version

        print(f"aiovirt {version('aiovirt')}")
        return DONE
    if arguments.verb is None:
        parser.print_help()
        return USAGE
    if (reconfigure := getattr(sys.stdout, "reconfigure", None)) is not None:
        reconfigure(errors="backslashreplace")  # a name that the terminal cannot show is shown all the same
    try:
        return DONE if arguments.verb in _GLANCES and _glance(arguments) else _run(arguments)
    except (Error, TimeoutError) as error:
        print(f"error: {_words(error, arguments)}", file=sys.stderr)
        return _status(error)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read us has enough
        return DONE


def _glance(arguments: argparse.Namespace) -> bool:
    """Carries out a verb that only reads what somebody's engine has; returns False where it takes more than one look."""
    from aiovirt.cli import views
    from aiovirt.engine.glance import glance
    from aiovirt.model.state import MonitorHealth

    seen = glance(arguments.connect, os.environ)
    if seen is None or any(view.monitor is MonitorHealth.STALLED for view in seen):
        return False
    getattr(views, arguments.verb)(seen, arguments, Output(json=arguments.json))
    return True


def _run(arguments: argparse.Namespace) -> int:
    _configure_logs()
    room = _HOME.get(arguments.verb, "domains")
    module = import_module(f"aiovirt.cli.{room}")
    verb = getattr(module, arguments.verb.replace("-", "_"))
    out = Output(json=arguments.json)
    if arguments.verb == "demo":
        status: int = verb(arguments, out)
        return status
    if arguments.verb == "engine":
        return run_on(arguments.backend, functools.partial(_held, arguments, verb, out))
    return run_on(arguments.backend, functools.partial(_connected, arguments, verb, out))


def run_on(backend: str, work: Callable[[], Awaitable[int]]) -> int:
    """Runs ``work`` on ``backend``; returns its status. What fails in it leaves as itself."""
    import anyio

    from aiovirt.system.background import first_failure

    options = {"use_uvloop": True} if backend == "uvloop" else {}
    loop = "trio" if backend == "trio" else "asyncio"
    try:
        return anyio.run(work, backend=loop, backend_options=options)
    except BaseExceptionGroup as failures:
        raise first_failure(failures) from failures


async def _connected(arguments: argparse.Namespace, verb: Verb, out: Output) -> int:
    from aiovirt.engine.connect import Connection
    from aiovirt.engine.paths import Role

    async with Connection(arguments.connect, {}, Role.ATTACHED) as host:
        await verb(host, arguments, out)
    return DONE


async def _held(arguments: argparse.Namespace, verb: Callable[[argparse.Namespace, Output], Awaitable[None]], out: Output) -> int:
    await verb(arguments, out)
    return DONE


def _configure_logs() -> None:
    """Warnings and errors go to stderr, one line each; AIOVIRT_LOG asks for more."""
    import logging

    from aiovirt.system.log import on_first_line

    wanted = os.environ.get("AIOVIRT_LOG", "WARNING").upper()
    level = wanted if wanted in logging.getLevelNamesMapping() else "WARNING"
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    on_first_line(_configure_structlog)


def _configure_structlog() -> None:
    import structlog

    structlog.configure(processors=[structlog.processors.KeyValueRenderer(key_order=["event"], repr_native_str=False)])


def _words(error: BaseException, arguments: argparse.Namespace) -> str:
    if isinstance(error, EventGap):
        return f"{error}; --since {error.resume} shows all that is left"
    return str(error) or f"nothing within {arguments.timeout:g} s"


def _status(error: BaseException) -> int:
    if isinstance(error, NoSuchDomain | NoSuchDevice):
        return NO_SUCH_OBJECT
    return DEADLINE if isinstance(error, TimeoutError) else FAILED
