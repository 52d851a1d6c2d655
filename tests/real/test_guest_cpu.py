"""What a real QEMU says of the processors that a guest is given."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from aiovirt import GuestFailed, Host
from aiovirt.model.cpu import Cpu, CpuCheck, CpuFeature, CpuMode, FeaturePolicy, Topology
from tests.real.conftest import PATIENCE, Place

pytestmark = pytest.mark.anyio


async def test_vcpus_are_laid_out_as_the_topology_says(host: Host, place: Place) -> None:
    async with host.run(place.spec(vcpus=8, cpu=Cpu(topology=Topology(sockets=2, cores=2, threads=2)))) as domain:
        with anyio.fail_after(PATIENCE):
            found: Any = await domain.qmp("query-cpus-fast")
    places = {(cpu["props"]["socket-id"], cpu["props"]["core-id"], cpu["props"]["thread-id"]) for cpu in found}
    assert places == {(socket, core, thread) for socket in range(2) for core in range(2) for thread in range(2)}


async def test_the_guest_sees_the_features_that_are_said(host: Host, place: Place) -> None:
    disabled = CpuFeature(policy=FeaturePolicy.DISABLE, name="pni")
    async with host.run(place.spec(cpu=Cpu(mode=CpuMode.MAXIMUM, features=[disabled, CpuFeature(name="aes")]))) as domain:
        with anyio.fail_after(PATIENCE):
            cpus: Any = await domain.qmp("query-cpus-fast")
            seen = [await domain.qmp("qom-get", {"path": cpus[0]["qom-path"], "property": name}) for name in ("pni", "aes")]
    assert seen == [False, True]


@pytest.mark.parametrize("check", [CpuCheck.NONE, CpuCheck.FULL])
async def test_a_guest_that_would_lack_a_feature_does_not_start_where_that_is_checked(host: Host, place: Place, check: CpuCheck) -> None:
    domain = await host.define(place.spec(cpu=Cpu(model="Haswell", check=check)))  # which TCG cannot give whole
    with anyio.fail_after(PATIENCE):
        if check is CpuCheck.NONE:
            await domain.start()
            await domain.destroy()
        else:
            with pytest.raises(GuestFailed, match="feature"):
                await domain.start()
