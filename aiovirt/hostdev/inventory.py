"""The inventory of network devices: readings go in, the events that they amount to come out.

Pure: no I/O, no clock, no source. Whoever learns of devices (the kernel's messages, a driver in
memory) makes readings: a :class:`Netdev` that is in no inventory, and has no id. A reading that changes nothing
amounts to nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from msgspec import structs

from aiovirt.events.types import (
    NetdevAdded,
    NetdevChanged,
    NetdevEvent,
    NetdevLeft,
    NetdevRemoved,
    NetdevRenamed,
    NetdevReturned,
)
from aiovirt.model.netdev import Netdev, Unreadable

__all__ = ["MAX_AWAY", "NetdevTable", "parents_first"]

MAX_REMEMBERED: Final = 65_536
"""Numbers of devices that are gone whose incarnation is remembered one by one."""

MAX_AWAY: Final = 4096
"""Devices in other namespaces that are remembered; the one that left first is forgotten first."""


class NetdevTable:
    """ifindex -> network device. Its events are unnumbered; ids never name two devices.

    The first device with an ifindex is incarnation 1 of it, the next one that the kernel gives the same
    number to is 2. (Once more than MAX_REMEMBERED numbers are forgotten, new ones start higher.) A device that
    left for another namespace has its old id again when it returns: when the next device with its number has its
    address, kind and parent too.

    ``known`` are the devices that a table before this one had; they keep their ids. New ones get an incarnation above
    ``incarnation``, the highest that was ever given, to those included. ``netns`` is the namespace that all readings are
    of: a known device of another one is another device.
    """

    def __init__(self, known: Iterable[Netdev] = (), *, incarnation: int = 0, netns: int = 0) -> None:
        self._netdevs: dict[int, Netdev] = {netdev.ifindex: netdev for netdev in known}
        self._netns = netns
        self._incarnations: dict[int, int] = dict.fromkeys(self._netdevs, incarnation)
        self._forgotten = incarnation  # the highest incarnation of any number that is not remembered
        self._away: dict[int, Netdev] = {}

    @property
    def incarnation(self) -> int:
        """The highest that was ever given."""
        return max([self._forgotten, *self._incarnations.values()])

    def __iter__(self) -> Iterator[Netdev]:
        return iter(self._netdevs.values())

    def __len__(self) -> int:
        return len(self._netdevs)

    def __contains__(self, ifindex: object) -> bool:
        return ifindex in self._netdevs

    def get(self, ifindex: int) -> Netdev | None:
        """The device with this number, or None."""
        return self._netdevs.get(ifindex)

    def away(self, reading: Netdev) -> Netdev | None:
        """The device that this is, as it was when it left for another namespace, or None."""
        away = self._away.get(reading.ifindex)
        return away if away is not None and _traits(away) == _traits(reading) else None

    def observe(self, reading: Netdev) -> list[NetdevEvent]:
        """A device is there, and is so: added, or renamed, or changed, or first the one and then the other.

        A device of another kind is another device, as a kind never changes: its forerunner is removed.
        """
        old = self._netdevs.get(reading.ifindex)
        if old is None:
            return [self._add(reading)]
        if self._is_another(old, reading):
            return [*self.remove(reading.ifindex), self._add(reading)]
        new = reading if reading.id == old.id else structs.replace(reading, id=old.id, netns=old.netns)
        if new == old or (_is_unreadable(old) and not old.changes_to(new)):
            return []
        self._netdevs[reading.ifindex] = new
        return _differences(old, new)

    def remove(self, ifindex: int) -> list[NetdevEvent]:
        """The device with this number is gone, and has left its master; nothing when there was none."""
        events = self._free(ifindex)
        return [*events, *(NetdevRemoved(device=netdev) for netdev in self._take(ifindex))]

    def leave(self, ifindex: int, *, nsid: int | None, new_ifindex: int | None) -> list[NetdevEvent]:
        """The device with this number went to another namespace, and may return; nothing when there was none."""
        events = self._free(ifindex)
        taken = self._take(ifindex)
        self._away |= {netdev.ifindex: netdev for netdev in taken}
        if len(self._away) > MAX_AWAY:
            del self._away[next(iter(self._away))]
        return [*events, *(NetdevLeft(device=netdev, nsid=nsid, new_ifindex=new_ifindex) for netdev in taken)]

    def initialize(self, ifindex: int, properties: dict[str, str]) -> Netdev | None:
        """udev has finished with the device of this number: as it is now, or None where there is none."""
        old = self._netdevs.get(ifindex)
        if old is None:
            return None
        self._netdevs[ifindex] = new = structs.replace(old, initialized=True, properties=properties)
        return new

    def sync(self, readings: Iterable[Netdev]) -> list[NetdevEvent]:
        """These devices are there, and no others: what is removed first, then renamed, added, changed.

        Children are removed before their parents, and added after them. Names of the old and the new state
        may meet on the way (two devices that swapped theirs); the ids distinguish them.
        """
        fresh = parents_first(readings)
        by_index = {reading.ifindex: reading for reading in fresh}
        gone = parents_first(old for old in self if (new := by_index.get(old.ifindex)) is None or self._is_another(old, new))
        events = [event for old in reversed(gone) for event in self.remove(old.ifindex)]
        return events + sorted((event for reading in fresh for event in self.observe(reading)), key=_sync_order)

    def _is_another(self, old: Netdev, reading: Netdev) -> bool:
        """Whether the number is another device's by now."""
        return old.kind != reading.kind or old.netns != self._netns

    def _free(self, ifindex: int) -> list[NetdevEvent]:
        """The kernel does not report of a device that is taken away that it leaves its master first."""
        old = self._netdevs.get(ifindex)
        if old is None or old.master is None:
            return []
        self._netdevs[ifindex] = new = structs.replace(old, master=None)
        return [NetdevChanged(old=old, new=new)]

    def _add(self, reading: Netdev) -> NetdevEvent:
        ifindex, away = reading.ifindex, self.away(reading)
        self._away.pop(ifindex, None)
        self._incarnations[ifindex] = self._incarnations.get(ifindex, self._forgotten) + (away is None)
        identity = away.id if away else f"{ifindex}.{self._incarnations[ifindex]}"
        self._netdevs[ifindex] = netdev = structs.replace(reading, id=identity, netns=self._netns)
        return NetdevReturned(device=netdev) if away else NetdevAdded(device=netdev)

    def _take(self, ifindex: int) -> list[Netdev]:
        """The device with this number, if any, which is no longer there."""
        if ifindex not in self._netdevs:
            return []
        taken = self._netdevs.pop(ifindex)
        self._forget_some()
        return [taken]

    def _forget_some(self) -> None:
        if len(self._incarnations) - len(self._netdevs) > MAX_REMEMBERED:
            self._forgotten = max(self._forgotten, *self._incarnations.values())
            self._incarnations = {ifindex: self._incarnations[ifindex] for ifindex in self._netdevs}


