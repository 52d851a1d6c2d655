"""A guest that answers nobody, through the public doors: what it costs, whom, and how it comes back."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

import aiovirt
from aiovirt import DomainState
from aiovirt.events import (
    DomainChanged,
    DomainEvent,
    DomainLifecycle,
    Event,
    Lifecycle,
    MonitorEvent,
    MonitorHealth,
    MonitorResumed,
    MonitorStalled,
)
from tests.real.conftest import PATIENCE, Place
from tests.real.test_qemu import pid_of, state_of

pytestmark = pytest.mark.anyio

SOON = 0.25
"""A deadline that is to pass."""

WINDOW = 7


class Stuck:
    """A guest that runs, and whose QEMU can be stopped."""

    def __init__(self, domain: aiovirt.Domain, pid: int) -> None:
        self.domain = domain
        self._pid = pid

    def stop(self) -> None:
        """When this returns it does nothing more."""
        os.kill(self._pid, signal.SIGSTOP)
        while "State:\tT" not in Path(f"/proc/{self._pid}/status").read_text():
            os.sched_yield()

    def go_on(self) -> None:
        os.kill(self._pid, signal.SIGCONT)

    def health(self) -> MonitorHealth | None:
        return self.domain.status.monitor


@pytest.fixture
async def stuck(host: aiovirt.Host, place: Place) -> AsyncIterator[Stuck]:
    """It is not stuck yet."""
    async with host.events.subscribe(DomainChanged) as events, host.run(place.spec("stuck")) as domain:
        await events.receive()  # and all that is asked of it by itself is answered
        yield Stuck(domain, pid_of(place, domain))


@pytest.fixture(autouse=True)
def nobody_stays_stopped() -> Iterator[None]:
    """A test that fails leaves no QEMU that cannot end."""
    yield
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            said = status.read_text()
        except OSError:
            continue
        if said.startswith("Name:\tqemu-system") and "State:\tT" in said and f"PPid:\t{os.getpid()}\n" in said:
            os.kill(int(status.parent.name), signal.SIGKILL)


async def too_late(asked: Awaitable[object]) -> bool:
    """Whether it was sent."""
    with pytest.raises(aiovirt.OrderTimeout) as late:
        await asked
    assert late.value.code == 68
    assert isinstance(late.value, TimeoutError)
    return late.value.sent


async def ask(domain: aiovirt.Domain, command: str = "query-status", timeout: float = SOON) -> object:
    answer: object = await domain.qmp(command, timeout=timeout)
    return answer


@asynccontextmanager
async def full_window(guest: Stuck) -> AsyncIterator[None]:
    """Seven questions are with it, and none is answered."""
    guest.stop()
    async with anyio.create_task_group() as tasks:
        for _ in range(WINDOW):
            tasks.start_soon(ask, guest.domain, "query-name", PATIENCE)
        await anyio.wait_all_tasks_blocked()
        yield


async def test_a_question_is_too_late_and_its_monitor_is_stalled(host: aiovirt.Host, stuck: Stuck) -> None:
    async with host.events.subscribe(MonitorEvent, subject=stuck.domain) as news:
        stuck.stop()
        assert stuck.health() is MonitorHealth.CONNECTED
        assert await too_late(ask(stuck.domain))
        assert stuck.health() is MonitorHealth.STALLED
        told = news.receive_nowait()
        assert isinstance(told, MonitorStalled)
        assert (told.uuid, told.name, bool(told.why)) == (stuck.domain.uuid, "stuck", True)
        assert await too_late(ask(stuck.domain))
        stuck.go_on()
        with anyio.fail_after(PATIENCE):
            assert isinstance(await news.receive(), MonitorResumed)  # the silence was told once
        assert stuck.health() is MonitorHealth.CONNECTED
        assert await ask(stuck.domain, timeout=PATIENCE)


async def test_the_eighth_is_not_sent(stuck: Stuck) -> None:
    """And never happens: an order that was dropped leaves the guest as it was."""
    async with full_window(stuck):
        assert not await too_late(ask(stuck.domain))
        assert not await too_late(stuck.domain.suspend(timeout=SOON))
        assert not await too_late(ask(stuck.domain, "stop"))
        stuck.go_on()
    answer = await stuck.domain.qmp("query-status", returns=dict[str, object])
    assert answer["status"] == "running"
    assert state_of(stuck.domain) is DomainState.RUNNING


async def test_what_is_known_is_answered_at_once(host: aiovirt.Host, stuck: Stuck) -> None:
    """Not a single await: no answer of QEMU's can have a part in it."""
    async with full_window(stuck):
        assert not await too_late(ask(stuck.domain))
        status = stuck.domain.status
        assert (status.state, status.monitor) == (DomainState.RUNNING, MonitorHealth.STALLED)
        assert (stuck.domain.state, stuck.domain.name, stuck.domain.is_persistent) == (DomainState.RUNNING, "stuck", False)
        assert host.domain("stuck").id == stuck.domain.id
        assert [domain.name for domain in host.domains(active=True)] == ["stuck"]
        assert "<name>stuck</name>" in await stuck.domain.xml()
        stuck.go_on()


