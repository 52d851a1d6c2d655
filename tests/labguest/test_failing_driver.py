"""A driver that fails to answer, or takes its time over it with the kernel's lock held: its own readers pay, and nobody else."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest

import aiovirt
from aiovirt.errors import OrderTimeout, SystemFailure
from aiovirt.events.types import DriverBound, DriverUnbound, NetdevChanged, SourceResynced
from aiovirt.model.netdev import Netdev, Unreadable
from tests.labguest.heard import Heard, listening
from tests.labguest.topology import NETDEVS, PATIENCE, Qmp, Topology, ip

pytestmark = pytest.mark.anyio

EIO = 5
HELD_FOR = 4
"""Seconds; a read is left behind after two."""

RNG = "0000:00:02.0"
"""A function without network devices."""

Pair = tuple[Netdev, Netdev]


@pytest.fixture(scope="module")
async def functions(qmp: Qmp) -> AsyncIterator[tuple[str, str]]:
    """Two nics' addresses, for all of this module."""
    topology = Topology(qmp)
    yield await topology.plug(1), await topology.plug(2)
    topology.restore()


@pytest.fixture
async def pair(lab: Topology, host: aiovirt.Host, functions: tuple[str, str]) -> AsyncIterator[Pair]:
    """Both; the first one's driver is to fail, until the test ends."""
    async with listening(host) as heard:
        (broken,), (whole,) = await heard.nics(host, functions[0]), await heard.nics(host, functions[1])
    yield broken, whole
    await lab.knob(broken.name, "delay_ms", 0)
    await lab.knob(broken.name, "err", 0)


async def test_a_failure_is_never_taken_for_none(lab: Topology, host: aiovirt.Host, pair: Pair) -> None:
    broken, whole = pair
    await lab.knob(broken.name, "err", EIO)
    with pytest.raises(SystemFailure, match="EIO"):
        await host.devices.read_phys_port_id(broken.name)
    assert await host.devices.read_phys_port_id(whole.name) == whole.phys_port_id
    await lab.knob(broken.name, "err", 0)
    assert await host.devices.read_phys_port_id(broken.name) == broken.phys_port_id


async def test_a_dump_that_a_driver_cuts_short_hides_no_device(lab: Topology, uri: str, pair: Pair) -> None:
    broken, whole = pair
    await lab.knob(broken.name, "err", EIO)
    async with aiovirt.connect(f"{uri}-another") as another:
        found = {netdev.name: netdev for netdev in another.devices.netdevs()}
        assert found.keys() == {entry.name for entry in NETDEVS.iterdir()}
        assert found[whole.name].phys_port_id == whole.phys_port_id
        port_id = found[broken.name].phys_port_id
        assert isinstance(port_id, Unreadable)
        assert port_id.why == "EIO"
        assert found[broken.name].driver == "labnic"


async def test_messages_that_the_kernel_cannot_send_are_made_good(lab: Topology, host: aiovirt.Host, pair: Pair, heard: Heard) -> None:
    broken, whole = pair
    await lab.knob(broken.name, "err", EIO)
    ip("link", "set", broken.name, "mtu", "1400")
    resynced = (await heard.some(SourceResynced))[-1]
    assert (resynced.source, resynced.reason) == ("rtnetlink", "EMSGSIZE")
    about = heard.of(NetdevChanged, broken.id)
    assert about[0].changes["mtu"] == (1500, 1400)
    assert heard.events.index(about[0]) < heard.events.index(resynced)
    ip("link", "set", whole.name, "mtu", "1300")
    await heard.until(lambda: host.devices.netdev(whole.name).mtu == 1300)


async def test_a_driver_that_holds_the_lock_delays_only_those_who_ask(lab: Topology, host: aiovirt.Host, pair: Pair, heard: Heard) -> None:
    slow, whole = pair
    asked = anyio.Event()
    await lab.knob(slow.name, "delay_ms", HELD_FOR * 1000)

    async def ask() -> None:
        assert (await host.devices.refresh(whole)).id == whole.id
        asked.set()

    async with anyio.create_task_group() as tasks:
        with pytest.raises(OrderTimeout) as late:
            await host.devices.refresh(slow, timeout=0.5)  # from now on the kernel's lock is held
        assert late.value.sent
        await lab.knob(slow.name, "delay_ms", 0)
        tasks.start_soon(ask)
        await lab.unbind(RNG)
        await heard.some(DriverUnbound, RNG)
        await lab.bind(RNG, "virtio-pci")
        await heard.some(DriverBound, RNG)
        assert host.devices.netdev(slow.name).id == slow.id
        assert len(host.devices.netdevs()) == len(list(NETDEVS.iterdir()))
        assert not asked.is_set()
    assert (await host.devices.refresh(slow)).phys_port_id == slow.phys_port_id


async def test_a_read_that_the_driver_keeps_waiting_is_left_behind(lab: Topology, host: aiovirt.Host, pair: Pair) -> None:
    slow, whole = pair
    await lab.knob(slow.name, "delay_ms", HELD_FOR * 1000)
    with pytest.raises(SystemFailure, match="ETIMEDOUT"):
        await host.devices.read_phys_port_id(slow.name)
    assert host.devices.netdev(whole.name).id == whole.id
    await lab.knob(slow.name, "delay_ms", 0)
    assert await answered(host, slow.name) == slow.phys_port_id


async def answered(host: aiovirt.Host, name: str) -> str | None:
    """What is read once reads that were left behind, and have the kernel's lock, have ended."""
    with anyio.fail_after(PATIENCE):
        while True:
            try:
                return await host.devices.read_phys_port_id(name)
            except SystemFailure as late:
                assert "ETIMEDOUT" in str(late)
