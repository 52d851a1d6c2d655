"""The contract as types: checked by mypy and pyright, run by nobody.

What has no ``async`` does no I/O; streams have the exact union of the types that were asked for.
"""

from __future__ import annotations

from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import assert_type
from uuid import UUID

import aiovirt
from aiovirt import Domain, DomainState, DomainStatus, Host, MiB
from aiovirt.drivers.qemu.proxy import QMPProxy
from aiovirt.events import (
    BusDevice,
    DomainEvent,
    DomainLifecycle,
    Event,
    Follow,
    Lifecycle,
    MonitorLost,
    NetdevAdded,
    NetdevChanged,
    NetdevRemoved,
    Resync,
    Subscription,
    Watch,
)
from aiovirt.model.netdev import Netdev, Unreadable
from aiovirt.model.pci import PCIDevice
from aiovirt.model.ports import Port, VirtualFunction
from aiovirt.model.spec import DomainSpec


def connecting() -> None:
    manager: AbstractAsyncContextManager[Host] = aiovirt.connect()
    manager = aiovirt.connect("qemu:///session", config_dir="/c", state_dir=None, runtime_dir="/r")
    print(manager)


def plain(host: Host, domain: Domain) -> None:
    assert_type(host.domain("test"), Domain)
    assert_type(host.domain(UUID(int=1)), Domain)
    assert_type(host.domains(active=True, persistent=None), list[Domain])
    assert_type(domain.name, str)
    assert_type(domain.uuid, UUID)
    assert_type(domain.id, int | None)
    assert_type(domain.state, DomainState)
    assert_type(domain.status, DomainStatus)
    assert_type(host.devices.netdevs(), list[Netdev])
    assert_type(host.devices.netdev("eth0").phys_port_id, str | None | Unreadable)
    assert_type(host.devices.pci(), list[PCIDevice])
    assert_type(host.devices.pf("vf0"), Netdev)
    assert_type(host.devices.pf(host.devices.pci()[0]), PCIDevice)
    assert_type(host.devices.vfs("eth0"), tuple[VirtualFunction, ...])
    assert_type(host.devices.port("eth0"), Port)
    assert_type(host.devices.by_phys_port("c0ffee", of="eth0"), Port)
    assert_type(host.events.cursor, str)
    size: int = 512 * MiB
    print(size)


async def orders(host: Host, domain: Domain, spec: DomainSpec) -> None:
    start: Coroutine[object, object, None] = domain.start(paused=True, autodestroy=True)
    await start
    assert_type(await domain.suspend(timeout=3.0), None)
    assert_type(await domain.xml(), str)
    assert_type(await domain.spec(), DomainSpec)
    assert_type(await domain.qmp("query-status"), object)
    assert_type(await domain.qmp("query-block", {"query-nodes": True}, returns=list[int]), list[int])
    assert_type(await host.define("<domain/>"), Domain)
    assert_type(await host.create(spec, paused=True), Domain)
    assert_type(await host.devices.read_phys_port_id("eth0"), str | None)
    assert_type(await host.devices.refresh("eth0", timeout=3.0), Netdev)
    assert_type(await host.devices.refresh(host.devices.pci()[0]), PCIDevice)
    assert_type(await host.devices.enumerate("usb"), list[BusDevice])
    assert_type(await host.devices.xml(host.devices.pci()[0]), str)
    async with host.run(spec) as running:
        assert_type(running, Domain)
    assert_type(await domain.get_autostart(timeout=3.0), bool)
    await domain.wait_for_state(DomainState.SHUTOFF)
    await domain.wait_for_state("shut off", timeout=3.0)


async def streams(host: Host, domain: Domain) -> None:
    assert_type(host.events.subscribe(), Subscription[Event])
    assert_type(host.events.subscribe(DomainLifecycle, subject=domain), Subscription[DomainLifecycle])
    assert_type(host.events.subscribe(DomainLifecycle, MonitorLost), Subscription[DomainLifecycle | MonitorLost])
    assert_type(
        host.events.subscribe(NetdevAdded, NetdevRemoved, NetdevChanged, subject="netdev/"),
        Subscription[NetdevAdded | NetdevRemoved | NetdevChanged],
    )
    assert_type(host.events.watch(DomainEvent, fold=True), Watch[DomainEvent | Resync])
    async with host.events.subscribe(DomainLifecycle, where=lambda event: event.kind is Lifecycle.STARTED) as events:
        assert_type(events.cursor, str)
        async for event in events:
            assert_type(event, DomainLifecycle)
            assert_type(event.kind, Lifecycle)
        assert_type(events.receive_nowait(), DomainLifecycle)
        assert_type(await events.receive_batch(), tuple[DomainLifecycle, ...])
    door: AbstractAsyncContextManager[QMPProxy] = domain.qmp_proxy("/run/qmp", timeout=3.0)
    async with door as opened, domain.qmp_proxy(Path("/run/other")) as other:
        assert_type(opened, QMPProxy)
        assert_type(other.path, str)
    async with domain.expect(DomainLifecycle, timeout=3.0) as seen:
        await domain.shutdown()
    assert_type(seen.value, DomainLifecycle)
    async with domain.expect("domain.reboot") as reboot, host.events.expect("netdev") as device:
        await domain.reset()
    assert_type(reboot.value, DomainEvent)
    assert_type(device.value, Event)


async def from_engine_to_engine(host: Host, domain: Domain) -> None:
    assert_type(host.events.follow(), Follow[Event])
    assert_type(host.events.follow(DomainLifecycle, MonitorLost, subject=domain), Follow[DomainLifecycle | MonitorLost])
    async with host.events.follow(DomainLifecycle, after=host.events.cursor, start_engine=True) as events:
        async for event in events:
            assert_type(event, DomainLifecycle)
        assert_type(events.cursor, str)
        assert_type(await events.receive_batch(), tuple[DomainLifecycle, ...])
    next_one: AbstractAsyncContextManager[Host] = host.reconnect(start_engine=True)
    print(next_one)


def by_topic(host: Host) -> None:
    assert_type(host.events.subscribe("domain.lifecycle"), Subscription[Event])
    assert_type(host.events.subscribe("domain", NetdevAdded), Subscription[Event])
    assert_type(host.events.watch("netdev", fold=True), Watch[Event | Resync])
    assert_type(host.events.follow("domain", "netdev"), Follow[Event])


def front_door() -> None:
    version: str = aiovirt.__version__
    spec: DomainSpec = aiovirt.DomainSpec(
        name="web",
        memory=512 * aiovirt.MiB,
        os=aiovirt.OsSpec(boot=("hd",)),
        devices=(
            aiovirt.Disk(source="/a.img", target="vda", bus=aiovirt.DiskBus.VIRTIO),
            aiovirt.Serial(type=aiovirt.Chardev.UNIX, path="/run/web"),
        ),
    )
    kind: type[Event] = aiovirt.events.DomainLifecycle
    print(version, spec, kind)
