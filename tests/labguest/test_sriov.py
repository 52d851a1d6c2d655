"""Network devices of virtual functions: those of a NIC with its own driver, and of a function that labnic was given."""

from __future__ import annotations

import pytest

import aiovirt
from aiovirt.events.types import NetdevRemoved
from tests.labguest.heard import listening
from tests.labguest.topology import IGB, NVME, Topology, labnic_port_id

pytestmark = pytest.mark.anyio


async def test_the_virtual_functions_of_a_nic_come_and_go(lab: Topology, host: aiovirt.Host) -> None:
    async with listening(host) as heard:
        functions = await lab.make_vfs(lab.function(IGB), 2)
        nics = [nic for function in functions for nic in await heard.nics(host, function, "igbvf")]
        await lab.settle()
        await lab.no_vfs(lab.function(IGB))
        removed = [event for function in functions for event in await heard.some(NetdevRemoved, function)]
        assert [event.device.id for event in removed] == [nic.id for nic in nics]


async def test_virtual_functions_have_the_ids_of_the_ports_they_share(lab: Topology, host: aiovirt.Host) -> None:
    physical = lab.function(NVME)
    await lab.ports(2)
    async with listening(host) as heard:
        await lab.override(physical, "labnic")
        functions = await lab.make_vfs(physical, 2, probe=False)
        for function in functions:
            await lab.override(function, "labnic")
        ports = [labnic_port_id(physical, 0), labnic_port_id(physical, 1)]
        for function in (physical, *functions):
            nics = await heard.nics(host, function, "labnic", count=2)
            assert [nic.phys_port_id for nic in nics] == ports
