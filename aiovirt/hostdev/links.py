"""Link messages, hints and surveys, joined by identity into one inventory.

Pure: the watcher reads sockets and files, and hands in what they said. Four things arrive here, in
any order: link messages (the truth about links, in the kernel's order), uevents (hints that something
may have changed that no message says so), udev's words (it has finished with a device), and answers to questions that were
asked meanwhile.

Some attributes are in no message (speed, what is set for VFs, the driver): they are asked for when a message gives reason
to, and stay as they were until then.

An answer is older or newer than the messages that came in while it was on its way, and nobody can
tell which. So a question is a :class:`Round`, opened when every message sent before it has been
read: a device of which a message came during the round is as that message says, and only of the
others is the answer news. With that, no device flickers, and none comes back from the dead.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from msgspec import Struct, structs

from aiovirt.events.types import DeviceEvent, DeviceInitialized, NetdevEvent
from aiovirt.hostdev.inventory import MAX_AWAY, NetdevTable, parents_first
from aiovirt.model.netdev import LinkFlags, Netdev, OperState, Unreadable
from aiovirt.system.sysfs import Attachment
from aiovirt.wire.rtnetlink import AF_UNSPEC, LinkMessage
from aiovirt.wire.uevent import Uevent

__all__ = ["ATTRIBUTES", "Links", "Round", "Survey", "reading_of_link", "reading_of_sysfs"]

ATTRIBUTES: Final = (
    "address",
    "mtu",
    "flags",
    "operstate",
    "carrier",
    "carrier_changes",
    "iflink",
    "master/ifindex",
    "phys_port_id",
    "phys_port_name",
    "phys_switch_id",
)
"""What :func:`reading_of_sysfs` is made of."""

_MAX_IFINDEX: Final = 2**31 - 1
_UNKNOWN: Final = Netdev(ifindex=0, name="")
_NOT_INITIALIZED: Final = Netdev(ifindex=0, name="", initialized=False)
_UP: Final = int(LinkFlags.UP)
_HUNG: Final = ("driver", "pci", "dev_port")
_OF_THE_LINK: Final = int(LinkFlags.UP | LinkFlags.RUNNING | LinkFlags.LOWER_UP)
_UPON: Final = frozenset({"vlan", "macvlan", "macvtap", "ipvlan", "ipvtap", "macsec", "ipoib"})
"""Kinds of links that lie upon another one for as long as they are there."""
_NO_NSID: Final = -1  # NETNSA_NSID_NOT_ASSIGNED in linux/net_namespace.h
_TOLD_BY_MESSAGES: Final = frozenset({"add", "move"})
_DATING: Final = frozenset({"add", "remove"})


class Survey(Struct, frozen=True, kw_only=True):
    """An answer: ``readings`` by ifindex (None: there is no such device) and what they hang from, where it could be read.

    What the readings hang from is not filled in: that is what ``attachments`` are for.
    """

    readings: Mapping[int, Netdev | None]
    attachments: Mapping[int, Attachment]


class Round:
    """A question on its way: of which devices messages came since it was asked, and whether messages were lost."""

    def __init__(self) -> None:
        self.touched: set[int] = set()
        self.removed: set[int] = set()
        self.void = False


class Links:
    """The fold. Methods that return events have changed the table accordingly; publish them in that order.

    A device that hangs from a bus device waits, unannounced, for :meth:`attached` to tell its driver. It is
    announced without one as soon as another device's events refer to it, or when it goes.

    ``known``, ``incarnation`` and ``netns`` are what a :class:`NetdevTable` begins with. ``udev`` is whether a udevd runs.
    """

    def __init__(self, known: Iterable[Netdev] = (), *, incarnation: int = 0, netns: int = 0, udev: bool = False) -> None:
        self.table = NetdevTable(known, incarnation=incarnation, netns=netns)
        self.udev = udev
        self.waiting: dict[int, Netdev] = {}
        """Devices seen and not announced yet, as last read."""
        self._dirty: set[int] = set()  # numbers of devices to ask about
        self._hinted: set[int] = set()  # … unless a message tells of them first
        self._parents: dict[int, str] = {}
        self._unread: set[int] = set()  # what these hang from could not be read
        self._added: dict[int, int] = {}  # ifindex -> seqnum of the uevent with which it began
        self._lowers: set[int] = set()  # numbers of devices of which no message says so what they mean to those that lie upon them
        self._left_behind: dict[int, set[int]] = {}  # number of a device elsewhere -> those that lay upon it
        self._adrift: set[int] = set()  # those that lie upon a device elsewhere, whatever its number here was or will be
        self._functions: set[str] = set()  # PCI functions whose network devices are to be asked about
        self._rounds: list[Round] = []

    # -- news ----------------------------------------------------------------------------------

    def message(self, message: LinkMessage) -> list[NetdevEvent]:
        """A link message, in the order in which the kernel sent it."""
        if message.family != AF_UNSPEC or message.wireless:
            return []
        for asked in self._rounds:
            asked.touched.add(message.ifindex)
        if not message.removed:
            if message.link == 0:  # half of a pair that is being made: no message says so of the other one
                self._dirty.add(message.ifindex)
            return self._seen(self._described(message))
        return self._left(message) if message.moved else self._gone(message.ifindex)

    def hint(self, uevent: Uevent) -> None:
        """A uevent: marks as dirty what it may tell of."""
        if uevent.subsystem == "net":
            self._hint_netdev(uevent)
        else:
            parent = uevent.devpath.rpartition("/")[2]
            self._dirty |= {ifindex for ifindex, name in self._parents.items() if name == parent}

    def mark(self, ifindex: int) -> None:
        """The device of this number may be another way than it was: it is asked about."""
        self._dirty.add(ifindex)

    def mark_function(self, address: str) -> None:
        """What is set for the virtual functions of this PCI function may be another way: its network devices are asked about."""
        self._functions.add(address)

    def initialized(self, ifindex: int, seqnum: int, properties: dict[str, str]) -> list[DeviceEvent]:
        """udev has finished with the device that the kernel's uevent ``seqnum`` was about; said again, its properties changed.

        Nothing when that device is gone, though another one have its number now.
        """
        if seqnum < self._added.get(ifindex, 0):
            return []
        events: list[DeviceEvent] = [*self._announce_unread(ifindex)]
        known = self.table.get(ifindex)
        if known is not None and known.initialized:
            return [*events, *self.table.observe(structs.replace(known, properties=properties))]
        netdev = self.table.initialize(ifindex, properties)
        return [*events, DeviceInitialized(netdev=netdev, properties=properties)] if netdev is not None else events

    def lost(self) -> None:
        """Messages were lost: what is being asked now cannot be distinguished from what came after."""
        for asked in self._rounds:
            asked.void = True

    # -- questions and answers -----------------------------------------------------------------

    @property
    def is_dirty(self) -> bool:
        """Whether :meth:`take_dirty` may have something."""
        return bool(self._dirty or self._hinted or self._lowers or self._functions)

    def take_dirty(self, most: int) -> list[int]:
        """Up to so many numbers of devices to ask about, once all messages are read: what those report needs no question."""
        self._dirty |= {ifindex for ifindex in self._hinted if self._current(ifindex) is None}
        self._hinted.clear()
        self._mark_dependents()
        return [self._dirty.pop() for _ in range(min(most, len(self._dirty)))]

    def clear_dirty(self) -> None:
        """All devices are about to be asked about."""
        self._mark_dependents()
        self._dirty.clear()
        self._hinted.clear()

    @contextmanager
    def asking(self) -> Iterator[Round]:
        """A round, open within the block. Ask when all messages are read; read them all again before using the answer."""
        asked = Round()
        self._rounds.append(asked)
        try:
            yield asked
        finally:
            self._rounds.remove(asked)

    def attached(self, asked: Round, names: Mapping[int, str], attachments: Mapping[int, Attachment]) -> list[NetdevEvent]:
        """Announces devices that waited, by the names they were asked under. Who was renamed meanwhile waits on."""
        events: list[NetdevEvent] = []
        for ifindex, name in names.items():
            reading = self.waiting.get(ifindex)
            if reading is None or ifindex in asked.removed:
                continue
            if ifindex in attachments:
                events += self._announce(self._hung(reading, attachments))
            elif reading.name == name:
                events += self._announce_unread(ifindex)
        return events

    def refreshed(self, asked: Round, survey: Survey, ifindexes: Iterable[int] | None = None) -> list[NetdevEvent]:
        """What was asked about single devices; with ``ifindexes``, what the survey says of these."""
        events: list[NetdevEvent] = []
        for ifindex in survey.readings if ifindexes is None else ifindexes:
            answer = survey.readings[ifindex]
            outdated = asked.void or ifindex in asked.touched
            reading = self._current(ifindex) if outdated else answer
            if outdated and reading is not None and answer is not None and ifindex not in self._dirty:
                reading = _with_answer(reading, answer)
            if reading is not None and ifindex not in asked.removed:
                self._note_unread(reading, answer, survey.attachments)
                events += self._announce(self._hung(reading, survey.attachments))
            elif not outdated:
                events += self._gone(ifindex)
        return events

    def resynced(self, asked: Round, survey: Survey) -> list[NetdevEvent]:
        """What was asked about all devices: those that the survey does not have are gone."""
        events = [event for ifindex in asked.touched & self.waiting.keys() for event in self._announce_unread(ifindex)]
        self.waiting.clear()
        known = {netdev.ifindex: netdev for netdev in self.table if netdev.ifindex in asked.touched}
        readings = {ifindex: reading for ifindex, reading in survey.readings.items() if ifindex not in asked.touched} | known
        there = [reading for reading in readings.values() if reading is not None]
        for reading in there:
            self._note_unread(reading, survey.readings.get(reading.ifindex), survey.attachments)
        current = [self._hung(reading, survey.attachments) for reading in there]
        self._adrift = {reading.ifindex for reading in current if _is_adrift(reading)}
        self._parents = {reading.ifindex: reading.parent for reading in current if reading.parent is not None}
        return events + self.table.sync(current)

    # -- inside --------------------------------------------------------------------------------

    def _mark_dependents(self) -> None:
        """One look for all that was reported since the last one: who lies upon these, and who hangs from those."""
        if not (self._lowers or self._functions):
            return
        for netdev in self.table:
            if netdev.link in self._lowers:
                self._dirty.add(netdev.ifindex)
                if netdev.link not in self.table:
                    self._left_behind.setdefault(netdev.link, set()).add(netdev.ifindex)
            if netdev.pci in self._functions:
                self._dirty.add(netdev.ifindex)
        self._lowers.clear()
        self._functions.clear()
        while len(self._left_behind) > MAX_AWAY:
            del self._left_behind[next(iter(self._left_behind))]

    def _arrived(self, reading: Netdev) -> None:
        """Of others that name each other with it, or lay upon it before it left, no message says so."""
        self._dirty |= self._left_behind.pop(reading.ifindex, set()) | self._adrift
        other = self.table.get(reading.link) if reading.link is not None else None
        if other is not None and other.kind == reading.kind and other.link != reading.ifindex:
            self._dirty.add(other.ifindex)

    def _described(self, message: LinkMessage) -> Netdev:
        """What a message says of a device, and as known what no message says; that is asked for where it may have changed."""
        known = current = self._current(message.ifindex)
        if known is None or known.kind != message.kind or known.parent != message.parent_dev_name:
            known = self._known(reading_of_link(message))
        reading = reading_of_link(message, known or self._new)
        if _needs_asking(known, reading) or message.ifindex in self._unread:
            self._dirty.add(reading.ifindex)
        if current is None:
            self._arrived(reading)
        elif current.mac != reading.mac:  # in some modes it is also that of a device upon it
            self._lowers.add(reading.ifindex)
        return reading

    def _seen(self, reading: Netdev) -> list[NetdevEvent]:
        ifindex = reading.ifindex
        if reading.parent is not None:
            self._parents[ifindex] = reading.parent
        if reading.parent is None or reading.driver is not None or ifindex in self.table:
            return self._announce(reading)
        self.waiting[ifindex] = reading
        return []

    def _gone(self, ifindex: int) -> list[NetdevEvent]:
        return self._ending(ifindex) + self.table.remove(ifindex)

    def _left(self, message: LinkMessage) -> list[NetdevEvent]:
        self._lowers.add(message.ifindex)
        nsid = message.new_netnsid if message.new_netnsid != _NO_NSID else None
        return self._ending(message.ifindex) + self.table.leave(message.ifindex, nsid=nsid, new_ifindex=message.new_ifindex)

    def _ending(self, ifindex: int) -> list[NetdevEvent]:
        """What comes before the end of a device: it is announced if it waited, and no answer is about it any more."""
        events = self._announce_unread(ifindex)
        for asked in self._rounds:
            asked.removed.add(ifindex)
        self._dirty.discard(ifindex)
        self._hinted.discard(ifindex)
        self._parents.pop(ifindex, None)
        self._unread.discard(ifindex)
        self._adrift.discard(ifindex)
        self._added.pop(ifindex, None)
        return events

    def _announce(self, reading: Netdev) -> list[NetdevEvent]:
        """Into the table, after those that it refers to."""
        if _is_adrift(reading):
            self._adrift.add(reading.ifindex)
        elif self._adrift:
            self._adrift.discard(reading.ifindex)
        if not self.waiting:
            return self.table.observe(reading)
        self.waiting.pop(reading.ifindex, None)
        upon = [self.waiting[ifindex] for ifindex in (reading.link, reading.master) if ifindex in self.waiting]
        events = [event for other in parents_first(upon) for event in self._announce_unread(other.ifindex)]
        return events + self.table.observe(reading)

    def _announce_unread(self, ifindex: int) -> list[NetdevEvent]:
        """A device that waited, as far as it is known; the rest is asked for."""
        reading = self.waiting.pop(ifindex, None)
        if reading is None:
            return []
        self._dirty.add(ifindex)
        return self._announce(reading)

    def _hint_netdev(self, uevent: Uevent) -> None:
        ifindex = _number(uevent.env.get("IFINDEX"))
        if ifindex is None or not 0 < ifindex <= _MAX_IFINDEX:
            return
        if uevent.is_synthetic:  # it happened to nothing, and no message comes with it
            self._dirty.add(ifindex)
            return
        self._date(ifindex, uevent)
        if uevent.action in _TOLD_BY_MESSAGES:
            self._hinted.add(ifindex)
        elif uevent.action != "remove" or self._current(ifindex):
            self._dirty.add(ifindex)

    def _date(self, ifindex: int, uevent: Uevent) -> None:
        """What udev says of anything before this uevent is about a device that had the number earlier."""
        if uevent.action == "remove" and self._current(ifindex) is None:
            self._added.pop(ifindex, None)
        elif uevent.action in _DATING:
            self._added[ifindex] = uevent.seqnum

    def _current(self, ifindex: int) -> Netdev | None:
        return self.waiting.get(ifindex) or self.table.get(ifindex)

    def _known(self, reading: Netdev) -> Netdev | None:
        """The same device as last known; one that went to another namespace takes all with it, and brings it back."""
        known = self._current(reading.ifindex) or self.table.away(reading)
        return known if known is not None and (known.kind, known.parent) == (reading.kind, reading.parent) else None

    @property
    def _new(self) -> Netdev:
        """What is known of a device of which nothing is."""
        return _NOT_INITIALIZED if self.udev else _UNKNOWN

    def _hung(self, reading: Netdev, attachments: Mapping[int, Attachment]) -> Netdev:
        """With what it hangs from: as just read from below the same bus device, or else as known; and with udev's word."""
        attachment = attachments.get(reading.ifindex)
        known = self._known(reading)
        if attachment is not None and attachment.parent == reading.parent:
            hung = {"driver": attachment.driver, "pci": attachment.pci, "dev_port": attachment.dev_port}
        else:
            hung = {field: getattr(known or reading, field) for field in _HUNG}
        return structs.replace(reading, **hung, **self._by_udev(known))

    def _note_unread(self, reading: Netdev, asked_as: Netdev | None, attachments: Mapping[int, Attachment]) -> None:
        """sysfs is read by name: of who had another one by then nothing was read. The next answer is asked for under its new one."""
        if reading.parent is None or reading.ifindex in attachments:
            self._unread.discard(reading.ifindex)
            return
        self._unread.add(reading.ifindex)  # asked about when a message tells the name: in sysfs the kernel renames first
        if asked_as is not None and asked_as.name != reading.name:
            self._dirty.add(reading.ifindex)

    def _by_udev(self, known: Netdev | None) -> dict[str, object]:
        known = known or self._new
        return {"initialized": known.initialized, "properties": known.properties}


