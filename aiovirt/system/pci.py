"""PCI functions as sysfs shows them, read in worker threads (Documentation/ABI/testing/sysfs-bus-pci).

Who may bind a function (``driver_override``) and how many virtual ones it has (``sriov_numvfs``) are read apart from the
rest: the kernel gives them only with the device's lock, and whoever takes virtual functions away holds that for as long as
one of them is in use.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from aiovirt.errors import SystemFailure
from aiovirt.model.pci import PCI_ADDRESS, SRIOV, PCIDevice
from aiovirt.system.again import SuppressLasting
from aiovirt.system.attributes import link_target, read_text
from aiovirt.system.sysfs import DEADLINE
from aiovirt.system.threads import BoundedThreads

__all__ = ["PCIBus"]

_NO_OVERRIDE: Final = frozenset({"", "(null)"})  # nothing yet, and what 6.1 shows for it
_MOST_VFS: Final = 65_535  # NumVFs has 16 bits
_MAX_DIGITS: Final = 5  # of that


class PCIBus:
    """Reads below ``root``. What is gone or cannot be read in time is left out.

    Raises SystemFailure when nothing can be listed, or there is too little of something to read it just now.
    """

    def __init__(self, root: str | os.PathLike[str] = "/sys", *, deadline: float = DEADLINE) -> None:
        self._functions = Path(root) / "bus" / "pci" / "devices"
        self._attributes = BoundedThreads(deadline)
        self._locked = BoundedThreads(deadline)
        self._in_hand: set[str] = set()  # whose lock a thread waits for, as far as anybody knows
        self._held_since = 0

    async def addresses(self) -> list[str]:
        """Every function's address; none where there is no PCI bus."""
        found: list[str] = []
        await self._attributes.run(lambda: found.extend(_listing(self._functions)))
        return list(found)

    async def read(self, addresses: Iterable[str]) -> dict[str, PCIDevice]:
        """Each function as it is, but for its ``driver_override``; ``sriov.current`` is how many virtual functions are seen."""
        found: dict[str, PCIDevice] = {}
        await self._attributes.run(lambda: self._read(addresses, found))
        return dict(found)

    async def read_overrides(self, addresses: Iterable[str]) -> tuple[dict[str, str | None], bool]:
        """Each function's ``driver_override``, None where there is none; and whether somebody had the lock of one for too long."""
        found, is_late = await self._read_with_lock(addresses, "driver_override")
        return {address: None if text in _NO_OVERRIDE else text for address, text in found.items()}, is_late

    async def read_numvfs(self, addresses: Iterable[str]) -> tuple[dict[str, int], bool]:
        """The same of ``sriov_numvfs``, of those that have it."""
        found, is_late = await self._read_with_lock(addresses, "sriov_numvfs")
        return {address: int(text) for address, text in found.items() if text.isascii() and text.isdecimal()}, is_late

    async def wait_for_locks(self) -> None:
        """Returns when a lock is let go of that a late reading waits for."""
        await self._locked.wait_for_return(self._held_since)
        self._held_since = self._locked.returned

    async def _read_with_lock(self, addresses: Iterable[str], attribute: str) -> tuple[dict[str, str], bool]:
        found: dict[str, str] = {}
        before, is_late, wanted = self._locked.returned, False, list(addresses)
        while waiting := [address for address in wanted if address not in found and address not in self._in_hand]:
            reading = _Reading(waiting, attribute, found)
            try:
                in_time = await self._locked.run(lambda: self._read_each(reading))  # noqa: B023 - awaited within its round
            finally:
                reading.is_wanted = False
            if in_time:
                break
            is_late = True
            if self._locked.is_full:
                break
        is_late = is_late or not self._in_hand.isdisjoint(wanted)
        if is_late:
            self._held_since = min(before, self._held_since)
        return dict(found), is_late

    def _read(self, addresses: Iterable[str], found: dict[str, PCIDevice]) -> None:
        for address in addresses:
            with _left_out(address), suppress(ValueError):
                found[address] = _function(self._functions / address, address)

    def _read_each(self, reading: _Reading) -> None:
        """One after another, up to the one whose lock somebody has for too long."""
        for address in reading.addresses:
            if not reading.is_wanted:
                return
            self._in_hand.add(address)
            try:
                with _left_out(address):
                    reading.found[address] = read_text(str(self._functions / address / reading.attribute))
            finally:
                self._in_hand.discard(address)


