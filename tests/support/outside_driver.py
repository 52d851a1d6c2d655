"""A driver that aiovirt does not know of: the whole of a package ``aiovirt_tiny``, as somebody else would write it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar
from uuid import UUID

import anyio.lowlevel
from msgspec.structs import replace

from aiovirt.drivers.door import Sink, Target
from aiovirt.drivers.handlers import Handlers
from aiovirt.drivers.scheme import LocalScheme, Surroundings
from aiovirt.errors import Error
from aiovirt.model.fact import Fact
from aiovirt.model.machine import Machine
from aiovirt.model.node import Hypervisor
from aiovirt.model.orders import AskLog, AskQMP, Create, Destroy, Reboot, Request, Reset, Resume, Shutdown, Start, Suspend
from aiovirt.model.record import RunRecord
from aiovirt.model.spec import Action, DomainSpec, VirtType
from aiovirt.system.deadlines import Deadline

R = TypeVar("R")
handles = Handlers["TinyDriver"]()
handles.without("tiny guests have neither monitor nor log", AskQMP, AskLog)
handles.without("tiny guests have no second button", Reboot)


class TinyDriver:
    """Guests that are a line in a table."""

    name = "tiny"

    def __init__(self, sink: Sink) -> None:
        self.sink = sink

    def check(self, spec: DomainSpec) -> DomainSpec:
        return replace(spec, type=VirtType("tiny"))

    def can(self, order: type[Request[Any]]) -> str | None:
        return handles.refusal(order)

    async def perform(self, order: Request[R], domain: Target, by: Deadline) -> R:
        await anyio.lowlevel.checkpoint()
        return await handles.perform(self, domain, order, by)

    async def find(self, runs: Sequence[tuple[RunRecord, DomainSpec]]) -> dict[UUID, RunRecord | Error]:
        return {}

    async def reconnect(self, uuid: UUID) -> None:
        pass

    async def settle(self, uuid: UUID, by: Deadline) -> None:
        pass


@handles(Start)
async def start(driver: TinyDriver, domain: Target, order: Start | Create, by: Deadline) -> None:
    assert domain.run is not None
    await domain.save(domain.run)
    driver.sink.fact(domain.uuid, Fact.LAUNCHED if order.paused else Fact.RESUMED)
    driver.sink.machine(domain.uuid, Machine(vcpus=1))


@handles(Create)
async def create(driver: TinyDriver, domain: Target, order: Create, by: Deadline) -> UUID:
    await start(driver, domain, order, by)
    return domain.uuid


@handles(Suspend)
async def suspend(driver: TinyDriver, domain: Target, _: Suspend, by: Deadline) -> None:
    driver.sink.fact(domain.uuid, Fact.PAUSED)


@handles(Resume)
async def resume(driver: TinyDriver, domain: Target, _: Resume, by: Deadline) -> None:
    driver.sink.fact(domain.uuid, Fact.RESUMED)


@handles(Reset)
async def reset(driver: TinyDriver, domain: Target, _: Reset, by: Deadline) -> None:
    if domain.live is not None and domain.live.on_reboot is Action.DESTROY:
        driver.sink.fact(domain.uuid, Fact.HOST_POWEROFF, rebooting=True)
    else:
        driver.sink.fact(domain.uuid, Fact.RESET)


@handles(Shutdown)
async def shutdown(driver: TinyDriver, domain: Target, _: Shutdown, by: Deadline) -> None:
    driver.sink.fact(domain.uuid, Fact.GUEST_POWEROFF, by_guest=True)


@handles(Destroy)
async def destroy(driver: TinyDriver, domain: Target, _: Destroy, by: Deadline) -> None:
    driver.sink.fact(domain.uuid, Fact.EXITED)


async def _driver(around: Surroundings) -> TinyDriver:
    return TinyDriver(around.sink)


SCHEME = LocalScheme(paths=("/default",), driver=_driver, hypervisor=lambda: Hypervisor("TINY", "1.2.3"))
