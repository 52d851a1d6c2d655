"""What stands before an order: permission, ability, state and turn, in virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import anyio
import pytest
from anyio.abc import TaskStatus

import aiovirt
from aiovirt.drivers.test.driver import TestDriver
from aiovirt.engine.entries import Entry
from aiovirt.engine.failures import error_of, failure_of
from aiovirt.engine.local import LocalEngine
from aiovirt.model import orders
from aiovirt.model.caller import Caller
from aiovirt.model.orders import REQUESTS, Request, Rule, Turn
from aiovirt.model.state import MonitorHealth
from aiovirt.system.deadlines import Deadline

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

U = UUID("6695eb01-f6a4-8304-79aa-97f2502e193f")


@pytest.fixture
async def engine() -> AsyncIterator[LocalEngine]:
    async with aiovirt.connect("test:///default") as host:
        assert isinstance(host.engine, LocalEngine)
        yield host.engine


@pytest.fixture
def sent(engine: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the driver is given."""
    given: list[str] = []

    async def perform(order: Request[Any], domain: object, by: object) -> None:
        given.append(type(order).__name__)
        assert domain
        assert by

    monkeypatch.setattr(engine.driver, "perform", perform)
    return given


def example(kind: type[Request[Any]]) -> Request[Any]:
    """Some order of this kind about the domain that is there."""
    given: dict[str, Any] = {
        "uuid": U,
        "xml": "<domain/>",
        "command": "stop",
        "subject": "netdev/1",
        "subsystem": "usb",
        "name": "eth0",
        "order": "Start",
    }
    return kind(**{name: value for name, value in given.items() if name in kind.__struct_fields__})


@pytest.mark.parametrize("kind", REQUESTS.values(), ids=REQUESTS)
async def test_who_lacks_a_permission_gets_nothing_done(engine: LocalEngine, sent: list[str], kind: type[Request[Any]]) -> None:
    cursor = engine.bus.cursor
    for missing in kind.rule.permissions:
        others = frozenset(each for rule in REQUESTS.values() for each in rule.rule.permissions) - {missing}
        with pytest.raises(aiovirt.AccessDenied, match=missing):
            await engine.call(example(kind), Caller(permissions=others))
    assert (sent, engine.bus.cursor) == ([], cursor)


async def test_who_has_the_permission_gets_it_done(engine: LocalEngine) -> None:
    await engine.call(orders.Suspend(uuid=U), Caller(permissions=frozenset({"domain:suspend"})))
    assert engine.records.state_of(U) is aiovirt.DomainState.PAUSED


async def test_what_a_driver_cannot_do_is_refused_with_why_and_nothing_is_sent(engine: LocalEngine, sent: list[str]) -> None:
    with pytest.raises(aiovirt.Unsupported) as no:
        await engine.call(orders.AskQMP(uuid=U, command="stop"))
    error = no.value
    assert (error.code, error.order, error.driver) == (3, "AskQMP", "test")
    assert error.reason == "a domain of test:///default has no QMP monitor"
    assert error.message == f"the test driver cannot qemu-monitor-command: {error.reason}"
    assert sent == []


async def test_a_refusal_is_the_same_in_an_attached_process() -> None:
    refused = aiovirt.Unsupported("no", order="Reset", driver="xen", reason="no such button")
    again = error_of(failure_of(7, refused))
    assert isinstance(again, aiovirt.Unsupported)
    assert (again.order, again.driver, again.reason) == ("Reset", "xen", "no such button")


async def test_a_refusal_of_an_engine_of_before_has_no_order() -> None:
    failure = failure_of(7, aiovirt.Unsupported("no"))
    failure.more.clear()
    again = error_of(failure)
    assert isinstance(again, aiovirt.Unsupported)
    assert (again.message, again.order, again.driver, again.reason) == ("no", "", "", "")


# -- turns -------------------------------------------------------------------------------------


def made(turn: Turn, *, urgent: bool = False) -> Request[None]:
    class Some(Request[None], frozen=True, kw_only=True, tag=True):
        """An order of the test's own."""

        rule = Rule(verb="do", turn=turn, permissions=(), urgent=urgent)

    return Some()


CHANGE, URGENT, JOB = made(Turn.CHANGE), made(Turn.CHANGE, urgent=True), made(Turn.JOB)


