"""aiovirt: virtual machines and this host's devices, on one async stream of events.

    async with aiovirt.connect("test:///default") as host:      # or qemu:///session, qemu:///system
        domain = host.domain("test")                            # domains: host.domains(), host.define(spec), host.run(spec)
        async with host.events.subscribe("domain", subject=domain) as events:   # what happens, in order
            await domain.suspend()                              # orders are awaited
            print(domain.state, await events.receive())         # what has no async is read, and does no I/O
        print(host.devices.netdevs())                           # this host's network devices and PCI functions

Begin with:

- connect(uri): the block in which a Host is there
- Host: host.domain(name), host.domains(), host.define(), host.create(), host.run()
- host.events: subscribe() for the log, watch() for the state and its changes, follow() from one engine to the next
- host.devices: netdevs(), netdev(name), pci(), port(nic), vfs(pf), pf(vf)
- Domain: start(), shutdown(), destroy(), state, status, wait_for_state(), qmp()
- DomainSpec(name="web", memory=512 * MiB, devices=[Disk(...)]): what define(), create() and run() take, as libvirt's XML is
- aiovirt.events: the types of events, encode() and decode()
- Error: the root of all that is raised

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
    HostForked,
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
    ReplyTooLong,
    SystemFailure,
    Unsupported,
    XMLInvalid,
)

if TYPE_CHECKING:
    from aiovirt import events
    from aiovirt.engine.connect import Connection, connect
    from aiovirt.engine.domain import Domain
    from aiovirt.engine.host import Host
    from aiovirt.model.devices.disk import Disk, DiskBus, DiskDevice
    from aiovirt.model.devices.serial import Chardev, Serial
    from aiovirt.model.spec import Action, DomainSpec, OsSpec, VirtType
    from aiovirt.model.state import DomainState, DomainStatus, MonitorHealth, Reason
    from aiovirt.model.units import GiB, KiB, MiB, TiB

    __version__: str

__all__ = [
    "AccessDenied",
    "Action",
    "AmbiguousDevice",
    "Chardev",
    "CommandFailed",
    "ConfigUnsupported",
    "Connection",
    "ConnectionLost",
    "Disk",
    "DiskBus",
    "DiskDevice",
    "Domain",
    "DomainExists",
    "DomainSpec",
    "DomainState",
    "DomainStatus",
    "Error",
    "EventGap",
    "GiB",
    "GuestFailed",
    "Host",
    "HostForked",
    "HostGone",
    "HostHeld",
    "InvalidArgument",
    "KiB",
    "MiB",
    "MonitorHealth",
    "NoConnect",
    "NoSuchDevice",
    "NoSuchDomain",
    "OperationFailed",
    "OperationInvalid",
    "OrderTimeout",
    "OsSpec",
    "ProtocolError",
    "Reason",
    "ReplyTooLong",
    "Serial",
    "SystemFailure",
    "TiB",
    "Unsupported",
    "VirtType",
    "XMLInvalid",
    "__version__",
    "connect",
    "events",
]

_LAZY = {
    "Connection": "aiovirt.engine.connect",
    "connect": "aiovirt.engine.connect",
    "Domain": "aiovirt.engine.domain",
    "Host": "aiovirt.engine.host",
    "Action": "aiovirt.model.spec",
    "Chardev": "aiovirt.model.devices.serial",
    "DiskBus": "aiovirt.model.devices.disk",
    "DiskDevice": "aiovirt.model.devices.disk",
    "Disk": "aiovirt.model.devices.disk",
    "DomainSpec": "aiovirt.model.spec",
    "OsSpec": "aiovirt.model.spec",
    "Serial": "aiovirt.model.devices.serial",
    "VirtType": "aiovirt.model.spec",
    "DomainState": "aiovirt.model.state",
    "DomainStatus": "aiovirt.model.state",
    "MonitorHealth": "aiovirt.model.state",
    "Reason": "aiovirt.model.state",
    "GiB": "aiovirt.model.units",
    "KiB": "aiovirt.model.units",
    "MiB": "aiovirt.model.units",
    "TiB": "aiovirt.model.units",
}

if not TYPE_CHECKING:  # a checker that sees it takes every name for one that is there

    def __getattr__(name: str) -> object:
        """What is rarely needed at import is loaded when it is asked for."""
        from importlib import import_module

        if name == "__version__":
            from importlib.metadata import version

            value = version("aiovirt")
        elif name == "events":
            value = import_module("aiovirt.events")
        elif name in _LAZY:
            value = getattr(import_module(_LAZY[name]), name)
        else:
            raise AttributeError(f"module 'aiovirt' has no attribute {name!r}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    """All that is public, loaded or not."""
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
