"""Every error that aiovirt raises, as one tree.

    Error
    ├── NoConnect           5  ConnectionError  nobody answers for this URI
    │   └── HostHeld                            another process is this host's engine
    ├── ConnectionLost      6  ConnectionError  the far side went away in the middle
    ├── InvalidArgument     8  ValueError       a value that cannot be meant
    ├── OperationFailed     9                   it was tried and did not work
    │   ├── DomainExists                        the name or the uuid is taken
    │   ├── GuestFailed                         QEMU ended before it was ready; carries its log
    │   ├── CommandFailed                       the hypervisor answered an order with an error
    │   └── ReplyTooLong                        the answer is over the limit, and was not read
    ├── XMLInvalid         27  ValueError       carries path and line
    ├── SystemFailure      38  OSError's text   the operating system refused
    ├── NoSuchDomain       42  LookupError
    ├── NoSuchDevice       53  LookupError
    ├── AmbiguousDevice    59  LookupError      more than one could be meant; carries the candidates
    ├── OperationInvalid   55                   not in this state
    ├── Unsupported         3                   carries order, driver and reason
    │   └── ConfigUnsupported 67                understood, but not available here
    ├── OrderTimeout       68  TimeoutError     carries sent
    ├── ProtocolError      39                   a peer that does not speak its protocol
    ├── AccessDenied       88  PermissionError
    ├── HostForked          6  ConnectionError  the host is the parent's: this is a forked child
    ├── EventGap            1  LookupError      events that this reader can no longer have
    └── HostGone            6  ConnectionError  the engine ended; carries the cursor to resume from

The integers are libvirt's ``virErrorNumber`` and ``virErrorDomain``
(https://libvirt.org/html/libvirt-virterror.html), so that what matches on them keeps working.
No error is ever raised that is not here, or one of Python's own where Python's contract says so
(the caller's own ``fail_after`` raises plain ``TimeoutError``).
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Final, Self

from aiovirt.text import brief

__all__ = [
    "AccessDenied",
    "AmbiguousDevice",
    "CommandFailed",
    "ConfigUnsupported",
    "ConnectionLost",
    "DomainExists",
    "Error",
    "ErrorCode",
    "ErrorDomain",
    "EventGap",
    "GuestFailed",
    "HostForked",
    "HostGone",
    "HostHeld",
    "InvalidArgument",
    "NoConnect",
    "NoSuchDevice",
    "NoSuchDomain",
    "OperationFailed",
    "OperationInvalid",
    "OrderTimeout",
    "Place",
    "ProtocolError",
    "ReplyTooLong",
    "SystemFailure",
    "Unsupported",
    "XMLInvalid",
]


SHOWN: Final = 32
"""How many places a message names."""


class ErrorCode(IntEnum):
    """``virErrorNumber``: the numbers that aiovirt uses."""

    INTERNAL_ERROR = 1
    NO_SUPPORT = 3
    NO_CONNECT = 5
    INVALID_CONN = 6
    INVALID_ARG = 8
    OPERATION_FAILED = 9
    XML_ERROR = 27
    OPERATION_DENIED = 29
    SYSTEM_ERROR = 38
    RPC = 39
    NO_DOMAIN = 42
    NO_NODE_DEVICE = 53
    OPERATION_INVALID = 55
    MULTIPLE_INTERFACES = 59
    CONFIG_UNSUPPORTED = 67
    OPERATION_TIMEOUT = 68
    ACCESS_DENIED = 88


class ErrorDomain(IntEnum):
    """``virErrorDomain``: which part of the house an error came from."""

    NONE = 0
    RPC = 7
    QEMU = 10
    TEST = 12
    NODEDEV = 22
    DOMAIN = 20
    EVENT = 40


class Error(Exception):
    """The root of the tree.

    ``message`` is one sentence for people, ``code`` libvirt's number, ``domain`` the part of the
    house, ``subject`` what it is about in the event stream's spelling (``"domain/<uuid>"``) or None.
    A message may quote what others wrote; ``str(error)`` is the message as one line that is safe on a terminal and in a log.
    """

    code: ErrorCode = ErrorCode.INTERNAL_ERROR
    domain: ErrorDomain = ErrorDomain.NONE

    def __init__(
        self,
        message: str,
        *,
        code: ErrorCode | None = None,
        domain: ErrorDomain | None = None,
        subject: str | None = None,
    ) -> None:
        Exception.__init__(self, message)  # not super(): a subclass may also be another library's error
        self.message = message
        self.subject = subject
        if code is not None:
            self.code = code
        if domain is not None:
            self.domain = domain

    def __str__(self) -> str:
        return brief(self.message)


class NoConnect(Error, ConnectionError):
    """Nobody answers for this URI."""

    code = ErrorCode.NO_CONNECT


class HostHeld(NoConnect):
    """Another process is the engine of this state folder; ``pid`` is its process id, if known."""

    def __init__(self, message: str, *, pid: int | None = None) -> None:
        super().__init__(message)
        self.pid = pid


class ConnectionLost(Error, ConnectionError):
    """The far side of a connection went away before it answered."""

    code = ErrorCode.INVALID_CONN


class InvalidArgument(Error, ValueError):
    """A value that cannot be meant; the message names it and says what could be."""

    code = ErrorCode.INVALID_ARG


class OperationFailed(Error):
    """It was tried and did not work."""

    code = ErrorCode.OPERATION_FAILED


class DomainExists(OperationFailed):
    """The name or the uuid belongs to another domain."""

    domain = ErrorDomain.DOMAIN


class GuestFailed(OperationFailed):
    """QEMU ended, or never answered, before the guest could run; ``log`` holds its last lines."""

    domain = ErrorDomain.QEMU

    def __init__(self, message: str, *, log: str = "", subject: str | None = None) -> None:
        super().__init__(message, subject=subject)
        self.log = log


class CommandFailed(OperationFailed):
    """The hypervisor answered an order with an error.

    ``command`` is what was asked, ``error_class`` the peer's own class of error (QAPI's
    ``QapiErrorClass``), ``description`` its own words. What is raised for a QMP command is also
    ``qemu.qmp.ExecuteError``.
    """

    domain = ErrorDomain.QEMU

    def __init__(self, command: str, error_class: str, description: str) -> None:
        super().__init__(f"unable to execute {command!r}: {description}")
        self.command = command
        self.error_class = error_class
        self.description = description


class ReplyTooLong(OperationFailed):
    """The hypervisor's answer is larger than what is read of one; the order itself was carried out."""

    domain = ErrorDomain.QEMU


