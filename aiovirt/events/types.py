"""Every event that the stream can carry: typed, frozen, numbered.

An event is made by what learned of it, without a number; the bus stamps ``cursor``, ``time`` and
``host`` when it publishes. Nothing here does I/O or knows who reads.
"""

from __future__ import annotations

from functools import lru_cache
from typing import ClassVar, Final, TypeVar, cast
from uuid import UUID

from msgspec import Struct

from aiovirt.events.words import changes, clock, duration, pci_portrait, plain, portrait
from aiovirt.model.busdevice import BusDevice
from aiovirt.model.netdev import Netdev
from aiovirt.model.pci import PCIDevice
from aiovirt.model.state import Detail, DomainState, Lifecycle, MonitorHealth, Reason

__all__ = [
    "DeviceEvent",
    "DeviceInitialized",
    "DomainEvent",
    "DomainLifecycle",
    "DomainQMP",
    "DomainReboot",
    "DriverBound",
    "DriverEvent",
    "DriverUnbound",
    "Event",
    "HostEvent",
    "HostStarted",
    "JournalDegraded",
    "MonitorEvent",
    "MonitorLost",
    "MonitorResumed",
    "MonitorStalled",
    "NetdevAdded",
    "NetdevChanged",
    "NetdevEvent",
    "NetdevLeft",
    "NetdevRemoved",
    "NetdevRenamed",
    "NetdevReturned",
    "PCIAdded",
    "PCIChanged",
    "PCIEvent",
    "PCIRemoved",
    "SourceMissing",
    "SourceResynced",
    "WatcherLost",
]

NIL: Final = UUID(int=0)
SUBJECTS_REMEMBERED: Final = 4096

E_co = TypeVar("E_co", bound="Event", covariant=True)


class Event(Struct, frozen=True, kw_only=True, gc=False):
    """What all events have.

    ``cursor`` is ``EPOCH:SEQ``: text order is event order. ``time`` is nanoseconds since 1970 UTC,
    never decreasing within an epoch; ``source_time`` is the time the source gave (QEMU's), or None.
    ``host`` is this host's UUID; ``cause`` the id of the order that led to it, or None. ``missed``
    says that it happened while no engine was there: ``time`` is when it was learned.
    """

    cursor: str = ""
    time: int = 0
    source_time: int | None = None
    host: UUID = NIL
    cause: str | None = None
    missed: bool = False

    family: ClassVar[str] = "event"
    libvirt: ClassVar[str] = ""
    """What libvirt's own clients know it as; empty where libvirt has nothing like it."""
    trigger: ClassVar[str] = ""
    """What makes it happen."""

    weight: ClassVar[int] = 512
    """About how many bytes it holds in memory: what the bus's budgets count."""

    @property
    def subject(self) -> str:
        """What it is about: ``domain/<uuid>``, ``netdev/<id>`` or ``host``."""
        return "host"

    @property
    def key(self) -> object:
        """What it is about, as the value that is had and hashed at the least cost."""
        return None

    @property
    def topic(self) -> str:
        """Its kind, as in the outside form: ``domain.lifecycle``, ``netdev.changed``, …"""
        return str(self.__struct_config__.tag)

    def describe(self) -> tuple[str, str, str]:
        """(whom, what happened, details), the three parts of its line for people."""
        return self.subject, self.topic, ""

    def __str__(self) -> str:
        return "  ".join(part for part in (clock(self.time), *self.line()) if part)

    def line(self) -> tuple[str, str, str]:
        """The same as :meth:`describe`, fit for a terminal, and with whether it was missed."""
        who, what, detail = map(plain, self.describe())
        return who, what, f"{detail}  (missed)".lstrip() if self.missed else detail


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


# -- domains -----------------------------------------------------------------------------------


class DomainEvent(Event, frozen=True, kw_only=True, gc=False):
    """Something about one domain: ``uuid`` is its uuid, ``name`` its name then."""

    uuid: UUID
    name: str

    family: ClassVar[str] = "domain"

    @property
    def subject(self) -> str:
        return _domain_subject(self.uuid.int)

    @property
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

    libvirt: ClassVar[str] = "VIR_DOMAIN_EVENT_ID_LIFECYCLE (0): event and detail have libvirt's numbers"
    trigger: ClassVar[str] = "an order; QMP STOP, RESUME, SHUTDOWN, SUSPEND, WAKEUP, GUEST_PANICKED; the end of the guest's process"

    def describe(self) -> tuple[str, str, str]:
        return self.name, str(self.kind), str(self.detail)


