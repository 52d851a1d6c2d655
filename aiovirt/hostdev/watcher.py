"""The watch over this host's devices: it reads sockets, asks, and publishes; the thinking is in ``links`` and ``functions``.

Two sockets are listened on, link messages and the kernel's uevents, and link messages are always read
first; all that were sent before a function went, or a driver took or left a device, are before that is published. Questions
(:mod:`aiovirt.hostdev.survey`) go over other sockets, in worker threads, as they may wait seconds for a
lock that configuration holds; events of other devices go on meanwhile.

When messages are lost, all is asked for again, the differences are published, and then a
SourceResynced. A device that hangs from a bus device (a PCI function) is announced after that one and with its driver, for
which sysfs is read; if that takes more than ATTACH_WAIT it is announced without, and a NetdevChanged
follows. udev is listened to where it runs; neither it nor any privilege is needed.

A watch may go on from what one before it knew: all that its first inventory finds is then ``missed``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from time import monotonic
from typing import Final

import anyio
from anyio import TASK_STATUS_IGNORED, move_on_after
from anyio.abc import TaskStatus
from anyio.lowlevel import checkpoint
from msgspec import structs

from aiovirt.errors import Error, NoSuchDevice, ProtocolError, SystemFailure
from aiovirt.events.types import DeviceEvent, Event, PCIChanged, SourceMissing, SourceResynced, WatcherLost
from aiovirt.hostdev.drivers import driver_event
from aiovirt.hostdev.functions import address_of
from aiovirt.hostdev.links import Links
from aiovirt.hostdev.pci import PCIWatch
from aiovirt.hostdev.survey import Questions
from aiovirt.hostdev.turns import TURN, Bell, one_turn
from aiovirt.hostdev.udev import UdevWatch
from aiovirt.model.netdev import Netdev
from aiovirt.model.pci import PCIDevice
from aiovirt.system.again import is_passing
from aiovirt.system.background import Background
from aiovirt.system.log import get_logger
from aiovirt.system.netlink import KOBJECT_UEVENT, RECEIVE_BUFFER, ROUTE, RTNLGRP_LINK, UEVENT_KERNEL, NetlinkSocket, Overrun
from aiovirt.system.pci import PCIBus
from aiovirt.system.sysfs import Attachment, Sysfs
from aiovirt.system.udev import UdevMonitor
from aiovirt.wire import rtnetlink, uevent
from aiovirt.wire.rtnetlink import LinkMessage, LinkReader
from aiovirt.wire.uevent import Uevent

__all__ = ["LINKS", "SourceLostError", "Watch"]

ATTACH_WAIT: Final = 0.5
"""Seconds for which a new device's announcement waits for its driver."""

LINKS: Final = "rtnetlink"
UEVENTS: Final = "uevent"
UDEV: Final = "udev"

MOST_UEVENTS: Final = 65_536
"""Uevents that may wait while sysfs is read."""

_ASK_AT_ONCE: Final = 64  # devices a question is about

_log = get_logger("hostdev")