class XMLInvalid(Error, ValueError):
    """XML that cannot be read; ``path`` names the element or attribute, ``line`` counts from 1."""

    code = ErrorCode.XML_ERROR
    domain = ErrorDomain.DOMAIN

    def __init__(self, message: str, *, path: str = "", line: int | None = None) -> None:
        place = f"line {line}: " if line else ""
        place += f"{path}: " if path else ""
        super().__init__(f"XML error: {place}{message}")
        self.path = path
        self.line = line


class SystemFailure(Error):
    """The operating system refused; the message has what was tried and the system's own words."""

    code = ErrorCode.SYSTEM_ERROR


class NoSuchDomain(Error, LookupError):
    """No domain has this name or uuid (any more)."""

    code = ErrorCode.NO_DOMAIN
    domain = ErrorDomain.DOMAIN


class NoSuchDevice(Error, LookupError):
    """No host device has this name or number (any more)."""

    code = ErrorCode.NO_NODE_DEVICE
    domain = ErrorDomain.NODEDEV


class AmbiguousDevice(Error, LookupError):
    """It is not known which of several host devices is meant; ``candidates`` has the subjects of all that could be."""

    code = ErrorCode.MULTIPLE_INTERFACES
    domain = ErrorDomain.NODEDEV

    def __init__(self, message: str, *, candidates: tuple[str, ...] = (), subject: str | None = None) -> None:
        super().__init__(message, subject=subject)
        self.candidates = candidates


class OperationInvalid(Error):
    """The domain is not in a state in which this can be done."""

    code = ErrorCode.OPERATION_INVALID
    domain = ErrorDomain.DOMAIN