class _Reading:
    """Whose attribute is read, what was found, and whether anybody waits for it."""

    is_wanted = True

    def __init__(self, addresses: list[str], attribute: str, found: dict[str, str]) -> None:
        self.addresses = addresses
        self.attribute = attribute
        self.found = found


@contextmanager
def _left_out(address: str) -> Iterator[None]:
    """A function that cannot be read. A shortage says nothing of it: that is raised, as SystemFailure."""
    try:
        with SuppressLasting(OSError):
            yield
    except OSError as failure:
        raise SystemFailure(f"cannot read PCI function {address}: {failure.strerror}") from failure


def _listing(folder: Path) -> list[str]:
    try:
        return [name for name in os.listdir(folder) if PCI_ADDRESS.fullmatch(name)]
    except FileNotFoundError:
        return []
    except OSError as failure:
        raise SystemFailure(f"cannot list {folder}: {failure.strerror}") from failure


def _function(path: Path, address: str) -> PCIDevice:
    """Raises OSError when it is gone, ValueError when a number is none."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        physfn = link_target("physfn", folder=folder)
        group, node = link_target("iommu_group", folder=folder), _number(folder, "numa_node", base=10, without=-1)
        vfs = _virtual_functions(folder, ".")
        total = _number(folder, "sriov_totalvfs", base=10)
        return PCIDevice(
            address=address,
            parent=_bridge(path),
            pci_class=_number(folder, "class"),
            vendor=_number(folder, "vendor"),
            device=_number(folder, "device"),
            subsystem_vendor=_number(folder, "subsystem_vendor"),
            subsystem_device=_number(folder, "subsystem_device"),
            revision=_number(folder, "revision"),
            driver=link_target("driver", folder=folder),
            iommu_group=int(group) if group is not None else None,
            numa_node=node if node >= 0 else None,
            sriov=SRIOV(total=total, current=len(vfs)) if total else None,
            vfs=tuple(map(vfs.get, range(max(vfs, default=-1) + 1))),
            physfn=physfn,
            vf_index=_index_of(address, _virtual_functions(folder, "physfn")) if physfn is not None else None,
        )
    finally:
        os.close(folder)


def _virtual_functions(folder: int, below: str) -> dict[int, str]:
    """N -> address, as the links ``virtfnN`` say. The kernel takes them away one by one: any may be missing."""
    within = os.open(below, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
    try:
        numbers = (name.removeprefix("virtfn") for name in os.listdir(within) if name.startswith("virtfn"))
        found = {int(number): link_target(f"virtfn{number}", folder=within) for number in numbers if _is_number(number)}
    finally:
        os.close(within)
    return {index: address for index, address in found.items() if address is not None}


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS and int(text) < _MOST_VFS


def _index_of(address: str, vfs: dict[int, str]) -> int | None:
    return next((index for index, other in vfs.items() if other == address), None)


def _bridge(path: Path) -> str | None:
    """The function that this one is behind, by where it is in the tree of devices."""
    above = os.path.realpath(path).rsplit("/", 2)[-2]
    return above if PCI_ADDRESS.fullmatch(above) else None


def _number(folder: int, attribute: str, *, base: int = 16, without: int = 0) -> int:
    """An attribute's number; ``without`` where the function has no such attribute."""
    try:
        return int(read_text(attribute, folder=folder), base)
    except FileNotFoundError:
        return without
