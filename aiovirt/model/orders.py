"""What can be asked of an engine, as values: they look the same to one in this process and to one over a socket.

A request carries its deadline in seconds and answers with its type parameter. Orders change a
domain and are journaled as the ``cause`` of what they lead to; questions change nothing.

Only the fields that differ from their defaults are sent, and an engine refuses a field that it does not know: a client may
be newer than its engine, and nothing that it asks for is left out in silence.
"""

from __future__ import annotations

from typing import Final, Generic, TypeAlias, TypeVar
from uuid import UUID

from msgspec import Struct

from aiovirt.model.busdevice import BusDevice
from aiovirt.model.details import DeviceDetails

__all__ = [
    "DEFAULT_TIMEOUT",
    "AnyRequest",
    "AskAutostart",
    "AskDetails",
    "AskLog",
    "AskQMP",
    "AskXML",
    "Create",
    "Define",
    "Destroy",
    "DomainOrder",
    "Enumerate",
    "ReadPhysPortId",
    "Refresh",
    "Request",
    "Reset",
    "Resume",
    "SetAutostart",
    "Shutdown",
    "Start",
    "Suspend",
    "Undefine",
]

R_co = TypeVar("R_co", covariant=True)

DEFAULT_TIMEOUT: Final = 30.0


class Request(Struct, Generic[R_co], frozen=True, kw_only=True, tag=True, omit_defaults=True, forbid_unknown_fields=True):
    """Something asked; ``timeout`` is in seconds."""

    timeout: float = DEFAULT_TIMEOUT


class DomainOrder(Request[None], frozen=True, kw_only=True, tag=True):
    """An order about one domain."""

    uuid: UUID


class Start(DomainOrder, frozen=True, kw_only=True, tag=True):
    """Boot a defined domain. With ``autodestroy`` it ends with the connection that started it."""

    paused: bool = False
    autodestroy: bool = False


class Suspend(DomainOrder, frozen=True, kw_only=True, tag=True):
    """Stop its vCPUs."""


class Resume(DomainOrder, frozen=True, kw_only=True, tag=True):
    """Let its vCPUs run again."""


class Shutdown(DomainOrder, frozen=True, kw_only=True, tag=True):
    """Press its power button."""


class Reset(DomainOrder, frozen=True, kw_only=True, tag=True):
    """Press its reset button."""


class Destroy(DomainOrder, frozen=True, kw_only=True, tag=True):
    """Pull its plug."""


class Undefine(DomainOrder, frozen=True, kw_only=True, tag=True):
    """Forget its definition; one that runs goes on as a transient domain."""


class SetAutostart(DomainOrder, frozen=True, kw_only=True, tag=True):
    """Whether a defined domain is started with the host."""

    enabled: bool = True


class AskAutostart(Request[bool], frozen=True, kw_only=True, tag=True):
    """Whether a domain is started with the host."""

    uuid: UUID


class Define(Request[UUID], frozen=True, kw_only=True, tag=True):
    """Keep the definition in ``xml``; answers with its uuid."""

    xml: str


class Create(Request[UUID], frozen=True, kw_only=True, tag=True):
    """Boot a transient domain from ``xml``; answers with its uuid."""

    xml: str
    paused: bool = False
    autodestroy: bool = False


class AskXML(Request[str], frozen=True, kw_only=True, tag=True):
    """A domain's XML: of the run, or with ``inactive`` of the next start."""

    uuid: UUID
    inactive: bool = False


class AskQMP(Request[bytes], frozen=True, kw_only=True, tag=True):
    """A raw QMP command; ``arguments`` and the answer are JSON."""

    uuid: UUID
    command: str
    arguments: bytes = b"{}"


class AskLog(Request[str], frozen=True, kw_only=True, tag=True):
    """The last that a domain's QEMU has said of itself, in this run and those before."""

    uuid: UUID


class AskDetails(Request[DeviceDetails], frozen=True, kw_only=True, tag=True):
    """What the inventory does not keep of one device (``netdev/<id>``, ``pci/<address>``), read now."""

    subject: str


class Enumerate(Request[list[BusDevice]], frozen=True, kw_only=True, tag=True):
    """Every device of one of the kernel's subsystems (``usb``, ``block``, ``scsi``), as sysfs and udev have them now."""

    subsystem: str


class Refresh(Request[None], frozen=True, kw_only=True, tag=True):
    """Ask the kernel about one device (``netdev/<id>``, ``pci/<address>``) now; what differs is told before it answers.

    ``name/<name>``: about the network device that has this name or altname now, whatever is known of it.
    """

    subject: str


class ReadPhysPortId(Request[str | None], frozen=True, kw_only=True, tag=True):
    """Read a netdev's phys_port_id now; None when its driver has none."""

    name: str


AnyRequest: TypeAlias = (
    Define
    | Create
    | Undefine
    | SetAutostart
    | AskAutostart
    | Start
    | Suspend
    | Resume
    | Shutdown
    | Reset
    | Destroy
    | AskXML
    | AskQMP
    | AskLog
    | AskDetails
    | Enumerate
    | Refresh
    | ReadPhysPortId
)
"""Every request there is."""