class DomainReboot(DomainEvent, frozen=True, kw_only=True, gc=False, tag="domain.reboot"):
    """libvirt's ``VIR_DOMAIN_EVENT_ID_REBOOT`` (1): the guest's machine was reset.

    ``by_guest`` is whether the guest asked for it itself.
    """

    by_guest: bool = False

    libvirt: ClassVar[str] = "VIR_DOMAIN_EVENT_ID_REBOOT (1)"
    trigger: ClassVar[str] = "QMP RESET"

    def describe(self) -> tuple[str, str, str]:
        return self.name, "reboot", "by the guest" if self.by_guest else "by the host"


class DomainQMP(DomainEvent, frozen=True, kw_only=True, gc=False, tag="domain.qmp"):
    """What QEMU itself said, as it said it: ``event`` is QAPI's name, ``data`` its members.

    It comes before the events that it leads to. ``data`` is decoded JSON, not to be changed;
    where it is too large (64 KiB), too deep or no JSON object it is empty. ``omitted`` is the bytes of it that were left out.
    """

    event: str
    data: dict[str, object] = {}
    omitted: int = 0

    libvirt: ClassVar[str] = "virConnectDomainQemuMonitorEventRegister"
    trigger: ClassVar[str] = "any QMP event, known to aiovirt or not"

    @property
    def weight(self) -> int:  # type: ignore[override]
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

    libvirt: ClassVar[str] = "VIR_DOMAIN_EVENT_ID_CONTROL_ERROR (7) for a protocol error; else nothing"
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


# -- devices -----------------------------------------------------------------------------------


class DeviceEvent(Event, frozen=True, kw_only=True, gc=False):
    """Something about one device of this host."""

    family: ClassVar[str] = "device"

    @property
    def device(self) -> Netdev | PCIDevice | BusDevice:
        """The device as it is after the event (for a removal: as it was last)."""
        raise AttributeError("device")

    @property
    def subject(self) -> str:
        return self.device.subject

    @property
    def key(self) -> object:
        return self.device.subject


class NetdevEvent(DeviceEvent, frozen=True, kw_only=True, gc=False):
    """Something about one network device."""

    family: ClassVar[str] = "netdev"

    @property
    def device(self) -> Netdev:
        raise AttributeError("device")

    weight: ClassVar[int] = 2560


class NetdevAdded(NetdevEvent, frozen=True, kw_only=True, gc=False, tag="netdev.added"):
    """A network device is there: ``device`` is how it is."""

    device: Netdev  # pyright: ignore[reportIncompatibleMethodOverride] - read-only too: the struct is frozen

    libvirt: ClassVar[str] = "VIR_NODE_DEVICE_EVENT_ID_LIFECYCLE (0): created"
    trigger: ClassVar[str] = "RTM_NEWLINK of a number that was not known; the first inventory"

    def describe(self) -> tuple[str, str, str]:
        return self.device.name, "added", portrait(self.device)


class NetdevRemoved(NetdevEvent, frozen=True, kw_only=True, gc=False, tag="netdev.removed"):
    """A network device is gone; ``device`` is how it was last."""

    device: Netdev  # pyright: ignore[reportIncompatibleMethodOverride] - as of NetdevAdded

    libvirt: ClassVar[str] = "VIR_NODE_DEVICE_EVENT_ID_LIFECYCLE (0): deleted"
    trigger: ClassVar[str] = "RTM_DELLINK"

    def describe(self) -> tuple[str, str, str]:
        return self.device.name, "removed", ""


class NetdevLeft(NetdevRemoved, frozen=True, kw_only=True, gc=False, tag="netdev.left"):
    """A network device went to another network namespace: for this host it is removed, and it may return.

    ``nsid`` is the kernel's number for that namespace as seen from this one (ip-netns(8)), None
    where it has none; ``new_ifindex`` the device's number there.
    """

    nsid: int | None = None
    new_ifindex: int | None = None

    libvirt: ClassVar[str] = ""
    trigger: ClassVar[str] = "RTM_DELLINK with IFLA_NEW_NETNSID"

    def describe(self) -> tuple[str, str, str]:
        return self.device.name, "left", "for another network namespace"


class NetdevReturned(NetdevAdded, frozen=True, kw_only=True, gc=False, tag="netdev.returned"):
    """A network device that had left for another namespace is back, under its old id."""

    libvirt: ClassVar[str] = ""
    trigger: ClassVar[str] = "RTM_NEWLINK of a device that had left: the same number, address, kind and parent"

    def describe(self) -> tuple[str, str, str]:
        return self.device.name, "returned", portrait(self.device)