def _is_adrift(reading: Netdev) -> bool:
    """Whether it has to lie upon another device, and that is in another namespace."""
    return reading.link is None and reading.kind in _UPON


def _needs_asking(known: Netdev | None, reading: Netdev) -> bool:
    """Whether a message gives reason to ask for what no message reports: speed and duplex of a link, settings of VFs."""
    if known is None:
        return reading.is_up
    if known.vfs:
        return True
    return reading.is_up and _link_of(known) != _link_of(reading)


def _link_of(device: Netdev) -> tuple[object, ...]:
    return device.flags & _OF_THE_LINK, device.carrier_changes, device.operstate, device.carrier


def _with_answer(reading: Netdev, answer: Netdev) -> Netdev:
    """A device as messages told since, with what only the answer tells."""
    described = structs.replace(reading, vfs=answer.vfs)
    return structs.replace(described, speed=answer.speed, duplex=answer.duplex) if reading.is_up else described


def reading_of_link(message: LinkMessage, known: Netdev | None = None) -> Netdev:
    """What a link message says of a device; with ``known``, the same device as it was, also what no message says, as known."""
    before = known or _UNKNOWN
    up = message.flags & _UP
    return Netdev(
        id=before.id,
        netns=before.netns,
        ifindex=message.ifindex,
        name=message.name,
        mac=message.mac,
        mtu=message.mtu,
        flags=message.flags,
        operstate=message.operstate,
        carrier=message.carrier,
        kind=message.kind,
        master=message.master,
        parent=message.parent_dev_name,
        driver=before.driver,
        phys_port_id=message.phys_port_id,
        phys_port_name=message.phys_port_name,
        phys_switch_id=message.phys_switch_id,
        altnames=message.altnames,
        perm_mac=message.perm_address,
        carrier_changes=message.carrier_changes,
        speed=before.speed if up else None,
        duplex=before.duplex if up else None,
        link=(message.link or None) if message.link_netnsid is None else None,
        pci=before.pci,
        dev_port=before.dev_port,
        vfs=before.vfs if known else message.vfs,
        initialized=before.initialized,
        properties=before.properties,
    )


