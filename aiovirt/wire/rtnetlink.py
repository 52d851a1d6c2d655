"""Link messages of rtnetlink: requests to bytes, datagrams to values, by a plain walk over the structs.

Layouts: ``linux/netlink.h``, ``linux/rtnetlink.h``, ``linux/if_link.h``. Only what a network device's
inventory needs is decoded; the rest of a message costs one step each. No I/O lives here.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Container, Iterator
from typing import Any, Final

from msgspec import Struct

from aiovirt.errors import ProtocolError
from aiovirt.model.netdev import VF, OperState, VFLinkState

__all__ = [
    "AF_UNSPEC",
    "Body",
    "End",
    "LinkMessage",
    "LinkReader",
    "attributes",
    "decode",
    "decode_each",
    "dump_links",
    "end_of",
    "errno_of_dump",
    "get_link",
    "get_link_named",
    "messages",
]

AF_UNSPEC: Final = 0

_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_RTM_NEWLINK, _RTM_DELLINK, _RTM_GETLINK = 16, 17, 18
_NLM_F_REQUEST, _NLM_F_ACK, _NLM_F_DUMP_INTR, _NLM_F_DUMP = 0x1, 0x4, 0x10, 0x300
_IFLA_LINKINFO, _IFLA_INFO_KIND, _IFLA_EXT_MASK = 18, 1, 29
_ALTIFNAMSIZ: Final = 128
_IFLA_ALT_IFNAME, _IFLA_VF_INFO, _IFLA_VF_VLAN_INFO = 53, 1, 1
_RTEXT_FILTER_VF, _RTEXT_FILTER_SKIP_STATS = 1, 8
_TYPE_MASK: Final = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER

Body = Callable[[int, int, bytes, int, int], "LinkMessage | End"]

_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence number, port
_LINK = struct.Struct("=BxHiII")  # ifinfomsg: family, ARPHRD type, ifindex, flags, change mask
_ATTRIBUTE = struct.Struct("=HH")  # nlattr: length, type
_U8 = struct.Struct("=B")
_U32 = struct.Struct("=I")
_S32 = struct.Struct("=i")
_2_U32 = struct.Struct("=II")
_3_U32 = struct.Struct("=III")
_VF_MAC = struct.Struct("=I32s")
_VF_VLAN_INFO = struct.Struct("=III2s2x")


class LinkMessage(Struct, frozen=True, kw_only=True, gc=False):
    """RTM_NEWLINK, or with ``removed`` RTM_DELLINK: one link as it is, or as it was last.

    A message is about the link itself only where ``family`` is AF_UNSPEC (AF_BRIDGE's DELLINK says that
    a port left its bridge) and ``wireless`` is False (a wireless event carries nothing but the name).
    ``interrupted``: the dump that it is part of was disturbed (NLM_F_DUMP_INTR).

    ``mac`` and ``perm_address`` are lower-case and colon-separated, ``""`` and None where there is none;
    the phys ids are lower-case hex. ``link`` is the ifindex of what it lies upon, in the namespace
    ``link_netnsid`` unless that is None (ours). ``vfs`` are reported only to who asks (:func:`dump_links`, :func:`get_link`).
    ``new_netnsid`` and ``new_ifindex`` say where a link went that
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
    altnames: tuple[str, ...] = ()
    mtu: int = 0
    operstate: OperState = OperState.UNKNOWN
    carrier: bool | None = None
    carrier_changes: int = 0
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
    vfs: tuple[VF, ...] = ()

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


def get_link_named(name: str, sequence: int) -> bytes | None:
    """The same by its name or one of its altnames (IFLA_ALT_IFNAME, since Linux 5.5); None for what no link can be named."""
    value = name.encode(errors="surrogateescape") + b"\0"
    if not 1 < len(value) <= _ALTIFNAMSIZ or b"\0" in value[:-1]:
        return None
    size = _ATTRIBUTE.size + len(value)
    return _request(_NLM_F_REQUEST | _NLM_F_ACK, sequence, 0, _ATTRIBUTE.pack(size, _IFLA_ALT_IFNAME) + value + b"\0" * (-size % 4))


def _request(flags: int, sequence: int, ifindex: int, wanted: bytes = b"") -> bytes:
    body = (
        _LINK.pack(AF_UNSPEC, 0, ifindex, 0, 0)
        + _ATTRIBUTE.pack(8, _IFLA_EXT_MASK)
        + _U32.pack(_RTEXT_FILTER_VF | _RTEXT_FILTER_SKIP_STATS)
        + wanted
    )
    return _HEADER.pack(_HEADER.size + len(body), _RTM_GETLINK, flags, sequence, 0) + body


