"""The conformance suite: what every driver has to do alike, as checks that raise AssertionError.

    bench = Bench(host, spec, up, can=driver.can)
    for name in EVENTS:
        await check_events(bench, name)
    for name in POLICIES:
        await check_policy(bench, name)
    for order in orders_of_drivers():
        await check_order(bench, order)

A check begins and ends with a host that has no domains. The host's engine may be here or in another process; where it is here,
it is also checked that nothing is asked of the driver for an order that is refused.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

import anyio
from msgspec import Struct
from msgspec.structs import replace

from aiovirt.engine.domain import Domain
from aiovirt.engine.host import Host
from aiovirt.engine.local import LocalEngine
from aiovirt.errors import OperationInvalid, Unsupported
from aiovirt.events.types import DomainLifecycle, DomainReboot, Event
from aiovirt.model import orders
from aiovirt.model.orders import REQUESTS, DomainOrder, Request
from aiovirt.model.spec import Action, DomainSpec
from aiovirt.model.state import DomainState, MonitorHealth

__all__ = ["EVENTS", "POLICIES", "REFUSED", "Bench", "check_events", "check_order", "check_policy", "check_refused", "orders_of_drivers"]


class Bench:
    """A host, and a guest that is ready for its power button when ``up`` returns.

    ``can`` says why its driver cannot carry out an order, or None when it can (:meth:`aiovirt.drivers.door.Driver.can`).
    """

    def __init__(
        self, host: Host, spec: DomainSpec, up: Callable[[], Awaitable[object]], can: Callable[[type[Request[Any]]], str | None]
    ) -> None:
        self.host = host
        self.spec = spec
        self.up = up
        self.can = can


EVENTS: Final[dict[str, tuple[list[str], list[str], DomainState]]] = {
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
    "reboot": (
        ["start", "wait_up", "reboot"],
        ["started booted", "shutdown finished after guest request", "reboot by the host", "resumed unpaused"],
        DomainState.RUNNING,
    ),
    "destroy": (["start", "destroy"], ["started booted", "stopped destroyed"], DomainState.SHUTOFF),
    "destroy paused": (["start_paused", "destroy"], ["started booted", "suspended paused", "stopped destroyed"], DomainState.SHUTOFF),
    "start again": (["start", "destroy", "start"], ["started booted", "stopped destroyed", "started booted"], DomainState.RUNNING),
}
"""Name -> what is ordered, in turn; what is published; the state at the end."""

POLICIES: Final[dict[str, tuple[dict[str, Action], list[str], list[str], DomainState]]] = {
    "on_poweroff restart": (
        {"on_poweroff": Action.RESTART},
        ["start", "wait_up", "shutdown"],
        ["started booted", "shutdown finished after guest request", "reboot by the host", "resumed unpaused"],
        DomainState.RUNNING,
    ),
    "on_poweroff preserve": (
        {"on_poweroff": Action.PRESERVE},
        ["start", "wait_up", "shutdown"],
        ["started booted", "shutdown finished after guest request"],
        DomainState.SHUTDOWN,
    ),
    "on_poweroff preserve, destroy": (
        {"on_poweroff": Action.PRESERVE},
        ["start", "wait_up", "shutdown", "wait_shutdown", "destroy"],
        ["started booted", "shutdown finished after guest request", "stopped destroyed"],
        DomainState.SHUTOFF,
    ),
    "on_reboot destroy": (
        {"on_reboot": Action.DESTROY},
        ["start", "reset", "wait_off"],
        ["started booted", "shutdown finished after host request", "stopped shutdown"],
        DomainState.SHUTOFF,
    ),
}
"""Name -> what the definition says is done; what is ordered, in turn; what is published; the state at the end."""

REFUSED: Final[tuple[tuple[tuple[str, ...], str], ...]] = (
    ((), "suspend"),
    ((), "resume"),
    ((), "shutdown"),
    ((), "reboot"),
    ((), "reset"),
    ((), "destroy"),
    (("start",), "start"),
    (("start",), "resume"),
    (("start_paused",), "shutdown"),
    (("start_paused",), "reboot"),
)
"""What is ordered, in turn; the order that does not fit the state then."""


_GIVEN: Final[dict[str, type[Request[Any]]]] = {
    "start": orders.Start,
    "start_paused": orders.Start,
    "suspend": orders.Suspend,
    "resume": orders.Resume,
    "reset": orders.Reset,
    "shutdown": orders.Shutdown,
    "reboot": orders.Reboot,
    "destroy": orders.Destroy,
}


def _is_possible(bench: Bench, given: Sequence[str]) -> bool:
    return all(bench.can(_GIVEN[order]) is None for order in given if order in _GIVEN)


async def check_events(bench: Bench, name: str) -> None:
    """One row of :data:`EVENTS`: these orders lead to these events and no others, and to this state.

    A row with an order that the driver cannot carry out says nothing of it, here and below: :func:`check_order` does.
    """
    if _is_possible(bench, EVENTS[name][0]):
        await _check(bench, bench.spec, *EVENTS[name])


async def check_policy(bench: Bench, name: str) -> None:
    """One row of :data:`POLICIES`; what follows by itself has a cause."""
    changes, given, told, state = POLICIES[name]
    if not _is_possible(bench, given):
        return
    seen = await _check(bench, replace(bench.spec, **changes), given, told, state)
    if "shutdown" in given and told[-1] in ("resumed unpaused", "stopped shutdown"):
        _same("whether what follows has a cause", seen[-1].cause is not None, True)


async def _check(bench: Bench, spec: DomainSpec, given: list[str], told: list[str], state: DomainState) -> list[Event]:
    domain = await bench.host.define(spec)
    async with bench.host.events.subscribe(DomainLifecycle, DomainReboot, subject=domain) as events:
        for order in given:
            await _give(bench, domain, order)
        seen: list[Event] = [await events.receive() for _ in told]
        _same("events", [" ".join(event.describe()[1:]) for event in seen], told)
        _nothing_more(events.receive_nowait)
    status = domain.status
    _same("the state", status.state, state)
    _same("the monitor", status.monitor, MonitorHealth.CONNECTED if state.is_active else None)
    _same("whether it has a number", domain.id is not None, state.is_active)
    if state is not DomainState.RUNNING:  # one that runs may go on to be told about
        _same("as_of", status.as_of, seen[-1].cursor)
    await _clear(domain)
    return seen


async def check_refused(bench: Bench, given: tuple[str, ...], refused: str) -> None:
    """One row of :data:`REFUSED`: the order raises OperationInvalid (55), and nothing happens."""
    if not _is_possible(bench, (*given, refused)):
        return
    domain = await bench.host.define(bench.spec)
    for order in given:
        await _give(bench, domain, order)
    async with bench.host.events.subscribe(DomainLifecycle, DomainReboot, subject=domain) as events:
        try:
            await _give(bench, domain, refused)
        except OperationInvalid as no:
            _same("the error's code", no.code, 55)
        else:
            raise AssertionError(f"{refused} was carried out after {' and '.join(given) or 'nothing'}")
        _nothing_more(events.receive_nowait)
    await _clear(domain)


# -- every order -------------------------------------------------------------------------------


class _Scenario(Struct, frozen=True):
    """``given`` is what is ordered before; ``answer`` says whether that is one, ``state`` is the domain's then, None where any will do."""

    order: Callable[[Bench, Domain], Request[Any]]
    given: tuple[str, ...] = ()
    state: DomainState | None = None
    answer: Callable[[object], bool] = lambda value: value is None


