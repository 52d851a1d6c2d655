"""Processors as QEMU is given them. What libvirt 9.0 gives it is compared in tests/real/test_libvirtxml_virsh.py."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from aiovirt.drivers.qemu.command_line import check
from aiovirt.errors import ConfigUnsupported, InvalidArgument
from aiovirt.model.cpu import (
    Cpu,
    CpuCache,
    CpuCacheMode,
    CpuCheck,
    CpuFeature,
    CpuMatch,
    CpuMode,
    FeaturePolicy,
    MaxPhysAddr,
    MaxPhysAddrMode,
    Topology,
)
from aiovirt.model.spec import DomainSpec, VirtType
from tests.drivers.qemu.test_command_line import SPEC, values

KVM = replace(SPEC, type=VirtType.KVM)
FORCED = CpuFeature(policy=FeaturePolicy.FORCE, name="vmx")
FORBIDDEN = CpuFeature(policy=FeaturePolicy.FORBID, name="svm")


def with_cpu(spec: DomainSpec = SPEC, **fields: Any) -> DomainSpec:  # noqa: ANN401 - a Cpu's
    return replace(spec, cpu=Cpu(**fields))


@pytest.mark.parametrize(
    ("fields", "cpu"),
    [
        ({}, "qemu64"),
        ({"model": "Haswell"}, "Haswell"),
        ({"model": "Nehalem", "vendor_id": "KVMKVMKVM123"}, "Nehalem,vendor=KVMKVMKVM123"),
        ({"model": "Haswell", "check": "none"}, "Haswell"),
        ({"model": "Haswell", "check": "partial"}, "Haswell,enforce"),
        ({"model": "Haswell", "check": CpuCheck.FULL}, "Haswell,enforce"),
        ({"model": "Haswell", "match": "strict"}, "Haswell,enforce"),
        ({"model": "core2duo", "features": [FORCED, FORBIDDEN]}, "core2duo,vmx=on,svm=off"),
        ({"model": "core2duo", "features": [CpuFeature(name="sse4_1"), CpuFeature(name="pclmuldq")]}, "core2duo,sse4-1=on,pclmulqdq=on"),
        ({"mode": "maximum"}, "max"),
        ({"mode": "maximum", "migratable": True}, "max,migratable=on"),
        ({"mode": "maximum", "features": [CpuFeature(name="vmx", policy=FeaturePolicy.DISABLE)]}, "max,vmx=off"),
        ({"model": "qemu64", "cache": CpuCache(mode=CpuCacheMode.EMULATE, level=3)}, "qemu64,l3-cache=on"),
        ({"mode": "maximum", "cache": CpuCache(mode=CpuCacheMode.DISABLE)}, "max,host-cache-info=off,l3-cache=off"),
        ({"mode": "maximum", "cache": CpuCache(mode=CpuCacheMode.PASSTHROUGH)}, "max,host-cache-info=on,l3-cache=off"),
        ({"model": "qemu64", "max_phys_addr": MaxPhysAddr(mode=MaxPhysAddrMode.EMULATE, bits=42)}, "qemu64,phys-bits=42"),
    ],
)
def test_its_processor(fields: dict[str, Any], cpu: str) -> None:
    spec = with_cpu(**fields)
    check(spec)
    assert values(spec, "-cpu") == [cpu]


def test_what_only_kvm_has() -> None:
    address = MaxPhysAddr(mode=MaxPhysAddrMode.PASSTHROUGH, limit=40)
    spec = with_cpu(KVM, mode=CpuMode.HOST_PASSTHROUGH, migratable=False, max_phys_addr=address)
    check(spec)
    assert values(spec, "-cpu") == ["host,migratable=off,host-phys-bits=on,host-phys-bits-limit=40"]
    with pytest.raises(ConfigUnsupported) as caught:
        check(replace(spec, type=VirtType.QEMU))
    assert [place.path for place in caught.value.places] == ["/domain/cpu/@mode", "/domain/cpu/maxphysaddr/@mode"]


def test_its_topology() -> None:
    spec = replace(with_cpu(topology=Topology(sockets=2, cores=3, threads=2)), vcpus=12)
    check(spec)
    assert values(spec, "-smp") == ["12,sockets=2,dies=1,cores=3,threads=2"]
    assert values(replace(SPEC, vcpus=2), "-smp") == ["2,sockets=2,cores=1,threads=1"]
    with pytest.raises(ConfigUnsupported, match="of 12 vCPUs, and the domain has 1"):
        check(replace(spec, vcpus=1))


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "the host's model": ({"mode": CpuMode.HOST_MODEL}, "/@mode"),
    "the best of the host": ({"model": "qemu64", "match": CpuMatch.MINIMUM}, "/@match"),
    "an option": ({"model": "qemu64,kvm=off"}, "/model"),
    "a feature that is an option": ({"model": "qemu64", "features": [CpuFeature(name="x=on,y")]}, "/feature[1]/@name"),
    "a feature that may be there": (
        {"model": "qemu64", "features": [FORCED, CpuFeature(policy=FeaturePolicy.OPTIONAL, name="aes")]},
        "/feature[2]/@policy",
    ),
    "the host's vendor": ({"model": "qemu64", "vendor": "Intel"}, "/vendor"),
    "the host's caches": ({"model": "qemu64", "cache": CpuCache(mode=CpuCacheMode.PASSTHROUGH)}, "/cache/@mode"),
    "caches of level 2": ({"model": "qemu64", "cache": CpuCache(mode=CpuCacheMode.EMULATE, level=2)}, "/cache/@level"),
    "caches of all levels": ({"model": "qemu64", "cache": CpuCache(mode=CpuCacheMode.EMULATE)}, "/cache/@mode"),
    "bits that are not said": ({"model": "qemu64", "max_phys_addr": MaxPhysAddr(mode=MaxPhysAddrMode.EMULATE)}, "/maxphysaddr"),
    "clusters": ({"topology": Topology(sockets=1, clusters=2, cores=1, threads=1)}, "/topology"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_it_cannot_give_is_refused(case: str) -> None:
    fields, where = REFUSED[case]
    with pytest.raises(ConfigUnsupported) as caught:
        check(with_cpu(**fields))
    assert f"/domain/cpu{where}" in [place.path for place in caught.value.places]


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"features": [CpuFeature(name="vmx")]}, "of a model, which is not said"),
        ({"model": "a", "features": [FORCED, CpuFeature(name="vmx")]}, "'vmx' is there twice"),
        ({"model": "a", "migratable": True}, "not asked for as migratable"),
        ({"model": "a", "vendor_id": "short"}, "12 characters"),
        ({"model": "a", "vendor_id": "with,a comma"}, "12 characters"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_construction(fields: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidArgument, match=why):
        Cpu(**fields)


def test_what_has_no_meaning_in_a_mode_is_dropped_as_libvirt_does() -> None:
    assert Cpu(mode=CpuMode.MAXIMUM, match=CpuMatch.EXACT, model="qemu64", vendor_id="GenuineIntel") == Cpu(mode=CpuMode.MAXIMUM)
    assert Cpu().match is CpuMatch.EXACT