def reading_of_sysfs(
    ifindex: int, name: str, kind: str | None, parent: str | None, attributes: Mapping[str, str | None | Unreadable]
) -> Netdev:
    """What :data:`ATTRIBUTES` say of a device that no link message can describe (its driver fails to answer).

    sysfs does not tell the ``kind``: it is taken as known.
    """
    return Netdev(
        ifindex=ifindex,
        name=name,
        mac=attributes["address"] or "",
        mtu=_number(attributes["mtu"]) or 0,
        flags=_number(attributes["flags"]) or 0,
        operstate=_OPERSTATES.get(attributes["operstate"] or "", OperState.UNKNOWN),
        carrier=_CARRIERS.get(attributes["carrier"] or ""),
        kind=kind,
        master=_number(attributes["master/ifindex"]),
        parent=parent,
        phys_port_id=attributes["phys_port_id"],
        phys_port_name=attributes["phys_port_name"],
        phys_switch_id=attributes["phys_switch_id"],
        link=_other(ifindex, _number(attributes["iflink"])),
        carrier_changes=_number(attributes["carrier_changes"]) or 0,
    )


def _other(ifindex: int, link: int | None) -> int | None:
    """What a device lies upon; sysfs names the device itself where that is nothing."""
    return link if link != ifindex else None


def _number(text: str | None | Unreadable) -> int | None:
    """A number as sysfs writes it (``1500``, ``0x1003``), or None."""
    try:
        return int(text or "", 0)
    except ValueError:
        return None


_OPERSTATES: Final = {str(state): state for state in OperState}
_CARRIERS: Final = {"0": False, "1": True}