def parents_first(readings: Iterable[Netdev]) -> list[Netdev]:
    """By ifindex, but each after its master and what it lies upon, where those are among them.

    Where they form a ring (veth peers do), one of them has to come first. Of two readings of one number
    the last counts.
    """
    by_index = {reading.ifindex: reading for reading in readings}
    ordered: list[Netdev] = []
    entered: set[int] = set()
    stack = [(ifindex, False) for ifindex in sorted(by_index, reverse=True)]
    while stack:
        ifindex, parents_done = stack.pop()
        reading = by_index[ifindex]
        if parents_done:
            ordered.append(reading)
        elif ifindex not in entered:
            entered.add(ifindex)
            stack.append((ifindex, True))
            stack += [(parent, False) for parent in (reading.link, reading.master) if parent in by_index]
    return ordered


def _traits(device: Netdev) -> tuple[str, str | None, str | None]:
    """By what, beside its number, a device is known to be the one that left."""
    return device.mac, device.kind, device.parent


def _is_unreadable(device: Netdev) -> bool:
    """Whether something of it could not be read: that equals nothing, also where it failed again for the same reason."""
    return Unreadable in (type(device.phys_port_id), type(device.phys_port_name), type(device.phys_switch_id))


def _differences(old: Netdev, new: Netdev) -> list[NetdevEvent]:
    """A rename, if any, and then every other change, if any."""
    if old.name == new.name:
        return [NetdevChanged(old=old, new=new)]
    renamed = structs.replace(old, name=new.name)
    events: list[NetdevEvent] = [NetdevRenamed(old=old, new=renamed)]
    if renamed.changes_to(new):
        events.append(NetdevChanged(old=renamed, new=new))
    return events


def _sync_order(event: NetdevEvent) -> int:
    return _SYNC_ORDER[type(event)]


_SYNC_ORDER: Final[dict[type[NetdevEvent], int]] = {
    NetdevRenamed: 1,
    NetdevAdded: 2,
    NetdevReturned: 2,
    NetdevChanged: 3,
}
