"""The engine of a remote hypervisor: its state is the remote's, its events are what differed, and no gap is silent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from uuid import UUID

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import aiovirt
from aiovirt.drivers.remote import EVERYTHING, Change, DomainReading, Remote
from aiovirt.drivers.scheme import RemoteScheme
from aiovirt.engine import schemes
from aiovirt.engine.host import Host
from aiovirt.engine.mirror import MirrorEngine
from aiovirt.errors import AccessDenied, ConnectionLost, OperationFailed, OperationInvalid, OrderTimeout, Unsupported
from aiovirt.events.bus import Bus
from aiovirt.events.feed import Events
from aiovirt.events.types import DomainEvent, DomainLifecycle, HostEvent
from aiovirt.model import orders
from aiovirt.model.caller import Caller
from aiovirt.model.machine import Machine
from aiovirt.model.state import DomainState, MonitorHealth, Reason
from aiovirt.testing.clock import run_virtual
from tests.engine.scripted_remote import Script

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

A, B, C = UUID(int=1), UUID(int=2), UUID(int=3)


@asynccontextmanager
async def mirrored(script: Script) -> AsyncIterator[MirrorEngine]:
    engine = MirrorEngine("scripted://there/", Bus(host=UUID(int=9)), script.connect)
    async with anyio.create_task_group() as tasks:
        await tasks.start(engine.run)
        yield engine
        tasks.cancel_scope.cancel()
    engine.bus.close()


@pytest.fixture
def script() -> Script:
    made = Script()
    made.run(A, tell=False)
    made.run(B, tell=False)
    return made


def state_of(engine: MirrorEngine, uuid: UUID) -> DomainState:
    return engine.bus.state.domains[uuid].state


def what_is_known(engine: MirrorEngine) -> dict[UUID, DomainReading]:
    return {
        view.uuid: DomainReading(
            uuid=view.uuid,
            name=view.name,
            state=view.state,
            reason=view.reason,
            id=view.id,
            persistent=view.persistent,
            machine=view.machine,
        )
        for view in engine.bus.state.domains.values()
    }


async def quiet() -> None:
    """Long enough, in virtual time, for all that is answered."""
    with anyio.move_on_after(1):
        await anyio.sleep_forever()


@asynccontextmanager
async def told(engine: MirrorEngine) -> AsyncIterator[list[str]]:
    """What is published within the block, once it is left."""
    lines: list[str] = []
    async with Events(engine.bus).subscribe(DomainEvent, HostEvent) as events:
        yield lines
        await quiet()
        while True:
            try:
                event = events.receive_nowait()
            except anyio.WouldBlock:
                break
            lines.append(" ".join(event.describe()[:3]).rstrip() + (" (missed)" if event.missed else ""))


async def test_it_begins_with_all_that_is_there_in_an_epoch_of_its_own(script: Script) -> None:
    async with mirrored(script) as first:
        assert what_is_known(first) == script.world
        assert [domain.name for domain in Host(first).domains(active=True)] == ["d1", "d2"]
    async with mirrored(script) as second:
        assert second.bus.chain.current.epoch != first.bus.chain.current.epoch


async def test_a_remote_that_is_not_there_at_first_is_refused(script: Script) -> None:
    script.reachable = False
    with pytest.RaisesGroup(ConnectionLost):
        async with mirrored(script):
            pass


async def test_what_appears_changes_and_vanishes_is_told(script: Script) -> None:
    async with mirrored(script) as engine, told(engine) as lines:
        script.put(C)
        await quiet()
        script.put(A, machine=Machine(vcpus=2))
        script.put(B, state=DomainState.PAUSED, reason=Reason.IOERROR)
        await quiet()
        script.remove(C)
    assert sorted(lines[1:3])[1] == "d2 suspended I/O error"
    assert (lines[0], lines[3:]) == ("d3 defined added", ["d3 undefined removed"])


async def test_what_came_and_went_between_two_readings_leaves_nothing(script: Script) -> None:
    async with mirrored(script) as engine, told(engine) as lines:
        script.put(C)
        script.remove(C)
        script.put(A, state=DomainState.PAUSED)
        script.run(A)
    assert lines == []


async def test_one_who_polls_says_that_everything_may_differ(script: Script) -> None:
    async with mirrored(script) as engine, told(engine) as lines:
        script.remove(A, tell=False)
        script.put(B, state=DomainState.PAUSED, reason=Reason.USER, tell=False)
        script.run(C, tell=False)
        script.tell(EVERYTHING)
    assert lines == ["d1 stopped failed", "d1 undefined removed", "d2 suspended paused", "d3 defined added", "d3 started booted"]


async def test_one_that_is_not_answered_delays_no_other_one(script: Script) -> None:
    async with mirrored(script) as engine:
        held = script.hold(A)
        script.put(A, state=DomainState.PAUSED, reason=Reason.USER)
        script.put(B, state=DomainState.PAUSED, reason=Reason.USER)
        await quiet()
        assert (state_of(engine, A), state_of(engine, B)) == (DomainState.RUNNING, DomainState.PAUSED)
        await engine.call(orders.Destroy(uuid=B))
        assert state_of(engine, B) is DomainState.SHUTOFF
        held.set()
        await quiet()
        assert state_of(engine, A) is DomainState.PAUSED


async def test_one_that_is_never_answered_is_told_once_and_read_again(script: Script) -> None:
    async with mirrored(script) as engine:
        async with told(engine) as lines:
            script.hold(A)
            script.put(A, state=DomainState.PAUSED, reason=Reason.USER)
            with anyio.move_on_after(200):
                await anyio.sleep_forever()
        assert lines == ["d1 monitor stalled it was not read within 30 s"]
        async with told(engine) as lines:
            script.held.pop(A).set()
            with anyio.move_on_after(60):
                await anyio.sleep_forever()
        assert lines == ["d1 suspended paused", "d1 monitor connected"]


async def test_one_that_cannot_be_read_is_told_and_is_no_others_trouble(script: Script) -> None:
    async with mirrored(script) as engine:
        async with told(engine) as lines:
            script.wrong[A] = OperationFailed("an internal error")
            script.put(A, state=DomainState.PAUSED, reason=Reason.USER)
            script.put(B, state=DomainState.PAUSED, reason=Reason.USER)
        assert sorted(lines) == ["d1 monitor lost an internal error", "d2 suspended paused"]
        async with told(engine) as lines:
            script.wrong.clear()
            script.tell(EVERYTHING)
        assert lines == ["d1 suspended paused", "d1 monitor connected"]
        assert script.connections == 1


async def test_an_older_answer_that_comes_later_changes_nothing_back(script: Script) -> None:
    async with mirrored(script) as engine:
        held = script.hold(EVERYTHING)
        script.tell(EVERYTHING)
        await quiet()
        script.put(A, state=DomainState.PAUSED, reason=Reason.USER)
        await quiet()
        async with told(engine) as lines:
            held.set()
        assert lines == []
        assert what_is_known(engine) == script.world


# -- orders ------------------------------------------------------------------------------------


@pytest.mark.parametrize("tells", [True, False])
async def test_an_order_returns_when_what_it_led_to_is_seen_and_is_told_once(script: Script, tells: bool) -> None:  # noqa: FBT001 - both
    script.tells = tells
    async with mirrored(script) as engine:
        async with told(engine) as lines:
            await engine.call(orders.Suspend(uuid=A))
            assert state_of(engine, A) is DomainState.PAUSED
        assert lines == ["d1 suspended paused"]


@pytest.mark.parametrize("tells", [True, False])
async def test_what_an_order_led_to_has_it_as_its_cause_and_nothing_else_has(script: Script, tells: bool) -> None:  # noqa: FBT001 - both
    script.tells = tells
    async with mirrored(script) as engine, Events(engine.bus).subscribe(DomainLifecycle) as events:
        await engine.call(orders.Suspend(uuid=A))
        script.put(B, state=DomainState.PAUSED, reason=Reason.USER)
        await quiet()
        await engine.call(orders.Destroy(uuid=A))
        seen = [await events.receive() for _ in range(3)]
    assert [event.kind for event in seen] == ["suspended", "suspended", "stopped"]
    first, other, last = (event.cause for event in seen)
    assert other is None
    assert first is not None
    assert last not in {None, first}


async def test_what_happens_beside_an_order_is_not_its_doing(script: Script) -> None:
    async with mirrored(script) as engine, Events(engine.bus).subscribe(DomainLifecycle) as events, anyio.create_task_group() as tasks:
        script.late = anyio.Event()
        tasks.start_soon(engine.call, orders.Suspend(uuid=A))
        await quiet()
        script.remove(A)
        await quiet()
        script.late.set()
        seen = [await events.receive() for _ in range(2)]
    assert [(event.kind, event.cause is None) for event in seen] == [("suspended", False), ("stopped", True)]


async def test_an_event_that_comes_before_the_answer_is_told_at_once(script: Script) -> None:
    async with mirrored(script) as engine, anyio.create_task_group() as tasks:
        script.late = anyio.Event()
        tasks.start_soon(engine.call, orders.Suspend(uuid=A))
        await quiet()
        assert state_of(engine, A) is DomainState.PAUSED
        script.late.set()


async def test_a_reading_from_before_the_order_does_not_end_it(script: Script) -> None:
    async with mirrored(script) as engine, anyio.create_task_group() as tasks:
        script.tells = False
        held = script.hold(A)
        script.tell(A)
        await quiet()

        async def order() -> None:
            await engine.call(orders.Suspend(uuid=A))
            assert state_of(engine, A) is DomainState.PAUSED

        tasks.start_soon(order)
        await quiet()
        held.set()


async def test_what_the_remote_can_do_is_asked_for(script: Script) -> None:
    async with mirrored(script) as engine:
        assert await engine.call(orders.AskAbility(order="Suspend")) is None
        assert await engine.call(orders.AskAbility(order="Reset")) == "it is not in the script"
        assert await engine.call(orders.AskAbility(order="Levitate")) == "this engine does not know it"
        with pytest.raises(AccessDenied):
            await engine.call(orders.AskAbility(order="Suspend"), Caller(permissions=frozenset()))


async def test_what_cannot_be_is_refused_and_the_remote_not_asked(script: Script) -> None:
    async with mirrored(script) as engine:
        with pytest.raises(Unsupported, match="it is not in the script") as no:
            await engine.call(orders.Reset(uuid=A))
        assert (no.value.order, no.value.driver, no.value.reason) == ("Reset", "scripted", "it is not in the script")
        with pytest.raises(AccessDenied):
            await engine.call(orders.Suspend(uuid=A), Caller(permissions=frozenset()))
        assert script.performed == []
        script.put(A, state=DomainState.SHUTOFF, id=None)
        with pytest.raises(OperationInvalid):
            await engine.call(orders.Suspend(uuid=A))


async def test_an_order_whose_outcome_is_not_seen_ends_at_its_deadline(script: Script) -> None:
    async with mirrored(script) as engine:
        script.hold(A)
        with pytest.raises(OrderTimeout) as late:
            await engine.call(orders.Suspend(uuid=A, timeout=2))
        assert late.value.sent
        await engine.call(orders.Suspend(uuid=B))


async def test_an_order_that_is_cancelled_leaves_nothing_behind(script: Script) -> None:
    async with mirrored(script) as engine:
        script.late = anyio.Event()
        with anyio.move_on_after(1) as scope:
            await engine.call(orders.Suspend(uuid=A))
        assert scope.cancelled_caught
        assert engine._waiting == {}
        assert state_of(engine, A) is DomainState.PAUSED


# -- a connection that is lost -----------------------------------------------------------------


async def test_a_lost_connection_is_told_and_so_is_what_was_missed(script: Script) -> None:
    async with mirrored(script) as engine:
        async with told(engine) as lines:
            script.reachable = False
            script.lose()
            await quiet()
            assert engine.bus.state.domains[A].monitor is MonitorHealth.LOST
            with pytest.raises(ConnectionLost, match="connection reset by peer"):
                await engine.call(orders.Suspend(uuid=A))
            script.remove(A, tell=False)
            script.put(B, state=DomainState.PAUSED, reason=Reason.USER, tell=False)
            script.put(C, tell=False)
            script.reachable = True
            with anyio.move_on_after(60):
                await anyio.sleep_forever()
        assert script.connections == 2
        assert lines == [
            "scripted://there/ missing connection reset by peer",
            "d1 monitor lost connection reset by peer",
            "d2 monitor lost connection reset by peer",
            "d1 stopped failed (missed)",
            "d1 undefined removed (missed)",
            "d2 suspended paused (missed)",
            "d2 monitor connected",
            "d3 defined added (missed)",
            "scripted://there/ resynced connection reset by peer",
        ]
        assert what_is_known(engine) == script.world


async def test_who_waits_for_an_outcome_is_told_that_the_connection_is_lost(script: Script) -> None:
    async with mirrored(script) as engine, anyio.create_task_group() as tasks:
        script.hold(A)

        async def order() -> None:
            with pytest.raises(ConnectionLost):
                await engine.call(orders.Suspend(uuid=A))

        tasks.start_soon(order)
        await quiet()
        script.lose()


# -- whatever happens there --------------------------------------------------------------------

STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["put", "run", "pause", "stop", "remove"]), st.sampled_from([A, B, C]), st.booleans()),
        st.tuples(st.sampled_from(["hold", "release"]), st.sampled_from([A, B, C, EVERYTHING]), st.just(value=True)),
        st.tuples(st.sampled_from(["lose", "everything", "wait"]), st.none(), st.just(value=True)),
    ),
    max_size=30,
)


async def _play(steps: list[tuple[str, Change | None, bool]]) -> None:
    script = Script()
    async with mirrored(script) as engine:
        for action, what, tell in steps:
            await _act(script, action, what, tell=tell)
        for held in script.held.values():
            held.set()
        script.held.clear()
        script.tell(EVERYTHING)
        with anyio.move_on_after(100):
            await anyio.sleep_forever()
        assert what_is_known(engine) == script.world
        assert {view.monitor for view in engine.bus.state.domains.values()} <= {None, MonitorHealth.CONNECTED}


async def _act(script: Script, action: str, what: Change | None, *, tell: bool) -> None:
    match action:
        case "hold" if what is not None:
            script.held.setdefault(what, anyio.Event())
        case "release" if what is not None and what in script.held:
            script.held.pop(what).set()
        case "lose":
            script.lose()
        case "everything":
            script.tell(EVERYTHING)
        case "wait":
            await quiet()
        case _ if isinstance(what, UUID):
            _befall(script, action, what, tell=tell)
        case _:
            pass


def _befall(script: Script, action: str, uuid: UUID, *, tell: bool) -> None:
    if action == "run":
        script.run(uuid, tell=tell)
    elif action in {"put", "stop"}:
        script.put(uuid, state=DomainState.SHUTOFF, reason=Reason.UNKNOWN, id=None, tell=tell)
    elif action == "remove" and uuid in script.world:
        script.remove(uuid, tell=tell)
    elif action == "pause" and uuid in script.world and script.world[uuid].state.is_active:
        script.put(uuid, state=DomainState.PAUSED, reason=Reason.USER, tell=tell)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@settings(max_examples=60)
@given(steps=STEPS)
def test_in_the_end_the_mirror_shows_what_the_remote_is(backend: str, steps: list[tuple[str, Change | None, bool]]) -> None:
    run_virtual(_play, steps, backend=backend)


async def test_a_remote_is_connected_to_by_its_uri(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    def connect(uri: str) -> AbstractAsyncContextManager[Remote]:
        opened.append(uri)
        return script.connect()

    monkeypatch.setitem(schemes._loaded, "far", RemoteScheme(remote=connect))
    uri = "far+ssh://root@there:22/pool?keyfile=k"
    async with aiovirt.connect(uri) as host:
        domain = host.domain("d1")
        await domain.suspend()
        assert (host.uri, opened, domain.state) == (uri, [uri], DomainState.PAUSED)
        with pytest.raises(Unsupported, match="machine of far"):
            await host.info()
        with pytest.raises(Unsupported):
            await host.define("<domain/>")
    script.reachable = False
    with pytest.raises(ConnectionLost, match="nobody answers"):
        async with aiovirt.connect(uri):
            pass
