"""Random number generators."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from aiovirt.errors import InvalidArgument
from aiovirt.model.devices.device import Device
from aiovirt.model.element import At

__all__ = ["Rng", "RngBackend", "RngModel"]


class RngModel(StrEnum):
    """``<rng model=…>``: what the guest sees."""

    VIRTIO = "virtio"


class RngBackend(StrEnum):
    """``<backend model=…>``: a device of the host, or QEMU's own generator."""

    RANDOM = "random"
    BUILTIN = "builtin"


class Rng(Device, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """A source of random numbers.

    ``path`` is the host's device behind RANDOM, None for /dev/urandom. At most ``bytes`` are given in each ``period`` of
    milliseconds; without them, as many as are asked for.
    """

    tag = "rng"
    model: Annotated[RngModel, At("@model")] = RngModel.VIRTIO
    period: Annotated[int | None, At("rate/@period")] = None
    bytes: Annotated[int | None, At("rate/@bytes")] = None
    backend: Annotated[RngBackend, At("backend/@model")]
    path: Annotated[str | None, At("backend", "path")] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.path is not None and self.backend is not RngBackend.RANDOM:
            raise InvalidArgument(f"a generator with the backend {self.backend} takes no path")
        if self.path is not None and not self.path.startswith("/"):
            raise InvalidArgument(f"the generator's device must be an absolute path, not {self.path!r}")
        if self.period is not None and self.bytes is None:
            raise InvalidArgument("a period needs the bytes that are given in it")
