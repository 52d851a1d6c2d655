"""Orders that meet: each other, the end of a guest, the end of the engine."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from uuid import uuid4

import anyio
import pytest
from msgspec.structs import replace

import aiovirt
from aiovirt.drivers.test.driver import TestDriver
from aiovirt.engine.local import LocalEngine
from aiovirt.events import DomainLifecycle
from aiovirt.model import orders
from aiovirt.model.lifecycle import Fact
from aiovirt.model.spec import DomainSpec
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


def driver(host: aiovirt.Host) -> TestDriver:
    found = getattr(host.engine, "driver")  # noqa: B009 - the protocol Engine does not have it
    assert isinstance(found, TestDriver)
    return found


def consistent(host: aiovirt.Host) -> bool:
    """Whether what is listed is what the engine answers for."""
    entries = {entry.uuid for entry in getattr(host.engine, "records").entries}  # noqa: B009
    return entries == {domain.uuid for domain in host.domains()}


async def test_a_define_that_came_to_nothing_keeps_no_name(host: aiovirt.Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that fails, one that is still waiting for its turn then, one that never gets its turn."""
    spec = replace(SPEC, uuid=uuid4())
    keeping = anyio.Event()

    async def fail(entry: object, spec: object, _: str) -> None:
        assert entry
        assert spec
        await keeping.wait()
        raise aiovirt.SystemFailure("the disk is full")

    async def read(_: str, *, validate: bool) -> DomainSpec:
        assert not validate
        return spec  # without the thread: virtual time does not wait for those

    async def define(kind: type[aiovirt.Error], timeout: float) -> None:
        with pytest.raises(kind):
            await host.engine.call(orders.Define(xml="", timeout=timeout))

    with monkeypatch.context() as patched:
        assert isinstance(host.engine, LocalEngine)
        patched.setattr(host.engine.definitions, "_keep", fail)
        patched.setattr(host.engine.definitions, "read", read)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(define, aiovirt.SystemFailure, 100)
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(define, aiovirt.OrderTimeout, 2)
            tasks.start_soon(define, aiovirt.SystemFailure, 100)
            await anyio.sleep(5)
            keeping.set()
    assert consistent(host)
    await host.define(replace(spec, uuid=uuid4()))
    assert consistent(host)


