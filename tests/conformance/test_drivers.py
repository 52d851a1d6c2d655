"""Every driver by the public suite: the same orders lead to the same events, states and errors."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

import aiovirt
from aiovirt import DomainState, Host
from aiovirt.drivers.door import Target
from aiovirt.drivers.qemu import driver as qemu_driver
from aiovirt.drivers.test import driver as memory_driver
from aiovirt.engine.local import LocalEngine
from aiovirt.events import DomainChanged
from aiovirt.model import orders
from aiovirt.model.orders import Request
from aiovirt.model.spec import DomainSpec
from aiovirt.system.deadlines import Deadline
from aiovirt.testing.conformance import (
    EVENTS,
    POLICIES,
    REFUSED,
    Bench,
    check_events,
    check_order,
    check_policy,
    check_refused,
    orders_of_drivers,
)
from tests.real.conftest import PATIENCE, Place, engine_of

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def memory() -> AsyncIterator[Bench]:
    up = anyio.Event()
    up.set()
    async with aiovirt.connect("test:///default") as host:
        await host.domain("test").destroy()
        await host.domain("test").undefine()
        yield Bench(host, DomainSpec(name="tiny", memory=16 * aiovirt.MiB), up.wait, memory_driver.HANDLERS.refusal)


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
            yield Bench(host, spec, up.wait, qemu_driver.HANDLERS.refusal)
        finally:
            with anyio.CancelScope(shield=True):  # also when the test failed: guests outlive it
                for domain in host.domains(active=True):
                    await domain.destroy()


@pytest.fixture(params=[memory, qemu, attached], ids=["test", "qemu", "attached"])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    with anyio.fail_after(PATIENCE):
        async with request.param() as made:
            yield made


@pytest.mark.parametrize("name", EVENTS)
async def test_orders_lead_to_the_same_events(bench: Bench, name: str) -> None:
    await check_events(bench, name)


@pytest.mark.parametrize("name", POLICIES)
async def test_what_a_definition_says_is_done_is_done_by_every_driver(bench: Bench, name: str) -> None:
    await check_policy(bench, name)


@pytest.mark.parametrize("kind", orders_of_drivers(), ids=lambda kind: kind.__name__)
async def test_an_order_is_carried_out_or_refused_before_anything_is_sent(bench: Bench, kind: type[Request[Any]]) -> None:
    await check_order(bench, kind)


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


@pytest.mark.parametrize(("given", "refused"), REFUSED)
async def test_orders_that_do_not_fit_are_refused_alike(bench: Bench, given: tuple[str, ...], refused: str) -> None:
    await check_refused(bench, given, refused)


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


# -- the suite can fail ------------------------------------------------------------------------


async def test_a_driver_that_claims_what_it_cannot_is_found_out() -> None:
    async with memory() as bench:
        bench.can = lambda _: None
        with pytest.raises(aiovirt.Unsupported):
            await check_order(bench, orders.AskQMP)


async def test_a_driver_that_is_asked_for_what_it_cannot_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async with memory() as bench:
        assert isinstance(bench.host.engine, LocalEngine)
        monkeypatch.setattr(bench.host.engine.admission, "check", lambda *_: None)
        with pytest.raises(AssertionError, match="was given to it all the same"):
            await check_order(bench, orders.AskQMP)


async def test_a_driver_that_leads_elsewhere_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async with memory() as bench:
        assert isinstance(bench.host.engine, LocalEngine)

        driver = bench.host.engine.driver
        perform = driver.perform

        async def elsewhere(order: Request[Any], domain: Target, by: Deadline) -> object:
            return await perform(orders.Shutdown(uuid=domain.uuid) if isinstance(order, orders.Reset) else order, domain, by)

        monkeypatch.setattr(driver, "perform", elsewhere)
        with pytest.raises(AssertionError, match="shutdown finished"):
            await check_events(bench, "reset")
