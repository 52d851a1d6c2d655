"""Power management that a guest's firmware offers (https://libvirt.org/formatdomain.html#power-management)."""

from __future__ import annotations

from typing import Annotated

from aiovirt.model.element import At, Element

__all__ = ["PowerManagement"]


class PowerManagement(Element, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """Whether the guest may sleep: in ACPI's state S3 (memory), in S4 (disk). None is the hypervisor's choice."""

    tag = "pm"
    suspend_to_mem: Annotated[bool | None, At("suspend-to-mem/@enabled", "yes/no")] = None
    suspend_to_disk: Annotated[bool | None, At("suspend-to-disk/@enabled", "yes/no")] = None
