"""Asking the kernel: about all links, or about some, with sysfs where rtnetlink has no answer.

A dump may be disturbed, or end early: the kernel stops at the first link whose driver fails to answer,
and leaves out the rest. So a dump is compared with ``/sys/class/net``, what it lacks is asked for one by one,
and what rtnetlink cannot describe at all is read from sysfs.
"""

from __future__ import annotations

import errno
import itertools
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import structlog

from aiovirt.errors import NoSuchDevice, SystemFailure
from aiovirt.hostdev.inventory import Reading
from aiovirt.hostdev.links import ATTRIBUTES, Survey, reading_of_link, reading_of_sysfs
from aiovirt.system import netlink
from aiovirt.system.netlink import NetlinkChannel, Overrun
from aiovirt.system.sysfs import Sysfs
from aiovirt.wire import rtnetlink
from aiovirt.wire.rtnetlink import End, LinkMessage

__all__ = ["Known", "ask_about", "ask_about_all"]

ATTEMPTS: Final = 4
"""Dumps tried before a disturbed one is made do with."""

Known = Callable[[int], Reading | None]
"""What was last read of the device with this number, if anything."""

_log = structlog.wrap_logger(logging.getLogger("aiovirt.hostdev"))
_sequence = itertools.count(1)


async def ask_about_all(sysfs: Sysfs, known: Known) -> Survey:
    """Every network device there is. Raises SystemFailure when the kernel cannot be asked at all."""
    readings: dict[int, Reading | None] = {}
    for _ in range(ATTEMPTS):
        readings, disturbed = await netlink.converse(netlink.ROUTE, _dump)
        if not disturbed:
            break
    missing = await _missing(sysfs, readings)
    readings |= await _describe(sysfs, missing, known)
    return await _attach(sysfs, readings)


async def ask_about(sysfs: Sysfs, ifindexes: Iterable[int], known: Known) -> Survey:
    """The network devices with these numbers, None for each that is not there. Raises SystemFailure as above."""
    return await _attach(sysfs, await _describe(sysfs, frozenset(ifindexes), known))


async def _missing(sysfs: Sysfs, readings: dict[int, Reading | None]) -> frozenset[int]:
    """The numbers of devices that sysfs has and a dump has not (of another namespace's, where sysfs shows one)."""
    dumped = {reading.name for reading in readings.values() if reading is not None}
    return frozenset(await sysfs.indexes(await _names(sysfs) - dumped)) - readings.keys()


async def _names(sysfs: Sysfs) -> frozenset[str]:
    """What sysfs lists, or nothing where it cannot be read: rtnetlink's word is then all there is."""
    try:
        return frozenset(await sysfs.names())
    except SystemFailure as failure:
        _log.warning("links cannot be compared with sysfs", why=str(failure))
        return frozenset()


async def _describe(sysfs: Sysfs, ifindexes: frozenset[int], known: Known) -> dict[int, Reading | None]:
    if not ifindexes:
        return {}
    readings, silent = await netlink.converse(netlink.ROUTE, lambda channel: _get_each(channel, ifindexes))
    if silent:
        names = await sysfs.indexes(await _names(sysfs))
        readings |= {ifindex: await _read(sysfs, ifindex, names.get(ifindex), known(ifindex)) for ifindex in silent}
    return readings


async def _read(sysfs: Sysfs, ifindex: int, name: str | None, known: Reading | None) -> Reading | None:
    """A device that exists and that rtnetlink cannot describe; as known, when sysfs cannot either."""
    if name is None:
        return known
    try:
        attributes = await sysfs.read_netdev(name, ifindex, ATTRIBUTES)
        attachment = (await sysfs.read_attachments({ifindex: name})).get(ifindex)
    except (NoSuchDevice, SystemFailure):
        return known
    parent = attachment.parent if attachment else None
    return reading_of_sysfs(ifindex, name, known.kind if known else None, parent, attributes)


async def _attach(sysfs: Sysfs, readings: dict[int, Reading | None]) -> Survey:
    hanging = {reading.ifindex: reading.name for reading in readings.values() if reading is not None and reading.parent is not None}
    return Survey(readings=readings, attachments=await sysfs.read_attachments(hanging) if hanging else {})


# -- in a worker thread ------------------------------------------------------------------------


def _dump(channel: NetlinkChannel) -> tuple[dict[int, Reading | None], bool]:
    """(readings by ifindex, whether links may be missing or twofold because others came and went)."""
    readings: dict[int, Reading | None] = {}
    disturbed = False
    channel.send(rtnetlink.dump_links(next(_sequence)))
    try:
        for message in _answer(channel):
            disturbed |= message.interrupted
            if isinstance(message, LinkMessage):
                readings[message.ifindex] = reading_of_link(message)
    except Overrun:
        return readings, True
    return readings, disturbed


def _get_each(channel: NetlinkChannel, ifindexes: Iterable[int]) -> tuple[dict[int, Reading | None], list[int]]:
    """(reading, or None where there is no such device, by ifindex; the numbers that there is no answer about)."""
    readings: dict[int, Reading | None] = {}
    silent: list[int] = []
    for ifindex in ifindexes:
        channel.send(rtnetlink.get_link(ifindex, next(_sequence)))
        for message in _answer(channel):
            if isinstance(message, LinkMessage):
                readings[ifindex] = reading_of_link(message)
            elif message.errno == errno.ENODEV:
                readings[ifindex] = None
            elif message.errno:
                silent.append(ifindex)
    return readings, silent


def _answer(channel: NetlinkChannel) -> Iterator[LinkMessage | End]:
    """The messages of one answer, its end included."""
    while True:
        for message in rtnetlink.decode(channel.receive()):
            yield message
            if isinstance(message, End):
                return
