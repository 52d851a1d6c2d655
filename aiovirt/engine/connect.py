"""``aiovirt.connect``: attaches to the engine of a host, or becomes it, for as long as its block lasts.

Leaving ends our tasks, sockets and locks, never a guest, save those started with autodestroy.
"""

from __future__ import annotations

import os
import sys
from contextlib import AsyncExitStack
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Final
from uuid import UUID

import anyio
from anyio.abc import TaskGroup, TaskStatus

from aiovirt.drivers.scheme import DriverFolders, LocalScheme, Surroundings
from aiovirt.engine.abc import Engine
from aiovirt.engine.forked import take_away
from aiovirt.engine.host import Host
from aiovirt.engine.paths import Claim, Folders, PathLike, Role, find_folders
from aiovirt.engine.schemes import is_loaded
from aiovirt.engine.successors import Reconnection
from aiovirt.engine.uri import VARIABLES, Address, find_address, scheme_name
from aiovirt.errors import AccessDenied, NoConnect, SystemFailure, Unsupported
from aiovirt.events.bus import Bus
from aiovirt.events.types import HostStarted, JournalDegraded
from aiovirt.system import to_thread
from aiovirt.system.again import refused_by_system
from aiovirt.system.background import Background
from aiovirt.system.fork import not_for_children
from aiovirt.system.identity import boot_id, host_uuid, net_namespace
from aiovirt.system.log import get_logger
from aiovirt.system.log import load as load_log
from aiovirt.system.loop import new_waker
from aiovirt.system.reserve import RESERVE

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiovirt.engine.holder import Holder
    from aiovirt.engine.local import LocalEngine
    from aiovirt.engine.opening import Opened
    from aiovirt.engine.runfiles import RunFiles
    from aiovirt.hostdev.source import HostDevices
    from aiovirt.model.record import RunRecord
    from aiovirt.system.listener import Listener

__all__ = ["Connection", "connect", "free"]

CLOSING_TIMEOUT: Final = 30.0
_log = get_logger("engine")


def connect(
    uri: str | None = None,
    *,
    config_dir: PathLike | None = None,
    state_dir: PathLike | None = None,
    runtime_dir: PathLike | None = None,
) -> Connection:
    """``async with aiovirt.connect("qemu:///session") as host:``

    Without a URI: AIOVIRT_DEFAULT_URI, LIBVIRT_DEFAULT_URI, then ``qemu:///system`` for root, ``qemu:///session`` for
    everyone else. The folders move where definitions, records and sockets are. What the block
    raises leaves as itself. Entering raises NoConnect for a URI nobody answers, HostHeld where
    another process is this host's engine and cannot be attached to (``qemu:///embed`` never attaches), AccessDenied, Unsupported.
    """
    return Connection(uri, {"config": config_dir, "state": state_dir, "runtime": runtime_dir})


class Connection:
    """The block of :func:`connect`. ``role`` is what it is to be, ``claim`` how much it wants that of a holder.

    ``listen()`` gives another socket than the usual one.
    """

    holder: Holder | None = None
    """The door for others, where this process is the engine of a host that has one."""

    def __init__(
        self,
        uri: str | None,
        given: dict[str, PathLike | None],
        role: Role = Role.ANY,
        listen: Callable[[], Listener] | None = None,
        claim: Claim | None = None,
    ) -> None:
        self._uri = uri
        self._given = given
        self._role = role
        self._listen = listen
        self._claim = claim or Claim()
        self._stack = AsyncExitStack()
        self._host: Host | None = None
        not_for_children(self, Connection._forked)

    async def __aenter__(self) -> Host:
        address = await _find_address(self._uri)
        with refused_by_system(f"{address.uri} cannot be opened"):
            return await self._open(address)
        raise AssertionError("what is refused is raised")  # pragma: no cover

    async def _open(self, address: Address) -> Host:
        scheme = address.scheme
        async with AsyncExitStack() as stack:
            if not isinstance(scheme, LocalScheme):
                host = Host(await _open_remote(address, stack))
            elif scheme.keeps:
                folders = find_folders(address, os.environ, self._given)
                engine = await self._open_kept(address, scheme, folders, stack)
                reconnection = Reconnection(partial(_reconnect, engine.uri, folders))
                stack.callback(reconnection.end)
                host = Host(engine, reconnection)
            else:
                host = Host(await _open_unkept(address, scheme, stack))
            self._host, self._stack = host, stack.pop_all()
        return host

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._stack.__aexit__(kind, error, trace)

    def _forked(self) -> None:
        """In a child: what is the parent's to end stays, and the host is none there."""
        self._stack = AsyncExitStack()
        if self._host is not None:
            take_away(self._host)

    async def _open_kept(self, address: Address, scheme: LocalScheme, folders: Folders, stack: AsyncExitStack) -> Engine:
        if sys.platform != "linux":
            raise Unsupported(f"{address.uri} needs Linux; test:///default runs anywhere")
        if address.path == "/system" and not _is_root():
            raise AccessDenied(f"{address.driver}:///system is for root; {address.driver}:///session is yours")
        from aiovirt.engine.finding import find_engine

        found = await find_engine(address, folders, stack, self._role, self._claim)
        if not isinstance(found, list):
            return found
        from aiovirt.engine.holder import BACKLOG, Holder
        from aiovirt.engine.place import keep_place
        from aiovirt.system.listener import Listener

        engine = await _hold(address, scheme, folders, stack)
        listen = partial(Listener, str(folders.socket), backlog=BACKLOG)
        self.holder = await stack.enter_async_context(Holder(engine, folders.place, self._listen or listen))
        background = await stack.enter_async_context(Background())
        background.group.start_soon(keep_place, folders, found, partial(self.holder.renew, listen))
        return engine


