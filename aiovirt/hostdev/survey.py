"""Asking the kernel: about all links, or about some, with sysfs where rtnetlink has no answer.

A dump may be disturbed, or end early: the kernel stops at the first link whose driver fails to answer (EMSGSIZE),
and leaves out the rest. So a dump is compared with ``/sys/class/net``, what it lacks is asked for one by one,
and what rtnetlink cannot describe at all is read from sysfs. A dump that ends with any other errno was refused, and is
an error. Speed and duplex are asked of ethtool's family, where the kernel has one: a dump of it costs less than one read
from sysfs for each device.
"""

from __future__ import annotations

import errno
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from msgspec import structs

from aiovirt.errors import NoSuchDevice, ProtocolError, SystemFailure
from aiovirt.hostdev.links import ATTRIBUTES, Survey, reading_of_link, reading_of_sysfs
from aiovirt.model.netdev import Netdev
from aiovirt.system.again import is_passing
from aiovirt.system.log import get_logger
from aiovirt.system.netlink import GENERIC, ROUTE, Conversations, NetlinkChannel, Overrun
from aiovirt.system.sysfs import Sysfs
from aiovirt.wire import ethtool, rtnetlink
from aiovirt.wire.ethtool import Family, LinkModes
from aiovirt.wire.rtnetlink import End, LinkMessage, LinkReader

__all__ = ["Known", "Questions"]

ATTEMPTS: Final = 4
"""Dumps tried before a disturbed one is made do with."""

Known = Callable[[int], Netdev | None]
"""What was last read of the device with this number, if anything."""

Modes = Mapping[int, LinkModes | None] | None
"""What drivers say of their links, None for one that failed to; or None where the kernel did not say."""

_PASSING: Final = frozenset({errno.ENOMEM, errno.ENOBUFS, errno.EAGAIN})
_WITHOUT_MODES: Final = frozenset({0, errno.EOPNOTSUPP, errno.ENODEV})

_log = get_logger("hostdev")
_NO_MODES: Final = LinkModes(0, None, None)
_sequence = itertools.count(1)


