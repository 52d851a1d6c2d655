"""A made-up /sys, by umockdev: of the process that makes it, and only of one that was started by ``umockdev-wrapper``."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from types import TracebackType
from typing import Self

__all__ = ["Bed"]


class Bed:
    """``with Bed() as bed:`` /sys is empty, and what is added is there; libudev hears of it."""

    def __enter__(self) -> Self:
        self._library = ctypes.CDLL("libumockdev.so.0")
        self._objects = ctypes.CDLL("libgobject-2.0.so.0")
        self._library.umockdev_testbed_new.restype = ctypes.c_void_p
        self._bed = ctypes.c_void_p(self._library.umockdev_testbed_new())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._objects.g_object_unref(self._bed)

    def add(self, devpath: str, properties: Mapping[str, str], attributes: Mapping[str, str], links: Mapping[str, str]) -> None:
        """A device, which libudev is told of; a link's target is relative to it."""
        lines = [f"P: {devpath}"]
        lines += [f"E: {name}={value}" for name, value in properties.items()]
        lines += [f"A: {name}={value}\\n" for name, value in attributes.items()]
        lines += [f"L: {name}={target}" for name, target in links.items()]
        error = ctypes.c_void_p()
        self._library.umockdev_testbed_add_from_string(self._bed, "\n".join([*lines, ""]).encode(), ctypes.byref(error))
        if error.value is not None:
            raise ValueError(f"umockdev does not take {lines}")

    def uevent(self, devpath: str, action: str) -> None:
        """libudev is told this of a device."""
        self._library.umockdev_testbed_uevent(self._bed, f"/sys{devpath}".encode(), action.encode())

    def remove(self, devpath: str) -> None:
        """A device is gone; nobody is told."""
        self._library.umockdev_testbed_remove_device(self._bed, f"/sys{devpath}".encode())
