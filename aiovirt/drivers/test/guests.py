"""Guests that are nothing but their state, and can be made to misbehave."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import anyio.lowlevel
from msgspec.structs import replace

from aiovirt.drivers.door import Sink, Target
from aiovirt.errors import ConfigUnsupported, ConnectionLost, Error, OrderTimeout
from aiovirt.model.lifecycle import Fact
from aiovirt.model.machine import Machine
from aiovirt.model.record import RunRecord
from aiovirt.model.spec import DomainSpec, VirtType
from aiovirt.model.state import MonitorHealth
from aiovirt.model.units import GiB
from aiovirt.system.deadlines import Deadline

__all__ = ["Guests", "first_domain"]


def first_domain() -> DomainSpec:
    """The domain that is there from the start: libvirt's own test domain, uuid and all."""
    return DomainSpec(
        name="test",
        uuid=UUID("6695eb01-f6a4-8304-79aa-97f2502e193f"),
        type=VirtType.TEST,
        memory=8 * GiB,
        vcpus=2,
    )


class Guests:
    """Guests in memory. Orders take one turn of the loop, and are seen as facts, as everywhere."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._health: dict[UUID, MonitorHealth] = {}

    def check(self, spec: DomainSpec) -> DomainSpec:
        """``spec`` as type test; raises ConfigUnsupported for another type."""
        if spec.type not in (None, VirtType.TEST):
            raise ConfigUnsupported(f"test:///default runs domains of type 'test', not {str(spec.type)!r}")
        return replace(spec, type=VirtType.TEST)

    async def start(self, domain: Target, *, paused: bool, by: Deadline) -> None:
        """LAUNCHED where it is to stay paused, else RESUMED."""
        assert domain.run is not None
        assert domain.live is not None
        await domain.save(domain.run)
        await self.answer(domain.uuid, by)
        self._sink.fact(domain.uuid, Fact.LAUNCHED if paused else Fact.RESUMED)
        self._sink.machine(domain.uuid, Machine(vcpus=domain.live.vcpus))

    async def find(self, runs: Sequence[tuple[RunRecord, DomainSpec]]) -> dict[UUID, RunRecord | Error]:
        """Nothing in memory outlives its process."""
        return {}

    async def reconnect(self, uuid: UUID) -> None:
        """There is never one to speak with again."""

    async def settle(self, uuid: UUID, by: Deadline) -> None:
        """An order that was cancelled here did not happen."""

    def report(self, uuid: UUID, fact: Fact, *, by_guest: bool = False, rebooting: bool = False) -> None:
        """Something happened to a guest."""
        self._sink.fact(uuid, fact, by_guest=by_guest, rebooting=rebooting)

    def end(self, uuid: UUID) -> None:
        """Its process ends."""
        self._health.pop(uuid, None)
        self._sink.fact(uuid, Fact.EXITED)

    # -- misbehaviour, for aiovirt.testing.control -----------------------------------------------

    def crash(self, uuid: UUID) -> None:
        """Its process ends without a word."""
        self.end(uuid)

    def set_health(self, uuid: UUID, health: MonitorHealth, why: str) -> None:
        """Its monitor is heard so from now on: LOST fails orders, STALLED lets them run into their deadline."""
        self._health[uuid] = health
        self._sink.monitor(uuid, health, why)

    async def answer(self, uuid: UUID, by: Deadline) -> None:
        """One turn of the loop, or what a monitor in bad health makes of it."""
        match self._health.get(uuid):
            case MonitorHealth.LOST | MonitorHealth.DEGRADED:
                raise ConnectionLost("the monitor is not connected", subject=f"domain/{uuid}")
            case MonitorHealth.STALLED:
                with by.scope():
                    await anyio.sleep_forever()
                raise OrderTimeout(f"no answer within {by.timeout:g} s", sent=True, subject=f"domain/{uuid}")
            case _:
                await anyio.lowlevel.checkpoint()
