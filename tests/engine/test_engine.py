"""The engine over the test driver: what every order does, raises and publishes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import anyio
import pytest

import aiovirt
from aiovirt.events import (
    BusDevice,
    DomainEvent,
    DomainLifecycle,
    Event,
    Lifecycle,
    MonitorHealth,
    MonitorLost,
    NetdevAdded,
    NetdevChanged,
    PCIAdded,
    PCIChanged,
    PCIEvent,
)
from aiovirt.model.netdev import Unreadable
from aiovirt.model.spec import DomainSpec, VirtType
from aiovirt.testing import Control, control

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

SPEC = DomainSpec(name="web", memory=64 * aiovirt.MiB)


@pytest.fixture
async def host() -> AsyncIterator[aiovirt.Host]:
    async with aiovirt.connect("test:///default") as connected:
        yield connected


@pytest.fixture
def world(host: aiovirt.Host) -> Control:
    return control(host)


def told(host: aiovirt.Host, since: str) -> list[str]:
    """What was published after ``since``, as words."""
    bus = host.engine.bus
    events = [bus.ring.get(seq) for seq in range(bus.seek(since), bus.head + 1)]
    return [
        " ".join(event.describe()[:2]) + (f" {event.describe()[2]}" if isinstance(event, DomainEvent) else "") for event in events if event
    ]


# -- reading -----------------------------------------------------------------------------------


async def test_the_first_domain_is_libvirts(host: aiovirt.Host) -> None:
    (domain,) = host.domains()
    assert (domain.name, str(domain.uuid), domain.id) == ("test", "6695eb01-f6a4-8304-79aa-97f2502e193f", 1)
    assert domain.is_active
    assert domain.is_persistent
    assert domain.status.monitor is MonitorHealth.CONNECTED
    assert host.domain("test") == host.domain(domain.uuid) == host.domain(str(domain.uuid)) == domain
    assert "test" in repr(domain)


async def test_domains_are_narrowed_down(host: aiovirt.Host) -> None:
    await host.define(SPEC)
    await host.create(DomainSpec(name="brief", memory=aiovirt.MiB))

    def names(**which: bool) -> list[str]:
        return [domain.name for domain in host.domains(**which)]

    assert names() == ["brief", "test", "web"]
    assert names(active=True) == ["brief", "test"]
    assert names(active=False) == ["web"]
    assert names(persistent=False) == ["brief"]
    assert names(active=True, persistent=True) == ["test"]


@pytest.mark.parametrize("name", ["nope", "", "6695eb01", str(uuid4())])
async def test_a_domain_that_is_not_there(host: aiovirt.Host, name: str) -> None:
    with pytest.raises(aiovirt.NoSuchDomain) as missing:
        host.domain(name)
    assert missing.value.code == 42
    assert isinstance(missing.value, LookupError)


async def test_a_handle_of_a_domain_that_went(host: aiovirt.Host) -> None:
    domain = await host.define(SPEC)
    await domain.undefine()
    for read in (lambda: domain.name, lambda: domain.state, lambda: domain.status, lambda: domain.is_active):
        with pytest.raises(aiovirt.NoSuchDomain):
            read()
    with pytest.raises(aiovirt.NoSuchDomain):
        await domain.start()
    assert isinstance(domain.uuid, UUID)
    assert "gone" in repr(domain)


# -- definitions -------------------------------------------------------------------------------


async def test_define_update_undefine(host: aiovirt.Host) -> None:
    since = host.events.cursor
    domain = await host.define(SPEC)
    xml = (await domain.xml()).replace("65536", "131072")
    assert await host.define(xml) == domain
    assert (await domain.spec()).memory == 128 * aiovirt.MiB
    await domain.undefine()
    assert told(host, since) == ["web defined added", "web defined updated", "web undefined removed"]


async def test_a_name_or_uuid_that_is_taken(host: aiovirt.Host) -> None:
    with pytest.raises(aiovirt.DomainExists, match="already exists with uuid") as taken:
        await host.define(DomainSpec(name="test", memory=aiovirt.MiB))
    assert taken.value.code == 9
    with pytest.raises(aiovirt.DomainExists, match="already defined"):
        await host.define(DomainSpec(name="other", uuid=host.domain("test").uuid, memory=aiovirt.MiB))
    with pytest.raises(aiovirt.DomainExists):
        await host.create(DomainSpec(name="test", memory=aiovirt.MiB))
    assert [domain.name for domain in host.domains()] == ["test"]


async def test_of_two_that_want_a_name_one_gets_it(host: aiovirt.Host) -> None:
    outcomes: list[str] = []

    async def define() -> None:
        try:
            await host.define(SPEC)
            outcomes.append("defined")
        except aiovirt.DomainExists:
            outcomes.append("taken")

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(define)
    assert sorted(outcomes) == ["defined", *["taken"] * 4]


@pytest.mark.parametrize(
    ("xml", "kind", "code"),
    [
        ("<domain", aiovirt.XMLInvalid, 27),
        ("", aiovirt.XMLInvalid, 27),
        ("<domain type='test'><name>x</name><os><type>hvm</type></os></domain>", aiovirt.XMLInvalid, 27),
        ("<domain type='test'><name>x</name><memory>512</memory><os><type>hvm</type></os></domain>", aiovirt.XMLInvalid, 27),
        ("<domain type='kvm'><name>x</name><memory>65536</memory><os><type>hvm</type></os></domain>", aiovirt.ConfigUnsupported, 67),
    ],
)
async def test_xml_that_cannot_be_leaves_nothing_behind(host: aiovirt.Host, xml: str, kind: type[aiovirt.Error], code: int) -> None:
    since = host.events.cursor
    for order in (host.define, host.create):
        with pytest.raises(kind) as refused:
            await order(xml)
        assert refused.value.code == code
    assert host.events.cursor == since
    assert len(host.domains()) == 1


# -- running -----------------------------------------------------------------------------------


async def test_a_life(host: aiovirt.Host) -> None:
    since = host.events.cursor
    domain = await host.define(SPEC)
    await domain.start()
    assert (domain.state, domain.id) == (aiovirt.DomainState.RUNNING, 2)
    await domain.suspend()
    await domain.suspend()
    assert domain.state is aiovirt.DomainState.PAUSED
    await domain.resume()
    await domain.reset()
    await domain.shutdown()
    await domain.wait_for_state(aiovirt.DomainState.SHUTOFF)
    assert (domain.state, domain.id) == (aiovirt.DomainState.SHUTOFF, None)
    await domain.start(paused=True)
    assert domain.state is aiovirt.DomainState.PAUSED
    await domain.destroy()
    assert told(host, since) == [
        "web defined added",
        "web started booted",
        "web machine vcpus 1",
        "web suspended paused",
        "web resumed unpaused",
        "web reboot by the host",
        "web shutdown finished after guest request",
        "web stopped shutdown",
        "web started booted",
        "web suspended paused",
        "web machine vcpus 1",
        "web stopped destroyed",
    ]


async def test_events_say_which_order_led_to_them(host: aiovirt.Host) -> None:
    domain = host.domain("test")
    async with host.events.subscribe(DomainLifecycle) as events:
        await domain.suspend()
        await domain.resume()
        first, second = events.receive_nowait(), events.receive_nowait()
        assert first.cause
        assert second.cause
        assert first.cause != second.cause
        control(host).crash(domain)
        assert events.receive_nowait().cause is None


async def test_orders_that_do_not_fit_the_state(host: aiovirt.Host) -> None:
    running, off = host.domain("test"), await host.define(SPEC)
    for order in (running.start, running.resume, off.suspend, off.resume, off.shutdown, off.reset, off.destroy):
        since = host.events.cursor
        with pytest.raises(aiovirt.OperationInvalid) as refused:
            await order()
        assert refused.value.code == 55
        assert host.events.cursor == since


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
async def test_deadlines_that_cannot_be(host: aiovirt.Host, timeout: float) -> None:
    with pytest.raises(aiovirt.InvalidArgument):
        await host.domain("test").suspend(timeout=timeout)


async def test_undefining_a_running_domain_makes_it_transient(host: aiovirt.Host) -> None:
    domain = host.domain("test")
    await domain.undefine()
    assert domain.is_active
    assert not domain.is_persistent
    with pytest.raises(aiovirt.OperationInvalid):
        await domain.undefine()
    await domain.destroy()
    assert host.domains() == []


async def test_a_transient_domain_becomes_persistent(host: aiovirt.Host) -> None:
    domain = await host.create(SPEC)
    await host.define(await domain.xml())
    assert domain.is_persistent
    await domain.destroy()
    assert domain.state is aiovirt.DomainState.SHUTOFF


async def test_a_run_lives_as_long_as_its_block(host: aiovirt.Host) -> None:
    async with host.run(SPEC) as domain:
        assert domain.is_active
    assert len(host.domains()) == 1
    async with host.run(SPEC) as domain:
        control(host).crash(domain)
    assert len(host.domains()) == 1


async def test_the_xml_of_a_run_and_of_the_next_start(host: aiovirt.Host) -> None:
    domain = await host.define(SPEC)
    assert "id=" not in await domain.xml()
    await domain.start()
    assert "type='test' id='2'" in await domain.xml()
    assert "id=" not in await domain.xml(inactive=True)
    assert (await domain.spec()).type is VirtType.TEST
    brief = await host.create(DomainSpec(name="brief", memory=aiovirt.MiB))
    with pytest.raises(aiovirt.OperationInvalid):
        await brief.xml(inactive=True)


async def test_waiting(host: aiovirt.Host) -> None:
    domain = host.domain("test")
    await domain.wait_for_state(aiovirt.DomainState.RUNNING)
    async with domain.expect(DomainLifecycle, where=lambda event: event.kind is Lifecycle.STOPPED) as seen:
        await domain.shutdown()
    assert seen.value.state is aiovirt.DomainState.SHUTOFF
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(domain.wait_for_state, aiovirt.DomainState.RUNNING)
        await anyio.wait_all_tasks_blocked()
        await domain.start()
    brief = await host.create(SPEC)
    await brief.destroy()
    await brief.wait_for_state(aiovirt.DomainState.SHUTOFF)


async def test_one_order_at_a_time_and_destroy_before_all(host: aiovirt.Host, world: Control) -> None:
    domain = host.domain("test")
    world.stall_monitor(domain)
    outcomes: list[str] = []

    async def order(name: str, timeout: float) -> None:
        try:
            await getattr(domain, name)(timeout=timeout)
        except aiovirt.OrderTimeout as late:
            outcomes.append(f"{name} {anyio.current_time() - begun:.0f} s, sent {late.sent}")

    begun = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(order, "suspend", 20)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(order, "reset", 5)
        await anyio.wait_all_tasks_blocked()
        await anyio.sleep(10)
        assert outcomes == ["reset 5 s, sent False"]
        await domain.destroy(timeout=1)
        assert anyio.current_time() - begun == pytest.approx(10, abs=0.5)
        assert domain.state is aiovirt.DomainState.SHUTOFF
    assert outcomes == ["reset 5 s, sent False", "suspend 20 s, sent True"]


# -- a world that misbehaves -------------------------------------------------------------------


async def test_a_crash(host: aiovirt.Host, world: Control) -> None:
    domain = host.domain("test")
    async with domain.expect(DomainLifecycle) as seen:
        world.crash(domain)
    assert (seen.value.kind, str(seen.value.detail)) == (Lifecycle.STOPPED, "failed")
    assert str(domain.status.reason) == "crashed"


async def test_a_lost_monitor_is_health_and_no_state(host: aiovirt.Host, world: Control) -> None:
    domain = host.domain("test")
    async with domain.expect(MonitorLost) as seen:
        world.lose_monitor(domain)
    assert seen.value.why
    assert (domain.state, domain.status.monitor) == (aiovirt.DomainState.RUNNING, MonitorHealth.LOST)
    with pytest.raises(aiovirt.ConnectionLost):
        await domain.suspend()
    world.restore_monitor(domain)
    assert domain.status.monitor is MonitorHealth.CONNECTED
    await domain.suspend()


async def test_qmp_is_qemus(host: aiovirt.Host) -> None:
    with pytest.raises(aiovirt.Unsupported) as refused:
        await host.domain("test").qmp("query-status")
    assert refused.value.code == 3


# -- devices -----------------------------------------------------------------------------------


async def test_devices_and_their_ids(host: aiovirt.Host, world: Control) -> None:
    assert [device.name for device in host.devices.netdevs()] == ["ens1f0", "ens1f1"]
    async with host.events.subscribe(subject="netdev/") as events:
        added = world.add_netdev("eth9", phys_port_id="c0ffee")
        assert host.devices.netdev("eth9") == host.devices.netdev(added.ifindex) == added
        world.set_phys_port_id("eth9", "c0ffef")
        world.set_phys_port_id("eth9", "c0ffef")
        world.rename_netdev("eth9", "lan0")
        world.set_carrier("lan0", carrier=False)
        world.remove_netdev("lan0")
        kinds: list[Event] = [events.receive_nowait() for _ in range(5)]
    assert [type(event).__name__ for event in kinds] == ["NetdevAdded", "NetdevChanged", "NetdevRenamed", "NetdevChanged", "NetdevRemoved"]
    assert isinstance(kinds[0], NetdevAdded)
    assert isinstance(kinds[1], NetdevChanged)
    assert kinds[1].changes == {"phys_port_id": ("c0ffee", "c0ffef")}
    assert {event.subject for event in kinds} == {added.subject}
    with pytest.raises(aiovirt.NoSuchDevice) as missing:
        host.devices.netdev("lan0")
    assert missing.value.code == 53


async def test_functions_and_ports(host: aiovirt.Host, world: Control) -> None:
    assert [function.address for function in host.devices.pci()] == ["0000:01:00.0", "0000:01:00.1"]
    async with host.events.subscribe(PCIEvent) as events:
        world.set_vfs("0000:01:00.0", 2)
        told = [await events.receive() for _ in range(3)]
    assert [(type(event), event.device.address) for event in told] == [
        (PCIChanged, "0000:01:00.0"),
        (PCIAdded, "0000:01:10.0"),
        (PCIAdded, "0000:01:10.2"),
    ]
    vf = world.add_netdev("ens1f0v0", pci="0000:01:10.0", phys_port_id="525400000000")
    assert host.devices.pf(vf).name == "ens1f0"
    assert host.devices.pf(host.devices.pci_device("0000:01:10.2")).address == "0000:01:00.0"
    assert [(v.index, [nic.name for nic in v.netdevs]) for v in host.devices.vfs("ens1f0")] == [(0, ["ens1f0v0"]), (1, [])]
    port = host.devices.port("ens1f0v0")
    assert (port.pf, port.known_by) == (host.devices.netdev("ens1f0"), "phys_port_id")
    assert host.devices.by_phys_port("525400000001").pf == host.devices.netdev("ens1f1")
    assert host.devices.netdevs(of="0000:01:10.0") == [vf]
    assert host.devices.iommu_group("0000:01:00.0") == []
    world.set_vfs("0000:01:00.0", 0)
    assert len(host.devices.pci()) == 2
    with pytest.raises(aiovirt.NoSuchDevice):
        host.devices.pci_device("0000:01:10.0")
    for bad in (8, -1):
        with pytest.raises(aiovirt.InvalidArgument):
            world.set_vfs("0000:01:00.0", bad)


async def test_a_device_is_refreshed_by_whatever_names_it(host: aiovirt.Host, world: Control) -> None:
    nic, function = host.devices.netdev("ens1f0"), host.devices.pci()[0]
    assert await host.devices.refresh(nic) == await host.devices.refresh("ens1f0") == await host.devices.refresh(nic.ifindex) == nic
    assert await host.devices.refresh(function) == function
    world.remove_netdev("ens1f0")
    with pytest.raises(aiovirt.NoSuchDevice):
        await host.devices.refresh(nic)
    assert await host.devices.enumerate("pci") == [BusDevice(bus="pci", name=f.address, driver="test") for f in host.devices.pci()]
    assert await host.devices.enumerate("usb") == []
    assert host.devices.resyncs == {}
    assert "<name>pci_0000_01_00_0</name>" in await host.devices.xml(function)


async def test_reading_an_id_now(host: aiovirt.Host, world: Control) -> None:
    world.add_netdev("none0")
    world.add_netdev("bad0", phys_port_id=Unreadable("EIO"))
    assert await host.devices.read_phys_port_id("ens1f0") == "525400000000"
    assert await host.devices.read_phys_port_id("none0") is None
    with pytest.raises(aiovirt.SystemFailure, match="EIO"):
        await host.devices.read_phys_port_id("bad0")
    with pytest.raises(aiovirt.NoSuchDevice):
        await host.devices.read_phys_port_id("nope")


async def test_only_the_test_host_is_controlled(world: Control) -> None:
    class Elsewhere:
        engine = object()
        uri = "qemu:///session"

    with pytest.raises(aiovirt.InvalidArgument):
        control(Elsewhere())  # type: ignore[arg-type]
    with pytest.raises(aiovirt.InvalidArgument):
        world.add_netdev("ens1f0")
