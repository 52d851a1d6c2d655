"""What a hypervisor registers: what its URIs may be, and how its guests are reached.

A package installs an entry point of the group ``aiovirt.drivers``. Its name is the URI's scheme, its value names one of these::

    [project.entry-points."aiovirt.drivers"]
    xl = "aiovirt_xl:SCHEME"

``aiovirt.drivers.qemu`` and ``aiovirt.drivers.test`` are registered the same way. The module is imported when a URI of the scheme is
opened for the first time, so what is heavy is imported inside of the functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from anyio.abc import TaskGroup

    from aiovirt.drivers.door import DeviceSource, Driver, Sink
    from aiovirt.drivers.remote import Remote
    from aiovirt.events.event import Event
    from aiovirt.model.node import Hypervisor, NodeCPUStats, NodeInfo
    from aiovirt.model.spec import DomainSpec

__all__ = ["DriverFolders", "LocalScheme", "Machine", "RemoteScheme", "Scheme", "Surroundings"]


class DriverFolders(Struct, frozen=True):
    """Folders of an engine that are its driver's: ``run`` for sockets, ``logs`` for guests' logs, ``locks`` with a file for each uuid."""

    run: Path
    logs: Path
    locks: Path


class Surroundings(Struct, frozen=True):
    """What an engine gives its driver. ``tasks`` end with the engine; ``folders`` is None where nothing is kept."""

    sink: Sink
    tasks: TaskGroup
    folders: DriverFolders | None


class Machine(Struct, frozen=True):
    """A made-up machine, for a driver whose guests do not run on this one."""

    info: NodeInfo
    cpu_stats: NodeCPUStats


class Scheme(Struct, frozen=True, kw_only=True):
    """A URI scheme: a :class:`LocalScheme` or a :class:`RemoteScheme`."""


class RemoteScheme(Scheme, frozen=True, kw_only=True):
    """A hypervisor whose guests belong to somebody else. ``remote(uri)`` is a connection to it; entering it raises NoConnect and its like.

    What the URI says beyond its scheme is for ``remote`` to read. It is entered anew when the connection is lost.
    """

    remote: Callable[[str], AbstractAsyncContextManager[Remote]]


class LocalScheme(Scheme, frozen=True, kw_only=True):
    """A hypervisor whose guests belong to an engine on this machine. ``paths`` are those that a URI may have.

    ``hypervisor()`` says what it is and of which version; it may block, and raise SystemFailure. With ``keeps`` definitions, runs and
    the journal are on disk, and other processes attach to the engine; the paths are then of ``/session``, ``/system`` and ``/embed``.
    """

    paths: tuple[str, ...]
    driver: Callable[[Surroundings], Awaitable[Driver]]
    hypervisor: Callable[[], Hypervisor]
    keeps: bool = False
    devices: Callable[[Callable[[Event], object]], DeviceSource] | None = None
    """The host's devices, given the function that publishes an event; where there is none: those of this machine."""
    first: Callable[[], DomainSpec] | None = None
    """A domain that is there from the start, where nothing is kept."""
    machine: Callable[[], Machine] | None = None
    """Where there is none: this machine."""