class Questions:
    """What can be asked of the kernel, with ``sysfs`` for what rtnetlink does not say. All raise SystemFailure when it cannot be asked."""

    def __init__(self, sysfs: Sysfs, known: Known) -> None:
        self._sysfs = sysfs
        self._known = known
        self._kernel = Conversations()

    async def about_all(self) -> Survey:
        """Every network device there is."""
        dump = _Dump({})
        for _ in range(ATTEMPTS):
            dump = await self._kernel.converse(ROUTE, _dump)
            if not dump.is_disturbed:
                break
        names = await self._names()
        if dump.errno and (dump.errno != errno.EMSGSIZE or not names):
            raise SystemFailure(f"rtnetlink: links cannot be listed: {errno.errorcode.get(dump.errno, dump.errno)}")
        readings = dump.readings
        readings |= await self._describe(await self._missing(readings, names))
        up = _up(readings)
        modes = await self._modes(lambda channel, family: _dump_modes(channel, family, up))
        return await self._attach(self._with_modes(readings, modes))

    async def about(self, ifindexes: Iterable[int]) -> Survey:
        """The network devices with these numbers, None for each that is not there."""
        readings = await self._describe(frozenset(ifindexes))
        up = _up(readings)
        modes = await self._modes(lambda channel, family: _get_modes(channel, family, up)) if up else None
        return await self._attach(self._with_modes(readings, modes))

    async def number_of(self, name: str) -> int | None:
        """The number of the network device that has this name or altname now; None where there is none."""
        request = rtnetlink.get_link_named(name, next(_sequence))
        return await self._kernel.converse(ROUTE, lambda channel: _number_of(channel, name, request)) if request is not None else None

    async def _missing(self, readings: dict[int, Netdev | None], names: frozenset[str]) -> frozenset[int]:
        """The numbers of devices that sysfs has and a dump has not (of another namespace's, where sysfs shows one)."""
        dumped = {reading.name for reading in readings.values() if reading is not None}
        return frozenset(await self._sysfs.indexes(names - dumped)) - readings.keys()

    async def _names(self) -> frozenset[str]:
        """What sysfs lists, or nothing where it cannot be read: rtnetlink's word is then all there is."""
        try:
            return frozenset(await self._sysfs.names())
        except SystemFailure as failure:
            if is_passing(failure):
                raise
            _log.warning("links cannot be compared with sysfs", why=str(failure))
            return frozenset()

    async def _describe(self, ifindexes: frozenset[int]) -> dict[int, Netdev | None]:
        if not ifindexes:
            return {}
        readings, silent = await self._kernel.converse(ROUTE, lambda channel: _get_each(channel, ifindexes))
        if silent:
            names = await self._sysfs.indexes(await self._names())
            readings |= {ifindex: await self._read(ifindex, names.get(ifindex)) for ifindex in silent}
        return readings

    async def _read(self, ifindex: int, name: str | None) -> Netdev | None:
        """A device that exists and that rtnetlink cannot describe; as known, when sysfs cannot either."""
        known = self._known(ifindex)
        if name is None:
            return known
        try:
            attributes = await self._sysfs.read_netdev(name, ifindex, ATTRIBUTES)
            attachment = (await self._sysfs.read_attachments({ifindex: name})).get(ifindex)
        except (NoSuchDevice, SystemFailure) as failure:
            if is_passing(failure):
                raise
            return known
        parent = attachment.parent if attachment else None
        return reading_of_sysfs(ifindex, name, known.kind if known else None, parent, attributes)

    async def _attach(self, readings: dict[int, Netdev | None]) -> Survey:
        hanging = {reading.ifindex: reading.name for reading in readings.values() if reading is not None and reading.parent is not None}
        return Survey(readings=readings, attachments=await self._sysfs.read_attachments(hanging) if hanging else {})

    async def _modes(self, talk: Callable[[NetlinkChannel, int], dict[int, LinkModes | None]]) -> Modes:
        def resolved(channel: NetlinkChannel) -> dict[int, LinkModes | None]:
            family = _resolve(channel)
            return {} if family is None else talk(channel, family)

        try:
            return await self._kernel.converse(GENERIC, resolved)
        except (SystemFailure, ProtocolError) as failure:
            if is_passing(failure):
                raise
            _log.warning("speeds cannot be asked for", why=str(failure))
            return None

    def _with_modes(self, readings: dict[int, Netdev | None], modes: Modes) -> dict[int, Netdev | None]:
        """Links with speed and duplex while they are up, as sysfs has it; as known where that could not be asked."""
        return {ifindex: reading and self._with_mode(reading, modes) for ifindex, reading in readings.items()}

    def _with_mode(self, reading: Netdev, modes: Modes) -> Netdev:
        if not reading.is_up:
            return reading
        said = (modes.get(reading.ifindex, _NO_MODES) if modes is not None else None) or self._known(reading.ifindex)
        return structs.replace(reading, speed=said.speed, duplex=said.duplex) if said is not None else reading


def _up(readings: Mapping[int, Netdev | None]) -> list[int]:
    return [reading.ifindex for reading in readings.values() if reading is not None and reading.is_up]


# -- in a worker thread ------------------------------------------------------------------------


class _Dump(NamedTuple):
    """Readings by ifindex; whether it is better asked again, as others came and went or memory was short; the errno of its end."""

    readings: dict[int, Netdev | None]
    is_disturbed: bool = False
    errno: int = 0


