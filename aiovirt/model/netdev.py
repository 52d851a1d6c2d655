"""What a network device of this host is: one frozen value, as last seen.

Attributes carry the kernel's names (Documentation/ABI/testing/sysfs-class-net). No I/O lives here.
"""

from __future__ import annotations

from enum import IntFlag
from operator import attrgetter
from typing import Final, Literal, final

from msgspec import Struct

from aiovirt.model.differences import differences
from aiovirt.model.openenum import OpenEnum
from aiovirt.model.table import TableType

__all__ = ["NETDEVS", "VF", "Duplex", "LinkFlags", "Netdev", "OperState", "Unreadable", "VFLinkState"]


class LinkFlags(IntFlag):
    """The flags of a link that mean something to people (``IFF_*`` in linux/if.h)."""

    UP = 0x1
    BROADCAST = 0x2
    LOOPBACK = 0x8
    POINTOPOINT = 0x10
    RUNNING = 0x40
    NOARP = 0x80
    PROMISC = 0x100
    ALLMULTI = 0x200
    MASTER = 0x400
    SLAVE = 0x800
    MULTICAST = 0x1000
    LOWER_UP = 0x10000
    DORMANT = 0x20000


class OperState(OpenEnum):
    """RFC 2863's ``ifOperStatus`` in sysfs's words, in the order of the kernel's numbers (``IF_OPER_*`` in linux/if.h)."""

    UNKNOWN = "unknown"
    NOTPRESENT = "notpresent"
    DOWN = "down"
    LOWERLAYERDOWN = "lowerlayerdown"
    TESTING = "testing"
    DORMANT = "dormant"
    UP = "up"


@final
class Unreadable(Struct, frozen=True, eq=False, tag="unreadable"):
    """An attribute that exists and could not be read: falsy, equal to nothing, not even itself.

    ``why`` is the errno's name (``"EIO"``) or a short reason. It is neither a value nor "the driver
    has none" (that is None).
    """

    why: str

    def __bool__(self) -> Literal[False]:
        return False

    def __eq__(self, other: object) -> bool:
        return False

    def __ne__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return hash(("unreadable", self.why))

    def __str__(self) -> str:
        return f"unreadable ({self.why})"


class Duplex(OpenEnum):
    """Whether a link sends and receives at once, in sysfs's words."""

    HALF = "half"
    FULL = "full"


class VFLinkState(OpenEnum):
    """What a VF sees of its link, in ip-link(8)'s words, in the order of the kernel's numbers (``IFLA_VF_LINK_STATE_*``)."""

    AUTO = "auto"
    ENABLE = "enable"
    DISABLE = "disable"


class VF(Struct, frozen=True, kw_only=True, gc=False):
    """What a PF's driver enforces for its virtual function ``index`` (IFLA_VFINFO_LIST; ip-link(8), ``vf``).

    ``vlan`` is 0 where none is set; ``vlan_proto`` is ``"802.1Q"`` or ``"802.1ad"``. Rates are in Mbit/s, 0 for no limit.
    What the driver does not report is None.
    """

    index: int
    mac: str = ""
    vlan: int = 0
    vlan_qos: int = 0
    vlan_proto: str = "802.1Q"
    trust: bool | None = None
    spoofchk: bool | None = None
    link_state: VFLinkState | None = None
    min_tx_rate: int | None = None
    max_tx_rate: int | None = None


class Netdev(Struct, frozen=True, kw_only=True, gc=False):
    """A network device: identity first, then its attributes as last reported.

    ``id`` names one incarnation of one device for as long as it exists: ``<ifindex>.<incarnation>``
    (a number the kernel used again gets the next incarnation); it is "" outside of an inventory. ``netns`` is the
    network namespace that it is in, as the kernel numbers those (the inode of ``/proc/self/ns/net``; 0: not reported).

    ``mac`` and ``perm_mac``, the one it was made with, are lower-case and colon-separated, "" and None where there is
    none. ``mtu`` is in bytes. ``carrier`` is None where the kernel does not say; ``carrier_changes`` counts how often it
    came and went. ``speed`` is in Mbit/s; it and ``duplex`` are None while the link is down or its driver does not know.
    ``master`` and ``link``, what it lies upon (a macvlan's lower device, a veth's peer), are ifindexes; ``link`` is None
    where that is in another namespace.

    ``parent`` is the name of the bus device it hangs from (IFLA_PARENT_DEV_NAME: ``"0000:3b:00.0"``, ``"virtio4"``),
    ``driver`` that device's driver, ``pci`` the PCI function that it or its parent is. ``dev_port`` is its port's number
    on that function, counted from 0. ``vfs`` is what is set for each virtual function of a PF.

    phys_port_id, phys_port_name and phys_switch_id are the value, None where the driver has none,
    or :class:`Unreadable`; the ids are lower-case hex, as in sysfs.

    ``initialized`` is whether udev has finished with it (its name and permissions are final), None where no udevd runs;
    ``properties`` are the ``ID_*`` that udev then gave it.
    """

    id: str = ""
    ifindex: int
    name: str
    mac: str = ""
    mtu: int = 0
    flags: int = 0
    operstate: OperState = OperState.UNKNOWN
    carrier: bool | None = None
    kind: str | None = None
    master: int | None = None
    parent: str | None = None
    driver: str | None = None
    phys_port_id: str | None | Unreadable = None
    phys_port_name: str | None | Unreadable = None
    phys_switch_id: str | None | Unreadable = None
    netns: int = 0
    altnames: tuple[str, ...] = ()
    perm_mac: str | None = None
    carrier_changes: int = 0
    speed: int | None = None
    duplex: Duplex | None = None
    link: int | None = None
    pci: str | None = None
    dev_port: int = 0
    vfs: tuple[VF, ...] = ()
    initialized: bool | None = None
    properties: dict[str, str] = {}

    @property
    def subject(self) -> str:
        """Its subject in the event stream: ``netdev/<id>``."""
        return f"netdev/{self.id}"

    @property
    def is_up(self) -> bool:
        """Whether it is administratively up (IFF_UP)."""
        return bool(self.flags & _UP)

    def changes_to(self, new: Netdev) -> dict[str, tuple[object, object]]:
        """attribute -> (old, new) for each attribute in which ``new`` differs, identity aside."""
        moved = differences(self, new)
        return {name: pair for name, pair in moved.items() if name not in _IDENTITY and not _fail_alike(*pair)}


NETDEVS: Final[TableType[str, Netdev]] = TableType("netdevs", Netdev, attrgetter("id"), ends_with_boot=True)
"""The network devices of a host, by id."""

_UP: Final = int(LinkFlags.UP)  # to compute with flags takes fifty times as long as with numbers
_IDENTITY: Final = frozenset({"id", "netns"})


def _fail_alike(before: object, after: object) -> bool:
    """Whether two readings failed for the same reason: they are unequal as values, and nothing changed."""
    return isinstance(before, Unreadable) and isinstance(after, Unreadable) and before.why == after.why