@pytest.mark.parametrize(
    ("first", "then", "goes"),
    [
        (CHANGE, CHANGE, False),
        (CHANGE, URGENT, False),
        (CHANGE, JOB, False),
        (URGENT, CHANGE, False),
        (URGENT, URGENT, False),
        (URGENT, JOB, False),
        (JOB, CHANGE, False),
        (JOB, URGENT, True),
        (JOB, JOB, False),
    ],
)
async def test_what_goes_on_beside_what(first: Request[None], then: Request[None], goes: bool) -> None:  # noqa: FBT001 - a table
    entry, begun, done = Entry(U, "web"), list[Request[None]](), anyio.Event()

    async def carry_out(order: Request[None]) -> None:
        async with entry.turn(order, Deadline.after(60)):
            begun.append(order)
            await done.wait()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(carry_out, first)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(carry_out, then)
        await anyio.wait_all_tasks_blocked()
        assert begun == ([first, then] if goes else [first])
        done.set()
    assert begun == [first, then]
    assert entry.order is None


async def test_what_is_urgent_does_not_wait_behind_what_waits_for_a_job() -> None:
    entry, begun, done = Entry(U, "web"), list[Request[None]](), anyio.Event()

    async def carry_out(order: Request[None]) -> None:
        async with entry.turn(order, Deadline.after(60)):
            begun.append(order)
            await done.wait()

    async with anyio.create_task_group() as tasks:
        for order in (JOB, CHANGE, URGENT):
            tasks.start_soon(carry_out, order)
            await anyio.wait_all_tasks_blocked()
        assert begun == [JOB, URGENT]
        assert entry.order is URGENT
        done.set()
    assert begun == [JOB, URGENT, CHANGE]


@pytest.mark.parametrize("waiting", [CHANGE, URGENT, JOB])
async def test_a_turn_that_does_not_come_is_no_order_and_holds_nothing(waiting: Request[None]) -> None:
    entry = Entry(U, "web")

    async def hold(*, task_status: TaskStatus[None]) -> None:
        async with entry.turn(CHANGE, Deadline.after(60)):
            task_status.started()
            await anyio.sleep(10)

    async with anyio.create_task_group() as tasks:
        await tasks.start(hold)
        with pytest.raises(aiovirt.OrderTimeout) as late:
            async with entry.turn(waiting, Deadline.after(5)):
                pytest.fail("it was not its turn")
        assert not late.value.sent
        assert entry.order is CHANGE
    for order in (CHANGE, URGENT, JOB):
        async with entry.turn(order, Deadline.after(5)):
            assert entry.order is order


# -- the end of the engine ---------------------------------------------------------------------


async def test_what_is_under_way_when_the_engine_ends_ends_with_it(engine: LocalEngine) -> None:
    """Also what waits for its turn; none has to wait for its deadline."""
    assert isinstance(engine.driver, TestDriver)
    engine.driver.set_health(U, MonitorHealth.STALLED, "it is made to")
    before, seen = anyio.current_time(), list[type[Request[Any]]]()

    async def give(order: Request[Any]) -> None:
        with pytest.raises(aiovirt.HostGone):
            await engine.call(order)
        seen.append(type(order))

    async with anyio.create_task_group() as tasks:
        for order in (orders.Shutdown(uuid=U), orders.Suspend(uuid=U), orders.Reset(uuid=U)):
            tasks.start_soon(give, order)
        await anyio.wait_all_tasks_blocked()
        await engine.close()
    assert sorted(kind.__name__ for kind in seen) == ["Reset", "Shutdown", "Suspend"]
    assert anyio.current_time() < before + 1
    with pytest.raises(aiovirt.HostGone):
        await engine.call(orders.Suspend(uuid=U))


async def test_what_can_be_done_is_asked_for(engine: LocalEngine) -> None:
    host = aiovirt.Host(engine)
    assert await host.can(orders.Start) is None
    assert await host.can("AskXML") is None  # the engine's own
    assert await host.can(orders.AskQMP) == "a domain of test:///default has no QMP monitor"
    assert await host.can("Levitate") == "this engine does not know it"
    with pytest.raises(aiovirt.AccessDenied, match="can needs the permission connect:read"):
        await engine.call(orders.AskAbility(order="Start"), Caller(permissions=frozenset()))
