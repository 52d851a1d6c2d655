"""What a PCI function of this host is: one frozen value, as last seen.

Attributes carry the kernel's names (Documentation/ABI/testing/sysfs-bus-pci). No I/O lives here.
"""

from __future__ import annotations

import re
from operator import attrgetter
from typing import Final

from msgspec import Struct

from aiovirt.model.differences import differences
from aiovirt.model.table import TableType

__all__ = ["PCI", "PCI_ADDRESS", "SRIOV", "PCIDevice"]

PCI_ADDRESS: Final = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]", re.ASCII)
"""``domain:bus:slot.function``, as sysfs writes it. (Domains above ffff are Intel VMD's.)"""


class SRIOV(Struct, frozen=True, kw_only=True, gc=False):
    """A physical function's capability: how many virtual functions it can have, and has (sriov_totalvfs, sriov_numvfs).

    While virtual functions are taken away, ``current`` is what it was until the last of them is gone.
    """

    total: int
    current: int


class PCIDevice(Struct, frozen=True, kw_only=True, gc=False):
    """A PCI function: where it is, what it is, and who has it.

    ``address`` is ``"0000:3b:00.0"``; ``parent`` that of the bridge it is behind, None on a root bus. ``pci_class`` has
    24 bits (``0x020000``: an Ethernet controller), the ids have 16. ``driver`` is None while none has it, ``driver_override``
    the only one that may take it. ``iommu_group`` is None without an IOMMU, ``numa_node`` where the kernel knows none.

    A physical function with SR-IOV has ``sriov``, and its virtual functions' addresses in ``vfs``, by the number that the
    kernel gave them (``virtfnN``): None where there is none of that number, as while they are taken away. A virtual function
    has the address of its PF in ``physfn``, and its number in ``vf_index``.
    """

    address: str
    parent: str | None = None
    pci_class: int = 0
    vendor: int = 0
    device: int = 0
    subsystem_vendor: int = 0
    subsystem_device: int = 0
    revision: int = 0
    driver: str | None = None
    driver_override: str | None = None
    iommu_group: int | None = None
    numa_node: int | None = None
    sriov: SRIOV | None = None
    vfs: tuple[str | None, ...] = ()
    physfn: str | None = None
    vf_index: int | None = None

    @property
    def subject(self) -> str:
        """Its subject in the event stream: ``pci/0000:3b:00.0``."""
        return f"pci/{self.address}"

    @property
    def slot(self) -> str:
        """Its address without the function: functions of one card share it (``"0000:3b:00"``)."""
        return self.address.rpartition(".")[0]

    def changes_to(self, new: PCIDevice) -> dict[str, tuple[object, object]]:
        """attribute -> (old, new) for each attribute in which ``new`` differs."""
        return differences(self, new)


PCI: Final[TableType[str, PCIDevice]] = TableType("pci", PCIDevice, attrgetter("address"), ends_with_boot=True)
"""The PCI functions of a host, by address."""
