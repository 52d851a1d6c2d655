"""aiovirt: virtual machines and this host's devices, on one async stream of events.

    async with aiovirt.connect("test:///default") as host:
        await host.domain("test").suspend()

It runs on asyncio, uvloop and trio. Importing it loads no hypervisor, no netlink and no backend.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiovirt.errors import (
    AccessDenied,
    AmbiguousDevice,
    CommandFailed,
    ConfigUnsupported,
    ConnectionLost,
    DomainExists,
    Error,
    EventGap,
    GuestFailed,
    HostGone,
    HostHeld,
    InvalidArgument,
    NoConnect,
    NoSuchDevice,
    NoSuchDomain,
    OperationFailed,
    OperationInvalid,
    OrderTimeout,
    ProtocolError,
    SystemFailure,
    Unsupported,
    XMLInvalid,
)

if TYPE_CHECKING:
    from aiovirt.engine.connect import Connection, connect
    from aiovirt.engine.domain import Domain
    from aiovirt.engine.host import Host
    from aiovirt.model.state import DomainState, DomainStatus
    from aiovirt.model.units import GiB, KiB, MiB, TiB

__all__ = [
    "AccessDenied",
    "AmbiguousDevice",
    "CommandFailed",
    "ConfigUnsupported",
    "Connection",
    "ConnectionLost",
    "Domain",
    "DomainExists",
    "DomainState",
    "DomainStatus",
    "Error",
    "EventGap",
    "GiB",
    "GuestFailed",
    "Host",
    "HostGone",
    "HostHeld",
    "InvalidArgument",
    "KiB",
    "MiB",
    "NoConnect",
    "NoSuchDevice",
    "NoSuchDomain",
    "OperationFailed",
    "OperationInvalid",
    "OrderTimeout",
    "ProtocolError",
    "SystemFailure",
    "TiB",
    "Unsupported",
    "XMLInvalid",
    "connect",
]

_LAZY = {
    "Connection": "aiovirt.engine.connect",
    "connect": "aiovirt.engine.connect",
    "Domain": "aiovirt.engine.domain",
    "Host": "aiovirt.engine.host",
    "DomainState": "aiovirt.model.state",
    "DomainStatus": "aiovirt.model.state",
    "GiB": "aiovirt.model.units",
    "KiB": "aiovirt.model.units",
    "MiB": "aiovirt.model.units",
    "TiB": "aiovirt.model.units",
}


def __getattr__(name: str) -> object:
    """What is rarely needed at import is loaded when it is asked for."""
    from importlib import import_module

    if name not in _LAZY:
        raise AttributeError(f"module 'aiovirt' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_LAZY[name]), name)
    return value
