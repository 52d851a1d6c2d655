"""What happens to domains, and to their monitors."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, ClassVar, Final, Self
from uuid import UUID

from msgspec import Raw, ValidationError, field, msgpack
from msgspec.structs import force_setattr, replace

from aiovirt.events.event import Event
from aiovirt.events.libvirt_ids import DomainEventID, named
from aiovirt.events.state import HostState
from aiovirt.events.words import changes, machine_summary
from aiovirt.model.machine import Machine
from aiovirt.model.state import Detail, DomainState, Lifecycle, MonitorHealth, Reason
from aiovirt.model.view import DOMAINS, DomainView

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
NO_DATA: Final = Raw(msgpack.encode({}))
"""The body of an event of QEMU's that says no more than its name."""

_MAPS: Final = frozenset({*range(0x80, 0x90), 0xDE, 0xDF})
_NOTHING: Final[Mapping[str, object]] = {}
_data_decoder: Final = msgpack.Decoder(dict[str, object])
_data_encoder: Final = msgpack.Encoder()

# Looked up for every event: enum members by a name of this module.
_SHUTOFF: Final = DomainState.SHUTOFF
_UNDEFINED: Final = Lifecycle.UNDEFINED

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

    def renumbered(self, before: str, state: HostState) -> None:
        view = state.domains.get(self.uuid)
        if view is not None and view.as_of == before:
            state.domains.put(replace(view, as_of=self.cursor))


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
    table = DOMAINS

    def fold(self, state: HostState) -> None:
        domains, number = state.domains, self.uuid.int
        if domains.is_lent:
            domains.own()
        rows = domains.rows
        if self.state is not _SHUTOFF:
            if domains.unwell and (monitor := domains.unwell.get(number)):
                rows.found[number] = self.view(monitor, rows.machines.get(number))
            else:
                rows.found[number] = self
            return
        domains.unwell.pop(number, None)
        rows.machines.pop(number, None)
        if not self.persistent or self.kind is _UNDEFINED:
            rows.found.pop(number, None)
        else:
            rows.found[number] = self.view(None, None)

    def view(self, monitor: MonitorHealth | None, machine: Machine | None) -> DomainView:
        """The domain as it is with this, its monitor and machine as given."""
        return DomainView(
            uuid=self.uuid,
            name=self.name,
            id=self.id,
            persistent=self.persistent,
            state=self.state,
            reason=self.reason,
            monitor=monitor,
            as_of=self.cursor,
            machine=machine,
        )

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
    table = DOMAINS

    def fold(self, state: HostState) -> None:
        if before := state.domains.get(self.uuid):
            state.domains.put(replace(before, machine=self.new))

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
            return self.name, "machine", machine_summary(self.new)
        return self.name, "changed", changes(self.changes)


class DomainQMP(DomainEvent, frozen=True, kw_only=True, gc=False, tag="domain.qmp"):
    """What QEMU itself said, as it said it: ``event`` is QAPI's name, ``data`` its members.

    It comes before the events that it leads to. Where ``data`` are too large (64 KiB, 2,048 values), too deep or no JSON
    object they are empty. ``omitted`` is the bytes of them that were left out.
    """

    event: str
    body: Raw = field(default=NO_DATA, name="data")
    omitted: int = 0

    libvirt: ClassVar[str] = "virConnectDomainQemuMonitorEventRegister"
    trigger: ClassVar[str] = "any QMP event, known to aiovirt or not"

    @property
    def data(self) -> dict[str, object]:
        """The members, decoded for who asks: journal and clients have the ``body``, msgpack, as it is."""
        return _data_decoder.decode(self.body)

    @classmethod
    def made(cls, *, data: Mapping[str, object] = _NOTHING, **members: Any) -> Self:  # noqa: ANN401 - its own
        return cls(body=Raw(_data_encoder.encode(data)), **members)

    def __repr__(self) -> str:
        parts = [f"{name}={getattr(self, name)!r}" for name in self.__struct_encode_fields__]
        return f"{type(self).__name__}({', '.join(parts)})"

    def detach(self) -> None:
        """Lets go of the bytes that it was just read from. Raises ValidationError where its ``data`` are no members."""
        body = self.body.copy()
        if not _is_map(memoryview(body)[0]):
            raise ValidationError("Expected `object` - at `$.data`")
        force_setattr(self, "body", body)

    def weight(self) -> int:
        return 1024 + memoryview(self.body).nbytes

    def describe(self) -> tuple[str, str, str]:
        return self.name, "qmp", " ".join([self.event, *(f"{name}={value}" for name, value in self.data.items())])


class MonitorEvent(DomainEvent, frozen=True, kw_only=True, gc=False):
    """Whether a domain's monitor responds has changed; the guest itself may be in the best health.

    ``why`` says what was seen of it.
    """

    why: str = ""

    health: ClassVar[MonitorHealth] = MonitorHealth.CONNECTED
    table = DOMAINS

    def fold(self, state: HostState) -> None:
        if before := state.domains.get(self.uuid):
            state.domains.put(replace(before, monitor=self.health, as_of=self.cursor))

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
    """The monitor responds (again)."""

    trigger: ClassVar[str] = "the first word after MonitorStalled; a new connection after MonitorLost"


def _is_map(first: int) -> bool:
    """Whether what begins with this byte is a map of msgpack's (https://github.com/msgpack/msgpack/blob/master/spec.md)."""
    return first in _MAPS


@lru_cache(SUBJECTS_REMEMBERED)
def _domain_subject(number: int) -> str:
    """A UUID takes a microsecond to write, and subjects are asked for with every event."""
    return f"domain/{UUID(int=number)}"