class NetdevRenamed(NetdevEvent, frozen=True, kw_only=True, gc=False, tag="netdev.renamed"):
    """A network device has another name; nothing else of it changed with it.

    ``old`` is the device before, ``new`` after.
    """

    old: Netdev
    new: Netdev

    libvirt: ClassVar[str] = "VIR_NODE_DEVICE_EVENT_ID_LIFECYCLE (0): deleted, then created"
    trigger: ClassVar[str] = "RTM_NEWLINK with another name"

    @property
    def device(self) -> Netdev:
        return self.new

    def describe(self) -> tuple[str, str, str]:
        return self.new.name, "renamed", f"from {self.old.name}"


class NetdevChanged(NetdevEvent, frozen=True, kw_only=True, gc=False, tag="netdev.changed"):
    """Attributes of a network device changed; the name did not.

    ``old`` is the device before, ``new`` after.
    """

    old: Netdev
    new: Netdev

    trigger: ClassVar[str] = "RTM_NEWLINK with other attributes; a uevent after which they read differently"

    @property
    def device(self) -> Netdev:
        return self.new

    @property
    def changes(self) -> dict[str, tuple[object, object]]:
        """attribute -> (old, new), for each that differs."""
        return self.old.changes_to(self.new)

    def describe(self) -> tuple[str, str, str]:
        return self.new.name, "changed", changes(self.changes)


class PCIEvent(DeviceEvent, frozen=True, kw_only=True, gc=False):
    """Something about one PCI function, but for its driver: that is a DriverEvent."""

    family: ClassVar[str] = "pci"

    @property
    def device(self) -> PCIDevice:
        raise AttributeError("device")

    weight: ClassVar[int] = 1536


class PCIAdded(PCIEvent, frozen=True, kw_only=True, gc=False, tag="pci.added"):
    """A PCI function is there: ``device`` is how it is. Its driver, if one takes it, is told by DriverBound."""

    device: PCIDevice  # pyright: ignore[reportIncompatibleMethodOverride] - as of NetdevAdded

    libvirt: ClassVar[str] = "VIR_NODE_DEVICE_EVENT_ID_LIFECYCLE (0): created"
    trigger: ClassVar[str] = "the kernel's uevent add; the first inventory"

    def describe(self) -> tuple[str, str, str]:
        return self.device.address, "added", pci_portrait(self.device)


class PCIRemoved(PCIEvent, frozen=True, kw_only=True, gc=False, tag="pci.removed"):
    """A PCI function is gone; ``device`` is how it was last."""

    device: PCIDevice  # pyright: ignore[reportIncompatibleMethodOverride] - as of NetdevAdded

    libvirt: ClassVar[str] = "VIR_NODE_DEVICE_EVENT_ID_LIFECYCLE (0): deleted"
    trigger: ClassVar[str] = "the kernel's uevent remove"

    def describe(self) -> tuple[str, str, str]:
        return self.device.address, "removed", ""


class PCIChanged(PCIEvent, frozen=True, kw_only=True, gc=False, tag="pci.changed"):
    """Attributes of a PCI function changed: its virtual functions, what may bind it, its group.

    ``old`` is the function before, ``new`` after; both have the driver of now.
    """

    old: PCIDevice
    new: PCIDevice

    libvirt: ClassVar[str] = "VIR_NODE_DEVICE_EVENT_ID_UPDATE (1)"
    trigger: ClassVar[str] = "the kernel's uevent change; virtual functions that come and go; any uevent after which it reads differently"

    @property
    def device(self) -> PCIDevice:
        return self.new

    @property
    def changes(self) -> dict[str, tuple[object, object]]:
        """attribute -> (old, new), for each that differs."""
        return self.old.changes_to(self.new)

    def describe(self) -> tuple[str, str, str]:
        return self.new.address, "changed", changes(self.changes)


class DriverEvent(DeviceEvent, frozen=True, kw_only=True, gc=False):
    """A device of a bus (pci, virtio, usb, …) and its driver: ``device`` is both.

    ``before`` is the driver that it had, where that is known: of PCI functions.
    """

    device: BusDevice  # pyright: ignore[reportIncompatibleMethodOverride] - as of NetdevAdded
    before: str | None = None


class DriverBound(DriverEvent, frozen=True, kw_only=True, gc=False, tag="device.bound"):
    """A driver took a device of a bus."""

    trigger: ClassVar[str] = "the kernel's uevent bind"

    def describe(self) -> tuple[str, str, str]:
        return self.device.name, "bound", f"{self.device.bus} driver {self.device.driver or 'unknown'}"


class DriverUnbound(DriverEvent, frozen=True, kw_only=True, gc=False, tag="device.unbound"):
    """A driver let go of a device of a bus; ``device.driver`` is None."""

    trigger: ClassVar[str] = "the kernel's uevent unbind"

    def describe(self) -> tuple[str, str, str]:
        return self.device.name, "unbound", f"{self.device.bus} " + (f"driver {self.before}" if self.before else "device")


