"""sysfs under a movable root: attributes of network devices, read by identity and never on the loop.

A name may belong to another device a moment later. So a device's folder is opened once, its ifindex
is read through that descriptor, and then its attributes (``openat``): they are that device's, or
errors. Some reads wait for RTNL, and burn a processor while they do: they run in few threads, with a
deadline that leaves them behind. What attributes mean is in Documentation/ABI/testing/sysfs-class-net.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from msgspec import Struct

from aiovirt.errors import NoSuchDevice, SystemFailure
from aiovirt.model.netdev import Unreadable
from aiovirt.model.pci import PCI_ADDRESS
from aiovirt.system.again import SuppressLasting, is_passing
from aiovirt.system.attributes import link_target, read_text
from aiovirt.system.threads import BoundedThreads

__all__ = ["DEADLINE", "Attachment", "Sysfs"]

DEADLINE: Final = 2.0
"""Seconds after which a read is left behind."""

_MAX_IFINDEX: Final = 2**31 - 1
_MAX_DIGITS: Final = 10  # of such a number
_DOES_NOT_HAVE: Final = frozenset({errno.ENOENT, errno.EOPNOTSUPP})
_GONE: Final = frozenset({errno.ENOENT, errno.ENODEV, errno.ENOTDIR})


class Attachment(Struct, frozen=True, gc=False):
    """What a network device hangs from: its bus device's name and that one's driver, None where there is none.

    ``pci`` is the PCI function among its ancestors that is nearest, ``dev_port`` its port's number there.
    """

    parent: str | None
    driver: str | None
    pci: str | None = None
    dev_port: int = 0


class Sysfs:
    """Reads below ``root``. No method raises anything but NoSuchDevice and SystemFailure."""

    def __init__(self, root: str | os.PathLike[str] = "/sys", *, deadline: float = DEADLINE) -> None:
        self._netdevs = Path(root) / "class" / "net"
        self._attributes = BoundedThreads(deadline)
        self._links = BoundedThreads(deadline)

    async def read_netdev(self, name: str, ifindex: int | None, attributes: Sequence[str]) -> dict[str, str | None | Unreadable]:
        """Each attribute's text without its newline; None where the driver has none; else Unreadable.

        An attribute may be a path below the device's folder. What is not read by the deadline is
        ``Unreadable("ETIMEDOUT")``. Raises NoSuchDevice when no device has this name, or when another one
        than ``ifindex`` has it; SystemFailure when there is too little of something to read it just now.
        """
        found: dict[str, str | None | Unreadable] = {}
        if not await self._attributes.run(lambda: self._read(name, ifindex, attributes, found)):
            late = Unreadable("ETIMEDOUT")
            return {attribute: found.get(attribute, late) for attribute in attributes}
        return found

    async def read_phys_port_id(self, name: str) -> str | None:
        """The physical port's id, asked of the driver now; None, as a success, when it has none.

        Raises NoSuchDevice, and SystemFailure when it could not be read.
        """
        value = (await self.read_netdev(name, None, ("phys_port_id",)))["phys_port_id"]
        if isinstance(value, Unreadable):
            raise SystemFailure(f"cannot read phys_port_id of {name}: {value.why}")
        return value

    async def read_attachments(self, netdevs: Mapping[int, str]) -> dict[int, Attachment]:
        """The bus device and driver of each of ``netdevs`` (ifindex -> name); those that cannot be read in time are left out."""
        found: dict[int, Attachment] = {}
        await self._links.run(lambda: self._read_attachments(netdevs, found))
        return dict(found)

    async def names(self) -> list[str]:
        """Every name below ``class/net``, devices and not (``bonding_masters``); empty where nothing is mounted."""
        names: list[str] = []
        await self._links.run(lambda: names.extend(_listing(self._netdevs)))
        return list(names)

    async def indexes(self, names: Iterable[str]) -> dict[int, str]:
        """ifindex -> name of those of ``names`` that are devices now."""
        found: dict[int, str] = {}
        await self._links.run(lambda: self._read_indexes(names, found))
        return dict(found)

    # What follows runs in worker threads. Results are put where the caller finds them even when it went ahead.

    def _read(self, name: str, ifindex: int | None, attributes: Sequence[str], found: dict[str, str | None | Unreadable]) -> None:
        with self._device(name, ifindex) as folder:
            for attribute in attributes:
                found[attribute] = _attribute(folder, attribute)
            _ifindex(folder, name)  # still alive: what is not there is what the driver has not

    def _read_attachments(self, netdevs: Mapping[int, str], found: dict[int, Attachment]) -> None:
        for ifindex, name in netdevs.items():
            with SuppressLasting(NoSuchDevice, SystemFailure), self._device(name, ifindex) as folder:
                attachment = _attachment(folder, name)
                _ifindex(folder, name)
                found[ifindex] = attachment

    def _read_indexes(self, names: Iterable[str], found: dict[int, str]) -> None:
        for name in names:
            with SuppressLasting(NoSuchDevice, SystemFailure), self._device(name, None) as folder:
                found[_ifindex(folder, name)] = name

    @contextmanager
    def _device(self, name: str, ifindex: int | None) -> Iterator[int]:
        """A descriptor of the device's folder. Raises NoSuchDevice, SystemFailure."""
        if name in ("", ".", "..") or "/" in name or "\0" in name:
            raise NoSuchDevice(f"no network device can be named {name!r}")
        try:
            folder = os.open(self._netdevs / name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as failure:
            raise _failure(name, failure) from failure
        try:
            if ifindex is not None and _ifindex(folder, name) != ifindex:
                raise NoSuchDevice(f"{name} is another network device now")
            yield folder
        finally:
            os.close(folder)


def _listing(folder: Path) -> list[str]:
    try:
        return [entry.name for entry in folder.iterdir()]
    except FileNotFoundError:
        return []
    except OSError as failure:
        raise SystemFailure(f"cannot list {folder}: {failure.strerror}") from failure


def _attachment(folder: int, name: str) -> Attachment:
    return Attachment(
        parent=_target(folder, name, "device"),
        driver=_target(folder, name, "device/driver"),
        pci=_pci_ancestor(folder),
        dev_port=_small_number(_attribute(folder, "dev_port")),
    )


def _pci_ancestor(folder: int) -> str | None:
    """The descriptor's own path says it: a link in a name may be another device's a moment later."""
    parts = os.readlink(f"/proc/self/fd/{folder}").split("/")
    return next((part for part in reversed(parts[:-1]) if PCI_ADDRESS.fullmatch(part)), None)


def _small_number(text: str | None | Unreadable) -> int:
    return int(text) if isinstance(text, str) and text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS else 0


def _attribute(folder: int, attribute: str) -> str | None | Unreadable:
    try:
        return read_text(attribute, folder=folder)
    except OSError as failure:
        if failure.errno in _DOES_NOT_HAVE:
            return None
        if is_passing(failure):
            raise SystemFailure(f"cannot read {attribute}: {failure.strerror}") from failure
        return Unreadable(errno.errorcode.get(failure.errno or 0, str(failure.errno)))


def _ifindex(folder: int, name: str) -> int:
    try:
        text = read_text("ifindex", folder=folder)
    except OSError as failure:
        raise _failure(name, failure) from failure
    if not (text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS and int(text) <= _MAX_IFINDEX):
        raise SystemFailure(f"the ifindex of {name} is not one: {text[:40]!r}")
    return int(text)


def _target(folder: int, name: str, link: str) -> str | None:
    try:
        return link_target(link, folder=folder)
    except OSError as failure:
        raise _failure(name, failure) from failure


def _failure(name: str, failure: OSError) -> NoSuchDevice | SystemFailure:
    if failure.errno in _GONE:
        return NoSuchDevice(f"no network device is named {name!r}")
    return SystemFailure(f"cannot read network device {name}: {failure.strerror}")
