"""Errors on their way to an attached process: what was raised there is raised here, with all that it carries. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

import aiovirt.errors
from aiovirt.errors import ConfigUnsupported, Error, ErrorCode, ErrorDomain, Place
from aiovirt.wire.attach.messages import Failure

__all__ = ["error_of", "failure_of"]

_CARRIED: Final[dict[str, tuple[str, ...]]] = {
    "HostHeld": ("pid",),
    "GuestFailed": ("log",),
    "CommandFailed": ("command", "error_class", "description"),
    "Unsupported": ("order", "driver", "reason"),
    "ConfigUnsupported": ("order", "driver", "reason", "places"),
    "XMLInvalid": ("path", "line"),
    "AmbiguousDevice": ("candidates",),
    "OrderTimeout": ("sent",),
    "EventGap": ("first_available", "missed", "resume"),
    "HostGone": ("cursor",),
}
"""What errors carry beside their words, number and subject."""

_KINDS: Final[dict[str, type[Error]]] = {
    name: kind for name in aiovirt.errors.__all__ if isinstance(kind := getattr(aiovirt.errors, name), type) and issubclass(kind, Error)
}


def failure_of(number: int, error: Error) -> Failure:
    """An error as a message. One of a driver's own classes goes as ours, marked as a session's where it is one."""
    kind = next(base.__name__ for base in type(error).__mro__ if base.__name__ in _KINDS)
    more = {name: getattr(error, name) for name in _CARRIED.get(kind, ())}
    return Failure(
        number=number,
        kind=kind,
        message=error.message,
        code=int(error.code),
        domain=int(error.domain),
        subject=error.subject,
        more=more | ({_QMP: True} if type(error).__name__ in _OF_QMP else {}),
    )


def error_of(failure: Failure) -> Error:
    """The error that it was; of a class that is not known here, an :class:`~aiovirt.errors.Error` with its words."""
    kind = _KINDS.get(failure.kind, Error)
    more = {name: failure.more.get(name) for name in _CARRIED.get(kind.__name__, ())}
    if failure.more.get(_QMP):
        error = _of_qmp(kind, failure, more)
    else:
        error = kind.__new__(kind)
        for name, value in more.items():
            if value is None and hasattr(kind, name):
                continue  # one of an earlier version, which does not carry it
            setattr(error, name, tuple(cast("list[object]", value)) if isinstance(value, list) else value)
    if isinstance(error, ConfigUnsupported):
        error.places = tuple(Place(*place) for place in error.places or ())  # pyright: ignore[reportUnnecessaryComparison]
    Error.__init__(error, failure.message, code=_code(failure.code), domain=_domain(failure.domain), subject=failure.subject)
    return error


# -- those that are qemu.qmp's, too ------------------------------------------------------------

_QMP: Final = "qmp"
_OF_QMP: Final = frozenset({"QMPCommandFailed", "QMPSessionLost", "QMPUnexpectedReply"})


def _of_qmp(kind: type[Error], failure: Failure, more: dict[str, Any]) -> Error:
    from aiovirt.drivers.qemu import errors

    makers: dict[str, Callable[[], Error]] = {
        "CommandFailed": lambda: errors.command_failed(str(more["command"]), str(more["error_class"]), str(more["description"])),
        "ConnectionLost": lambda: errors.session_lost(failure.message),
        "ProtocolError": lambda: errors.unexpected_reply("", failure.message),
    }
    return makers.get(kind.__name__, lambda: kind.__new__(kind))()


def _code(number: int) -> ErrorCode | None:
    return ErrorCode(number) if number in set(ErrorCode) else None


def _domain(number: int) -> ErrorDomain | None:
    return ErrorDomain(number) if number in set(ErrorDomain) else None
