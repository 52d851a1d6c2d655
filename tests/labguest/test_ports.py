"""Cards with two ports on one function: which is which, by what their driver tells."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

import aiovirt
from aiovirt.errors import AmbiguousDevice, NoSuchDevice
from aiovirt.model.netdev import Netdev
from aiovirt.model.ports import KnownBy
from tests.labguest.heard import Heard
from tests.labguest.topology import Qmp, Topology, labnic_port_id

pytestmark = pytest.mark.anyio
both = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"], indirect=True)

SAME = "00c0ffee"


@pytest.fixture(scope="module")
async def cards(qmp: Qmp) -> AsyncIterator[tuple[str, str]]:
    """The addresses of two of them, for all of this module."""
    topology = Topology(qmp)
    await topology.ports(2)
    yield await topology.plug(1), await topology.plug(2)
    topology.restore()


@both
async def test_each_port_has_its_id(host: aiovirt.Host, heard: Heard, cards: tuple[str, str]) -> None:
    for function in cards:
        nics = await heard.nics(host, function, 2)
        assert [nic.dev_port for nic in nics] == [0, 1]
        assert [nic.phys_port_id for nic in nics] == [labnic_port_id(function, 0), labnic_port_id(function, 1)]
        assert host.devices.netdevs(of=function) == nics
        for nic in nics:
            port = host.devices.port(nic)
            assert (port.known_by, port.netdevs, port.pf, port.vfs) == (KnownBy.PHYS_PORT_ID, (nic,), nic, ())
            assert isinstance(nic.phys_port_id, str)
            assert host.devices.by_phys_port(nic.phys_port_id) == port
            with pytest.raises(NoSuchDevice):
                host.devices.pf(nic)


async def test_two_cards_with_the_same_id_are_told_apart_by_any_of_their_devices(
    lab: Topology, host: aiovirt.Host, heard: Heard, cards: tuple[str, str]
) -> None:
    same: list[Netdev] = []
    for function in cards:
        nic = (await heard.nics(host, function, 2))[1]
        await lab.knob(nic.name, "port_id", SAME)
        same.append(await host.devices.refresh(nic))
    with pytest.raises(AmbiguousDevice) as ambiguous:
        host.devices.by_phys_port(SAME)
    assert set(ambiguous.value.candidates) == {nic.subject for nic in same}
    for function, nic in zip(cards, same, strict=True):
        neighbour = host.devices.netdevs(of=function)[0]
        for of in (function, host.devices.pci_device(function), nic, neighbour, neighbour.name):
            assert host.devices.by_phys_port(SAME, of=of).pf == nic
        with pytest.raises(NoSuchDevice):
            host.devices.by_phys_port("0badcafe", of=function)
        await lab.knob(nic.name, "port_id", labnic_port_id(function, 1))
