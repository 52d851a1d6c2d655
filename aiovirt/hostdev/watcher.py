"""The watch over this host's network devices: it reads sockets, asks, and publishes; the thinking is in ``links``.

Two sockets are listened on, link messages and the kernel's uevents, and link messages are always read
first; all that were sent before a driver took or left a device are, before that is told. Questions
(:mod:`aiovirt.hostdev.survey`) go over other sockets, in worker threads, as they may wait seconds for a
lock that configuration holds; news of other devices goes on meanwhile.

When messages are lost, all links are asked for again, the differences are published, and then a
SourceResynced. A device that hangs from a bus device (a PCI function) is announced with its driver, for
which sysfs is read; if that takes more than ATTACH_WAIT it is announced without, and a NetdevChanged
follows. udev is not needed, nor any privilege.

A watch may go on from what one before it knew: all that its first inventory tells is then ``missed``.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Final

import anyio
import structlog
from anyio import TASK_STATUS_IGNORED, move_on_after
from anyio.abc import TaskStatus
from anyio.lowlevel import checkpoint
from msgspec import structs

from aiovirt.errors import Error, ProtocolError
from aiovirt.events.types import Event, NetdevEvent, SourceResynced, WatcherLost
from aiovirt.hostdev.drivers import driver_event
from aiovirt.hostdev.links import Links
from aiovirt.hostdev.survey import ask_about, ask_about_all
from aiovirt.model.netdev import Netdev
from aiovirt.system.background import Background
from aiovirt.system.netlink import KOBJECT_UEVENT, RECEIVE_BUFFER, ROUTE, RTNLGRP_LINK, UEVENT_KERNEL, NetlinkSocket, Overrun
from aiovirt.system.sysfs import Attachment, Sysfs
from aiovirt.wire import rtnetlink, uevent
from aiovirt.wire.rtnetlink import LinkMessage
from aiovirt.wire.uevent import Uevent

__all__ = ["watch_netdevs"]

ATTACH_WAIT: Final = 0.5
"""Seconds for which a new device's announcement waits for its driver."""

LINKS: Final = "rtnetlink"
UEVENTS: Final = "uevent"

_TURN: Final = 64  # messages read before others on the loop have a turn
_ASK_AT_ONCE: Final = 64  # devices a question is about

_log = structlog.wrap_logger(logging.getLogger("aiovirt.hostdev"))


async def watch_netdevs(  # noqa: PLR0913 - all but where to publish have a value that does
    publish: Callable[[Event], object],
    *,
    known: Iterable[Netdev] = (),
    incarnation: int = 0,
    begins: str | None = None,
    sysfs: Sysfs | None = None,
    receive_buffer: int = RECEIVE_BUFFER,
    task_status: TaskStatus[None] = TASK_STATUS_IGNORED,
) -> None:
    """Publishes this network namespace's devices, says it has started, and then publishes what changes, until cancelled.

    ``known`` are the devices as a watch before this one had them, since this boot: they keep their ids, and the first
    inventory tells only in what they differ, each event ``missed``. ``incarnation`` is the highest that any device ever
    had, those included; no new one is given it again. With ``begins``, SourceResynced with that reason is published when
    the first inventory is through.

    ``receive_buffer`` is what the kernel may queue for each socket, in bytes. When a source fails for
    good, WatcherLost is published and this returns (and says first that it has started, if it had not).
    """
    known = tuple(known)
    said = False

    def started() -> None:
        nonlocal said
        if not said:
            said = True
            task_status.started()

    try:
        async with _sockets(receive_buffer) as sockets:
            watch = _Watch(publish, sysfs or Sysfs(), *sockets, Links(known, incarnation=incarnation))
            await watch.begin(missed=bool(known), reason=begins)
            started()
            await watch.follow()
    except _SourceLostError as lost:
        publish(WatcherLost(source=lost.source, why=lost.why))
        started()


@asynccontextmanager
async def _sockets(receive_buffer: int) -> AsyncIterator[tuple[NetlinkSocket, NetlinkSocket]]:
    """Those for link messages and for uevents, which hear from now on."""
    links = NetlinkSocket(ROUTE, RTNLGRP_LINK, receive_buffer=receive_buffer)
    uevents = NetlinkSocket(KOBJECT_UEVENT, UEVENT_KERNEL, receive_buffer=receive_buffer)
    async with AsyncExitStack() as stack:
        with _source(LINKS):
            await stack.enter_async_context(links)
        with _source(UEVENTS):
            await stack.enter_async_context(uevents)
        yield links, uevents


