"""``aiovirt``: reads the command line, runs one verb, and turns how it ended into an exit status."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from aiovirt.cli.parser import parse, unbuilt
from aiovirt.cli.terminal import ReaderGone, complain, hold_standard_streams, release_standard_streams
from aiovirt.errors import Error, EventGap, NoSuchDevice, NoSuchDomain

__all__ = ["main"]

DONE, FAILED, USAGE, NO_SUCH_OBJECT, INTERRUPTED, DEADLINE = 0, 1, 2, 4, 130, 124


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb; returns the exit status. Raises SystemExit for what argparse ends by itself: help, and wrong usage."""
    hold_standard_streams()
    arguments = argparse.Namespace()
    try:
        arguments = parse(sys.argv[1:] if argv is None else argv)
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

        from aiovirt.cli.output import Output

        Output(json=False).line(f"aiovirt {version('aiovirt')}")
        return DONE
    if arguments.verb is None:
        unbuilt().print_help()
        return USAGE
    from aiovirt.cli.running import run

    return run(arguments.verb, arguments)


def _words(error: BaseException, arguments: argparse.Namespace) -> str:
    if isinstance(error, EventGap):
        return f"{error}; --since {error.resume} shows all that is left"
    return str(error) or f"nothing within {arguments.timeout.seconds:g} s"


def _status(error: BaseException) -> int:
    if isinstance(error, NoSuchDomain | NoSuchDevice):
        return NO_SUCH_OBJECT
    return DEADLINE if isinstance(error, TimeoutError) else FAILED