_SCENARIOS: Final[dict[type[Request[Any]], _Scenario]] = {
    orders.Start: _Scenario(lambda _, domain: orders.Start(uuid=domain.uuid), (), DomainState.RUNNING),
    orders.Suspend: _Scenario(lambda _, domain: orders.Suspend(uuid=domain.uuid), ("start",), DomainState.PAUSED),
    orders.Resume: _Scenario(lambda _, domain: orders.Resume(uuid=domain.uuid), ("start_paused",), DomainState.RUNNING),
    orders.Shutdown: _Scenario(lambda _, domain: orders.Shutdown(uuid=domain.uuid), ("start", "wait_up")),
    orders.Reboot: _Scenario(lambda _, domain: orders.Reboot(uuid=domain.uuid), ("start", "wait_up")),
    orders.Reset: _Scenario(lambda _, domain: orders.Reset(uuid=domain.uuid), ("start",), DomainState.RUNNING),
    orders.Destroy: _Scenario(lambda _, domain: orders.Destroy(uuid=domain.uuid), ("start",), DomainState.SHUTOFF),
    orders.AskQMP: _Scenario(
        lambda _, domain: orders.AskQMP(uuid=domain.uuid, command="query-name"), ("start",), answer=lambda value: isinstance(value, bytes)
    ),
    orders.AskLog: _Scenario(lambda _, domain: orders.AskLog(uuid=domain.uuid), answer=lambda value: isinstance(value, str)),
}