async def test_another_guest_is_not_delayed(host: aiovirt.Host, place: Place, stuck: Stuck) -> None:
    """All that the other is told to do is done before the first deadline of the stuck one passes."""
    order: list[str] = []

    async def wait_for_the_stuck_one(number: int) -> None:
        sent = await too_late(ask(stuck.domain, timeout=20))
        order.append("sent" if sent else "not sent")
        assert number < WINDOW or not sent

    async with host.run(place.spec("good")) as good, anyio.create_task_group() as tasks:
        stuck.stop()
        for number in range(WINDOW + 3):
            tasks.start_soon(wait_for_the_stuck_one, number)
        await anyio.wait_all_tasks_blocked()
        for _ in range(20):
            await ask(good, timeout=PATIENCE)
            order.append("good")
        await good.suspend()
        await good.resume()
        order.append("good again")
        assert order == ["good"] * 20 + ["good again"]
        assert good.status.monitor is MonitorHealth.CONNECTED
        tasks.cancel_scope.cancel()
        stuck.go_on()


async def test_an_order_that_was_given_up_and_happens_after_all_is_news(host: aiovirt.Host, stuck: Stuck) -> None:
    async with host.events.subscribe(DomainEvent, subject=stuck.domain) as news:
        stuck.stop()
        assert await too_late(stuck.domain.suspend(timeout=SOON))
        assert (stuck.domain.state, stuck.health()) == (DomainState.RUNNING, MonitorHealth.STALLED)
        stuck.go_on()
        told: list[Event] = []
        with anyio.fail_after(PATIENCE):
            while not {MonitorResumed, DomainLifecycle} <= {type(event) for event in told}:
                told.append(await news.receive())
    assert [type(event) for event in told if isinstance(event, MonitorEvent)] == [MonitorStalled, MonitorResumed]
    lifecycles = [(event.kind, str(event.detail)) for event in told if isinstance(event, DomainLifecycle)]
    assert lifecycles == [(Lifecycle.SUSPENDED, "paused")]
    assert (state_of(stuck.domain), stuck.health()) == (DomainState.PAUSED, MonitorHealth.CONNECTED)
    await stuck.domain.resume()


async def test_the_next_order_first_learns_the_fate_of_the_last(host: aiovirt.Host, stuck: Stuck) -> None:
    """It runs, as far as is known: without the late answer, to resume it would be refused."""
    outcome: list[str] = []

    async def resume() -> None:
        await stuck.domain.resume(timeout=PATIENCE)
        outcome.append("resumed")

    async with host.events.subscribe(DomainLifecycle, subject=stuck.domain) as news:
        async with anyio.create_task_group() as tasks:
            stuck.stop()
            assert await too_late(stuck.domain.suspend(timeout=SOON))
            tasks.start_soon(resume)
            await anyio.wait_all_tasks_blocked()
            assert outcome == []
            stuck.go_on()
        assert outcome == ["resumed"]
        assert [news.receive_nowait().kind for _ in range(2)] == [Lifecycle.SUSPENDED, Lifecycle.RESUMED]
    assert state_of(stuck.domain) is DomainState.RUNNING
    answer = await stuck.domain.qmp("query-status", returns=dict[str, object])
    assert answer["status"] == "running"


