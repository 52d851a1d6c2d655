"""``host.devices``: this host's devices, as the events keep them. Only ``read_*`` does I/O."""

from __future__ import annotations

from aiovirt.engine.seam import Engine
from aiovirt.errors import NoSuchDevice
from aiovirt.model import orders
from aiovirt.model.netdev import Netdev

__all__ = ["Devices"]


class Devices:
    """The inventory. Values are frozen; ask again for what is there now."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def netdevs(self) -> list[Netdev]:
        """Every network device, by ifindex."""
        return sorted(self._engine.bus.state.netdevs.values(), key=lambda device: device.ifindex)

    def netdev(self, name_or_ifindex: str | int) -> Netdev:
        """One network device; raises NoSuchDevice."""
        wanted = "ifindex" if isinstance(name_or_ifindex, int) else "name"
        for device in self._engine.bus.state.netdevs.values():
            if getattr(device, wanted) == name_or_ifindex:
                return device
        raise NoSuchDevice(f"no network device has the {wanted} {name_or_ifindex!r}")

    async def read_phys_port_id(self, name: str) -> str | None:
        """Asks the kernel now: lower-case hex, or None when the driver has none.

        Raises NoSuchDevice, and SystemFailure when the read fails: a failure is never taken for
        "none" (Documentation/ABI/testing/sysfs-class-net, phys_port_id).
        """
        return await self._engine.call(orders.ReadPhysPortId(name=name))