class Unsupported(Error):
    """aiovirt, this driver or this host cannot do it.

    Where it is an order that a driver cannot carry out, ``order`` is its name (as ``Suspend``), ``driver`` the driver's and
    ``reason`` why; else they are empty.
    """

    code = ErrorCode.NO_SUPPORT
    order: str = ""
    driver: str = ""
    reason: str = ""

    def __init__(self, message: str, *, order: str = "", driver: str = "", reason: str = "", subject: str | None = None) -> None:
        super().__init__(message, subject=subject)
        self.order = order
        self.driver = driver
        self.reason = reason


class Place(tuple[str, "int | None", str]):
    """A place in XML: its path, its line (counted from 1) where that is known, and what is wrong there, where that is not plain.

    By hand, for making a typing.NamedTuple takes a tenth of ``import aiovirt``.
    """

    __slots__ = ()

    def __new__(cls, path: str, line: int | None = None, why: str = "") -> Self:
        return super().__new__(cls, (path, line, why))

    @property
    def path(self) -> str:
        """From the root down, as in XPath."""
        return self[0]

    @property
    def line(self) -> int | None:
        """Counted from 1."""
        return self[1]

    @property
    def why(self) -> str:
        """What is wrong there."""
        return self[2]

    def __repr__(self) -> str:
        return f"Place(path={self.path!r}, line={self.line!r}, why={self.why!r})"

    def __str__(self) -> str:
        return f"{self.path} (line {self.line})" if self.line else self.path


class ConfigUnsupported(Unsupported):
    """A configuration that is understood, and that this host or driver cannot give; ``places`` are all that say so in its XML."""

    code = ErrorCode.CONFIG_UNSUPPORTED

    def __init__(self, message: str, *, places: tuple[Place, ...] = (), subject: str | None = None) -> None:
        super().__init__(message, subject=subject)
        self.places = places

    @classmethod
    def of(cls, places: Sequence[Place]) -> ConfigUnsupported:
        """The error that says all of ``places``, of which the first ones are in its message."""
        shown = [f"{place} is not supported yet" + (f": {place.why}" if place.why else "") for place in places[:SHOWN]]
        more = [f"and {len(places) - SHOWN} more"] if len(places) > SHOWN else []
        return cls("; ".join([*shown, *more]), places=tuple(places))


class OrderTimeout(Error, TimeoutError):
    """An order's deadline passed.

    ``sent`` is False when the order never left (it will not happen), True when it did: it may
    still happen, and is then seen as an event.
    """

    code = ErrorCode.OPERATION_TIMEOUT

    def __init__(self, message: str, *, sent: bool, subject: str | None = None) -> None:
        super().__init__(message, subject=subject)
        self.sent = sent


class ProtocolError(Error):
    """A peer sent what its protocol does not allow; the session with it is over."""

    code = ErrorCode.RPC
    domain = ErrorDomain.RPC


class AccessDenied(Error, PermissionError):
    """Who asks may not do this."""

    code = ErrorCode.ACCESS_DENIED


class EventGap(Error, LookupError):
    """This reader missed events, or asks to resume where nothing is kept.

    ``first_available`` is the cursor of the oldest event that can still be read, ``missed`` how
    many are gone (None when it cannot be known, as after a cursor of another epoch), ``resume``
    the cursor to pass as ``after=`` to go on with all that is left.
    """

    domain = ErrorDomain.EVENT

    def __init__(self, first_available: str, missed: int | None, resume: str) -> None:
        count = "an unknown number of" if missed is None else str(missed)
        super().__init__(f"{count} events are no longer available; the first one left is {first_available}")
        self.first_available = first_available
        self.missed = missed
        self.resume = resume


class HostForked(Error, ConnectionError):
    """This process is a child that was forked: the host is its parent's, and is to be connected to anew."""

    code = ErrorCode.INVALID_CONN


class HostGone(Error, ConnectionError):
    """The engine behind this stream ended; ``cursor`` is where to resume with the next one."""

    code = ErrorCode.INVALID_CONN
    domain = ErrorDomain.EVENT

    def __init__(self, cursor: str) -> None:
        super().__init__(f"the host is gone; resume after {cursor}")
        self.cursor = cursor