class DeviceInitialized(DeviceEvent, frozen=True, kw_only=True, gc=False, tag="device.initialized"):
    """udev has finished with a device: its name, its permissions and its links are final.

    ``netdev`` is the device as it is with that, or, of a PCI function, ``bus_device``; the other one is None.
    ``properties`` are the ``ID_*`` that udev gave it (udev(7)).
    """

    netdev: Netdev | None = None
    bus_device: BusDevice | None = None
    properties: dict[str, str] = {}

    trigger: ClassVar[str] = "udev's own message, when its rules have run; its database, for what was there before"

    weight: ClassVar[int] = 2048

    @property
    def device(self) -> Netdev | BusDevice:
        device = self.netdev or self.bus_device
        assert device is not None
        return device

    def describe(self) -> tuple[str, str, str]:
        return self.device.name, "initialized", "  ".join(f"{name} {value}" for name, value in self.properties.items())


# -- the host itself ---------------------------------------------------------------------------


class HostEvent(Event, frozen=True, kw_only=True, gc=False):
    """Something about this host's engine and its sources."""

    family: ClassVar[str] = "host"


class HostStarted(HostEvent, frozen=True, kw_only=True, gc=False, tag="host.started"):
    """An engine began to hold this host.

    ``uri`` is how it was connected to, ``boot_id`` this boot's id (random(4)). ``previous_cursor`` is
    that of the last event before it, None where there was no journal; ``clean`` whether the engine
    before ended in order (None: there was none). ``down_for`` is the time without an engine in
    nanoseconds, as far as it is known. ``cut`` counts the bytes of the journal's end that were damaged
    and given up.

    ``resumed`` is whether the state of before goes on, and what changed meanwhile follows as ``missed``;
    without, it begins anew. Devices begin anew with another boot in any case.
    """

    uri: str = ""
    boot_id: str = ""
    previous_cursor: str | None = None
    clean: bool | None = None
    down_for: int | None = None
    cut: int = 0
    resumed: bool = False

    trigger: ClassVar[str] = "connect, when it becomes the engine"

    def describe(self) -> tuple[str, str, str]:
        return "host", "started", "  ".join(part for part in (self.uri, self._how()) if part)

    def _how(self) -> str:
        if self.clean is None:
            return ""
        ended = "after a clean end" if self.clean else "after an engine that was cut off"
        cut = f", {self.cut} damaged bytes of its journal given up" if self.cut else ""
        return ended + (f", {duration(self.down_for)} ago" if self.down_for is not None else "") + cut


class JournalDegraded(HostEvent, frozen=True, kw_only=True, gc=False, tag="host.journal.degraded"):
    """The journal's disk failed: events go on in memory only, under a new epoch, and end with this engine.

    ``why`` is what the disk said.
    """

    why: str

    trigger: ClassVar[str] = "a write or an fdatasync of the journal that fails"

    def describe(self) -> tuple[str, str, str]:
        return "host", "degraded", f"the journal is kept in memory only: {self.why}"


class WatcherLost(HostEvent, frozen=True, kw_only=True, gc=False, tag="host.watcher.lost"):
    """A source of device events ended for good; what it told is no longer kept fresh.

    ``source`` is which one, ``why`` what ended it.
    """

    source: str
    why: str

    trigger: ClassVar[str] = "a netlink socket that fails for good"

    def describe(self) -> tuple[str, str, str]:
        return self.source, "watcher lost", self.why


class SourceMissing(HostEvent, frozen=True, kw_only=True, gc=False, tag="host.source.missing"):
    """A source of device events is not there, and what only it tells stays unknown; all else goes on.

    ``source`` is which one (``"udev"``: no udevd runs, as in a container), ``why`` how that is known.
    """

    source: str
    why: str

    trigger: ClassVar[str] = "an engine that begins without udevd"

    def describe(self) -> tuple[str, str, str]:
        return self.source, "missing", self.why


class SourceResynced(HostEvent, frozen=True, kw_only=True, gc=False, tag="host.source.resynced"):
    """A source had a hole and was read again from the start.

    The differences found were published just before. ``source`` is which one, ``reason`` what tore the
    hole. ``lost`` counts messages known to be gone, or is None where it cannot be known.
    """

    source: str
    reason: str
    lost: int | None = None

    trigger: ClassVar[str] = "ENOBUFS, a truncated message or a dump that was interrupted; an engine that begins without what was before"

    def describe(self) -> tuple[str, str, str]:
        return self.source, "resynced", self.reason