@pytest.mark.parametrize("order", ["suspend", "resume", "reset", "shutdown"])
async def test_while_a_fate_is_unknown_the_next_order_is_not_sent(stuck: Stuck, order: str) -> None:
    stuck.stop()
    assert await too_late(stuck.domain.suspend(timeout=SOON))
    give: Callable[..., Awaitable[None]] = getattr(stuck.domain, order)
    assert not await too_late(give(timeout=SOON))
    stuck.go_on()
    with anyio.fail_after(PATIENCE):
        await stuck.domain.wait_for_state(DomainState.PAUSED)
    await stuck.domain.resume()
    assert state_of(stuck.domain) is DomainState.RUNNING


async def test_a_raw_command_that_was_given_up_is_learned_of_too(stuck: Stuck) -> None:
    """The guest is stopped behind the engine's back, by a command it does not know the meaning of."""
    stuck.stop()
    assert await too_late(ask(stuck.domain, "stop"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stuck.domain.resume)
        await anyio.wait_all_tasks_blocked()
        stuck.go_on()
    assert state_of(stuck.domain) is DomainState.RUNNING


async def test_an_order_that_was_cancelled_is_learned_of_too(stuck: Stuck) -> None:
    stuck.stop()
    with anyio.move_on_after(SOON):
        await stuck.domain.suspend()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stuck.domain.resume)
        await anyio.wait_all_tasks_blocked()
        stuck.go_on()
    assert state_of(stuck.domain) is DomainState.RUNNING


async def test_it_can_be_destroyed_while_a_fate_is_unknown_and_others_wait_for_it(stuck: Stuck) -> None:
    told: list[type[Exception]] = []

    async def give(order: Callable[[], Awaitable[object]]) -> None:
        try:
            await order()
        except aiovirt.Error as error:
            told.append(type(error))

    stuck.stop()
    assert await too_late(stuck.domain.suspend(timeout=SOON))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(give, stuck.domain.resume)
        tasks.start_soon(give, lambda: ask(stuck.domain, timeout=PATIENCE))
        await anyio.wait_all_tasks_blocked()
        await stuck.domain.destroy(timeout=1)  # half of it is for a SIGTERM, which a stopped QEMU does not heed
    assert len(told) == 2
    assert not any(issubclass(kind, aiovirt.OrderTimeout) for kind in told), told


async def test_killed_while_it_was_stuck_everybody_is_told(host: aiovirt.Host, place: Place) -> None:
    """Those with QEMU, the one that waits for its place, and the one that waits for a fate."""
    domain = await host.define(place.spec("stuck"))
    await domain.start()
    stuck = Stuck(domain, pid_of(place, domain))
    told: list[Exception] = []

    async def note(asked: Awaitable[object]) -> None:
        try:
            await asked
        except aiovirt.Error as error:
            told.append(error)

    stuck.stop()
    assert await too_late(domain.suspend(timeout=SOON))
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            for _ in range(WINDOW):
                tasks.start_soon(note, ask(domain, timeout=PATIENCE))
            tasks.start_soon(note, domain.resume(timeout=PATIENCE))
            await anyio.wait_all_tasks_blocked()
            os.kill(pid_of(place, domain), signal.SIGKILL)
        await domain.wait_for_state(DomainState.SHUTOFF)
    assert len(told) == WINDOW + 1
    assert not any(isinstance(error, aiovirt.OrderTimeout) for error in told), told
    assert str(domain.status.reason) == "crashed"
