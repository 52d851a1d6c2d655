"""The door to the terminal: the one place that writes to standard output and standard error.

What goes through it is made harmless (:mod:`aiovirt.text`); colours are its own. What standard output does not take is a
typed error; what standard error does not take is lost, as nobody is left to be told.
"""

from __future__ import annotations

import argparse
import os
import stat
import sys
from contextlib import suppress
from typing import Any, Final, NamedTuple, NoReturn, TextIO

from aiovirt.errors import SystemFailure
from aiovirt.text import brief, plain, plain_json, plain_lines, plain_xml

__all__ = [
    "Painted",
    "Parser",
    "ReaderGone",
    "Screen",
    "ask",
    "complain",
    "hold_standard_streams",
    "input_descriptor",
    "release_standard_streams",
]

_COLOURS: Final = {"dim": "2", "bold": "1", "green": "32", "red": "31", "yellow": "33", "blue": "34", "cyan": "36", "magenta": "35"}


class Painted(NamedTuple):
    """A text, and the colour that it has where colours go."""

    text: str
    colour: str


class ReaderGone(Exception):
    """Whoever read standard output has enough."""


class Screen:
    """Standard output, or ``stream``. Colours go to terminals only, and heed NO_COLOR (https://no-color.org)."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._ascii_only = self._stream is not None and (self._stream.encoding or "utf-8").lower().replace("-", "") != "utf8"
        is_terminal = self._stream is not None and self._stream.isatty()
        self._colours = is_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    def line(self, *parts: str | Painted) -> None:
        """One line, at once."""
        self._write("".join(map(self._shown, parts)) + "\n")

    def text(self, text: str) -> None:
        """Text of several lines."""
        self._write(plain_lines(text) + "\n")

    def json(self, text: str) -> None:
        """JSON, on one line or several."""
        self._write(plain_json(text, ascii_only=self._ascii_only) + "\n")

    def xml(self, text: str) -> None:
        """XML, to be read again as it was."""
        self._write(plain_xml(text, ascii_only=self._ascii_only) + "\n")

    def descriptor(self) -> int | None:
        """The descriptor behind it; None where there is none."""
        try:
            return self._stream.fileno() if self._stream is not None else None
        except (OSError, ValueError):
            return None

    @property
    def width(self) -> int | None:
        """How many columns there are; None where it is no terminal."""
        if self._stream is None or not self._stream.isatty():
            return None
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or None
        except (OSError, ValueError):
            return None

    @property
    def is_file(self) -> bool:
        """Whether it is written to a file."""
        descriptor = self.descriptor()
        return descriptor is not None and stat.S_ISREG(os.fstat(descriptor).st_mode)

    def _shown(self, part: str | Painted) -> str:
        if isinstance(part, str):
            return plain(part)
        shown = plain(part.text)
        return f"\x1b[{_COLOURS[part.colour]}m{shown}\x1b[0m" if self._colours else shown

    def _write(self, text: str) -> None:
        if self._stream is None:
            raise SystemFailure("cannot write to standard output: it is closed")
        try:
            self._stream.write(_escaped(text, self._stream))
            self._stream.flush()
        except BrokenPipeError as error:
            _give_up(self._stream)
            raise ReaderGone from error
        except (OSError, ValueError) as error:
            _give_up(self._stream)
            raise SystemFailure(f"cannot write to standard output: {getattr(error, 'strerror', None) or error}") from error


def input_descriptor() -> int:
    """Standard input's. Raises SystemFailure where it is closed."""
    if sys.stdin is None:
        raise SystemFailure("cannot read standard input: it is closed")
    return sys.stdin.fileno()


async def ask(question: str) -> str | None:
    """One line from the terminal, without spaces around it and in small letters; None where nobody is there to answer."""
    from aiovirt.system import to_thread

    stream = sys.stdin
    if stream is None or not stream.isatty():
        return None
    _say(brief(question) + " ")
    line = await to_thread.run_sync(stream.readline, abandon_on_cancel=True)
    return line.strip().lower() if line else None


def complain(words: str, error: BaseException | None = None) -> None:
    """One line on standard error; with ``error``, Python's traceback of it below."""
    said = brief(words) + "\n"
    if error is not None:
        import traceback

        said += plain_lines("".join(traceback.format_exception(error)))
    _say(said)


def _say(text: str) -> None:
    stream = sys.stderr
    if stream is None:
        return
    with suppress(OSError, ValueError):  # what a full disk does not take now stays in its buffer, and comes before the next line
        stream.write(_escaped(text, stream))
        stream.flush()


def _escaped(text: str, stream: TextIO) -> str:
    """What the stream's encoding has, with escapes for the rest: a name that the terminal cannot show is shown all the same."""
    if text.isascii():
        return text
    encoding = stream.encoding or "utf-8"
    return text.encode(encoding, errors="backslashreplace").decode(encoding)


def _give_up(stream: TextIO) -> None:
    """Nothing more is written there: else Python tries again with what is left when it ends, and says so in its own words."""
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):
        return
    nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


def release_standard_streams() -> None:
    """The last thing: what is still not written never will be, and Python is not to say so in its own words, nor by its own status."""
    for stream in (sys.stdout, sys.stderr):
        if stream is None:
            continue
        try:
            stream.flush()
        except (OSError, ValueError):
            _give_up(stream)


def hold_standard_streams() -> None:
    """Holds the numbers 0 to 2 where this process was started without them: no file of ours is to be taken for a standard stream."""
    for number, access in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_RDONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, access)  # the lowest number that is free; what it is used for fails, as with a closed one


class Parser(argparse.ArgumentParser):
    """argparse's, whose help and complaints leave through this door."""

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - argparse's
        super().__init__(*arguments, **options)
        self.color = False  # else the help of Python 3.14 brings escapes of its own

    def print_help(self, file: object = None) -> None:  # noqa: ARG002 - argparse's
        """To standard output."""
        Screen().text(self.format_help().removesuffix("\n"))

    def error(self, message: str) -> NoReturn:
        """Usage, what is wrong with it, and status 2."""
        _say(plain_lines(self.format_usage()) + brief(f"{self.prog}: error: {message}") + "\n")
        sys.exit(2)
