"""What hangs together on a network card: ports, virtual functions, representors. Values; no I/O lives here."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from aiovirt.model.netdev import VF, Netdev
from aiovirt.model.pci import PCIDevice

__all__ = ["KnownBy", "Port", "ScalableFunction", "VirtualFunction"]


class KnownBy(StrEnum):
    """By what it is known which port a network device is on; the surest first."""

    PHYS_PORT_ID = "phys_port_id"
    PHYS_PORT_NAME = "phys_port_name"
    DEV_PORT = "dev_port"
    ONLY_NETDEV = "only_netdev"


class VirtualFunction(Struct, frozen=True, kw_only=True, gc=False):
    """One virtual function: ``pci`` itself, its ``netdevs`` (none while no network driver has it), ``index`` on its PF.

    ``settings`` is what the PF's driver enforces for it (None where the PF's netdev is not known, or does not report them).
    ``known_by`` is by what it is known to be on the port that was asked about; None where no port was, or where it is not known.
    """

    index: int
    pci: PCIDevice
    netdevs: tuple[Netdev, ...] = ()
    settings: VF | None = None
    known_by: KnownBy | None = None


class ScalableFunction(Struct, frozen=True, kw_only=True, gc=False):
    """One scalable function (Documentation/networking/devlink/devlink-port.rst): a part of a PCI function with a driver of its own.

    ``name`` is that of its device on the auxiliary bus (``"mlx5_core.sf.4"``), ``netdevs`` hang from that.
    ``known_by`` is by what it is known to be on the port that was asked about.
    """

    name: str
    netdevs: tuple[Netdev, ...]
    known_by: KnownBy


class Port(Struct, frozen=True, kw_only=True, gc=False):
    """One physical port, where a cable goes in.

    ``netdevs`` are all that are on it in this namespace, by ifindex, ``pf`` the physical function's among them (None
    where it is not here: in a guest, or in another namespace), ``vfs`` the virtual functions on it, ``sfs`` the scalable
    ones that have a network device here, ``representors`` the switch's ends of those. ``known_by`` is by what that is known of the
    device that was asked about.
    """

    netdevs: tuple[Netdev, ...]
    pf: Netdev | None
    vfs: tuple[VirtualFunction, ...]
    representors: tuple[Netdev, ...]
    known_by: KnownBy
    sfs: tuple[ScalableFunction, ...] = ()