def _dump(channel: NetlinkChannel) -> _Dump:
    readings: dict[int, Netdev | None] = {}
    disturbed, code = False, 0
    channel.send(rtnetlink.dump_links(next(_sequence)))
    try:
        for message in _answer(channel):
            disturbed |= message.interrupted
            if isinstance(message, LinkMessage):
                readings[message.ifindex] = reading_of_link(message)
            else:
                code = message.errno
    except Overrun:
        return _Dump(readings, is_disturbed=True)
    return _Dump(readings, disturbed or code in _PASSING, code)


def _get_each(channel: NetlinkChannel, ifindexes: Iterable[int]) -> tuple[dict[int, Netdev | None], list[int]]:
    """(reading, or None where there is no such device, by ifindex; the numbers that there is no answer about)."""
    readings: dict[int, Netdev | None] = {}
    silent: list[int] = []
    for ifindex in ifindexes:
        channel.send(rtnetlink.get_link(ifindex, next(_sequence)))
        for message in _answer(channel):
            if isinstance(message, LinkMessage):
                readings[ifindex] = reading_of_link(message)
            elif message.errno == errno.ENODEV:
                readings[ifindex] = None
            elif message.errno or ifindex not in readings:
                silent.append(ifindex)
    return readings, silent


def _number_of(channel: NetlinkChannel, name: str, request: bytes) -> int | None:
    found: int | None = None
    channel.send(request)
    for message in _answer(channel):
        if isinstance(message, LinkMessage):
            found = message.ifindex
        elif message.errno not in {0, errno.ENODEV}:
            raise SystemFailure(f"rtnetlink: cannot ask for {name!r}: {errno.errorcode.get(message.errno, message.errno)}")
    return found


def _answer(channel: NetlinkChannel) -> Iterator[LinkMessage | End]:
    """The messages of one answer, its end included.

    What cannot be read is left out, and is then asked for in other ways: before 6.5 a list of VFs with their statistics may
    be longer than an attribute can be, and the kernel writes its length modulo 64 KiB.
    """
    reader = LinkReader()
    while True:
        for message in rtnetlink.decode_each(channel.receive(), body=reader.body):
            if isinstance(message, ProtocolError):
                _log.warning("a link cannot be read", why=str(message))
                continue
            yield message
            if isinstance(message, End):
                return


def _resolve(channel: NetlinkChannel) -> int | None:
    """The number of ethtool's family, or None where the kernel has none."""
    channel.send(ethtool.resolve(next(_sequence)))
    parts, code = _said(channel)
    if code not in {0, errno.ENOENT}:
        raise SystemFailure(f"ethtool: its family cannot be asked for: {errno.errorcode.get(code, code)}")
    return next((said.number for said in parts if isinstance(said, Family)), None)


def _dump_modes(channel: NetlinkChannel, family: int, up: Iterable[int]) -> dict[int, LinkModes | None]:
    """Of all; those that are ``up`` are asked one by one where the dump ends at one whose driver fails."""
    channel.send(ethtool.dump_modes(family, next(_sequence)))
    parts, code = _said(channel)
    found: dict[int, LinkModes | None] = {said.ifindex: said for said in parts if isinstance(said, LinkModes)}
    return found | (_get_modes(channel, family, [ifindex for ifindex in up if ifindex not in found]) if code else {})


def _get_modes(channel: NetlinkChannel, family: int, ifindexes: Iterable[int]) -> dict[int, LinkModes | None]:
    found: dict[int, LinkModes | None] = {}
    for ifindex in ifindexes:
        channel.send(ethtool.get_modes(family, ifindex, next(_sequence)))
        parts, code = _said(channel)
        found |= {said.ifindex: said for said in parts if isinstance(said, LinkModes)}
        if code not in _WITHOUT_MODES:
            found[ifindex] = None
    return found


def _said(channel: NetlinkChannel) -> tuple[list[LinkModes | Family], int]:
    """What an answer tells, and the errno of its end."""
    told: list[LinkModes | Family] = []
    while True:
        modes = ethtool.decode(channel.receive())
        told += modes.told
        if modes.errno is not None:
            return told, modes.errno