def decode(datagram: bytes, *, body: Body | None = None) -> list[LinkMessage | End]:
    """The messages of one datagram, in order; other message types are passed over. ``body`` is a :class:`LinkReader`'s.

    Raises ProtocolError, naming the place, where a length does not fit or a value has the wrong size.
    """
    read = body or _body
    try:
        return [read(kind, flags, datagram, start, end) for kind, flags, start, end in messages(datagram) if kind in _BODIES]
    except struct.error as error:
        raise ProtocolError(f"rtnetlink: a value of the wrong size: {error}") from None


def decode_each(datagram: bytes, *, body: Body | None = None) -> list[LinkMessage | End | ProtocolError]:
    """The same, with what is wrong of one message in its place. Raises ProtocolError where it is not known where one ends."""
    return [_attempt(body or _body, datagram, message) for message in messages(datagram) if message[0] in _BODIES]


def _attempt(read: Body, datagram: bytes, message: tuple[int, int, int, int]) -> LinkMessage | End | ProtocolError:
    kind, flags, start, end = message
    try:
        return read(kind, flags, datagram, start, end)
    except struct.error as error:
        return ProtocolError(f"rtnetlink: a value of the wrong size: {error}")
    except ProtocolError as error:
        return error


def _body(kind: int, flags: int, data: bytes, start: int, end: int) -> LinkMessage | End:
    return _BODIES[kind](kind, flags, data, start, end)


class LinkReader:
    """Reads sooner what is alike: messages about links differ in few bytes, and only those are taken apart again.

    ``decode(datagram, body=LinkReader().body)`` gives what ``decode(datagram)`` does.
    """

    def __init__(self) -> None:
        self._layouts: dict[int, deque[_Layout]] = {}  # by the length of a message, the one met last first

    def body(self, kind: int, flags: int, data: bytes, start: int, end: int) -> LinkMessage | End:
        """One message, as :func:`messages` found it."""
        attributes_start = start + _LINK.size
        if kind not in _LINKS or end < attributes_start:
            return _body(kind, flags, data, start, end)
        return _message(kind, flags, data[start:attributes_start], self._values(data, attributes_start, end))

    def _values(self, data: bytes, start: int, end: int) -> dict[str, Any]:
        alike = self._layouts.get(end - start)
        if alike is None:
            if len(self._layouts) >= _LENGTHS:
                del self._layouts[next(iter(self._layouts))]
            alike = self._layouts[end - start] = deque(maxlen=_ALIKE)
        headers = int.from_bytes(data[start:end], "little")
        for layout in alike:
            if headers & layout.mask == layout.headers:
                if layout is not alike[0]:
                    alike.remove(layout)
                    alike.appendleft(layout)
                return layout.read(data, start)
        layout = _Layout(data, start, end)
        values = layout.read(data, start)
        alike.appendleft(layout)
        return values


class _Layout:
    """Where the attributes between two offsets are, and what those that are wanted were when they were last read.

    Others of its length are laid out the same way when their bytes at ``mask`` are ``headers``: all attributes are where its are.
    """

    def __init__(self, data: bytes, start: int, end: int) -> None:
        mask = bytearray(end - start)
        form, done = ["="], 0
        self._places: list[tuple[str, Callable[[bytes], object]]] = []
        for offset, length, kind in _headers(data, start, end):
            at = offset - start
            mask[at : at + _ATTRIBUTE.size] = _ALL_OF_IT
            if kind in _READERS:
                self._places.append(_READERS[kind])
                form.append(f"{at + _ATTRIBUTE.size - done}x{length - _ATTRIBUTE.size}s")
                done = at + length
        self.mask = int.from_bytes(mask, "little")
        self.headers = int.from_bytes(data[start:end], "little") & self.mask
        self._form = struct.Struct("".join(form))
        self._last: tuple[bytes | None, ...] = (None,) * len(self._places)
        self._values: dict[str, Any] = {}

    def read(self, data: bytes, start: int) -> dict[str, Any]:
        """Field -> value of all that is wanted; not to be changed."""
        found = self._form.unpack_from(data, start)
        if found != self._last:
            values = self._values.copy()
            for (field, read), now, before in zip(self._places, found, self._last, strict=True):
                if now != before:
                    values[field] = read(now)
            self._last, self._values = found, values
        return self._values


