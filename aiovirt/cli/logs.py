"""Log lines on standard error: warnings and errors, one line each; AIOVIRT_LOG asks for more."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

from aiovirt.cli.terminal import complain
from aiovirt.system.log import on_first_line

if TYPE_CHECKING:
    from collections.abc import MutableMapping

__all__ = ["configure_logs"]


def configure_logs() -> None:
    """For this process, whoever logs in it."""
    wanted = os.environ.get("AIOVIRT_LOG", "WARNING").upper()
    logging.basicConfig(level=wanted if wanted in logging.getLevelNamesMapping() else "WARNING", handlers=[_Handler()])
    on_first_line(_configure_structlog)


def _configure_structlog() -> None:
    import structlog

    render = structlog.processors.KeyValueRenderer(key_order=["event"], repr_native_str=False)

    def line(logger: object, name: str, keys: MutableMapping[str, Any]) -> tuple[tuple[object], dict[str, object]]:
        """The arguments of logging's own call, with the exception as it knows it."""
        error = keys.pop("exc_info", None)
        return (render(logger, name, keys),), {"exc_info": error}

    structlog.configure(processors=[line])


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        """Writes one line, and a traceback below it."""
        error = record.exc_info[1] if record.exc_info else None
        complain(f"{record.levelname} {record.name}: {record.getMessage()}", error)