class Watch:
    """``await Watch(publish).run()``: this network namespace's devices and this host's PCI functions, live.

    ``known`` and ``known_pci`` are the devices as a watch before this one had them, since this boot: they keep their ids,
    and the first inventory publishes only in what they differ, each event ``missed``. ``incarnation`` is the highest that any
    network device ever had, those included; no new one is given it again. With ``begins``, SourceResynced with that reason
    is published when the first inventory is through.

    ``netns`` is this namespace's number (:class:`Netdev`). ``receive_buffer`` is what the kernel may queue for each socket,
    in bytes.
    """

    def __init__(  # noqa: PLR0913 - all but where to publish have a value that does
        self,
        publish: Callable[[Event], object],
        *,
        known: Iterable[Netdev] = (),
        known_pci: Iterable[PCIDevice] = (),
        incarnation: int = 0,
        begins: str | None = None,
        netns: int = 0,
        sysfs: Sysfs | None = None,
        bus: PCIBus | None = None,
        receive_buffer: int = RECEIVE_BUFFER,
    ) -> None:
        self._publish = publish
        self._sysfs = sysfs or Sysfs()
        self._receive_buffer = receive_buffer
        self._link_socket = NetlinkSocket(ROUTE, RTNLGRP_LINK, receive_buffer=receive_buffer)
        self._uevent_socket = NetlinkSocket(KOBJECT_UEVENT, UEVENT_KERNEL, receive_buffer=receive_buffer)
        self._reader = LinkReader()
        self._heard_links = 0.0  # when, on a clock of its own
        self._links = Links(known := tuple(known), incarnation=incarnation, netns=netns)
        self._questions = Questions(self._sysfs, self._links.table.get)
        self._netns, self._bus = netns, bus or PCIBus()
        self._pci = PCIWatch(self._publish_all, self._catch_up_uevents, self._bus, self._mark_unlocked, known_pci := tuple(known_pci))
        self._goes_on = bool(known or known_pci)
        self._begins = begins
        self._missed = False  # whether what is published of devices happened while nobody was there
        self._uevents: deque[Uevent] = deque()  # not looked at yet
        self._taking = anyio.Lock()
        self._to_take = Bell()
        self._holes: dict[str, str] = {}  # source -> why messages of it were lost
        self._asking = anyio.Lock()
        self._to_ask = Bell()
        self._to_announce = Bell()
        self._to_read_udev = Bell()

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Publishes the inventory, says it has started, and then publishes what changes, until cancelled.

        When a source fails for good, WatcherLost is published and this returns (and says first that it has started, if it
        had not).
        """
        said = False

        def started() -> None:
            nonlocal said
            if not said:
                said = True
                task_status.started()

        try:
            await self.follow(started)
        except SourceLostError as lost:
            self._publish(WatcherLost(source=lost.source, why=lost.why))
            started()

    async def follow(self, started: Callable[[], object]) -> None:
        """The same, but that SourceLostError is raised when a source fails for good."""
        async with AsyncExitStack() as stack:
            for name, opened in ((LINKS, self._link_socket), (UEVENTS, self._uevent_socket)):
                with _source(name):
                    await stack.enter_async_context(opened)
            with _source(UDEV):
                udev = await self._open_udev(stack)
            await self._begin()
            started()
            await self._follow(udev)

    def successor(self, begins: str) -> Watch:
        """A watch that goes on from what this one knew when it ended."""
        return Watch(
            self._publish,
            known=self._links.table,
            known_pci=self._pci.functions,
            incarnation=self._links.table.incarnation,
            begins=begins,
            netns=self._netns,
            sysfs=self._sysfs,
            bus=self._bus,
            receive_buffer=self._receive_buffer,
        )

    def find(self, subject: str) -> Netdev | PCIDevice | None:
        """The device as last published, or None."""
        source, _, name = subject.partition("/")
        if source == "pci":
            return self._pci.functions.get(name)
        return next((netdev for netdev in self._links.table if netdev.id == name), None)

    def name_of(self, name: str) -> str:
        """The name of the device that has this altname, as last published; else the same: sysfs knows no altnames."""
        netdevs = tuple(self._links.table)
        if any(netdev.name == name for netdev in netdevs):
            return name
        return next((netdev.name for netdev in netdevs if name in netdev.altnames), name)

    async def refresh(self, subject: str) -> None:
        """Asks about one device now, and publishes in what it differs. Raises SystemFailure, also once the watch is over.

        ``name/NAME`` is the network device that the kernel knows by this name or altname; raises NoSuchDevice where it knows none.
        """
        source, _, name = subject.partition("/")
        try:
            if source == "pci":
                await self._pci.refresh(name)
            elif source == "name":
                await self._refresh_named(name)
            else:
                await self._refresh_link(int(name.partition(".")[0]))
        except (SourceLostError, anyio.ClosedResourceError) as over:
            raise SystemFailure(f"devices are not watched any more: {over}", subject=subject) from over

    def recheck(self, name: str, phys_port_id: str | None) -> None:
        """It was read of a device by this name: where another one is known, the device is asked about."""
        for netdev in self._links.table:
            if netdev.name == name and netdev.phys_port_id != phys_port_id:
                self._links.mark(netdev.ifindex)
        self._ring()

    # -- tasks ---------------------------------------------------------------------------------

    async def _open_udev(self, stack: AsyncExitStack) -> UdevWatch | None:
        """The watch over udev, hearing from now on; says so where there is none."""
        try:
            monitor = await stack.enter_async_context(UdevMonitor(receive_buffer=self._receive_buffer))
        except SystemFailure as failure:
            if is_passing(failure):
                raise
            self._publish(SourceMissing(source=UDEV, why=str(failure)))
            return None
        self._links.udev = True
        return UdevWatch(monitor, self._publish_all, self._catch_up_all, self._links, self._pci.functions, self._to_read_udev)

    async def _begin(self) -> None:
        """The first inventory: functions before what hangs from them."""
        self._missed = self._goes_on
        await self._pci.resync()
        await self._resync()
        self._missed = False
        if self._begins is not None:
            self._publish(SourceResynced(source=LINKS, reason=self._begins))

    async def _follow(self, udev: UdevWatch | None) -> None:
        """All that changes from then on."""
        async with Background() as tasks:
            for task in (
                self._follow_links,
                self._follow_uevents,
                self._take_uevents,
                self._announce,
                self._pci.ask,
                self._pci.await_locks,
            ):
                tasks.group.start_soon(task)
            if udev is not None:
                tasks.group.start_soon(udev.run)
            await self._ask()

    async def _follow_links(self) -> None:
        await self._link_socket.run(self._read_links)

    async def _follow_uevents(self) -> None:
        await self._uevent_socket.run(self._read_uevents)

    async def _take_uevents(self) -> None:
        while True:
            await self._to_take.wait()
            await self._take_heard()

    async def _announce(self) -> None:
        """Gives new devices what they hang from, and then the public."""
        while True:
            await self._to_announce.wait()
            while names := {ifindex: reading.name for ifindex, reading in self._links.waiting.items()}:
                await self._announce_some(names)

    async def _announce_some(self, names: Mapping[int, str]) -> None:
        found: Mapping[int, Attachment] = {}
        with self._links.asking() as asked:
            with move_on_after(ATTACH_WAIT):
                found = await self._sysfs.read_attachments(names)
                await self._catch_up_uevents()  # the functions that they hang from come first
            await self._catch_up()  # who was renamed meanwhile is asked about by that name
        self._publish_all(self._links.attached(asked, names, found))

    async def _ask(self) -> None:
        """Asks again: about everything where messages were lost, else about what has been marked."""
        while True:
            await self._to_ask.wait()
            while self._holes or self._links.is_dirty:
                await (self._resync() if self._holes else self._refresh())

    # -- asking --------------------------------------------------------------------------------

    async def _resync(self) -> None:
        """Makes the inventory what is there now; says so where messages were lost."""
        reasons: dict[str, str] = {}
        async with self._asking:
            while True:
                await self._catch_up()
                reasons = self._holes | reasons
                self._holes = {}
                if UEVENTS in reasons:
                    await self._pci.resync()
                self._links.clear_dirty()
                with _source(LINKS), self._links.asking() as asked:
                    survey = await self._questions.about_all()
                    await self._catch_up()
                if not asked.void:
                    break
            self._publish_all(self._links.resynced(asked, survey))
        self._publish_all(SourceResynced(source=source, reason=reason) for source, reason in reasons.items())
        if reasons:
            self._to_read_udev.ring()  # its word on a device that was not known yet was about nobody

    async def _refresh(self) -> None:
        async with self._asking:
            await self._catch_up()
            if ifindexes := self._links.take_dirty(_ASK_AT_ONCE):
                with _source(LINKS):
                    await self._ask_about(ifindexes)

    async def _refresh_link(self, ifindex: int) -> None:
        async with self._asking:
            await self._catch_up()
            await self._ask_about([ifindex])

    async def _refresh_named(self, name: str) -> None:
        """An altname that is given to a device which is down is in no message."""
        with _source(LINKS):
            ifindex = await self._questions.number_of(name)
        if ifindex is None:
            raise NoSuchDevice(f"no network device is named {name!r}")
        await self._refresh_link(ifindex)

    async def _ask_about(self, ifindexes: Iterable[int]) -> None:
        with self._links.asking() as asked:
            survey = await self._questions.about(ifindexes)
            answered = list(survey.readings)
            while answered:
                await self._catch_up()
                for _ in one_turn():
                    self._publish_all(self._links.refreshed(asked, survey, [answered.pop()] if answered else []))
                await checkpoint()

    # -- hearing -------------------------------------------------------------------------------

    async def _catch_up(self) -> None:
        """Reads every link message that waits; when this returns none does, until the next await."""
        while self._take_links():
            await checkpoint()

    async def _catch_up_uevents(self) -> None:
        """Takes every uevent that waits, those too that were sent before the last link message that was read on the way."""
        while True:
            while self._read_uevents():
                await checkpoint()
            if not self._uevents:
                return
            await self._take_heard()

    async def _catch_up_all(self) -> None:
        """What udev speaks of is known then; and of each link, the uevent with which it began."""
        await self._catch_up()
        await self._catch_up_uevents()

    def _read_links(self) -> None:
        """A message that comes alone is published before another is looked for: this is called again while something is left."""
        before, self._heard_links = self._heard_links, monotonic()
        if self._heard_links - before < TURN:
            self._take_links()
        else:
            self._take_link()

    def _take_links(self) -> bool:
        """Reads a turn's worth of link messages; returns whether more may wait."""
        return all(self._take_link() for _ in one_turn())

    def _take_link(self) -> bool:
        try:
            datagram = self._link_socket.receive_nowait()
            for message in rtnetlink.decode(datagram or b"", body=self._reader.body):
                if isinstance(message, LinkMessage):
                    if message.parent_dev_name is not None:
                        self._mark_physical(message)
                    self._publish_all(self._links.message(message))
        except (Overrun, ProtocolError) as hole:
            self._links.lost()
            self._lost(LINKS, hole)
            return True
        except Error as error:
            raise SourceLostError(LINKS, str(error)) from error
        return datagram is not None

    def _read_uevents(self) -> bool:
        """Takes in a turn's worth of uevents; returns whether more may wait."""
        return all(self._read_uevent() for _ in one_turn())

    def _read_uevent(self) -> bool:
        try:
            datagram = self._uevent_socket.receive_nowait()
            event = uevent.parse(datagram) if datagram is not None else None
        except (Overrun, ProtocolError) as hole:
            self._lost(UEVENTS, hole)
            return True
        except Error as error:
            raise SourceLostError(UEVENTS, str(error)) from error
        if event is not None:
            self._keep(event)
        return datagram is not None

    def _keep(self, event: Uevent) -> None:
        """For its turn. Where too many wait for that, they are dropped: all is read again, and that is published."""
        self._uevents.append(event)
        if len(self._uevents) > MOST_UEVENTS:
            in_hand = self._uevents[0]
            self._uevents.clear()
            self._uevents.append(in_hand)
            self._lost(UEVENTS, Overrun("QUEUE"))
        self._to_take.ring()

    async def _take_heard(self) -> None:
        """What link messages said before a uevent came is read before that is looked at."""
        async with self._taking:
            while self._uevents:
                self._take_links()
                for _ in one_turn():
                    if not self._uevents:
                        break
                    await self._take(self._uevents[0])
                    self._uevents.popleft()  # only now: who is cancelled on the way leaves it to the next
                await checkpoint()

    async def _take(self, event: Uevent) -> None:
        if address := address_of(event):
            await self._catch_up()
            await self._pci.take(event, address)
        elif published := driver_event(event):
            await self._catch_up()
            self._publish_all([published])
        self._links.hint(event)
        self._ring()

    def _lost(self, source: str, hole: Overrun | ProtocolError) -> None:
        reason = hole.reason if isinstance(hole, Overrun) else str(hole)
        _log.debug("messages were lost", source=source, reason=reason)
        self._holes.setdefault(source, reason)
        self._to_ask.ring()

    # -- publishing ----------------------------------------------------------------------------

    def _publish_all(self, events: Iterable[Event]) -> None:
        for event in events:
            if isinstance(event, PCIChanged) and event.old.vfs != event.new.vfs:
                self._links.mark_function(event.new.address)
            self._publish(structs.replace(event, missed=True) if self._missed and isinstance(event, DeviceEvent) else event)
        self._ring()

    def _mark_physical(self, message: LinkMessage) -> None:
        """What the owner of a virtual function sets is a setting of its physical one too, which is in no message."""
        netdev = self._links.table.get(message.ifindex)
        function = self._pci.functions.get(netdev.pci) if netdev is not None and netdev.pci is not None else None
        if function is not None and function.physfn is not None:
            self._links.mark_function(function.physfn)

    def _mark_unlocked(self, functions: Iterable[str]) -> None:
        for function in functions:
            self._links.mark_function(function)
        self._ring()

    def _ring(self) -> None:
        if self._links.waiting:
            self._to_announce.ring()
        if self._links.is_dirty:
            self._to_ask.ring()


class SourceLostError(Exception):
    """A source cannot be read any more, ``why`` in words; what was raised there is its cause."""

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
        raise SourceLostError(name, str(error)) from error
