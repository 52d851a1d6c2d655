"""``host.devices``: this host's devices, as the events keep them. Only coroutines do I/O."""

from __future__ import annotations

from typing import overload

from aiovirt.engine.abc import Engine
from aiovirt.engine.arguments import checked
from aiovirt.errors import NoSuchDevice
from aiovirt.events.state import HostState
from aiovirt.hostdev import ports
from aiovirt.model import orders
from aiovirt.model.busdevice import BusDevice
from aiovirt.model.netdev import Netdev
from aiovirt.model.orders import DEFAULT_TIMEOUT
from aiovirt.model.pci import PCIDevice
from aiovirt.model.ports import Port, VirtualFunction
from aiovirt.model.words import checked_word

__all__ = ["Devices"]


class Devices:
    """The inventory: ``host.devices``.

        host.devices.netdevs(), host.devices.netdev("eth0")     # network devices
        host.devices.pci(), host.devices.pci_device("0000:3b:00.0")
        host.devices.port("eth0"), host.devices.vfs("eth0"), host.devices.pf("eth0v1")
        await host.devices.refresh("eth0")                      # asks the kernel now

    What has no ``async`` does no I/O. Values are frozen; ask again for what is there now, or read their events
    (``host.events.subscribe("netdev")``). All that is awaited takes a ``timeout`` in seconds, and raises OrderTimeout.

    A network device is named by its value, its name or its ifindex, a PCI function by its value or its address.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def netdevs(self, *, of: PCIDevice | str | None = None) -> list[Netdev]:
        """Every network device, by ifindex; with ``of`` those that hang from this PCI function. Raises NoSuchDevice for that."""
        function = self.pci_device(of).address if of is not None else None
        found = (device for device in self._state.netdevs.values() if function is None or device.pci == function)
        return sorted(found, key=lambda device: device.ifindex)

    def pci(self) -> list[PCIDevice]:
        """Every PCI function, by address."""
        return sorted(self._state.pci.values(), key=lambda device: device.address)

    def netdev(self, name_or_ifindex: str | int) -> Netdev:
        """One network device, by its name, one of its altnames or its number; raises NoSuchDevice.

        The kernel does not report an altname that is given to a device which is down: :meth:`refresh` finds it by that.
        """
        return ports.find_netdev(self._state, name_or_ifindex)

    def pci_device(self, function: PCIDevice | str) -> PCIDevice:
        """One PCI function as it is now, by its address; raises NoSuchDevice."""
        return ports.find_pci(self._state, function)

    def iommu_group(self, function: PCIDevice | str) -> list[PCIDevice]:
        """All that are in this PCI function's IOMMU group, itself included; empty where it has none. Raises NoSuchDevice."""
        group = self.pci_device(function).iommu_group
        return [device for device in self.pci() if group is not None and device.iommu_group == group]

    # -- what hangs together -------------------------------------------------------------------

    @overload
    def pf(self, vf: Netdev | str | int) -> Netdev: ...
    @overload
    def pf(self, vf: PCIDevice) -> PCIDevice: ...
    def pf(self, vf: Netdev | PCIDevice | str | int) -> Netdev | PCIDevice:
        """The physical function of a virtual one: for a network device, also a scalable function's, its PF's on the same port.

        Raises NoSuchDevice where it is neither, or its PF is not here; AmbiguousDevice where it is not known which port.
        """
        state = self._state
        return ports.pci_pf(state, vf) if isinstance(vf, PCIDevice) else ports.netdev_pf(state, vf)

    def vfs(self, pf: Netdev | PCIDevice | str | int) -> tuple[VirtualFunction, ...]:
        """The virtual functions of a physical one, by index: of a PCI function all, of a network device those on its port.

        One without a network device is on the port when there is only one port. Raises NoSuchDevice.
        """
        return ports.virtual_functions(self._state, pf)

    def port(self, nic: Netdev | str | int) -> Port:
        """The physical port that a network device is on, and all that is on it too.

        Raises NoSuchDevice where it hangs from no PCI function, AmbiguousDevice where it is not known which port.
        """
        return ports.port(self._state, nic)

    def by_phys_port(self, phys_port_id: str, *, of: PCIDevice | Netdev | str | None = None) -> Port:
        """The port with this phys_port_id. Ids are not globally unique: ``of`` names a card by any function or device on it.

        Raises NoSuchDevice, AmbiguousDevice where several cards have such a port.
        """
        return ports.by_phys_port(self._state, phys_port_id, of)

    @property
    def resyncs(self) -> dict[str, int]:
        """source -> how often messages of it were lost and all of it was read again, since the engine began (SourceResynced)."""
        return dict(self._state.resyncs)

    # -- asking now ----------------------------------------------------------------------------

    @overload
    async def refresh(self, device: Netdev | str | int, *, timeout: float = DEFAULT_TIMEOUT) -> Netdev: ...
    @overload
    async def refresh(self, device: PCIDevice, *, timeout: float = DEFAULT_TIMEOUT) -> PCIDevice: ...
    async def refresh(self, device: Netdev | PCIDevice | str | int, *, timeout: float = DEFAULT_TIMEOUT) -> Netdev | PCIDevice:
        """Asks the kernel about one device now; what differs is published first. Returns it as it is.

        Most changes are reported by the kernel; those that are not (a phys_port_id, a driver_override, what is set on a link
        that is down) are seen here. The kernel is asked for a name that is not known. Raises NoSuchDevice when it is gone,
        SystemFailure, OrderTimeout.
        """
        try:
            found = self.pci_device(device) if isinstance(device, PCIDevice) else ports.find_netdev(self._state, device)
        except NoSuchDevice:
            if not isinstance(device, str):
                raise
            await self._engine.call(checked(orders.Refresh(subject=f"name/{device}", timeout=timeout)))
            return ports.find_netdev(self._state, device)
        await self._engine.call(checked(orders.Refresh(subject=found.subject, timeout=timeout)))
        return self.pci_device(found) if isinstance(found, PCIDevice) else ports.find_netdev(self._state, found)

    async def read_phys_port_id(self, name: str, *, timeout: float = DEFAULT_TIMEOUT) -> str | None:
        """Asks the kernel now: lower-case hex, or None when the driver has none.

        Raises NoSuchDevice, and SystemFailure when the read fails: a failure is never taken for
        "none" (Documentation/ABI/testing/sysfs-class-net, phys_port_id). When it is another one than is known, a
        NetdevChanged follows.
        """
        name = checked_word(name, "the device's name")
        return await self._engine.call(checked(orders.ReadPhysPortId(name=name, timeout=timeout)))

    async def enumerate(self, subsystem: str, *, timeout: float = DEFAULT_TIMEOUT) -> list[BusDevice]:
        """Every device of one of the kernel's subsystems (``"usb"``, ``"block"``, ``"scsi"``, ``"mdev"``), by name, read now.

        Of devices other than network devices and PCI functions no inventory is kept; their drivers' coming and going is
        told (DriverBound, DriverUnbound). Raises SystemFailure.
        """
        subsystem = checked_word(subsystem, "the subsystem")
        return await self._engine.call(checked(orders.Enumerate(subsystem=subsystem, timeout=timeout)))

    async def xml(self, device: Netdev | PCIDevice, *, timeout: float = DEFAULT_TIMEOUT) -> str:
        """The device as libvirt's nodedev XML (https://libvirt.org/formatnode.html). Raises NoSuchDevice, SystemFailure."""
        from aiovirt.libvirtxml.nodedev import nodedev_xml

        details = await self._engine.call(checked(orders.AskDetails(subject=device.subject, timeout=timeout)))
        return nodedev_xml(device, details, self._state.pci)

    @property
    def _state(self) -> HostState:
        return self._engine.bus.state
