"""Consoles: the first serial port by its other name, or one on virtio."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from aiovirt.model.devices.serial import CharacterDevice
from aiovirt.model.element import At, Fixed

__all__ = ["Console", "ConsoleTarget"]


class ConsoleTarget(StrEnum):
    """``<target type=…>``: what the guest sees."""

    SERIAL = "serial"
    VIRTIO = "virtio"


class Console(CharacterDevice, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """A console. On SERIAL it is no device of its own: a DomainSpec has the first serial port in its place.

    ``port`` is its number among the consoles, None for the one that it has anyway.
    """

    tag = "console"
    fixed = {"@tty": Fixed(is_written=False)}  # noqa: RUF012 - a constant of the class
    target: Annotated[ConsoleTarget, At("target/@type")] = ConsoleTarget.SERIAL
    port: Annotated[int | None, At("target/@port")] = None
