"""``aiovirt``: reads the command line, runs one verb, and turns how it ended into an exit status."""

from __future__ import annotations

import argparse
import functools
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from importlib import import_module, metadata
from typing import Final

import anyio
import structlog

import aiovirt
from aiovirt.cli.output import Output
from aiovirt.cli.parser import build_parser
from aiovirt.engine.connect import Connection
from aiovirt.engine.paths import Role
from aiovirt.system.background import first_failure

__all__ = ["main", "run_on"]

Verb = Callable[[aiovirt.Host, argparse.Namespace, Output], Awaitable[None]]

DONE, FAILED, USAGE, NO_SUCH_OBJECT, INTERRUPTED, DEADLINE = 0, 1, 2, 4, 130, 124

# verb -> the module that carries it out, by a function of its name
_HOME: Final = {
    "event": "streams",
    "watch": "streams",
    "nodedev-list": "nodedevs",
    "nodedev-info": "nodedevs",
    "nodedev-dumpxml": "nodedevs",
    "nodedev-event": "nodedevs",
    "demo": "demo",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb; returns the exit status."""
    parser = build_parser()
    arguments = parser.parse_args(argv)
    if arguments.version:
        print(f"aiovirt {metadata.version('aiovirt')}")
        return DONE
    if arguments.verb is None:
        parser.print_help()
        return USAGE
    _configure_logs()
    if (reconfigure := getattr(sys.stdout, "reconfigure", None)) is not None:
        reconfigure(errors="backslashreplace")  # a name that the terminal cannot show is shown all the same
    try:
        return _run(arguments)
    except (aiovirt.Error, TimeoutError) as error:
        print(f"error: {_words(error, arguments)}", file=sys.stderr)
        return _status(error)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read us has enough
        return DONE


def _run(arguments: argparse.Namespace) -> int:
    if arguments.verb == "engine":
        return run_on(arguments.backend, functools.partial(_held, arguments, Output(json=arguments.json)))
    room = _HOME.get(arguments.verb, "domains")
    module = import_module(f"aiovirt.cli.{room}")
    verb = getattr(module, arguments.verb.replace("-", "_"))
    out = Output(json=arguments.json)
    if arguments.verb == "demo":
        status: int = verb(arguments, out)
        return status
    return run_on(arguments.backend, functools.partial(_connected, arguments, verb, out))


def run_on(backend: str, work: Callable[[], Awaitable[int]]) -> int:
    """Runs ``work`` on ``backend``; returns its status. What fails in it leaves as itself."""
    options = {"use_uvloop": True} if backend == "uvloop" else {}
    loop = "trio" if backend == "trio" else "asyncio"
    try:
        return anyio.run(work, backend=loop, backend_options=options)
    except BaseExceptionGroup as failures:
        raise first_failure(failures) from failures


async def _connected(arguments: argparse.Namespace, verb: Verb, out: Output) -> int:
    async with Connection(arguments.connect, {}, Role.ATTACHED) as host:
        await verb(host, arguments, out)
    return DONE


async def _held(arguments: argparse.Namespace, out: Output) -> int:
    from aiovirt.cli.engine import engine

    await engine(arguments, out)
    return DONE


def _configure_logs() -> None:
    """Warnings and errors go to stderr, one line each; AIOVIRT_LOG asks for more."""
    wanted = os.environ.get("AIOVIRT_LOG", "WARNING").upper()
    level = wanted if wanted in logging.getLevelNamesMapping() else "WARNING"
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    structlog.configure(processors=[structlog.processors.KeyValueRenderer(key_order=["event"], repr_native_str=False)])


def _words(error: BaseException, arguments: argparse.Namespace) -> str:
    if isinstance(error, aiovirt.EventGap):
        return f"{error}; --since {error.resume} shows all that is left"
    return str(error) or f"nothing within {arguments.timeout:g} s"


def _status(error: BaseException) -> int:
    if isinstance(error, aiovirt.NoSuchDomain | aiovirt.NoSuchDevice):
        return NO_SUCH_OBJECT
    return DEADLINE if isinstance(error, TimeoutError) else FAILED
