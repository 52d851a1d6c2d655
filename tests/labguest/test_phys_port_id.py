"""What a driver says of its port, changed while it is there: what the kernel tells of that, and what only a question finds."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

import aiovirt
from aiovirt.errors import SystemFailure
from aiovirt.events.types import NetdevChanged
from aiovirt.model.netdev import Netdev, Unreadable
from tests.labguest.heard import Heard, listening
from tests.labguest.topology import Qmp, Topology, ip, labnic_port_id

pytestmark = pytest.mark.anyio
both = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"], indirect=True)

EIO = 5


@pytest.fixture(scope="module")
async def functions(qmp: Qmp) -> AsyncIterator[tuple[str, str]]:
    """Two nics' addresses, for all of this module."""
    topology = Topology(qmp)
    yield await topology.plug(1), await topology.plug(2)
    topology.restore()


@pytest.fixture
async def nic(lab: Topology, host: aiovirt.Host, functions: tuple[str, str]) -> Netdev:
    """The first of them, as it was made. What a test hears begins after that."""
    async with listening(host) as heard:
        (found,) = await heard.nics(host, functions[0])
    for knob, value in (("err", 0), ("port_id", labnic_port_id(functions[0])), ("port_name", ""), ("switch_id", "")):
        await lab.knob(found.name, knob, value)
    ip("link", "set", found.name, "down")
    return await host.devices.refresh(found)


def told(heard: Heard, nic: Netdev, attribute: str) -> list[tuple[object, object]]:
    """What was told of an attribute: (before, after)."""
    return [event.changes[attribute] for event in heard.of(NetdevChanged, nic.id) if attribute in event.changes]


@both
async def test_an_id_that_changes_is_told_once_somebody_asks(
    lab: Topology, host: aiovirt.Host, functions: tuple[str, str], nic: Netdev, heard: Heard
) -> None:
    (other,) = await heard.nics(host, functions[1])
    await lab.knob(nic.name, "port_id", "0badcafe")
    mtu = 1400 if other.mtu == 1500 else 1500
    ip("link", "set", other.name, "mtu", str(mtu))
    await heard.until(lambda: host.devices.netdev(other.name).mtu == mtu)
    assert told(heard, nic, "phys_port_id") == []
    assert await host.devices.read_phys_port_id(nic.name) == "0badcafe"
    await heard.until(lambda: told(heard, nic, "phys_port_id") == [(nic.phys_port_id, "0badcafe")])
    await lab.knob(nic.name, "port_id", "")
    refreshed = await host.devices.refresh(nic)
    assert (refreshed.id, refreshed.phys_port_id) == (nic.id, None)
    await heard.until(lambda: told(heard, nic, "phys_port_id")[1:] == [("0badcafe", None)])
    assert await host.devices.read_phys_port_id(nic.name) is None


@both
async def test_what_a_driver_tells_the_kernel_of_is_told(lab: Topology, host: aiovirt.Host, nic: Netdev, heard: Heard) -> None:
    ip("link", "set", nic.name, "up")
    await heard.until(lambda: host.devices.netdev(nic.name).is_up)
    for knob, attribute, value in (
        ("port_id", "phys_port_id", "0badcafe"),
        ("port_name", "phys_port_name", "p7"),
        ("switch_id", "phys_switch_id", "aabbccdd"),
    ):
        before = getattr(nic, attribute)
        await lab.knob(nic.name, knob, value)
        await lab.knob(nic.name, "notify", 1)
        await heard.until(lambda: told(heard, nic, attribute) == [(before, value)])  # noqa: B023 - awaited within its round
    last = host.devices.netdev(nic.name)
    assert (last.phys_port_id, last.phys_port_name, last.phys_switch_id) == ("0badcafe", "p7", "aabbccdd")


async def test_a_name_and_a_switch_are_asked_for_too(lab: Topology, host: aiovirt.Host, nic: Netdev) -> None:
    await lab.knob(nic.name, "port_name", "p3s1")
    await lab.knob(nic.name, "switch_id", "00ff")
    refreshed = await host.devices.refresh(nic)
    assert (refreshed.phys_port_name, refreshed.phys_switch_id) == ("p3s1", "00ff")


async def test_an_id_that_cannot_be_read_is_neither_there_nor_missing(lab: Topology, host: aiovirt.Host, nic: Netdev, heard: Heard) -> None:
    await lab.knob(nic.name, "err", EIO)
    with pytest.raises(SystemFailure, match="EIO"):
        await host.devices.read_phys_port_id(nic.name)
    broken = (await host.devices.refresh(nic)).phys_port_id
    assert isinstance(broken, Unreadable)
    assert (broken.why, bool(broken), broken == broken) == ("EIO", False, False)  # noqa: PLR0124 - is what it says
    await heard.until(lambda: len(told(heard, nic, "phys_port_id")) == 1)
    await lab.knob(nic.name, "err", 0)
    assert (await host.devices.refresh(nic)).phys_port_id == nic.phys_port_id
    await heard.until(lambda: [after for _, after in told(heard, nic, "phys_port_id")][1:] == [nic.phys_port_id])
