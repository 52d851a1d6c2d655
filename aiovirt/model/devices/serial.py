"""Serial ports, and what stands behind them and behind consoles."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from aiovirt.errors import InvalidArgument
from aiovirt.model.devices.device import Device
from aiovirt.model.element import At, Fixed

__all__ = ["CharacterDevice", "Chardev", "Serial"]


class Chardev(StrEnum):
    """What stands behind a serial port (``<serial type=…>``)."""

    NULL = "null"
    FILE = "file"
    PTY = "pty"
    UNIX = "unix"


class CharacterDevice(Device, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """What the guest writes bytes to and reads them from.

    ``path`` is the file (FILE) or socket (UNIX); with UNIX, ``listen`` says whether QEMU makes the
    socket (libvirt's ``mode='bind'``) or connects to one that is there (``mode='connect'``). With FILE, ``append``
    says whether a start adds to the file or begins it anew.
    """

    type: Annotated[Chardev, At("@type")] = Chardev.NULL
    listen: Annotated[bool, At("source/@mode", "bind/connect")] = True
    path: Annotated[str | None, At("source/@path")] = None
    append: Annotated[bool, At("source/@append", "on")] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        needs = self.type in (Chardev.FILE, Chardev.UNIX)
        if needs and not (self.path and self.path.startswith("/")):
            raise InvalidArgument(f"a serial port of type {self.type} needs an absolute path")
        if not needs and self.path is not None:
            raise InvalidArgument(f"a serial port of type {self.type} takes no path")
        if not self.listen and self.type is not Chardev.UNIX:
            raise InvalidArgument(f"a serial port of type {self.type} connects to nothing")
        if self.append and self.type is not Chardev.FILE:
            raise InvalidArgument(f"a serial port of type {self.type} has no file to add to")


class Serial(CharacterDevice, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """A serial port of a PC; ``port`` is its number, None for the next one."""

    tag = "serial"
    fixed = {  # noqa: RUF012 - a constant of the class
        "@tty": Fixed(is_written=False),
        "target/@type": Fixed(("isa-serial",), is_written=False),
        "target/model/@name": Fixed(("isa-serial",), is_written=False),
    }
    port: Annotated[int | None, At("target/@port")] = None