class _Watch:
    """The tasks of one watch, and what they share."""

    def __init__(
        self, publish: Callable[[Event], object], sysfs: Sysfs, link_socket: NetlinkSocket, uevent_socket: NetlinkSocket, links: Links
    ) -> None:
        self._publish = publish
        self._sysfs = sysfs
        self._link_socket = link_socket
        self._uevent_socket = uevent_socket
        self._links = links
        self._missed = False  # whether what is told of devices happened while nobody was there
        self._heard: deque[Uevent] = deque()  # not looked at yet
        self._to_take = _Bell()
        self._holes: dict[str, str] = {}  # source -> why messages of it were lost
        self._to_ask = _Bell()
        self._to_announce = _Bell()

    async def begin(self, *, missed: bool, reason: str | None) -> None:
        """The first inventory."""
        self._missed = missed
        await self.resync()
        self._missed = False
        if reason is not None:
            self._publish(SourceResynced(source=LINKS, reason=reason))

    async def follow(self) -> None:
        """All that changes from then on."""
        async with Background() as tasks:
            tasks.group.start_soon(self.follow_links)
            tasks.group.start_soon(self.follow_uevents)
            tasks.group.start_soon(self.announce)
            await self.ask()

    async def follow_links(self) -> None:
        await self._link_socket.run(self._take_links)

    async def follow_uevents(self) -> None:
        async with Background() as tasks:
            tasks.group.start_soon(self._take_uevents)
            await self._uevent_socket.run(self._hear_uevents)

    async def announce(self) -> None:
        """Gives new devices their driver, and then the public."""
        while True:
            await self._to_announce.wait()
            while names := {ifindex: reading.name for ifindex, reading in self._links.waiting.items()}:
                await self._announce(names)

    async def _announce(self, names: Mapping[int, str]) -> None:
        found: Mapping[int, Attachment] = {}
        with self._links.asking() as asked:
            with move_on_after(ATTACH_WAIT):
                found = await self._sysfs.read_attachments(names)
        self._tell(self._links.attached(asked, names, found))

    async def ask(self) -> None:
        """Asks again: about everything where messages were lost, else about what hints have marked."""
        while True:
            await self._to_ask.wait()
            while self._holes or self._links.is_dirty:
                await (self.resync() if self._holes else self._refresh())

    async def resync(self) -> None:
        """Makes the inventory what is there now; says so where messages were lost."""
        told: dict[str, str] = {}
        while True:
            await self._catch_up()
            told = self._holes | told
            self._holes = {}
            self._links.clear_dirty()
            with _source(LINKS), self._links.asking() as asked:
                survey = await ask_about_all(self._sysfs, self._links.table.reading)
                await self._catch_up()
            if not asked.void:
                break
        self._tell(self._links.resynced(asked, survey))
        self._tell(SourceResynced(source=source, reason=reason) for source, reason in told.items())

    async def _refresh(self) -> None:
        await self._catch_up()
        ifindexes = self._links.take_dirty(_ASK_AT_ONCE)
        if not ifindexes:
            return
        with _source(LINKS), self._links.asking() as asked:
            survey = await ask_about(self._sysfs, ifindexes, self._links.table.reading)
            await self._catch_up()
        self._tell(self._links.refreshed(asked, survey))

    async def _catch_up(self) -> None:
        """Reads every link message that waits; when this returns none does, until the next await."""
        while self._take_links():
            await checkpoint()

    def _take_links(self) -> bool:
        """Reads a turn's worth of link messages; returns whether more may wait."""
        with _source(LINKS):
            return all(self._take_link() for _ in range(_TURN))

    def _take_link(self) -> bool:
        try:
            datagram = self._link_socket.receive_nowait()
            for message in rtnetlink.decode(datagram or b""):
                if isinstance(message, LinkMessage):
                    self._tell(self._links.message(message))
        except (Overrun, ProtocolError) as hole:
            self._links.lost()
            self._lost(LINKS, hole)
            return True
        return datagram is not None

    def _hear_uevents(self) -> None:
        """Takes in a turn's worth of uevents."""
        with _source(UEVENTS):
            for _ in range(_TURN):
                if not self._hear_uevent():
                    return

    def _hear_uevent(self) -> bool:
        try:
            datagram = self._uevent_socket.receive_nowait()
            heard = uevent.parse(datagram) if datagram is not None else None
        except (Overrun, ProtocolError) as hole:
            self._lost(UEVENTS, hole)
            return True
        if heard is not None:
            self._heard.append(heard)
            self._to_take.ring()
        return datagram is not None

    async def _take_uevents(self) -> None:
        """What link messages told before a uevent came is read before it is looked at."""
        while True:
            await self._to_take.wait()
            while self._heard:
                self._take_links()
                for _ in range(min(_TURN, len(self._heard))):
                    await self._take(self._heard.popleft())
                await checkpoint()

    async def _take(self, heard: Uevent) -> None:
        if told := driver_event(heard):
            await self._catch_up()
            self._tell([told])
        self._links.hint(heard)
        self._ring()

    def _lost(self, source: str, hole: Overrun | ProtocolError) -> None:
        reason = hole.reason if isinstance(hole, Overrun) else str(hole)
        _log.debug("messages were lost", source=source, reason=reason)
        self._holes.setdefault(source, reason)
        self._to_ask.ring()

    def _tell(self, events: Iterable[Event]) -> None:
        for event in events:
            self._publish(structs.replace(event, missed=True) if self._missed and isinstance(event, NetdevEvent) else event)
        self._ring()

    def _ring(self) -> None:
        if self._links.waiting:
            self._to_announce.ring()
        if self._links.is_dirty:
            self._to_ask.ring()


class _Bell:
    """Rung as often as one likes, it wakes its one waiter once."""

    def __init__(self) -> None:
        self._event = anyio.Event()

    def ring(self) -> None:
        self._event.set()

    async def wait(self) -> None:
        await self._event.wait()
        self._event = anyio.Event()


class _SourceLostError(Exception):
    """A source cannot be heard any more."""

    def __init__(self, source: str, why: str) -> None:
        super().__init__(why)
        self.source = source
        self.why = why


@contextmanager
def _source(name: str) -> Iterator[None]:
    """Within the block our own errors end the watch, in this source's name."""
    try:
        yield
    except Error as error:
        raise _SourceLostError(name, str(error)) from error
