"""The processor that a guest sees (https://libvirt.org/formatdomain.html#cpu-model-and-topology)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Final

from msgspec.structs import force_setattr

from aiovirt.errors import InvalidArgument
from aiovirt.model.element import At, Element

__all__ = [
    "Cpu",
    "CpuCache",
    "CpuCacheMode",
    "CpuCheck",
    "CpuFallback",
    "CpuFeature",
    "CpuMatch",
    "CpuMode",
    "FeaturePolicy",
    "MaxPhysAddr",
    "MaxPhysAddrMode",
    "Topology",
]

_VENDOR: Final = re.compile("[ -+\\--~]{12}")
"""What CPUID gives: twelve characters; libvirt takes no comma."""


class CpuMode(StrEnum):
    """``<cpu mode=…>``: a model by its name, or one that follows from the host."""

    CUSTOM = "custom"
    HOST_MODEL = "host-model"
    HOST_PASSTHROUGH = "host-passthrough"
    MAXIMUM = "maximum"


class CpuMatch(StrEnum):
    """``<cpu match=…>``: how exactly the guest's processor has to be the one that is named."""

    MINIMUM = "minimum"
    EXACT = "exact"
    STRICT = "strict"


class CpuCheck(StrEnum):
    """``<cpu check=…>``: what is looked at before a start."""

    NONE = "none"
    PARTIAL = "partial"
    FULL = "full"


class CpuFallback(StrEnum):
    """``<model fallback=…>``: whether a lesser one may be taken."""

    ALLOW = "allow"
    FORBID = "forbid"


class Topology(Element, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """How the vCPUs are laid out: as many as the product of these. ``dies`` None is one."""

    tag = "topology"
    sockets: Annotated[int, At("@sockets")]
    dies: Annotated[int | None, At("@dies")] = None
    clusters: Annotated[int | None, At("@clusters")] = None
    cores: Annotated[int, At("@cores")]
    threads: Annotated[int, At("@threads")]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dies is None:
            force_setattr(self, "dies", 1)
        if min(self.sockets, self.dies or 1, self.cores, self.threads, 1 if self.clusters is None else self.clusters) < 1:
            raise InvalidArgument("a topology has at least one of each")

    @property
    def vcpus(self) -> int:
        """The product."""
        return self.sockets * (self.dies or 1) * (self.clusters or 1) * self.cores * self.threads


class CpuCacheMode(StrEnum):
    """``<cache mode=…>``: whether the guest sees the host's caches, made-up ones, or none."""

    EMULATE = "emulate"
    PASSTHROUGH = "passthrough"
    DISABLE = "disable"


class CpuCache(Element, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """The caches that the guest sees; those of one ``level``, or all."""

    tag = "cache"
    level: Annotated[int | None, At("@level")] = None
    mode: Annotated[CpuCacheMode, At("@mode")]


class MaxPhysAddrMode(StrEnum):
    """``<maxphysaddr mode=…>``."""

    EMULATE = "emulate"
    PASSTHROUGH = "passthrough"


class MaxPhysAddr(Element, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """How many ``bits`` the guest's physical addresses have, or those of the host, up to ``limit``."""

    tag = "maxphysaddr"
    mode: Annotated[MaxPhysAddrMode, At("@mode")]
    bits: Annotated[int | None, At("@bits")] = None
    limit: Annotated[int | None, At("@limit")] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bits is not None and self.mode is MaxPhysAddrMode.PASSTHROUGH:
            raise InvalidArgument("the host's number of bits is not said")
        if self.limit is not None and self.mode is MaxPhysAddrMode.EMULATE:
            raise InvalidArgument("only the host's number of bits has a limit")


class FeaturePolicy(StrEnum):
    """``<feature policy=…>``: whether the guest has it, and what follows where the host does not."""

    FORCE = "force"
    REQUIRE = "require"
    OPTIONAL = "optional"
    DISABLE = "disable"
    FORBID = "forbid"


class CpuFeature(Element, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """A feature of the processor, by libvirt's name for it."""

    tag = "feature"
    policy: Annotated[FeaturePolicy, At("@policy")] = FeaturePolicy.REQUIRE
    name: Annotated[str, At("@name", "filled")]


class Cpu(Element, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """Which processor it has. ``model`` None is the driver's default, in the mode CUSTOM."""

    tag = "cpu"
    mode: Annotated[CpuMode, At("@mode")] = CpuMode.CUSTOM
    match: Annotated[CpuMatch | None, At("@match")] = None
    check: Annotated[CpuCheck | None, At("@check")] = None
    migratable: Annotated[bool | None, At("@migratable", "on/off")] = None
    fallback: Annotated[CpuFallback | None, At("model/@fallback")] = None
    vendor_id: Annotated[str | None, At("model/@vendor_id")] = None
    model: Annotated[str | None, At("model", "filled")] = None
    vendor: Annotated[str | None, At("vendor", "filled")] = None
    topology: Annotated[Topology | None, At("topology")] = None
    cache: Annotated[CpuCache | None, At("cache")] = None
    max_phys_addr: Annotated[MaxPhysAddr | None, At("maxphysaddr")] = None
    features: Annotated[Sequence[CpuFeature], At("feature")] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        self._settle()
        if self.mode is CpuMode.CUSTOM and self.model is None and self.features:
            raise InvalidArgument("features are those of a model, which is not said")
        if self.migratable is not None and self.mode not in (CpuMode.HOST_PASSTHROUGH, CpuMode.MAXIMUM):
            raise InvalidArgument(f"a processor of the mode {self.mode} is not asked for as migratable")
        if self.vendor_id is not None and not _VENDOR.fullmatch(self.vendor_id):
            raise InvalidArgument(f"the vendor {self.vendor_id!r:.40} has not exactly 12 characters, or a comma")
        again = [name for name, count in Counter(feature.name for feature in self.features).items() if count > 1]
        if again:
            raise InvalidArgument(f"the feature {again[0]!r:.80} is there twice")

    def _settle(self) -> None:
        """What has no meaning in its mode is dropped, as libvirt does."""
        if self.mode is CpuMode.CUSTOM:
            force_setattr(self, "match", self.match or CpuMatch.EXACT)
            return
        force_setattr(self, "match", None)
        if self.mode is not CpuMode.HOST_MODEL:
            for field in ("model", "fallback", "vendor_id"):
                force_setattr(self, field, None)