async def free(uri: str | None) -> None:
    """Asks whoever holds the host to leave it, and returns when it is free. Raises HostHeld where it stays."""
    address = await _find_address(uri)
    if not (isinstance(address.scheme, LocalScheme) and address.scheme.keeps):
        return
    from aiovirt.engine.finding import find_engine

    async with AsyncExitStack() as stack:
        await find_engine(address, find_folders(address, os.environ, {}), stack, Role.HOLDER, Claim(take_over=True))


def _reconnect(uri: str, folders: Folders, *, start_engine: bool) -> Connection:
    """To the engine that holds the same host then."""
    places: dict[str, PathLike | None] = {"config": folders.config, "state": folders.state, "runtime": folders.runtime}
    return Connection(uri, places, Role.ATTACHED if start_engine else Role.NEXT)


async def _find_address(uri: str | None) -> Address:
    """As :func:`aiovirt.engine.uri.find_address`; in a thread, where files have to be read for it."""
    find = partial(find_address, uri, os.environ, is_root=_is_root())
    given = uri or next(filter(None, map(os.environ.get, VARIABLES)), "qemu:")
    return find() if is_loaded(scheme_name(given)) else await to_thread.run_sync(find)


async def _open_unkept(address: Address, scheme: LocalScheme, stack: AsyncExitStack) -> LocalEngine:
    from aiovirt.engine.unkept import make_engine, new_bus

    bus = new_bus()
    tasks = await _enter(stack, bus)
    engine = await make_engine(address.uri, scheme, bus, tasks)
    stack.push_async_callback(_end_owned, engine)
    tasks.start_soon(engine.followed.run)
    await tasks.start(_watch_devices, engine)
    return engine


async def _open_remote(address: Address, stack: AsyncExitStack) -> Engine:
    from aiovirt.drivers.scheme import RemoteScheme
    from aiovirt.engine.mirror import MirrorEngine
    from aiovirt.engine.unkept import new_bus

    if not isinstance(address.scheme, RemoteScheme):
        raise NoConnect(f"{address.uri}: its driver says neither how it is run here nor how it is reached")
    bus = new_bus()
    tasks = await _enter(stack, bus)
    engine = MirrorEngine(address.uri, bus, partial(address.scheme.remote, address.uri))
    await tasks.start(engine.run)
    return engine


