"""Hands on a ``test:///default`` host: what the world does to it, as calls.

async with aiovirt.connect("test:///default") as host:
world = aiovirt.testing.control(host)
world.add_netdev("eth9", phys_port_id="c0ffee")
"""

from __future__ import annotations

from uuid import UUID

from aiovirt.drivers.test.devices import UP, TestDevices
from aiovirt.drivers.test.driver import TestDriver
from aiovirt.engine.domain import Domain
from aiovirt.engine.host import Host
from aiovirt.engine.local import LocalEngine
from aiovirt.errors import InvalidArgument
from aiovirt.model.netdev import Netdev, OperState, Unreadable
from aiovirt.model.pci import PCIDevice
from aiovirt.model.state import MonitorHealth

__all__ = ["Control", "control"]


def control(host: Host) -> Control:
    """The hands of ``host``; raises InvalidArgument when it is no ``test:///`` host."""
    engine = host.engine
    if not isinstance(engine, LocalEngine) or not isinstance(engine.driver, TestDriver) or not isinstance(engine.devices, TestDevices):
        raise InvalidArgument(f"{host.uri} is the real world; only test:///default can be controlled")
    return Control(engine.driver, engine.devices)


class Control:
    """What can happen. Everything is seen as events before the call returns."""

    def __init__(self, driver: TestDriver, devices: TestDevices) -> None:
        self._driver = driver
        self._devices = devices

    # -- devices ---------------------------------------------------------------------------

    def add_netdev(  # noqa: PLR0913 - a device has so many attributes
        self,
        name: str,
        *,
        mac: str = "52:54:00:00:01:00",
        mtu: int = 1500,
        carrier: bool = True,
        parent: str | None = None,
        pci: str | None = None,
        dev_port: int = 0,
        driver: str | None = None,
        phys_port_id: str | None | Unreadable = None,
        phys_port_name: str | None | Unreadable = None,
        phys_switch_id: str | None | Unreadable = None,
    ) -> Netdev:
        """A network device is plugged in, into the PCI function at ``pci``; raises InvalidArgument when its name is taken."""
        return self._devices.add(
            Netdev(
                ifindex=self._devices.next_ifindex(),
                name=name,
                mac=mac,
                mtu=mtu,
                flags=UP,
                operstate=OperState.UP if carrier else OperState.DOWN,
                carrier=carrier,
                parent=parent if parent is not None else pci,
                pci=pci,
                dev_port=dev_port,
                driver=driver,
                phys_port_id=phys_port_id,
                phys_port_name=phys_port_name,
                phys_switch_id=phys_switch_id,
            )
        )

    def remove_netdev(self, name: str) -> None:
        """A network device is unplugged; raises NoSuchDevice."""
        self._devices.remove(name)

    def rename_netdev(self, name: str, new_name: str) -> Netdev:
        """A network device gets another name."""
        return self._devices.change(name, name=new_name)

    def set_phys_port_id(self, name: str, value: str | None | Unreadable) -> Netdev:
        """Its phys_port_id is another one from now on."""
        return self._devices.change(name, phys_port_id=value)

    def set_carrier(self, name: str, carrier: bool) -> Netdev:  # noqa: FBT001 - the value being set
        """Its cable is plugged in, or pulled."""
        return self._devices.change(name, carrier=carrier, operstate=OperState.UP if carrier else OperState.DOWN)

    def set_mtu(self, name: str, mtu: int) -> Netdev:
        """Its MTU, in bytes."""
        return self._devices.change(name, mtu=mtu)

    def set_vfs(self, address: str, count: int) -> PCIDevice:
        """The PCI function there (``0000:01:00.0`` or ``.1``) has so many virtual functions from now on, without network devices.

        Raises NoSuchDevice, and InvalidArgument for more than it can have.
        """
        return self._devices.set_vfs(address, count)

    # -- guests ----------------------------------------------------------------------------

    def crash(self, domain: Domain) -> None:
        """Its process ends without a word."""
        self._driver.crash(_active(domain))

    def lose_monitor(self, domain: Domain, why: str = "connection reset") -> None:
        """Its monitor is gone: orders raise ConnectionLost, save destroy."""
        self._driver.set_health(_active(domain), MonitorHealth.LOST, why)

    def stall_monitor(self, domain: Domain, why: str = "it does not answer") -> None:
        """Its monitor falls silent: orders run into their deadline, save destroy."""
        self._driver.set_health(_active(domain), MonitorHealth.STALLED, why)

    def restore_monitor(self, domain: Domain) -> None:
        """Its monitor responds again."""
        self._driver.set_health(_active(domain), MonitorHealth.CONNECTED, "")


def _active(domain: Domain) -> UUID:
    if not domain.is_active:
        raise InvalidArgument(f"domain {domain.name!r} is not running")
    return domain.uuid
