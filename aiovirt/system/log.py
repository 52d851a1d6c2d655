"""Loggers of the house: structlog over the standard library's, silent until somebody configures them.

What others wrote (a guest, a client, the kernel) is made harmless here, so that it is one line however it is rendered.
structlog takes longer to load than all else that a command line needs, so it is loaded with the first line that is wanted, or by
an engine as it begins: later there may be no descriptor to load it with. A line that cannot be written raises nothing.
"""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import PurePath
from typing import TYPE_CHECKING

from aiovirt.text import brief

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

__all__ = ["Logger", "get_logger", "load", "on_first_line"]

logging.getLogger("aiovirt").addHandler(logging.NullHandler())  # else Python itself prints warnings to stderr

_configure: list[Callable[[], None]] = []


class Logger:
    """structlog's logger ``aiovirt.<room>``: keys are bound with ``bind``, and rendered as structlog is configured to."""

    def __init__(self, name: str, **keys: object) -> None:
        self._plain = logging.getLogger(name)
        self._keys = keys
        self._bound: FilteringBoundLogger | None = None

    def bind(self, **keys: object) -> Logger:
        """The same, with these keys in every line."""
        return Logger(self._plain.name, **self._keys, **_harmless(keys))

    def debug(self, event: str, **keys: object) -> None:
        """A line for who looks closely."""
        if self._plain.isEnabledFor(logging.DEBUG):
            self._write(logging.DEBUG, event, keys)

    def info(self, event: str, **keys: object) -> None:
        """A line about what goes its way."""
        if self._plain.isEnabledFor(logging.INFO):
            self._write(logging.INFO, event, keys)

    def warning(self, event: str, **keys: object) -> None:
        """A line about what somebody may have to look after."""
        if self._plain.isEnabledFor(logging.WARNING):
            self._write(logging.WARNING, event, keys)

    def error(self, event: str, **keys: object) -> None:
        """A line about what is not as it should be; ``exc_info`` is the exception that says why."""
        if self._plain.isEnabledFor(logging.ERROR):
            self._write(logging.ERROR, event, keys)

    def _write(self, level: int, event: str, keys: dict[str, object]) -> None:
        """As structlog renders it; where it cannot, as plainly as may be."""
        event, keys = brief(event), _harmless(keys)
        try:
            self._logger.log(level, event, **keys)
        except Exception as error:  # noqa: BLE001 - there may be no memory or descriptor, and whoever writes a line has other worries
            with suppress(Exception):
                self._plain.log(level, "%s %s (not rendered: %s)", event, {**self._keys, **keys}, error)

    @property
    def _logger(self) -> FilteringBoundLogger:
        if self._bound is not None:
            return self._bound
        load()
        import structlog

        bound: FilteringBoundLogger = structlog.wrap_logger(self._plain).bind(**self._keys)
        self._bound = bound
        return bound


def load() -> None:
    """Loads and configures structlog, if that is still to be done."""
    importlib.import_module("structlog")
    while _configure:
        _configure.pop()()


def _harmless(keys: dict[str, object]) -> dict[str, object]:
    return {name: _plain_value(value) for name, value in keys.items()}


def _plain_value(value: object) -> object:
    return brief(os.fsdecode(value)) if isinstance(value, str | bytes | PurePath) else value


def get_logger(room: str) -> Logger:
    """The logger ``aiovirt.<room>``."""
    return Logger(f"aiovirt.{room}")


def on_first_line(configure: Callable[[], None]) -> None:
    """Calls ``configure()``, which may use structlog, before the first line is written."""
    _configure[:] = [configure]
