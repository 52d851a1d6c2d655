"""What happens to domains, and to the monitors that they are heard through."""

from __future__ import annotations

from functools import lru_cache
from typing import ClassVar, Final, cast
from uuid import UUID

from msgspec import field

from aiovirt.events.event import Event
from aiovirt.events.libvirt_ids import DomainEventID, named
from aiovirt.events.words import changes, machine_portrait
from aiovirt.model.machine import Machine
from aiovirt.model.state import Detail, DomainState, Lifecycle, MonitorHealth, Reason

__all__ = [
    "DomainChanged",
    "DomainEvent",
    "DomainLifecycle",
    "DomainQMP",
    "DomainReboot",
    "MonitorEvent",
    "MonitorLost",
    "MonitorResumed",
    "MonitorStalled",
]

SUBJECTS_REMEMBERED: Final = 4096

_CHANGED: Final = (
    DomainEventID.BALLOON_CHANGE,
    DomainEventID.DEVICE_ADDED,
    DomainEventID.DEVICE_REMOVED,
    DomainEventID.BLOCK_JOB,
    DomainEventID.BLOCK_JOB_2,
)


class DomainEvent(Event, frozen=True, kw_only=True, gc=False):
    """Something about one domain: ``uuid`` is its uuid, ``name`` its name then."""

    uuid: UUID
    name: str

    family: ClassVar[str] = "domain"

    @property
    def subject(self) -> str:
        return _domain_subject(self.uuid.int)

    @classmethod
    def may_concern(cls, wanted: str) -> bool:
        return wanted.startswith("domain/")

    def key(self) -> object:
        return self.uuid.int


class DomainLifecycle(DomainEvent, frozen=True, kw_only=True, gc=False, tag="domain.lifecycle"):
    """libvirt's ``VIR_DOMAIN_EVENT_ID_LIFECYCLE`` (0), with the state it led to.

    ``kind`` is libvirt's event, ``detail`` its detail. ``state`` is what it led to, ``reason`` why it is
    in that state. ``id`` is the domain's number while it is active, as in libvirt; None while it is not.
    ``persistent`` is whether it has a definition that outlives its run.
    """

    kind: Lifecycle
    detail: Detail
    state: DomainState
    reason: Reason
    id: int | None = None
    persistent: bool = True

    libvirt: ClassVar[str] = f"{named(DomainEventID.LIFECYCLE)}: event and detail have libvirt's numbers"
    trigger: ClassVar[str] = "an order; QMP STOP, RESUME, SHUTDOWN, SUSPEND, WAKEUP, GUEST_PANICKED; the end of the guest's process"

    def describe(self) -> tuple[str, str, str]:
        return self.name, str(self.kind), str(self.detail)


class DomainReboot(DomainEvent, frozen=True, kw_only=True, gc=False, tag="domain.reboot"):
    """libvirt's ``VIR_DOMAIN_EVENT_ID_REBOOT`` (1): the guest's machine was reset.

    ``by_guest`` is whether the guest asked for it itself. What its firmware resets once more right after (SeaBIOS's "hard
    reboot") is no reboot of its own; each RESET is a DomainQMP.
    """

    by_guest: bool = False

    libvirt: ClassVar[str] = named(DomainEventID.REBOOT)
    trigger: ClassVar[str] = "QMP RESET"

    def describe(self) -> tuple[str, str, str]:
        return self.name, "reboot", "by the guest" if self.by_guest else "by the host"


