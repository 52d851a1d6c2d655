"""udev's word on devices, through libudev (pyudev): its messages, and its database.

udev comes after the kernel, by milliseconds or seconds: what it says is that its rules have run. Its messages hold all that
is handed out here; nothing of a device is read from sysfs on the way.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self, cast

import anyio
import pyudev
from msgspec import Struct, structs

from aiovirt.errors import SystemFailure
from aiovirt.model.busdevice import BusDevice
from aiovirt.system import to_thread
from aiovirt.system.loop import Readiness, current_loop
from aiovirt.system.netlink import Overrun

__all__ = ["UdevMonitor", "UdevWord", "list_devices", "read_database"]

_SOCKETS: Final = (Path("/run/udev/io.systemd.Udev"), Path("/run/udev/control"))
"""Where udevd listens: by Varlink (the second is a link to that, since systemd 262), and before."""
_SUBSYSTEMS: Final = ("net", "pci")
_KEPT: Final = "ID_"


class UdevWord(Struct, frozen=True, kw_only=True, gc=False):
    """One message: what udev did, and to which device.

    ``seqnum`` is that of the kernel's uevent that it follows; ``ifindex`` is None but for a network device.
    ``properties`` are the ``ID_*``; they are taken out of the message when they are looked at, which takes twice as long as
    all else.
    """

    action: str
    subsystem: str
    name: str
    ifindex: int | None
    seqnum: int
    properties: Mapping[str, str]


class UdevMonitor:
    """``async with UdevMonitor() as monitor:`` reads udev's messages about network devices and PCI functions from then on.

    Raises SystemFailure where no udevd runs, as far as its sockets show, and where libudev refuses.
    """

    def __init__(self, *, receive_buffer: int) -> None:
        self._receive_buffer = receive_buffer
        self._monitor: _Monitor | None = None
        self._readiness: Readiness | None = None

    async def __aenter__(self) -> Self:
        if not await to_thread.run_sync(_udevd_listens):
            raise SystemFailure("no udevd runs here")
        try:
            context = await to_thread.run_sync(pyudev.Context)  # it looks for libudev by starting ldconfig
            monitor = cast("_Monitor", pyudev.Monitor.from_netlink(context, "udev"))  # pyright: ignore[reportUnknownMemberType]
            for subsystem in _SUBSYSTEMS:
                monitor.filter_by(subsystem)
            _enlarge(monitor, self._receive_buffer)
            monitor.start()
        except (OSError, ImportError) as failure:  # the latter: there is no libudev here
            raise SystemFailure(f"libudev: cannot listen: {failure}") from failure
        self._monitor = monitor
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._monitor = None  # with its last reference the socket is closed

    async def run(self, readable: Callable[[], object]) -> None:
        """Calls ``readable`` whenever :meth:`receive_nowait` has something to say, until cancelled; raises what it raises."""
        self._readiness = current_loop().readiness_of(self._opened().fileno())
        await self._readiness.run(readable)

    def receive_nowait(self) -> UdevWord | None:
        """The next message, or None when none waits. Raises Overrun when some are lost."""
        monitor = self._opened()
        try:
            device = monitor.poll(0)
        except OSError:
            _clear_error(monitor.fileno())
            if self._readiness is not None:
                self._readiness.again()
            raise Overrun("ENOBUFS") from None
        return _word(device) if device is not None else None

    def _opened(self) -> _Monitor:
        if self._monitor is None:
            raise anyio.ClosedResourceError
        return self._monitor


def _udevd_listens() -> bool:
    """Whether somebody has one of its sockets: a file that a dead one left is nobody's."""
    return any(map(_is_bound, _SOCKETS))


def _is_bound(path: Path) -> bool:
    """Whether a socket is bound there. Nobody is connected to: the kernel distinguishes a socket of another type from none."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as asking:
        try:
            asking.connect(str(path))
        except PermissionError:
            return path.is_socket()  # only root may ask
        except OSError as failure:
            return failure.errno == errno.EPROTOTYPE
    return True


async def read_database() -> list[UdevWord]:
    """udev's last word on every network device that it has finished with. Raises SystemFailure."""
    return await to_thread.run_sync(_read_database, abandon_on_cancel=True)


def _read_database() -> list[UdevWord]:
    try:
        context = cast("_Context", pyudev.Context())
        words = [_word(device) for device in context.list_devices(subsystem="net") if device.is_initialized]
        return [structs.replace(word, properties=dict(word.properties)) for word in words]  # read here, and not on the loop
    except (OSError, ImportError) as failure:
        raise SystemFailure(f"libudev: cannot read its database: {failure}") from failure


async def list_devices(subsystem: str) -> list[BusDevice]:
    """Every device of one of the kernel's subsystems, by sysfs: no udevd is needed. Raises SystemFailure."""
    return await to_thread.run_sync(_list_devices, subsystem, abandon_on_cancel=True)


def _list_devices(subsystem: str) -> list[BusDevice]:
    try:
        devices = cast("_Context", pyudev.Context()).list_devices(subsystem=subsystem)
        return [BusDevice(bus=subsystem, name=device.sys_name, driver=device.driver) for device in devices]
    except (OSError, ImportError, ValueError) as failure:  # the last: a name with a NUL in it
        raise SystemFailure(f"libudev: cannot list {subsystem!r}: {failure}") from failure


class _Context(Protocol):
    """What is used of pyudev's Context."""

    def list_devices(self, *, subsystem: str) -> Iterable[_Device]: ...


class _Monitor(Protocol):
    """What is used of pyudev's Monitor."""

    def filter_by(self, subsystem: str) -> None: ...
    def set_receive_buffer_size(self, size: int) -> None: ...
    def start(self) -> None: ...
    def fileno(self) -> int: ...
    def poll(self, timeout: float) -> _Device | None: ...


class _Device(Protocol):
    """What is used of pyudev's Device."""

    @property
    def is_initialized(self) -> bool: ...
    @property
    def action(self) -> str | None: ...
    @property
    def subsystem(self) -> str | None: ...
    @property
    def sys_name(self) -> str: ...
    @property
    def driver(self) -> str | None: ...
    @property
    def sequence_number(self) -> int: ...
    @property
    def properties(self) -> dict[str, str]: ...


def _word(device: _Device) -> UdevWord:
    ifindex = device.properties.get("IFINDEX", "")
    return UdevWord(
        action=device.action or "",
        subsystem=device.subsystem or "",
        name=device.sys_name,
        ifindex=int(ifindex) if ifindex.isascii() and ifindex.isdecimal() else None,
        seqnum=device.sequence_number,
        properties=_Properties(device),
    )


class _Properties(Mapping[str, str]):
    """A device's ``ID_*``, read when they are first looked at."""

    def __init__(self, device: _Device) -> None:
        self._device = device

    @cached_property
    def _read(self) -> dict[str, str]:
        properties = self._device.properties.items()
        return {str(name): str(value) for name, value in properties if name.startswith(_KEPT)}

    def __getitem__(self, name: str) -> str:
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read)

    def __len__(self) -> int:
        return len(self._read)


def _enlarge(monitor: _Monitor, size: int) -> None:
    """Past net.core.rmem_max where we may, else as it is."""
    try:
        monitor.set_receive_buffer_size(size)
    except OSError:
        with socket.socket(fileno=os.dup(monitor.fileno())) as opened:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)


def _clear_error(descriptor: int) -> None:
    """libudev's poll fails for as long as the socket's error has not been fetched, and never fetches it."""
    with socket.socket(fileno=os.dup(descriptor)) as opened:
        opened.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
