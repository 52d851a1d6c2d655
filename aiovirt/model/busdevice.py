"""What a device of a bus is, as far as its driver goes: one frozen value."""

from __future__ import annotations

from msgspec import Struct

__all__ = ["BusDevice"]


class BusDevice(Struct, frozen=True, kw_only=True, gc=False):
    """``bus`` is the kernel's subsystem (``"pci"``), ``name`` the device's on it (``"0000:3b:00.0"``).

    ``driver`` is None while none has it.
    """

    bus: str
    name: str
    driver: str | None = None

    @property
    def subject(self) -> str:
        """Its subject in the event stream: ``pci/0000:3b:00.0``."""
        return f"{self.bus}/{self.name}"
