"""The watch over PCI functions: uevents in their order, and sysfs read when they give reason to; the thinking is in ``functions``."""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable, Iterable, Mapping

import anyio
from msgspec import structs

from aiovirt.errors import SystemFailure
from aiovirt.events.types import DeviceEvent
from aiovirt.hostdev.functions import Functions, described
from aiovirt.hostdev.turns import Bell
from aiovirt.model.pci import PCIDevice
from aiovirt.system.again import is_passing
from aiovirt.system.log import get_logger
from aiovirt.system.pci import PCIBus
from aiovirt.wire.uevent import Uevent

__all__ = ["PCIWatch"]

_log = get_logger("hostdev")


class PCIWatch:
    """Functions live. ``publish`` publishes; ``catch_up`` hands in, with :meth:`take`, every uevent that waits.

    ``unlocked`` is called with whose lock somebody had for long, and has no more.
    """

    def __init__(
        self,
        publish: Callable[[Iterable[DeviceEvent]], None],
        catch_up: Callable[[], Awaitable[None]],
        bus: PCIBus,
        unlocked: Callable[[Iterable[str]], None],
        known: Iterable[PCIDevice] = (),
    ) -> None:
        self.functions = Functions(known)
        self._publish = publish
        self._unlocked = unlocked
        self._catch_up = catch_up
        self._bus = bus
        self._asking = anyio.Lock()
        self._to_ask = Bell()
        self._held: set[str] = set()  # whose lock somebody had for longer than could be waited for
        self._to_wait = Bell()

    async def take(self, event: Uevent, address: str) -> None:
        """A uevent about the function at ``address``. Of one that was sent on request only sysfs says what is so."""
        match "change" if event.is_synthetic else event.action:
            case "add":
                read = await self._bus.read([address])
                self._publish(self.functions.added(read.get(address) or described(event, address), event.seqnum))
                if address not in read:
                    self.functions.changed(address)
            case "remove":
                self._publish(self.functions.removed(address))
            case "bind":
                self._publish(self.functions.bound(address, event.env.get("DRIVER")))
            case "unbind":
                self._publish(self.functions.bound(address, None))
            case _:
                self.functions.changed(address)
        self._ring()

    async def ask(self) -> None:
        """Reads again what uevents gave reason to, until cancelled."""
        while True:
            await self._to_ask.wait()
            while self.functions.dirty:
                await self._refresh(())

    async def await_locks(self) -> None:
        """Reads again those whose lock somebody had, when it is let go of, until cancelled: what that was for may be seen only now."""
        while True:
            await self._to_wait.wait()
            while self._held:
                await self._bus.wait_for_locks()
                held, self._held = self._held, set()
                await self._refresh(held)
                self._unlocked(held - self._held)

    async def refresh(self, address: str) -> None:
        """Reads one again now. Raises SystemFailure when it could not be read in time."""
        stale = True
        while stale:
            if address not in await self._refresh((address,)) and self.functions.get(address) is not None:
                raise SystemFailure(f"cannot read PCI function {address}: {errno.errorcode[errno.ETIMEDOUT]}")
            stale = address in self.functions.dirty

    async def resync(self) -> None:
        """Makes the inventory what is there now."""
        async with self._asking:
            self.functions.take_dirty()
            try:
                listed = await self._bus.addresses()
            except SystemFailure as failure:
                if is_passing(failure):
                    raise
                _log.warning("PCI functions cannot be listed", why=str(failure))
                return
            read = await self._read(listed)
            await self._catch_up()
            self._publish(self.functions.resynced(read, listed))
        self._ring()

    async def _refresh(self, wanted: Iterable[str]) -> Mapping[str, PCIDevice]:
        """Reads these, and what uevents gave reason to."""
        async with self._asking:
            taken = self.functions.take_dirty().union(wanted)
            try:
                read = await self._read(taken)
                await self._catch_up()
            except BaseException:
                self.functions.dirty |= taken  # whoever asked gave up: the others are still to be read
                self._ring()
                raise
            self._publish(self.functions.refreshed(read))
        self._ring()
        return read

    async def _read(self, addresses: Iterable[str]) -> dict[str, PCIDevice]:
        """Each function whole; as known, where it could not be read, who may bind it and how many virtual ones it has."""
        addresses = list(addresses)
        read = await self._bus.read(addresses)
        overrides, is_late = await self._bus.read_overrides(addresses)
        if is_late:
            self._hold(read.keys() - overrides.keys())
        physical = [address for address, function in read.items() if function.sriov is not None]
        numvfs, is_late = await self._bus.read_numvfs(physical)
        if is_late:
            self._hold(set(physical) - numvfs.keys())
        return {address: self._completed(function, overrides, numvfs) for address, function in read.items()}

    def _hold(self, addresses: Iterable[str]) -> None:
        self._held.update(addresses)
        self._to_wait.ring()

    def _completed(self, function: PCIDevice, overrides: Mapping[str, str | None], numvfs: Mapping[str, int]) -> PCIDevice:
        address, known = function.address, self.functions.get(function.address)
        override = overrides.get(address, known.driver_override if known else None)
        if function.sriov is None:
            return structs.replace(function, driver_override=override)
        before = known.sriov if known is not None and known.sriov is not None else function.sriov
        sriov = structs.replace(function.sriov, current=numvfs.get(address, before.current))
        return structs.replace(function, driver_override=override, sriov=sriov)

    def _ring(self) -> None:
        if self.functions.dirty:
            self._to_ask.ring()
