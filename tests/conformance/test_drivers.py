"""Every driver, held to the same table: the same orders lead to the same events, states and errors."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

import anyio
import pytest

import aiovirt
from aiovirt import Domain, DomainState, Host
from aiovirt.events import DomainChanged, DomainLifecycle, DomainReboot, MonitorHealth
from aiovirt.model.spec import DomainSpec
from tests.system.conftest import PATIENCE, Place, engine_of

pytestmark = pytest.mark.anyio


class Bench:
    """A host, and a guest that is ready for its power button when ``up`` returns."""

    def __init__(self, host: Host, spec: DomainSpec, up: anyio.Event) -> None:
        self.host = host
        self.spec = spec
        self.up = up


@asynccontextmanager
async def memory() -> AsyncIterator[Bench]:
    up = anyio.Event()
    up.set()
    async with aiovirt.connect("test:///default") as host:
        await host.domain("test").destroy()
        await host.domain("test").undefine()
        yield Bench(host, DomainSpec(name="tiny", memory=16 * aiovirt.MiB), up)


@asynccontextmanager
async def qemu() -> AsyncIterator[Bench]:
    async with AsyncExitStack() as stack:
        place = Place(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="aiovirt-"))))
        spec, up = await stack.enter_async_context(place.listening())
        yield await stack.enter_async_context(held(spec, up, aiovirt.connect(place.uri)))


@asynccontextmanager
async def attached() -> AsyncIterator[Bench]:
    """The same through another process, which is the engine."""
    async with AsyncExitStack() as stack:
        place = Place(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="aiovirt-"))))
        spec, up = await stack.enter_async_context(place.listening())
        await stack.enter_async_context(engine_of(place))
        yield await stack.enter_async_context(held(spec, up, place.attach()))


@asynccontextmanager
async def held(spec: DomainSpec, up: anyio.Event, connection: AbstractAsyncContextManager[Host]) -> AsyncIterator[Bench]:
    async with connection as host:
        try:
            yield Bench(host, spec, up)
        finally:
            with anyio.CancelScope(shield=True):  # also when the test failed: guests outlive it
                for domain in host.domains(active=True):
                    await domain.destroy()


@pytest.fixture(params=[memory, qemu, attached], ids=["test", "qemu", "attached"])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    with anyio.fail_after(PATIENCE):
        async with request.param() as made:
            yield made


# what is ordered, in turn -> what is told, the state at the end
TABLE: dict[str, tuple[list[str], list[str], DomainState]] = {
    "start": (["start"], ["started booted"], DomainState.RUNNING),
    "start paused": (["start_paused"], ["started booted", "suspended paused"], DomainState.PAUSED),
    "suspend": (["start", "suspend"], ["started booted", "suspended paused"], DomainState.PAUSED),
    "suspend twice": (["start", "suspend", "suspend"], ["started booted", "suspended paused"], DomainState.PAUSED),
    "resume": (["start_paused", "resume"], ["started booted", "suspended paused", "resumed unpaused"], DomainState.RUNNING),
    "reset": (["start", "reset"], ["started booted", "reboot by the host"], DomainState.RUNNING),
    "shutdown": (
        ["start", "wait_up", "shutdown", "wait_off"],
        ["started booted", "shutdown finished after guest request", "stopped shutdown"],
        DomainState.SHUTOFF,
    ),
    "destroy": (["start", "destroy"], ["started booted", "stopped destroyed"], DomainState.SHUTOFF),
    "destroy paused": (["start_paused", "destroy"], ["started booted", "suspended paused", "stopped destroyed"], DomainState.SHUTOFF),
    "start again": (["start", "destroy", "start"], ["started booted", "stopped destroyed", "started booted"], DomainState.RUNNING),
}


async def give(bench: Bench, domain: Domain, order: str) -> None:
    match order:
        case "start_paused":
            await domain.start(paused=True)
        case "wait_up":
            await bench.up.wait()
        case "wait_off":
            await domain.wait_for_state(DomainState.SHUTOFF)
        case _:
            await getattr(domain, order)()


@pytest.mark.parametrize("name", TABLE)
async def test_orders_lead_to_the_same_events(bench: Bench, name: str) -> None:
    orders, told, state = TABLE[name]
    domain = await bench.host.define(bench.spec)
    async with bench.host.events.subscribe(DomainLifecycle, DomainReboot, subject=domain) as events:
        for order in orders:
            await give(bench, domain, order)
        heard = [await events.receive() for _ in told]
        assert [" ".join(event.describe()[1:]) for event in heard] == told
        with pytest.raises(anyio.WouldBlock):
            events.receive_nowait()
    status = domain.status
    assert status.state is state
    assert status.monitor is (MonitorHealth.CONNECTED if state.is_active else None)
    assert status.as_of == heard[-1].cursor or state is DomainState.RUNNING
    assert (domain.id is not None) == state.is_active
    if state.is_active:
        await domain.destroy()


async def test_what_it_runs_with_is_known_while_it_runs(bench: Bench) -> None:
    domain = await bench.host.define(bench.spec)
    before = domain.machine
    async with bench.host.events.subscribe(DomainChanged, subject=domain) as events:
        await domain.start()
        changed = await events.receive()
    assert (changed.old, changed.missed, changed.cause) == (None, False, None)
    assert (before, domain.machine) == (None, changed.new)
    assert changed.new.vcpus == (await domain.spec()).vcpus
    await domain.destroy()
    assert domain.view.machine is None


@pytest.mark.parametrize(
    ("orders", "refused"),
    [
        ([], "suspend"),
        ([], "resume"),
        ([], "shutdown"),
        ([], "reset"),
        ([], "destroy"),
        (["start"], "start"),
        (["start"], "resume"),
        (["start_paused"], "shutdown"),
    ],
)
async def test_orders_that_do_not_fit_are_refused_alike(bench: Bench, orders: list[str], refused: str) -> None:
    domain = await bench.host.define(bench.spec)
    for order in orders:
        await give(bench, domain, order)
    async with bench.host.events.subscribe(DomainLifecycle, DomainReboot, subject=domain) as events:
        with pytest.raises(aiovirt.OperationInvalid) as no:
            await give(bench, domain, refused)
        with pytest.raises(anyio.WouldBlock):
            events.receive_nowait()
    assert no.value.code == 55
    if domain.is_active:
        await domain.destroy()


async def test_a_transient_domain_is_gone_when_it_ends(bench: Bench) -> None:
    domain = await bench.host.create(bench.spec)
    assert not domain.is_persistent
    await domain.destroy()
    with pytest.raises(aiovirt.NoSuchDomain):
        _ = domain.state


async def test_a_run_ends_with_its_block(bench: Bench) -> None:
    async with bench.host.run(bench.spec) as domain:
        assert domain.state is DomainState.RUNNING
        assert f"id='{domain.id}'" in await domain.xml()
    assert bench.host.domains() == []


async def test_ids_are_never_used_twice(bench: Bench) -> None:
    domain = await bench.host.define(bench.spec)
    seen = []
    for _ in range(3):
        await domain.start(paused=True)
        seen.append(domain.id)
        await domain.destroy()
    assert len(set(seen)) == 3
