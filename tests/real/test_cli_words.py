"""Text from outside that is none, or too much of it: the same error for who holds the host and for who is attached to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from aiovirt import Error, Host, InvalidArgument, XMLInvalid
from aiovirt.errors import NoSuchDomain, SystemFailure
from aiovirt.model.state import DomainState
from tests.real.conftest import Place

pytestmark = pytest.mark.anyio

HALF, NUL, LONG = "a\udcff", "a\0b", "x" * 10_000_000
Call = Callable[[Host], Awaitable[object]]


def deep(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"a": value}
    return value


def cycle() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["a"] = value
    return value


def xml(name: str) -> str:
    return f"<domain type='qemu'>\n<name>{name}</name><memory>1024</memory><os><type>hvm</type></os></domain>"


def qmp(command: str, arguments: dict[str, Any] | None = None) -> Call:
    return lambda host: host.domain("tiny").qmp(command, arguments)


async def proxied(host: Host, path: str) -> None:
    async with host.domain("tiny").qmp_proxy(path):
        pass


async def subscribed(host: Host, after: str) -> None:
    async with host.events.subscribe(after=after):
        pass


async def named(find: Callable[[], object]) -> None:
    find()


CALLS: dict[str, tuple[Call, type[Error]]] = {
    "define half a pair": (lambda host: host.define(xml(HALF)), XMLInvalid),
    "define NUL": (lambda host: host.define(xml(NUL)), XMLInvalid),
    "define too long": (lambda host: host.define(xml(LONG)), XMLInvalid),
    "define too deep": (lambda host: host.define("<a>" * 5000 + "</a>" * 5000), XMLInvalid),
    "create half a pair": (lambda host: host.create(xml(HALF)), XMLInvalid),
    "create too long": (lambda host: host.create(xml(LONG)), XMLInvalid),
    "command half a pair": (qmp(HALF), InvalidArgument),
    "command NUL": (qmp(NUL), InvalidArgument),
    "command too long": (qmp(LONG), InvalidArgument),
    "arguments half a pair": (qmp("qom-list", {"path": HALF}), InvalidArgument),
    "key half a pair": (qmp("qom-list", {HALF: "x"}), InvalidArgument),
    "arguments too long": (qmp("qom-list", {"path": LONG}), InvalidArgument),
    "arguments too deep": (qmp("qom-list", deep(5000)), InvalidArgument),
    "arguments a little too deep": (qmp("qom-list", deep(257)), InvalidArgument),
    "arguments without end": (qmp("qom-list", cycle()), InvalidArgument),
    "arguments that no JSON has": (qmp("qom-list", {"path": object()}), InvalidArgument),
    "port id of half a pair": (lambda host: host.devices.read_phys_port_id(HALF), InvalidArgument),
    "port id of NUL": (lambda host: host.devices.read_phys_port_id(NUL), InvalidArgument),
    "port id too long": (lambda host: host.devices.read_phys_port_id(LONG), InvalidArgument),
    "subsystem of half a pair": (lambda host: host.devices.enumerate(HALF), InvalidArgument),
    "subsystem of NUL": (lambda host: host.devices.enumerate(NUL), InvalidArgument),
    "domain of half a pair": (lambda host: named(lambda: host.domain(HALF)), NoSuchDomain),
    "cursor of half a pair": (lambda host: subscribed(host, HALF), InvalidArgument),
    "cursor too long": (lambda host: subscribed(host, LONG), InvalidArgument),
    "proxy at NUL": (lambda host: proxied(host, NUL), InvalidArgument),
    "proxy at half a pair": (lambda host: proxied(host, "/no/such/\ud800"), InvalidArgument),
    "proxy too long": (lambda host: proxied(host, f"/{LONG}"), SystemFailure),
}


@pytest.fixture
async def both(place: Place) -> AsyncIterator[tuple[Host, Host]]:
    """The holder of a host with a running guest, and one who is attached."""
    import aiovirt

    async with aiovirt.connect(place.uri) as holder:
        await holder.define(aiovirt_xml(place))
        await holder.domain("tiny").start(paused=True)
        async with place.attach() as attached:
            yield holder, attached
        await holder.domain("tiny").destroy()


def aiovirt_xml(place: Place) -> str:
    from aiovirt.libvirtxml import render

    return render(place.spec("tiny"))


async def refusal(call: Call, host: Host) -> tuple[type[Error], str]:
    with pytest.raises(Error) as refused:
        await call(host)
    assert len(str(refused.value)) < 5000
    return type(refused.value), refused.value.message


async def test_attached_callers_get_the_same_errors(both: tuple[Host, Host]) -> None:
    holder, attached = both
    for name, (call, kind) in CALLS.items():
        here, there = await refusal(call, holder), await refusal(call, attached)
        assert (name, here) == (name, there)
        assert issubclass(here[0], kind), name
    assert attached.domain("tiny").state is DomainState.PAUSED
    assert await attached.domain("tiny").qmp("query-name") == {"name": "tiny"}


async def test_arguments_within_the_limits_are_asked_for(both: tuple[Host, Host]) -> None:
    for host in both:
        with pytest.raises(Error, match="unable to execute 'qom-list'"):
            await host.domain("tiny").qmp("qom-list", deep(255))
        with pytest.raises(Error, match="unable to execute 'qom-list'"):
            await host.domain("tiny").qmp("qom-list", {"path": "[{" * 100_000})