def messages(datagram: bytes) -> Iterator[tuple[int, int, int, int]]:
    """(type, flags, where its body starts, where it ends) of each message."""
    offset, size = 0, len(datagram)
    while offset < size:
        if size - offset < _HEADER.size:
            raise ProtocolError(f"netlink: a message header cut off at byte {offset}")
        length, kind, flags, _, _ = _HEADER.unpack_from(datagram, offset)
        if not _HEADER.size <= length <= size - offset:
            raise ProtocolError(f"netlink: a message of {length} bytes at byte {offset} of {size}")
        yield kind, flags, offset + _HEADER.size, offset + length
        offset += length + 3 & ~3


def attributes(data: bytes, offset: int, end: int, wanted: Container[int]) -> Iterator[tuple[int, bytes]]:
    """(type, value) of each wanted attribute between two offsets."""
    for at, length, kind in _headers(data, offset, end):
        if kind in wanted:
            yield kind, data[at + _ATTRIBUTE.size : at + length]


def _headers(data: bytes, offset: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(offset, length, type) of each attribute."""
    unpack, header, mask = _ATTRIBUTE.unpack_from, _ATTRIBUTE.size, _TYPE_MASK  # a link has some sixty of them
    while offset < end:
        left = end - offset
        if left < header:
            raise ProtocolError(f"netlink: an attribute header cut off at byte {offset}")
        length, kind = unpack(data, offset)
        if length < header or length > left:
            raise ProtocolError(f"netlink: an attribute of {length} bytes at byte {offset}, with {left} left")
        yield offset, length, kind & mask
        offset += length + 3 & ~3


def end_of(_kind: int, flags: int, data: bytes, start: int, end: int) -> End:
    """NLMSG_DONE or NLMSG_ERROR between two offsets."""
    (code,) = _S32.unpack(data[start : min(end, start + _S32.size)])
    if code > 0:
        raise ProtocolError(f"netlink: an answer ends with the code {code}")
    return End(-code, bool(flags & _NLM_F_DUMP_INTR))


def errno_of_dump(datagram: bytes) -> int | None:
    """The errno with which a dump ends in this datagram, 0 for a good end, None where it goes on. Raises ProtocolError.

    The kernel says so in NLMSG_DONE, also where it refuses the whole dump.
    """
    try:
        ends = [end_of(*place[:2], datagram, *place[2:]).errno for place in messages(datagram) if place[0] == _NLMSG_DONE]
    except struct.error as error:
        raise ProtocolError(f"netlink: a dump ends without a code: {error}") from None
    return ends[-1] if ends else None


def _link(kind: int, flags: int, data: bytes, start: int, end: int) -> LinkMessage:
    values: dict[str, Any] = {}
    for attribute, value in attributes(data, start + _LINK.size, end, _READERS):
        field, read = _READERS[attribute]
        values[field] = read(value)
    return _message(kind, flags, data[start : min(end, start + _LINK.size)], values)


def _message(kind: int, flags: int, head: bytes, values: dict[str, Any]) -> LinkMessage:
    family, _, ifindex, link_flags, _ = _LINK.unpack(head)
    if ifindex <= 0:
        raise ProtocolError(f"rtnetlink: a link with the ifindex {ifindex}")
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
    for _, name in attributes(value, 0, len(value), (_IFLA_INFO_KIND,)):
        return _text(name)
    return None


def _altnames(value: bytes) -> tuple[str, ...]:
    """Every IFLA_ALT_IFNAME out of IFLA_PROP_LIST."""
    return tuple(_text(name) for _, name in attributes(value, 0, len(value), (_IFLA_ALT_IFNAME,)))


def _vfs(value: bytes) -> tuple[VF, ...]:
    """Every IFLA_VF_INFO out of IFLA_VFINFO_LIST."""
    return tuple(_vf(info) for _, info in attributes(value, 0, len(value), (_IFLA_VF_INFO,)))


def _vf(value: bytes) -> VF:
    fields: dict[str, Any] = {}
    for attribute, data in attributes(value, 0, len(value), _VF_READERS):
        fields |= _VF_READERS[attribute](data)
    if "index" not in fields:
        raise ProtocolError("rtnetlink: a virtual function without a number")
    return VF(**fields)


def _vf_mac(value: bytes) -> dict[str, object]:
    """ifla_vf_mac: of its 32 bytes, an Ethernet address has six, an InfiniBand one twenty."""
    index, address = _VF_MAC.unpack(value)
    size = _ETH_ALEN if not any(address[_ETH_ALEN:]) else _INFINIBAND_ALEN
    return {"index": index, "mac": address[:size].hex(":")}


def _vf_vlan(value: bytes) -> dict[str, object]:
    _, vlan, qos = _3_U32.unpack(value)
    return {"vlan": vlan, "vlan_qos": qos}


def _vf_vlans(value: bytes) -> dict[str, object]:
    """The first IFLA_VF_VLAN_INFO out of IFLA_VF_VLAN_LIST: no driver has more."""
    for _, info in attributes(value, 0, len(value), (_IFLA_VF_VLAN_INFO,)):
        _, vlan, qos, proto = _VF_VLAN_INFO.unpack(info)
        return {"vlan": vlan, "vlan_qos": qos, "vlan_proto": _VLAN_PROTOS.get(int.from_bytes(proto, "big"), f"0x{proto.hex()}")}
    return {}


def _vf_rate(value: bytes) -> dict[str, object]:
    _, least, most = _3_U32.unpack(value)
    return {"min_tx_rate": least, "max_tx_rate": most}


def _vf_flag(field: str) -> Callable[[bytes], dict[str, object]]:
    def read(value: bytes) -> dict[str, object]:
        _, setting = _2_U32.unpack(value)
        return {field: None if setting == _NOT_TOLD else bool(setting)}

    return read


def _vf_link_state(value: bytes) -> dict[str, object]:
    _, number = _2_U32.unpack(value)
    return {"link_state": _VF_LINK_STATES[number] if number < len(_VF_LINK_STATES) else None}


_ETH_ALEN, _INFINIBAND_ALEN = 6, 20
_NOT_TOLD: Final = 0xFFFFFFFF
_VLAN_PROTOS: Final = {0x8100: "802.1Q", 0x88A8: "802.1ad"}
_VF_LINK_STATES: Final[tuple[VFLinkState, ...]] = tuple(VFLinkState)
_VF_READERS: Final[dict[int, Callable[[bytes], dict[str, object]]]] = {
    1: _vf_mac,  # IFLA_VF_MAC
    2: _vf_vlan,  # IFLA_VF_VLAN
    4: _vf_flag("spoofchk"),  # IFLA_VF_SPOOFCHK
    5: _vf_link_state,  # IFLA_VF_LINK_STATE
    6: _vf_rate,  # IFLA_VF_RATE
    9: _vf_flag("trust"),  # IFLA_VF_TRUST
    12: _vf_vlans,  # IFLA_VF_VLAN_LIST
}

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
    22: ("vfs", _vfs),  # IFLA_VFINFO_LIST
    33: ("carrier", _flag),  # IFLA_CARRIER
    34: ("phys_port_id", _hex),  # IFLA_PHYS_PORT_ID
    35: ("carrier_changes", _u32),  # IFLA_CARRIER_CHANGES
    36: ("phys_switch_id", _hex),  # IFLA_PHYS_SWITCH_ID
    37: ("link_netnsid", _s32),  # IFLA_LINK_NETNSID
    38: ("phys_port_name", _text),  # IFLA_PHYS_PORT_NAME
    45: ("new_netnsid", _s32),  # IFLA_NEW_NETNSID
    49: ("new_ifindex", _s32),  # IFLA_NEW_IFINDEX
    52: ("altnames", _altnames),  # IFLA_PROP_LIST
    54: ("perm_address", _address),  # IFLA_PERM_ADDRESS
    56: ("parent_dev_name", _text),  # IFLA_PARENT_DEV_NAME
    57: ("parent_dev_bus_name", _text),  # IFLA_PARENT_DEV_BUS_NAME
}

_LINKS: Final = frozenset({_RTM_NEWLINK, _RTM_DELLINK})
_LENGTHS: Final = 64  # of messages, whose layouts are remembered
_ALIKE: Final = 4  # layouts of one length: the name of a queueing discipline makes several
_ALL_OF_IT: Final = b"\xff" * _ATTRIBUTE.size
_BODIES: Final[dict[int, Callable[[int, int, bytes, int, int], LinkMessage | End]]] = {
    _NLMSG_ERROR: end_of,
    _NLMSG_DONE: end_of,
    _RTM_NEWLINK: _link,
    _RTM_DELLINK: _link,
}
