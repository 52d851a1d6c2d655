"""What is handed over in a wrong type is refused at once, and whoever waits can say for how long."""

from __future__ import annotations

import inspect
import math
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import anyio
import pytest

import aiovirt
from aiovirt import Domain, DomainState, Host, InvalidArgument, OrderTimeout
from aiovirt.engine.devices import Devices
from aiovirt.events import DomainEvent, DomainLifecycle, Events, Lifecycle, NetdevChanged, NetdevEvent

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

WRONG: list[Callable[[Host, Any], object]] = [
    lambda host, _: host.domain(5),  # type: ignore[arg-type]
    lambda host, _: host.domains(active="yes"),  # type: ignore[arg-type]
    lambda host, _: host.domains(persistent=1),  # type: ignore[arg-type]
    lambda host, _: host.define(b"<domain/>"),  # type: ignore[arg-type]
    lambda host, _: host.create({"name": "web"}),  # type: ignore[arg-type]
    lambda host, _: host.create("<domain/>", paused="no"),  # type: ignore[arg-type]
    lambda _, domain: domain.start(paused="no"),
    lambda _, domain: domain.set_autostart("off"),
    lambda _, domain: domain.suspend(timeout="5"),
    lambda _, domain: domain.suspend(timeout=0),
    lambda _, domain: domain.suspend(timeout=math.nan),
    lambda _, domain: domain.suspend(timeout=None),
    lambda _, domain: domain.xml(inactive="yes"),
    lambda _, domain: domain.qmp(5),
    lambda _, domain: domain.qmp("query-status", {"a": object()}),
    lambda _, domain: domain.wait_for_state("runing"),
    lambda _, domain: domain.wait_for_state(1),
    lambda _, domain: domain.wait_for_state(None),
    lambda _, domain: domain.wait_for_state("running", timeout="5"),
    lambda _, domain: domain.wait_for_state("running", timeout=-1),
    lambda _, domain: domain.expect("netdev.changed"),
    lambda _, domain: domain.expect(NetdevEvent),
    lambda _, domain: domain.expect(DomainLifecycle, where="started"),
    lambda _, domain: domain.expect(DomainLifecycle, timeout="5"),
    lambda host, _: host.events.subscribe(5),  # type: ignore[call-overload]
    lambda host, _: host.events.subscribe([DomainLifecycle]),  # type: ignore[call-overload]
    lambda host, _: host.events.subscribe(subject=5),  # type: ignore[call-overload]
    lambda host, _: host.events.subscribe(after=5),  # type: ignore[call-overload]
    lambda host, _: host.events.subscribe(after="yesterday"),
    lambda host, _: host.events.subscribe(where=5),  # type: ignore[call-overload]
    lambda host, _: host.events.subscribe(where=anyio.sleep),  # type: ignore[arg-type]
    lambda host, _: host.events.watch(where=anyio.sleep),  # type: ignore[arg-type]
    lambda host, _: host.events.follow(after=5),  # type: ignore[call-overload]
    lambda host, _: host.devices.read_phys_port_id(5),  # type: ignore[arg-type]
    lambda host, _: host.devices.enumerate(b"usb"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("wrong", WRONG, ids=range(len(WRONG)))
async def test_a_wrong_type_is_refused_at_once(host: Host, wrong: Callable[[Host, Domain], object]) -> None:
    async def say() -> None:
        if isinstance(said := wrong(host, host.domain("test")), Awaitable):
            await said

    with anyio.fail_after(1), pytest.raises(InvalidArgument) as refused:
        await say()
    assert len(str(refused.value)) < 500
    assert host.domain("test").state is DomainState.RUNNING


async def test_a_state_is_waited_for_by_its_name(host: Host) -> None:
    domain = host.domain("test")
    await domain.wait_for_state("running", timeout=0)
    with pytest.raises(InvalidArgument, match=r"'runing' is not the state of a domain: there are .*'running'"):
        await domain.wait_for_state("runing")
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(domain.wait_for_state, "shut off")
            await anyio.wait_all_tasks_blocked()
            await domain.destroy()


async def test_a_state_that_does_not_come_is_waited_for_no_longer_than_said(host: Host) -> None:
    domain = host.domain("test")
    began = anyio.current_time()
    with pytest.raises(OrderTimeout, match="the domain is running after 3 s, and not paused") as late:
        await domain.wait_for_state(DomainState.PAUSED, timeout=3)
    assert anyio.current_time() - began == pytest.approx(3)
    assert late.value.subject == domain.subject
    assert late.value.sent, "it may still happen"
    with pytest.raises(TimeoutError) as callers, anyio.fail_after(1):
        await domain.wait_for_state(DomainState.PAUSED, timeout=3)
    assert not isinstance(callers.value, OrderTimeout)


async def test_who_waits_for_a_domain_that_goes_is_told(host: Host) -> None:
    brief = await host.create(aiovirt.DomainSpec(name="brief", memory=aiovirt.MiB))
    failed: list[BaseException] = []

    async def wait() -> None:
        try:
            await brief.wait_for_state("paused")
        except aiovirt.NoSuchDomain as gone:
            failed.append(gone)

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            await brief.destroy()
    assert [str(brief.uuid) in str(gone) for gone in failed] == [True]
    await brief.wait_for_state("shut off")


async def test_events_that_can_never_be_are_refused_at_the_call(host: Host) -> None:
    domain: Any = host.domain("test")
    nic = host.devices.netdevs()[0]
    calls: list[Any] = [host.events.subscribe, host.events.follow, host.events.watch, host.events.expect]
    for call in calls:
        for kind, subject in (
            (NetdevChanged, domain),
            ("netdev.changed", domain),
            ("domain", nic),
            ("host", "netdev/"),
            (DomainEvent, "pool/"),
        ):
            with pytest.raises(InvalidArgument, match="no event of these types is ever about"):
                call(kind, subject=subject)
    for kind in ("netdev.changed", NetdevChanged):
        with pytest.raises(InvalidArgument, match="no event of these types is ever about"):
            domain.expect(kind)


async def test_an_expectation_is_held_no_longer_than_said(host: Host) -> None:
    domain = host.domain("test")
    began = anyio.current_time()
    with pytest.raises(OrderTimeout):
        async with domain.expect("domain.lifecycle", where=lambda event: event.kind is Lifecycle.CRASHED, timeout=3):  # type: ignore[attr-defined]
            await domain.suspend()
    assert anyio.current_time() - began == pytest.approx(3)
    async with host.events.expect("domain", timeout=3) as seen:
        await domain.resume()
    assert seen.value.topic == "domain.lifecycle"
    with pytest.raises(ZeroDivisionError):
        async with host.events.expect("domain", timeout=3):
            1 / 0  # noqa: B018 - nothing is waited for then


@pytest.mark.parametrize("kind", [Host, Domain, Devices, Events])
async def test_whoever_is_waited_for_has_a_timeout(kind: type) -> None:
    waits = {name: member for name, member in vars(kind).items() if inspect.iscoroutinefunction(member) and not name.startswith("_")}
    assert [name for name, member in waits.items() if "timeout" not in inspect.signature(member).parameters] == []


async def test_whether_it_is_started_with_the_host_is_asked(host: Host) -> None:
    """A coroutine under a noun's name would be true in every condition."""
    domain = host.domain("test")
    assert not hasattr(domain, "autostart")
    assert await domain.get_autostart(timeout=1) is False
    await domain.set_autostart()
    assert await domain.get_autostart() is True


async def test_what_has_no_async_is_a_property_or_makes_a_block(host: Host) -> None:
    """Nobody has to remember whether to put parentheses behind a domain's state."""
    plain = {name for name, member in vars(Domain).items() if not name.startswith("_") and not inspect.iscoroutinefunction(member)}
    assert {name for name in plain if not isinstance(vars(Domain)[name], property)} == {"expect", "qmp_proxy"}
    assert isinstance(host.domain("test").uuid, UUID)
