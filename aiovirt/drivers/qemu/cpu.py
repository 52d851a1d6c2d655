"""How QEMU gives a guest its processor. Pure.

As libvirt does it (qemuBuildCpuCommandLine), but for ``check``: where it is not ``none``, QEMU itself does not start a guest whose
processor would lack something that was asked for (``enforce``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from aiovirt.drivers.qemu import clock
from aiovirt.drivers.qemu.devices.placement import X86
from aiovirt.model.cpu import Cpu, CpuCache, CpuCacheMode, CpuCheck, CpuMatch, CpuMode, FeaturePolicy, MaxPhysAddr, MaxPhysAddrMode
from aiovirt.model.spec import DomainSpec, VirtType

__all__ = ["arguments", "check"]

_WORD: Final = re.compile("[A-Za-z0-9][A-Za-z0-9._-]*")
_OF_HOST: Final = (CpuMode.HOST_PASSTHROUGH, CpuMode.MAXIMUM)
_IS_ON: Final = {
    FeaturePolicy.FORCE: True,
    FeaturePolicy.REQUIRE: True,
    FeaturePolicy.DISABLE: False,
    FeaturePolicy.FORBID: False,
}
_NAMES: Final = {"pclmuldq": "pclmulqdq"}
"""Features that QEMU calls otherwise; beside them, QEMU has hyphens where libvirt has underscores."""
_LEVEL: Final = 3


def check(spec: DomainSpec) -> Iterator[tuple[str, str]]:
    """(path, why) of everything of it that QEMU, or this driver, cannot give."""
    if spec.cpu is not None:
        for where, why in (*_check(spec.cpu, spec), *_check_topology(spec.cpu, spec)):
            yield f"/domain/cpu{where}", why


def _check(cpu: Cpu, spec: DomainSpec) -> Iterator[tuple[str, str]]:
    if spec.os.arch not in X86:
        yield "", f"of a machine of {spec.os.arch}"
        return
    if cpu.mode is CpuMode.HOST_MODEL:
        yield "/@mode", "which model the host is, is not known"
    if cpu.mode is CpuMode.HOST_PASSTHROUGH and spec.type is not VirtType.KVM:
        yield "/@mode", "only KVM passes the host's processor through"
    if cpu.match is CpuMatch.MINIMUM:
        yield "/@match", "which model the host is, is not known"
    if cpu.model is not None and not _WORD.fullmatch(cpu.model):
        yield "/model", f"{cpu.model!r:.80} is not the name of a model"
    if cpu.vendor is not None:
        yield "/vendor", "whose the host's processor is, is not asked for"
    yield from _check_features(cpu)
    if cpu.cache is not None:
        yield from _check_cache(cpu.cache, cpu.mode)
    if cpu.max_phys_addr is not None:
        yield from _check_max_phys_addr(cpu.max_phys_addr, spec)


def _check_features(cpu: Cpu) -> Iterator[tuple[str, str]]:
    for number, feature in enumerate(cpu.features, 1):
        if not _WORD.fullmatch(feature.name):
            yield f"/feature[{number}]/@name", f"{feature.name!r:.80} is not the name of a feature"
        elif feature.policy not in _IS_ON:
            yield f"/feature[{number}]/@policy", "what the host has is not asked for"


def _check_cache(cache: CpuCache, mode: CpuMode) -> Iterator[tuple[str, str]]:
    if cache.mode is CpuCacheMode.PASSTHROUGH and mode not in _OF_HOST:
        yield "/cache/@mode", "the host's caches are those of the host's processor"
    if cache.level is not None and (cache.level != _LEVEL or cache.mode is not CpuCacheMode.EMULATE):
        yield "/cache/@level", f"QEMU has caches of one level only where those of level {_LEVEL} are emulated"
    if cache.level is None and cache.mode is CpuCacheMode.EMULATE:
        yield "/cache/@mode", f"QEMU emulates caches of level {_LEVEL} alone"


def _check_max_phys_addr(address: MaxPhysAddr, spec: DomainSpec) -> Iterator[tuple[str, str]]:
    if address.mode is MaxPhysAddrMode.EMULATE and address.bits is None:
        yield "/maxphysaddr", "a number of bits that is emulated is to be said"
    if address.mode is MaxPhysAddrMode.PASSTHROUGH and spec.type is not VirtType.KVM:
        yield "/maxphysaddr/@mode", "only KVM passes the host's number of bits through"


def _check_topology(cpu: Cpu, spec: DomainSpec) -> Iterator[tuple[str, str]]:
    if cpu.topology is None:
        return
    if cpu.topology.vcpus != spec.vcpus:
        yield "/topology", f"of {cpu.topology.vcpus} vCPUs, and the domain has {spec.vcpus}"
    if (cpu.topology.clusters or 1) > 1:
        yield "/topology/@clusters", f"a machine of {spec.os.arch} has no clusters"


def arguments(spec: DomainSpec) -> Iterator[str]:
    """The argv: the processor, where anything is said of it, and the vCPUs. Without a topology each vCPU is a socket, as with libvirt."""
    timers = clock.of_processor(spec)
    if spec.cpu is not None or timers:
        yield from ("-cpu", ",".join((*_processor(spec), *timers)))
    topology = spec.cpu.topology if spec.cpu else None
    if topology is None:
        yield from ("-smp", f"{spec.vcpus},sockets={spec.vcpus},cores=1,threads=1")
    else:
        dies = f",dies={topology.dies}"
        yield from ("-smp", f"{spec.vcpus},sockets={topology.sockets}{dies},cores={topology.cores},threads={topology.threads}")


def _processor(spec: DomainSpec) -> Iterator[str]:
    cpu = spec.cpu or Cpu()
    match cpu.mode:
        case CpuMode.HOST_PASSTHROUGH:
            yield "host"
        case CpuMode.MAXIMUM:
            yield "max"
        case _:
            yield cpu.model or X86[spec.os.arch]
    if cpu.migratable is not None:
        yield f"migratable={_switch(cpu.migratable)}"
    if cpu.vendor_id is not None:
        yield f"vendor={cpu.vendor_id}"
    for feature in cpu.features:
        yield f"{_NAMES.get(feature.name, feature.name.replace('_', '-'))}={_switch(_IS_ON[feature.policy])}"
    if cpu.check not in (None, CpuCheck.NONE) or cpu.match is CpuMatch.STRICT:
        yield "enforce"
    yield from _cache(cpu.cache)
    yield from _max_phys_addr(cpu.max_phys_addr)


def _switch(on: bool) -> str:  # noqa: FBT001 - a plain answer
    return "on" if on else "off"


def _cache(cache: CpuCache | None) -> Iterator[str]:
    match cache.mode if cache else None:
        case CpuCacheMode.EMULATE:
            yield "l3-cache=on"
        case CpuCacheMode.PASSTHROUGH:
            yield from ("host-cache-info=on", "l3-cache=off")
        case CpuCacheMode.DISABLE:
            yield from ("host-cache-info=off", "l3-cache=off")
        case None:
            pass


def _max_phys_addr(address: MaxPhysAddr | None) -> Iterator[str]:
    if address is None:
        return
    if address.mode is MaxPhysAddrMode.EMULATE:
        yield f"phys-bits={address.bits}"
        return
    yield "host-phys-bits=on"
    if address.limit is not None:
        yield f"host-phys-bits-limit={address.limit}"
