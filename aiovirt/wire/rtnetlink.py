"""Link messages of rtnetlink: requests to bytes, datagrams to values, by a plain walk over the structs.

Layouts: ``linux/netlink.h``, ``linux/rtnetlink.h``, ``linux/if_link.h``. Only what a network device's
inventory needs is decoded; the rest of a message costs one step each. No I/O lives here.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Container, Iterator
from typing import Any, Final

from msgspec import Struct

from aiovirt.errors import ProtocolError
from aiovirt.model.netdev import OperState

__all__ = ["AF_UNSPEC", "End", "LinkMessage", "decode", "dump_links", "get_link"]

AF_UNSPEC: Final = 0

_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_RTM_NEWLINK, _RTM_DELLINK, _RTM_GETLINK = 16, 17, 18
_NLM_F_REQUEST, _NLM_F_ACK, _NLM_F_DUMP_INTR, _NLM_F_DUMP = 0x1, 0x4, 0x10, 0x300
_IFLA_LINKINFO, _IFLA_INFO_KIND, _IFLA_EXT_MASK = 18, 1, 29
_RTEXT_FILTER_SKIP_STATS: Final = 8
_TYPE_MASK: Final = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER

_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence number, port
_LINK = struct.Struct("=BxHiII")  # ifinfomsg: family, ARPHRD type, ifindex, flags, change mask
_ATTRIBUTE = struct.Struct("=HH")  # nlattr: length, type
_U8 = struct.Struct("=B")
_U32 = struct.Struct("=I")
_S32 = struct.Struct("=i")


class LinkMessage(Struct, frozen=True, kw_only=True, gc=False):
    """RTM_NEWLINK, or with ``removed`` RTM_DELLINK: one link as it is, or as it was last.

    A message is about the link itself only where ``family`` is AF_UNSPEC (AF_BRIDGE's DELLINK says that
    a port left its bridge) and ``wireless`` is False (a wireless event carries nothing but the name).
    ``interrupted``: the dump that it is part of was disturbed (NLM_F_DUMP_INTR).

    ``mac`` and ``perm_address`` are lower-case and colon-separated, ``""`` and None where there is none;
    the phys ids are lower-case hex. ``link`` is the ifindex of what it lies upon, in the namespace
    ``link_netnsid`` unless that is None (ours). ``new_netnsid`` and ``new_ifindex`` tell where a link went that
    moved to another namespace: our number for that one (-1 where it has none), and the link's number there.
    """

    ifindex: int
    family: int
    removed: bool
    interrupted: bool
    flags: int
    name: str = ""
    mac: str = ""
    perm_address: str | None = None
    mtu: int = 0
    operstate: OperState = OperState.UNKNOWN
    carrier: bool | None = None
    kind: str | None = None
    master: int | None = None
    link: int | None = None
    link_netnsid: int | None = None
    parent_dev_name: str | None = None
    parent_dev_bus_name: str | None = None
    phys_port_id: str | None = None
    phys_port_name: str | None = None
    phys_switch_id: str | None = None
    new_netnsid: int | None = None
    new_ifindex: int | None = None
    wireless: bool = False

    @property
    def moved(self) -> bool:
        """Whether the link is not gone, but in another namespace."""
        return self.new_netnsid is not None or self.new_ifindex is not None


class End(Struct, frozen=True, gc=False):
    """The end of an answer: NLMSG_DONE, or NLMSG_ERROR. ``errno`` is 0 for a good one.

    A dump that ends with an errno lacks links: the kernel stops at the first that it cannot describe.
    """

    errno: int
    interrupted: bool = False


def dump_links(sequence: int) -> bytes:
    """A request for every link of the namespace; answered by LinkMessages and an End."""
    return _request(_NLM_F_REQUEST | _NLM_F_DUMP, sequence, 0)


def get_link(ifindex: int, sequence: int) -> bytes:
    """A request for one link; answered by its LinkMessage and an End, or by an End with the errno."""
    return _request(_NLM_F_REQUEST | _NLM_F_ACK, sequence, ifindex)


def _request(flags: int, sequence: int, ifindex: int) -> bytes:
    body = _LINK.pack(AF_UNSPEC, 0, ifindex, 0, 0) + _ATTRIBUTE.pack(8, _IFLA_EXT_MASK) + _U32.pack(_RTEXT_FILTER_SKIP_STATS)
    return _HEADER.pack(_HEADER.size + len(body), _RTM_GETLINK, flags, sequence, 0) + body


def decode(datagram: bytes) -> list[LinkMessage | End]:
    """The messages of one datagram, in order; other message types are passed over.

    Raises ProtocolError, naming the place, where a length does not fit or a value has the wrong size.
    """
    try:
        return [_BODIES[kind](kind, flags, datagram, start, end) for kind, flags, start, end in _messages(datagram) if kind in _BODIES]
    except struct.error as error:
        raise ProtocolError(f"rtnetlink: a value of the wrong size: {error}") from None


def _messages(datagram: bytes) -> Iterator[tuple[int, int, int, int]]:
    """(type, flags, where its body starts, where it ends) of each message."""
    offset, size = 0, len(datagram)
    while offset < size:
        if size - offset < _HEADER.size:
            raise ProtocolError(f"rtnetlink: a message header cut off at byte {offset}")
        length, kind, flags, _, _ = _HEADER.unpack_from(datagram, offset)
        if not _HEADER.size <= length <= size - offset:
            raise ProtocolError(f"rtnetlink: a message of {length} bytes at byte {offset} of {size}")
        yield kind, flags, offset + _HEADER.size, offset + length
        offset += length + 3 & ~3


def _attributes(data: bytes, offset: int, end: int, wanted: Container[int]) -> Iterator[tuple[int, bytes]]:
    """(type, value) of each wanted attribute between two offsets."""
    while offset < end:
        if end - offset < _ATTRIBUTE.size:
            raise ProtocolError(f"rtnetlink: an attribute header cut off at byte {offset}")
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if not _ATTRIBUTE.size <= length <= end - offset:
            raise ProtocolError(f"rtnetlink: an attribute of {length} bytes at byte {offset}, with {end - offset} left")
        if (kind := kind & _TYPE_MASK) in wanted:
            yield kind, data[offset + _ATTRIBUTE.size : offset + length]
        offset += length + 3 & ~3


def _end(_kind: int, flags: int, data: bytes, start: int, end: int) -> End:
    (code,) = _S32.unpack(data[start : min(end, start + _S32.size)])
    if code > 0:
        raise ProtocolError(f"rtnetlink: an answer ends with the code {code}")
    return End(-code, bool(flags & _NLM_F_DUMP_INTR))


def _link(kind: int, flags: int, data: bytes, start: int, end: int) -> LinkMessage:
    family, _, ifindex, link_flags, _ = _LINK.unpack(data[start : min(end, start + _LINK.size)])
    if ifindex <= 0:
        raise ProtocolError(f"rtnetlink: a link with the ifindex {ifindex}")
    values: dict[str, Any] = {}
    for attribute, value in _attributes(data, start + _LINK.size, end, _READERS):
        field, read = _READERS[attribute]
        values[field] = read(value)
    return LinkMessage(
        ifindex=ifindex,
        family=family,
        removed=kind == _RTM_DELLINK,
        interrupted=bool(flags & _NLM_F_DUMP_INTR),
        flags=link_flags,
        **values,
    )


def _text(value: bytes) -> str:
    r"""A NUL-ended string; bytes that are no UTF-8 are escaped (``\xff``)."""
    return value.partition(b"\0")[0].decode(errors="backslashreplace")


def _hex(value: bytes) -> str:
    return value.hex()


def _address(value: bytes) -> str:
    return value.hex(":")


def _u32(value: bytes) -> int:
    return int(_U32.unpack(value)[0])


def _s32(value: bytes) -> int:
    return int(_S32.unpack(value)[0])


def _flag(value: bytes) -> bool:
    return bool(_U8.unpack(value)[0])


def _operstate(value: bytes) -> OperState:
    number = int(_U8.unpack(value)[0])
    return _OPERSTATES[number] if number < len(_OPERSTATES) else OperState.UNKNOWN


def _kind(value: bytes) -> str | None:
    """IFLA_INFO_KIND out of IFLA_LINKINFO."""
    for _, name in _attributes(value, 0, len(value), (_IFLA_INFO_KIND,)):
        return _text(name)
    return None


_OPERSTATES: Final[tuple[OperState, ...]] = tuple(OperState)

_READERS: Final[dict[int, tuple[str, Callable[[bytes], object]]]] = {
    1: ("mac", _address),  # IFLA_ADDRESS
    3: ("name", _text),  # IFLA_IFNAME
    4: ("mtu", _u32),  # IFLA_MTU
    5: ("link", _u32),  # IFLA_LINK
    10: ("master", _u32),  # IFLA_MASTER
    11: ("wireless", bool),  # IFLA_WIRELESS
    16: ("operstate", _operstate),  # IFLA_OPERSTATE
    _IFLA_LINKINFO: ("kind", _kind),
    33: ("carrier", _flag),  # IFLA_CARRIER
    34: ("phys_port_id", _hex),  # IFLA_PHYS_PORT_ID
    36: ("phys_switch_id", _hex),  # IFLA_PHYS_SWITCH_ID
    37: ("link_netnsid", _s32),  # IFLA_LINK_NETNSID
    38: ("phys_port_name", _text),  # IFLA_PHYS_PORT_NAME
    45: ("new_netnsid", _s32),  # IFLA_NEW_NETNSID
    49: ("new_ifindex", _s32),  # IFLA_NEW_IFINDEX
    54: ("perm_address", _address),  # IFLA_PERM_ADDRESS
    56: ("parent_dev_name", _text),  # IFLA_PARENT_DEV_NAME
    57: ("parent_dev_bus_name", _text),  # IFLA_PARENT_DEV_BUS_NAME
}

_BODIES: Final[dict[int, Callable[[int, int, bytes, int, int], LinkMessage | End]]] = {
    _NLMSG_ERROR: _end,
    _NLMSG_DONE: _end,
    _RTM_NEWLINK: _link,
    _RTM_DELLINK: _link,
}