async def _hold(address: Address, scheme: LocalScheme, folders: Folders, stack: AsyncExitStack) -> LocalEngine:
    """The engine, in this process."""
    from aiovirt.engine import upkeep
    from aiovirt.engine.domains import DOMAIN
    from aiovirt.engine.local import LocalEngine
    from aiovirt.engine.opening import open_journal
    from aiovirt.engine.records import Records
    from aiovirt.engine.runs import loaded_run, run_files
    from aiovirt.engine.sink import EngineSink
    from aiovirt.engine.store import Store
    from aiovirt.engine.timekeeping import watch_clock

    await to_thread.run_sync(load_log)  # later there may be no descriptor to do it with
    stack.enter_context(RESERVE.kept())
    store, runs = Store(DOMAIN, folders.definitions), run_files(folders.runs)
    loaded, left = await store.load(), await runs.load(loaded_run)
    host, boot, netns = await to_thread.run_sync(_identify)
    opened = await open_journal(
        folders.journal, host=host, boot_id=boot, uri=address.uri, mark=folders.journal_mark, seen=folders.journal_seen
    )
    bus = _bus(host, opened)
    journal = opened.journal or opened.later
    assert journal is not None
    stack.push_async_callback(journal.close, bus)
    stack.push_async_callback(_flush_last, runs)
    tasks = await _enter(stack, bus)
    tasks.start_soon(runs.write)
    tasks.start_soon(journal.keep, bus)
    tasks.start_soon(watch_clock, bus, journal)
    records = Records(bus, runs)
    sink = EngineSink(records)
    driver = await scheme.driver(Surroundings(sink, tasks, DriverFolders(folders.sockets, folders.logs, folders.guests)))
    devices = scheme.devices(bus.publish) if scheme.devices else _devices(bus, opened, boot, netns)
    engine = LocalEngine(address.uri, records, sink=sink, driver=driver, devices=devices, store=store)
    stack.push_async_callback(_end_owned, engine)
    _tell_start(bus, opened)
    recovery = engine.recovery
    recovery.restore(loaded, left)
    tasks.start_soon(engine.followed.run)
    await tasks.start(_watch_devices, engine)
    for run in await recovery.reattach(left.runs):
        tasks.start_soon(recovery.go_on, run)
    tasks.start_soon(recovery.find_left_out, tasks)
    tasks.start_soon(upkeep.follow_edits, engine.definitions, store)
    tasks.start_soon(upkeep.autostart, engine, folders.autostart_mark, boot)
    return engine


def _identify() -> tuple[UUID, str, int]:
    """Which host this is, in which boot, and where in its network; raises SystemFailure when that cannot be read now."""
    try:
        return host_uuid(), boot_id(), net_namespace()
    except OSError as error:
        raise SystemFailure(f"it is not known which host this is: {error.filename}: {error.strerror}") from error


def _bus(host: UUID, opened: Opened) -> Bus:
    return Bus(
        host=host,
        chain=opened.chain,
        head=opened.head,
        state=opened.state,
        last_time=opened.time,
        journal=opened.journal,
        new_waker=new_waker,
    )


def _devices(bus: Bus, opened: Opened, boot: str, netns: int) -> HostDevices:
    """Those that are known already are not published again, in the boot that they are of."""
    from aiovirt.hostdev.source import HostDevices

    goes_on = opened.started.resumed and opened.state.boot_id == boot != ""
    return HostDevices(
        bus.publish,
        known=opened.state.netdevs.values() if goes_on else (),
        known_pci=opened.state.pci.values() if goes_on else (),
        incarnation=opened.state.incarnation,
        begins=None if goes_on else _why_anew(opened.started),
        netns=netns,
    )


def _tell_start(bus: Bus, opened: Opened) -> None:
    bus.publish(opened.started)
    if opened.failure:
        bus.publish(JournalDegraded(why=opened.failure.encode(errors="backslashreplace").decode()))


def _why_anew(started: HostStarted) -> str | None:
    """Why all devices are published, or None on the very first start."""
    if started.clean is None:
        return None
    return "the host was booted since" if started.resumed else "what was known before is lost"


async def _enter(stack: AsyncExitStack, bus: Bus) -> TaskGroup:
    """The tasks of an engine; when the block is left they end, and then the streams."""
    stack.callback(bus.close)
    return (await stack.enter_async_context(Background())).group


async def _end_owned(engine: LocalEngine) -> None:
    """The engine takes no more calls, and the guests that live for it alone end."""
    with anyio.move_on_after(CLOSING_TIMEOUT, shield=True):
        await engine.close()


async def _flush_last(runs: RunFiles[RunRecord]) -> None:
    """What is still only noted of the runs goes to disk."""
    with anyio.move_on_after(CLOSING_TIMEOUT, shield=True):
        await runs.try_flush()


async def _watch_devices(engine: LocalEngine, *, task_status: TaskStatus[None]) -> None:
    await engine.devices.watch(task_status=task_status)


def _is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0
