"""The test driver: guests that are nothing but their state, and can be made to misbehave."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import anyio.lowlevel
from msgspec.structs import replace

from aiovirt.drivers.door import Save, Sink
from aiovirt.errors import ConfigUnsupported, ConnectionLost, Error, OrderTimeout, Unsupported
from aiovirt.model.lifecycle import Fact
from aiovirt.model.machine import Machine
from aiovirt.model.record import RunRecord
from aiovirt.model.spec import DomainSpec, VirtType
from aiovirt.model.state import MonitorHealth
from aiovirt.model.units import GiB
from aiovirt.system.deadlines import Deadline

__all__ = ["TestDriver", "first_domain"]


def first_domain() -> DomainSpec:
    """The domain that is there from the start: libvirt's own test domain, uuid and all."""
    return DomainSpec(
        name="test",
        uuid=UUID("6695eb01-f6a4-8304-79aa-97f2502e193f"),
        type=VirtType.TEST,
        memory=8 * GiB,
        vcpus=2,
    )


class TestDriver:
    """Guests in memory. Orders take one turn of the loop, and are seen as facts, as everywhere."""

    __test__ = False  # not a test case, whatever a collector thinks of the name
    name = "test"

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._health: dict[UUID, MonitorHealth] = {}

    def check(self, spec: DomainSpec) -> DomainSpec:
        """``spec`` as type test; raises ConfigUnsupported for another type."""
        if spec.type not in (None, VirtType.TEST):
            raise ConfigUnsupported(f"test:///default runs domains of type 'test', not {str(spec.type)!r}")
        return replace(spec, type=VirtType.TEST)

    async def start(self, run: RunRecord, spec: DomainSpec, *, paused: bool, save: Save, by: Deadline) -> None:
        """LAUNCHED where it is to stay paused, else RESUMED."""
        await save(run)
        await self._turn(run.uuid, by)
        self._sink.fact(run.uuid, Fact.LAUNCHED if paused else Fact.RESUMED)
        self._sink.machine(run.uuid, Machine(vcpus=spec.vcpus))

    async def find(self, runs: Sequence[tuple[RunRecord, DomainSpec]]) -> dict[UUID, RunRecord | Error]:
        """Nothing in memory outlives its process."""
        return {}

    async def reconnect(self, uuid: UUID) -> None:
        """There is never one to speak with again."""

    async def settle(self, uuid: UUID, *, by: Deadline) -> None:
        """An order that was given up here did not happen."""

    async def suspend(self, uuid: UUID, *, by: Deadline) -> None:
        """PAUSED."""
        await self._turn(uuid, by)
        self._sink.fact(uuid, Fact.PAUSED)

    async def resume(self, uuid: UUID, *, by: Deadline) -> None:
        """RESUMED."""
        await self._turn(uuid, by)
        self._sink.fact(uuid, Fact.RESUMED)

    async def shutdown(self, uuid: UUID, *, by: Deadline) -> None:
        """The guest obeys at once: it powers off and its process ends."""
        await self._turn(uuid, by)
        self._sink.fact(uuid, Fact.GUEST_POWEROFF, by_guest=True)
        self._end(uuid)

    async def reset(self, uuid: UUID, *, by: Deadline) -> None:
        """RESET."""
        await self._turn(uuid, by)
        self._sink.fact(uuid, Fact.RESET)

    async def destroy(self, uuid: UUID, *, by: Deadline) -> None:
        """EXITED; it needs no monitor."""
        await anyio.lowlevel.checkpoint()
        self._end(uuid)

    async def qmp(self, uuid: UUID, command: str, arguments: bytes, *, by: Deadline) -> bytes:
        """There is no QMP here."""
        raise Unsupported("a domain of test:///default has no QMP monitor")

    async def log(self, name: str) -> str:
        """Nothing is ever said."""
        return ""

    # -- misbehaviour, for aiovirt.testing.control -----------------------------------------------

    def crash(self, uuid: UUID) -> None:
        """Its process ends without a word."""
        self._end(uuid)

    def set_health(self, uuid: UUID, health: MonitorHealth, why: str) -> None:
        """Its monitor is heard so from now on: LOST fails orders, STALLED lets them run into their deadline."""
        self._health[uuid] = health
        self._sink.monitor(uuid, health, why)

    def _end(self, uuid: UUID) -> None:
        self._health.pop(uuid, None)
        self._sink.fact(uuid, Fact.EXITED)

    async def _turn(self, uuid: UUID, by: Deadline) -> None:
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
