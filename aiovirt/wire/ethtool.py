"""Link modes over generic netlink's ethtool family: requests to bytes, datagrams to values.

Layouts: Documentation/networking/ethtool-netlink.rst, ``linux/ethtool_netlink.h``, ``linux/genetlink.h``. One dump reports
every device, where sysfs would take two reads each. No I/O lives here.
"""

from __future__ import annotations

import struct
from typing import Final

from msgspec import Struct

from aiovirt.errors import ProtocolError
from aiovirt.model.netdev import Duplex
from aiovirt.wire.rtnetlink import attributes, end_of, messages

__all__ = ["Family", "LinkModes", "Modes", "decode", "dump_modes", "get_modes", "resolve"]

_GENL_ID_CTRL: Final = 0x10
_CTRL_CMD_GETFAMILY: Final = 3
_CTRL_ATTR_FAMILY_ID, _CTRL_ATTR_FAMILY_NAME = 1, 2
_LINKMODES_GET: Final = 4
_LINKMODES_GET_REPLY: Final = 4
_A_HEADER, _A_SPEED, _A_DUPLEX = 1, 5, 6
_HEADER_DEV_INDEX, _HEADER_FLAGS = 1, 3
_COMPACT_BITSETS: Final = 1
_NLM_F_REQUEST, _NLM_F_ACK, _NLM_F_DUMP = 0x1, 0x4, 0x300
_NLMSG_CONTROL: Final = frozenset({2, 3})  # NLMSG_ERROR, NLMSG_DONE
_NESTED: Final = 0x8000
_SPEED_UNKNOWN: Final = 0xFFFFFFFF
_DUPLEXES: Final = {0: Duplex.HALF, 1: Duplex.FULL}

_HEADER = struct.Struct("=IHHII")
_GENERIC = struct.Struct("=BBxx")  # genlmsghdr: command, version
_ATTRIBUTE = struct.Struct("=HH")
_U8, _U16, _U32 = struct.Struct("=B"), struct.Struct("=H"), struct.Struct("=I")


class LinkModes(Struct, frozen=True, gc=False):
    """What a driver says of its link: Mbit/s and duplex, None where it does not know. A link that is down has a say too."""

    ifindex: int
    speed: int | None
    duplex: Duplex | None


class Family(Struct, frozen=True, gc=False):
    """The number that this kernel gave the family."""

    number: int


class Modes(Struct, frozen=True, gc=False):
    """One datagram's worth: what it reports, and the errno of the answer's end (0: a good one), None while it goes on."""

    told: list[LinkModes | Family]
    errno: int | None


def resolve(sequence: int) -> bytes:
    """Asks for the ethtool family's number; answered by a Family. The errno is ENOENT where the kernel has none."""
    return _request(
        _GENL_ID_CTRL, _NLM_F_REQUEST | _NLM_F_ACK, sequence, _CTRL_CMD_GETFAMILY, _attribute(_CTRL_ATTR_FAMILY_NAME, b"ethtool\0")
    )


def dump_modes(family: int, sequence: int) -> bytes:
    """Asks for every device's link modes; those whose driver knows none are left out."""
    return _modes(family, _NLM_F_REQUEST | _NLM_F_DUMP, sequence, b"")


def get_modes(family: int, ifindex: int, sequence: int) -> bytes:
    """Asks for one device's; the errno is EOPNOTSUPP where its driver knows none, ENODEV without such a device."""
    return _modes(family, _NLM_F_REQUEST | _NLM_F_ACK, sequence, _attribute(_HEADER_DEV_INDEX, _U32.pack(ifindex)))


def _modes(family: int, flags: int, sequence: int, device: bytes) -> bytes:
    header = _attribute(_A_HEADER | _NESTED, device + _attribute(_HEADER_FLAGS, _U32.pack(_COMPACT_BITSETS)))
    return _request(family, flags, sequence, _LINKMODES_GET, header)


def _request(kind: int, flags: int, sequence: int, command: int, body: bytes) -> bytes:
    size = _HEADER.size + _GENERIC.size + len(body)
    return _HEADER.pack(size, kind, flags, sequence, 0) + _GENERIC.pack(command, 1) + body


def _attribute(kind: int, value: bytes) -> bytes:
    size = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(size, kind) + value + b"\0" * (-size % 4)


def decode(datagram: bytes) -> Modes:
    """What one datagram of an answer says. Raises ProtocolError, naming the place."""
    told: list[LinkModes | Family] = []
    errno: int | None = None
    try:
        for kind, flags, start, end in messages(datagram):
            if kind in _NLMSG_CONTROL:
                errno = end_of(kind, flags, datagram, start, end).errno
            else:
                told += _tell(kind, datagram, start, end)
    except struct.error as error:
        raise ProtocolError(f"ethtool: a value of the wrong size: {error}") from None
    return Modes(told, errno)


def _tell(kind: int, data: bytes, start: int, end: int) -> list[LinkModes | Family]:
    command, _ = _GENERIC.unpack(data[start : min(end, start + _GENERIC.size)])
    start += _GENERIC.size
    if kind == _GENL_ID_CTRL:
        return [Family(_U16.unpack(value)[0]) for _, value in attributes(data, start, end, (_CTRL_ATTR_FAMILY_ID,))]
    return [_link_modes(data, start, end)] if command == _LINKMODES_GET_REPLY else []


def _link_modes(data: bytes, start: int, end: int) -> LinkModes:
    found = dict(attributes(data, start, end, (_A_HEADER, _A_SPEED, _A_DUPLEX)))
    header = found.get(_A_HEADER, b"")
    index = dict(attributes(header, 0, len(header), (_HEADER_DEV_INDEX,))).get(_HEADER_DEV_INDEX)
    if index is None:
        raise ProtocolError("ethtool: link modes of no device")
    speed = _U32.unpack(found[_A_SPEED])[0] if _A_SPEED in found else _SPEED_UNKNOWN
    duplex = _U8.unpack(found[_A_DUPLEX])[0] if _A_DUPLEX in found else None
    return LinkModes(
        _U32.unpack(index)[0], None if speed == _SPEED_UNKNOWN else speed, _DUPLEXES.get(duplex) if duplex is not None else None
    )
