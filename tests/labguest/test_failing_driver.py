"""A driver that fails to answer, or takes its time over it with the kernel's lock held: its own readers pay, and nobody else."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

import aiovirt
from aiovirt.errors import SystemFailure
from aiovirt.events.types import NetdevAdded, NetdevChanged, SourceResynced
from aiovirt.model.netdev import Netdev, Unreadable
from tests.labguest.heard import Heard, listening
from tests.labguest.topology import PATIENCE, Topology, ip, labnic_port_id

pytestmark = pytest.mark.anyio

EIO = 5
HELD_FOR = 6
"""Seconds; a read is left behind after two."""


async def plugged(lab: Topology, host: aiovirt.Host, heard: Heard, port: int) -> Netdev:
    """A new nic, which has its last name."""
    function = await lab.plug(port)
    await heard.some(NetdevAdded, function)
    await lab.settle()
    (netdev,) = [netdev for netdev in host.devices.netdevs() if netdev.parent == function]
    return netdev


async def test_a_failure_is_never_taken_for_none(lab: Topology, host: aiovirt.Host) -> None:
    async with listening(host) as heard:
        broken, whole = await plugged(lab, host, heard, 1), await plugged(lab, host, heard, 2)
        await lab.knob(broken.name, "err", EIO)
        with pytest.raises(SystemFailure, match="EIO"):
            await host.devices.read_phys_port_id(broken.name)
        assert await host.devices.read_phys_port_id(whole.name) == whole.phys_port_id
        await lab.knob(broken.name, "err", 0)
        assert await host.devices.read_phys_port_id(broken.name) == broken.phys_port_id


async def test_a_dump_that_a_driver_cuts_short_hides_no_device(lab: Topology, host: aiovirt.Host, uri: str) -> None:
    async with listening(host) as heard:
        broken, whole = await plugged(lab, host, heard, 1), await plugged(lab, host, heard, 2)
    await lab.knob(broken.name, "err", EIO)
    async with aiovirt.connect(f"{uri}-another") as another:
        found = {netdev.name: netdev for netdev in another.devices.netdevs()}
        assert found.keys() == {entry.name for entry in Path("/sys/class/net").iterdir()}
        assert found[whole.name].phys_port_id == whole.phys_port_id
        port_id = found[broken.name].phys_port_id
        assert isinstance(port_id, Unreadable)
        assert port_id.why == "EIO"
        assert found[broken.name].driver == "labnic"


async def test_messages_that_the_kernel_cannot_send_are_made_good(lab: Topology, host: aiovirt.Host) -> None:
    async with listening(host) as heard:
        broken, whole = await plugged(lab, host, heard, 1), await plugged(lab, host, heard, 2)
        await lab.knob(broken.name, "err", EIO)
        begun = len(heard.events)
        ip("link", "set", broken.name, "mtu", "1400")
        resynced = (await heard.some(SourceResynced))[-1]
        assert (resynced.source, resynced.reason) == ("rtnetlink", "EMSGSIZE")
        about = [event for event in heard.events[begun:] if isinstance(event, NetdevChanged) and event.device.name == broken.name]
        assert about[0].changes["mtu"] == (1500, 1400)
        assert heard.events.index(about[0]) < heard.events.index(resynced)
        ip("link", "set", whole.name, "mtu", "1300")
        await heard.until(lambda: host.devices.netdev(whole.name).mtu == 1300)


async def test_a_driver_that_holds_the_lock_delays_its_own_readers_only(lab: Topology, host: aiovirt.Host) -> None:
    async with listening(host) as heard:
        slow, whole = await plugged(lab, host, heard, 1), await plugged(lab, host, heard, 2)
        await lab.knob(slow.name, "delay_ms", HELD_FOR * 1000)
        held = anyio.Event()

        async def hold() -> None:
            text = await anyio.Path("/sys/class/net", slow.name, "phys_port_id").read_text()
            assert text.strip() == labnic_port_id(slow.parent or "")
            held.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(hold)
            with pytest.raises(SystemFailure, match="ETIMEDOUT"):
                await host.devices.read_phys_port_id(slow.name)
            assert host.devices.netdev(whole.name).id == whole.id
            domain = await host.define(
                "<domain type='qemu'><name>d</name><memory unit='MiB'>64</memory><os><type arch='x86_64'>hvm</type></os></domain>"
            )
            assert domain.name == "d"
            await domain.undefine()
            assert not held.is_set()
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
