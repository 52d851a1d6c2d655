"""Runs a verb: at one glance, on a host, or by itself."""

from __future__ import annotations

import argparse
import os
from collections.abc import Awaitable, Callable
from functools import partial

from aiovirt.cli.output import Output
from aiovirt.cli.verb import Glance, Run, Verb
from aiovirt.errors import AccessDenied, ErrorCode, OrderTimeout

__all__ = ["run", "run_on"]


def run(verb: Verb, arguments: argparse.Namespace) -> int:
    """Returns the exit status. Raises what the verb raises."""
    out = Output(json=arguments.json, quiet=arguments.quiet)
    if arguments.readonly and not verb.reads:
        raise AccessDenied(f"operation forbidden: read only access prevents {verb.name}", code=ErrorCode.OPERATION_DENIED)
    if verb.glance is not None and _glance(verb.glance, arguments, out):
        return 0
    from aiovirt.cli.logs import configure_logs

    configure_logs()
    if verb.run is None:
        assert verb.local is not None
        return verb.local(arguments, out) or 0
    return run_on(arguments.backend, partial(_connected, arguments, verb.run, out))


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


def _glance(look: Glance, arguments: argparse.Namespace, out: Output) -> bool:
    """Carries out a verb that only reads what somebody's engine has; returns False where it takes more than one look."""
    from aiovirt.engine.glance import PATIENCE, glance
    from aiovirt.model.state import MonitorHealth

    seen = glance(arguments.connect, os.environ, patience=min(PATIENCE, arguments.timeout.left))
    if seen is None and not arguments.timeout.left:
        raise _unanswered(arguments)
    if seen is None or any(view.monitor is MonitorHealth.STALLED for view in seen):
        return False
    return look(seen, arguments, out)


async def _connected(arguments: argparse.Namespace, verb: Run, out: Output) -> int:
    from aiovirt.engine.connect import Connection
    from aiovirt.engine.paths import Role

    is_there = False
    with arguments.timeout.scope() as scope:
        async with Connection(arguments.connect, {}, Role.ATTACHED) as host:
            is_there = True
            await verb(host, arguments, out)
    if scope.cancelled_caught:
        raise TimeoutError if is_there else _unanswered(arguments)
    return 0


def _unanswered(arguments: argparse.Namespace) -> OrderTimeout:
    """The deadline passed before anybody was there to be asked."""
    from aiovirt.engine.glance import unanswered

    return OrderTimeout(unanswered(arguments.connect, os.environ, arguments.timeout.seconds), sent=False)
