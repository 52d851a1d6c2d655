"""``aiovirt``: reads the command line, runs one verb, and turns how it ended into an exit status."""

from __future__ import annotations

import argparse
import functools
import os
from collections.abc import Awaitable, Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Final, TypeAlias

from aiovirt.cli.output import Output
from aiovirt.cli.parser import build_parser
from aiovirt.cli.terminal import ReaderGone, complain, hold_standard_streams, release_standard_streams
from aiovirt.errors import Error, EventGap, NoSuchDevice, NoSuchDomain, OrderTimeout

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
    """Runs one verb; returns the exit status. Raises SystemExit for what argparse ends by itself: help, and wrong usage."""
    hold_standard_streams()
    arguments = argparse.Namespace()
    try:
        build_parser().parse_args(argv, arguments)
        return _carry_out(arguments)
    except (Error, TimeoutError) as error:
        complain(f"error: {_words(error, arguments)}")
        return _status(error)
    except KeyboardInterrupt:
        return INTERRUPTED
    except ReaderGone:
        return DONE  # it has enough
    except Exception as error:  # noqa: BLE001 - a bug of ours, and its traceback must not bring anything along
        complain(f"error: internal error: {error!r}", error)
        return FAILED
    finally:
        release_standard_streams()


def _carry_out(arguments: argparse.Namespace) -> int:
    if arguments.version:
        from importlib.metadata import version

        Output(json=False).line(f"aiovirt {version('aiovirt')}")
        return DONE
    if arguments.verb is None:
        build_parser().print_help()
        return USAGE
    return DONE if arguments.verb in _GLANCES and _glance(arguments) else _run(arguments)


def _glance(arguments: argparse.Namespace) -> bool:
    """Carries out a verb that only reads what somebody's engine has; returns False where it takes more than one look."""
    from aiovirt.cli import views
    from aiovirt.engine.glance import PATIENCE, glance
    from aiovirt.model.state import MonitorHealth

    seen = glance(arguments.connect, os.environ, patience=min(PATIENCE, arguments.timeout.left))
    if seen is None and not arguments.timeout.left:
        raise _unanswered(arguments)
    if seen is None or any(view.monitor is MonitorHealth.STALLED for view in seen):
        return False
    getattr(views, arguments.verb)(seen, arguments, Output(json=arguments.json))
    return True


def _run(arguments: argparse.Namespace) -> int:
    from aiovirt.cli.logs import configure_logs

    configure_logs()
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

    is_there = False
    with arguments.timeout.scope() as scope:
        async with Connection(arguments.connect, {}, Role.ATTACHED) as host:
            is_there = True
            await verb(host, arguments, out)
    if scope.cancelled_caught:
        raise TimeoutError if is_there else _unanswered(arguments)
    return DONE


def _unanswered(arguments: argparse.Namespace) -> OrderTimeout:
    """The deadline passed before anybody was there to be asked."""
    from aiovirt.engine.glance import unanswered

    return OrderTimeout(unanswered(arguments.connect, os.environ, arguments.timeout.seconds), sent=False)


async def _held(arguments: argparse.Namespace, verb: Callable[[argparse.Namespace, Output], Awaitable[None]], out: Output) -> int:
    await verb(arguments, out)
    return DONE


def _words(error: BaseException, arguments: argparse.Namespace) -> str:
    if isinstance(error, EventGap):
        return f"{error}; --since {error.resume} shows all that is left"
    return str(error) or f"nothing within {arguments.timeout.seconds:g} s"


def _status(error: BaseException) -> int:
    if isinstance(error, NoSuchDomain | NoSuchDevice):
        return NO_SUCH_OBJECT
    return DEADLINE if isinstance(error, TimeoutError) else FAILED