class DomainChanged(DomainEvent, frozen=True, kw_only=True, gc=False, tag="domain.changed"):
    """A running domain's machine is another one: its balloon, vCPUs, devices, or jobs.

    ``new`` is how it is, ``old`` how it was, None when it is first known after a start. What lay between, where it went
    fast, is in the DomainQMP before.
    """

    old: Machine | None = None
    new: Machine

    libvirt: ClassVar[str] = named(*_CHANGED)
    trigger: ClassVar[str] = (
        "query-balloon, query-cpus-fast, qom-list and query-jobs, after a start, an absence, and QMP BALLOON_CHANGE, "
        "DEVICE_DELETED, ACPI_DEVICE_OST, JOB_STATUS_CHANGE, RESET"
    )

    def weight(self) -> int:
        machines = (self.new,) if self.old is None else (self.old, self.new)
        return 1024 + sum(96 * len(machine.devices) + 512 * len(machine.jobs) for machine in machines)

    @property
    def changes(self) -> dict[str, tuple[object, object]]:
        """attribute -> (old, new), for each that differs; of the first, all of them."""
        if self.old is None:
            return {name: (None, getattr(self.new, name)) for name in self.new.__struct_fields__}
        return self.old.changes_to(self.new)

    def describe(self) -> tuple[str, str, str]:
        if self.old is None:
            return self.name, "machine", machine_portrait(self.new)
        return self.name, "changed", changes(self.changes)


class DomainQMP(DomainEvent, frozen=True, kw_only=True, gc=False, tag="domain.qmp"):
    """What QEMU itself said, as it said it: ``event`` is QAPI's name, ``data`` its members.

    It comes before the events that it leads to. ``data`` is decoded JSON, not to be changed;
    where it is too large (64 KiB, 2,048 values), too deep or no JSON object it is empty. ``omitted`` is the bytes of it that were left out.
    """

    event: str
    data: dict[str, object] = field(default_factory=dict[str, object])
    omitted: int = 0

    libvirt: ClassVar[str] = "virConnectDomainQemuMonitorEventRegister"
    trigger: ClassVar[str] = "any QMP event, known to aiovirt or not"

    def weight(self) -> int:
        return 1024 + _size(self.data)

    def describe(self) -> tuple[str, str, str]:
        return self.name, "qmp", " ".join([self.event, *(f"{name}={value}" for name, value in self.data.items())])


class MonitorEvent(DomainEvent, frozen=True, kw_only=True, gc=False):
    """How well a domain's monitor is heard has changed; the guest itself may be in the best health.

    ``why`` says what was seen of it.
    """

    why: str = ""

    health: ClassVar[MonitorHealth] = MonitorHealth.CONNECTED

    def describe(self) -> tuple[str, str, str]:
        return self.name, f"monitor {self.health}", self.why


class MonitorLost(MonitorEvent, frozen=True, kw_only=True, gc=False, tag="domain.monitor.lost"):
    """The monitor's connection ended, or cannot be had, while the process lives.

    ``degraded`` is whether nothing more is tried until something changes.
    """

    degraded: bool = False

    libvirt: ClassVar[str] = f"{named(DomainEventID.CONTROL_ERROR)} for a protocol error; else nothing"
    trigger: ClassVar[str] = "the end of the monitor's connection; a monitor that cannot be had"

    @property
    def health(self) -> MonitorHealth:  # type: ignore[override]
        return MonitorHealth.DEGRADED if self.degraded else MonitorHealth.LOST


class MonitorStalled(MonitorEvent, frozen=True, kw_only=True, gc=False, tag="domain.monitor.stalled"):
    """A deadline passed in which the monitor said nothing at all."""

    health: ClassVar[MonitorHealth] = MonitorHealth.STALLED
    trigger: ClassVar[str] = "a deadline that passes in silence"


class MonitorResumed(MonitorEvent, frozen=True, kw_only=True, gc=False, tag="domain.monitor.resumed"):
    """The monitor is heard (again)."""

    trigger: ClassVar[str] = "the first word after MonitorStalled; a new connection after MonitorLost"


def _size(value: object) -> int:
    """About how many bytes decoded JSON holds in memory."""
    if isinstance(value, dict):
        return sum(100 + _size(member) for member in cast("dict[str, object]", value).values())
    if isinstance(value, list):
        return sum(16 + _size(item) for item in cast("list[object]", value))
    return 64 + len(value) if isinstance(value, str) else 32


@lru_cache(SUBJECTS_REMEMBERED)
def _domain_subject(number: int) -> str:
    """A UUID takes a microsecond to write, and subjects are asked for with every event."""
    return f"domain/{UUID(int=number)}"