def orders_of_drivers() -> list[type[Request[Any]]]:
    """Every order that a driver carries out, or says why not."""
    return [kind for kind in REQUESTS.values() if not kind.rule.by_engine]


def _scenario_of(kind: type[Request[Any]]) -> _Scenario:
    """The one that is written for it; else, for an order that says nothing but its domain, one in a state in which it is allowed."""
    if kind in _SCENARIOS:
        return _SCENARIOS[kind]
    if not issubclass(kind, DomainOrder) or set(kind.__struct_fields__) != set(DomainOrder.__struct_fields__):
        raise AssertionError(f"the suite does not know how to try {kind.__name__}")
    is_started = kind.rule.states is not None and DomainState.SHUTOFF not in kind.rule.states
    return _Scenario(lambda _, domain: kind(uuid=domain.uuid), ("start",) if is_started else ())


async def check_order(bench: Bench, kind: type[Request[Any]]) -> None:
    """An order that the driver claims is carried out; any other raises Unsupported (3) with why, and the driver is asked for nothing."""
    if kind is orders.Create:
        await _check_create(bench)
        return
    scenario, domain = _scenario_of(kind), await bench.host.define(bench.spec)
    for order in scenario.given:
        await _give(bench, domain, order)
    request = scenario.order(bench, domain)
    if (why := bench.can(kind)) is not None:
        await _check_unsupported(bench, request, why)
    else:
        answer = await bench.host.engine.call(request)
        if not scenario.answer(answer):
            raise AssertionError(f"{kind.__name__} answers {answer!r}")
        if scenario.state is not None:
            _same("the state", domain.state, scenario.state)
    await _clear(domain)


async def _check_create(bench: Bench) -> None:
    domain = await bench.host.create(bench.spec)
    _same("whether it has a definition", domain.is_persistent, False)
    _same("the state", domain.state, DomainState.RUNNING)
    await domain.destroy()
    _same("what is left", bench.host.domains(), [])


async def _check_unsupported(bench: Bench, request: Request[Any], why: str) -> None:
    cursor = bench.host.events.cursor
    with _nothing_sent(bench.host):
        try:
            await bench.host.engine.call(request)
        except Unsupported as no:
            _same("what the error says", (no.code, no.order, no.reason), (3, type(request).__name__, why))
        else:
            raise AssertionError(f"{type(request).__name__} was carried out by a driver that cannot: {why}")
    _same("the last event", bench.host.events.cursor, cursor)


@contextmanager
def _nothing_sent(host: Host) -> Iterator[None]:
    """Within the block the driver is asked for nothing."""
    engine = host.engine
    if not isinstance(engine, LocalEngine):
        yield
        return
    driver = engine.driver

    async def refuse(*_: object) -> None:
        raise AssertionError("an order that the driver cannot carry out was given to it all the same")

    names = ("perform", "settle")
    for name in names:
        setattr(driver, name, refuse)
    try:
        yield
    finally:
        for name in names:
            delattr(driver, name)


# -- inside ------------------------------------------------------------------------------------


async def _give(bench: Bench, domain: Domain, order: str) -> None:
    match order:
        case "start_paused":
            await domain.start(paused=True)
        case "wait_up":
            await bench.up()
        case "wait_shutdown":
            await domain.wait_for_state(DomainState.SHUTDOWN)
        case "wait_off":
            await domain.wait_for_state(DomainState.SHUTOFF)
        case _:
            await getattr(domain, order)()


async def _clear(domain: Domain) -> None:
    with suppress(OperationInvalid):  # it has ended
        await domain.destroy()
    await domain.undefine()


def _nothing_more(receive: Callable[[], object]) -> None:
    try:
        more = receive()
    except anyio.WouldBlock:
        return
    raise AssertionError(f"nothing more was expected, and there is {more}")


def _same(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise AssertionError(f"{what}: {found!r}, and not {expected!r}")
