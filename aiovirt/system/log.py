"""Loggers of the house: structlog over the standard library's, silent until somebody configures them."""

from __future__ import annotations

import logging

import structlog

__all__ = ["Logger", "get_logger"]

Logger = structlog.typing.FilteringBoundLogger

logging.getLogger("aiovirt").addHandler(logging.NullHandler())  # else Python itself prints warnings to stderr


def get_logger(room: str) -> Logger:
    """The logger ``aiovirt.<room>``: keys are bound with ``bind``, and rendered as structlog is configured to."""
    logger: Logger = structlog.wrap_logger(logging.getLogger(f"aiovirt.{room}"))
    return logger
