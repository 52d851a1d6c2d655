"""Controllers: what other devices are plugged into."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from aiovirt.model.devices.device import Device
from aiovirt.model.element import At, Element

__all__ = ["Controller", "ControllerTarget", "ControllerType"]


class ControllerType(StrEnum):
    """``<controller type=…>``."""

    IDE = "ide"
    PCI = "pci"
    SATA = "sata"
    USB = "usb"
    VIRTIO_SERIAL = "virtio-serial"


class ControllerTarget(Element, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """How the guest numbers a root port."""

    tag = "target"
    chassis: Annotated[str | None, At("@chassis", "C number")] = None
    port: Annotated[str | None, At("@port", "C number")] = None


class Controller(Device, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """A controller: the ``index``-th of its type. ``model`` is libvirt's name for what it is, ``model_name`` QEMU's.

    ``ports`` and ``vectors`` are those of one for virtio-serial: how many it has at most, and how many interrupts.
    """

    tag = "controller"
    type: Annotated[ControllerType, At("@type")]
    index: Annotated[int | None, At("@index")] = None
    model: Annotated[str | None, At("@model")] = None
    ports: Annotated[int | None, At("@ports")] = None
    vectors: Annotated[int | None, At("@vectors")] = None
    model_name: Annotated[str | None, At("model/@name")] = None
    target: Annotated[ControllerTarget | None, At("target")] = None