async def test_define_and_undefine_at_once(host: aiovirt.Host) -> None:
    """Whoever comes last decides, and what is listed can be started."""
    first = await host.define(SPEC)
    xml = await first.xml()

    async def undefine() -> None:
        with contextlib.suppress(aiovirt.NoSuchDomain, aiovirt.OperationInvalid):
            await first.undefine()

    for _ in range(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(host.define, xml)
            tasks.start_soon(undefine)
            tasks.start_soon(host.define, xml)
        assert consistent(host)
        for domain in host.domains(active=False):
            await domain.start()
            await domain.destroy()


async def test_a_transient_that_ends_while_it_is_defined(host: aiovirt.Host, world: Control) -> None:
    domain = await host.create(SPEC)
    xml = await domain.xml()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(host.define, xml)
        world.crash(domain)
    assert consistent(host)
    (found,) = [domain for domain in host.domains() if domain.name == "web"]
    await found.start()


async def test_a_start_that_waited_behind_undefine(host: aiovirt.Host, world: Control) -> None:
    domain = host.domain("test")
    world.stall_monitor(domain)
    async with anyio.create_task_group() as tasks:

        async def suspend() -> None:
            with pytest.raises(aiovirt.OrderTimeout):
                await domain.suspend(timeout=5)

        async def undefine() -> None:
            await domain.undefine()

        async def reset() -> None:
            with pytest.raises((aiovirt.NoSuchDomain, aiovirt.OperationInvalid)):
                await domain.reset()

        tasks.start_soon(suspend)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(undefine)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(reset)
        await anyio.wait_all_tasks_blocked()
        await domain.destroy()
    assert consistent(host)


async def test_of_two_destroys_both_are_done_and_it_was_destroyed(host: aiovirt.Host) -> None:
    domain = host.domain("test")
    async with domain.expect(DomainLifecycle) as seen, anyio.create_task_group() as tasks:

        async def destroy() -> None:
            with contextlib.suppress(aiovirt.OperationInvalid):
                await domain.destroy()

        tasks.start_soon(destroy)
        tasks.start_soon(destroy)
    assert str(seen.value.detail) == "destroyed"
    assert seen.value.cause
    await domain.start()
    async with domain.expect(DomainLifecycle) as seen:
        control(host).crash(domain)
    assert str(seen.value.detail) == "failed"
    assert seen.value.cause is None


async def test_a_destroy_that_was_given_up_still_says_whose_doing_it_was(host: aiovirt.Host, monkeypatch: pytest.MonkeyPatch) -> None:
    domain = host.domain("test")

    async def slow(*_: object, **__: object) -> None:
        raise aiovirt.OrderTimeout("it does not end", sent=True)

    monkeypatch.setattr(driver(host), "perform", slow)
    with pytest.raises(aiovirt.OrderTimeout):
        await domain.destroy(timeout=1)
    control(host).crash(domain)
    assert str(domain.status.reason) == "destroyed"


async def test_an_order_is_done_when_its_event_was_seen_whatever_came_after(host: aiovirt.Host, monkeypatch: pytest.MonkeyPatch) -> None:
    domain = host.domain("test")
    await domain.suspend()
    report = driver(host).report

    async def resume_and_fail(*_: object) -> None:
        report(domain.uuid, Fact.RESUMED)
        report(domain.uuid, Fact.IO_ERROR)

    monkeypatch.setattr(driver(host), "perform", resume_and_fail)
    await domain.resume(timeout=5)
    assert domain.state is aiovirt.DomainState.PAUSED


async def test_an_order_whose_domain_ends_first_says_so(host: aiovirt.Host, world: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    domain = host.domain("test")

    async def end(*_: object, **__: object) -> None:
        world.crash(domain)

    monkeypatch.setattr(driver(host), "perform", end)
    before = anyio.current_time()
    with pytest.raises(aiovirt.OperationInvalid, match="ended first"):
        await domain.suspend(timeout=50)
    assert anyio.current_time() - before < 5


async def test_a_deadline_counts_from_when_it_was_asked(host: aiovirt.Host, world: Control) -> None:
    domain = host.domain("test")
    world.stall_monitor(domain)
    times: dict[float, float] = {}

    async def suspend(timeout: float) -> None:
        before = anyio.current_time()
        with pytest.raises(aiovirt.OrderTimeout):
            await domain.suspend(timeout=timeout)
        times[timeout] = anyio.current_time() - before

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(suspend, 4.0)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(suspend, 6.0)
    assert times[4.0] == pytest.approx(4, abs=0.5)
    assert times[6.0] == pytest.approx(6, abs=0.5)


async def test_orders_end_with_their_engine() -> None:
    ended: list[str] = []

    async def order(domain: aiovirt.Domain) -> None:
        try:
            await domain.suspend(timeout=1000)
        except aiovirt.HostGone as gone:
            ended.append(gone.cursor)

    async with anyio.create_task_group() as tasks:
        async with aiovirt.connect("test:///default") as host:
            domain = host.domain("test")
            control(host).stall_monitor(domain)
            tasks.start_soon(order, domain)
            await anyio.wait_all_tasks_blocked()
        with pytest.raises(aiovirt.HostGone):
            await domain.resume()
    assert len(ended) == 1


async def test_a_guest_that_ends_as_its_connection_does_disturbs_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    async with aiovirt.connect("test:///default") as host:
        domain = await host.create(SPEC, autodestroy=True)

        async def gone(*_: object, **__: object) -> None:
            control(host).crash(domain)
            raise aiovirt.OperationInvalid("the domain is not running")

        monkeypatch.setattr(driver(host), "perform", gone)
