"""Consoles that are not the first serial port."""

from __future__ import annotations

from collections.abc import Iterator

from aiovirt.drivers.qemu.devices import Context
from aiovirt.model.devices.console import Console

__all__ = ["arguments", "check"]


def check(console: Console, context: Context) -> Iterator[tuple[str, str]]:
    """A console of type serial is the first serial port, which a domain has in its place."""
    del console, context
    yield "", "a console is the first serial port and nothing else"


def arguments(console: Console, context: Context) -> Iterator[str]:
    """None: what is refused has no argv."""
    del console, context
    return iter(())
