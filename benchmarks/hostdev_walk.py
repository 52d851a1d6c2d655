"""The floor: link messages taken apart by hand, into plain dicts, and a blocking socket for them. Nothing is measured here.

What is extracted is what aiovirt's LinkMessage has, each value as plain Python. No length is looked at twice.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any, Final

__all__ = ["Link", "dump", "listener", "walk"]

Link = dict[str, Any]

HEADER, LINK, ATTRIBUTE = struct.Struct("=IHHII"), struct.Struct("=BxHiII"), struct.Struct("=HH")
U8, U32, S32 = struct.Struct("=B"), struct.Struct("=I"), struct.Struct("=i")
NLMSG_DONE, RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 3, 16, 17, 18
IFLA_EXT_MASK, SKIP_STATS, WITH_VFS = 29, 8, 1
REQUEST_OF_ALL: Final = 0x301
RTNLGRP_LINK: Final = 1
SO_RCVBUFFORCE: Final = 33
RECEIVE_BUFFER: Final = 32 << 20
LARGEST: Final = 128 << 10


def text(value: bytes) -> str:
    return value[:-1].decode()


def u32(value: bytes) -> int:
    return int(U32.unpack(value)[0])


def s32(value: bytes) -> int:
    return int(S32.unpack(value)[0])


def u8(value: bytes) -> int:
    return value[0]


def nested(value: bytes, wanted: int) -> Iterator[bytes]:
    offset = 0
    while offset < len(value):
        length, kind = ATTRIBUTE.unpack_from(value, offset)
        if kind == wanted:
            yield value[offset + 4 : offset + length]
        offset += length + 3 & ~3


def kind_of(value: bytes) -> str | None:
    return next((text(name) for name in nested(value, 1)), None)


def altnames(value: bytes) -> tuple[str, ...]:
    return tuple(text(name) for name in nested(value, 53))


def address(value: bytes) -> str:
    return value.hex(":")


READERS: Final[dict[int, tuple[str, Callable[[bytes], object]]]] = {
    1: ("mac", address),
    3: ("name", text),
    4: ("mtu", u32),
    5: ("link", u32),
    10: ("master", u32),
    11: ("wireless", bool),
    16: ("operstate", u8),
    18: ("kind", kind_of),
    22: ("vfs", bytes),
    33: ("carrier", u8),
    34: ("phys_port_id", bytes.hex),
    35: ("carrier_changes", u32),
    36: ("phys_switch_id", bytes.hex),
    37: ("link_netnsid", s32),
    38: ("phys_port_name", text),
    45: ("new_netnsid", s32),
    49: ("new_ifindex", s32),
    32820: ("altnames", altnames),  # with NLA_F_NESTED
    54: ("perm_address", address),
    56: ("parent_dev_name", text),
    57: ("parent_dev_bus_name", text),
}


def walk(data: bytes) -> Iterator[Link | None]:
    """Each link, and None for the end of a dump."""
    offset, size = 0, len(data)
    while offset < size:
        length, message, flags, _, _ = HEADER.unpack_from(data, offset)
        if message == NLMSG_DONE:
            yield None
        elif message in {RTM_NEWLINK, RTM_DELLINK}:
            family, _, ifindex, link_flags, _ = LINK.unpack_from(data, offset + 16)
            link: Link = {
                "ifindex": ifindex,
                "family": family,
                "flags": link_flags,
                "removed": message == RTM_DELLINK,
                "interrupted": bool(flags & 0x10),
            }
            at, end = offset + 32, offset + length
            while at < end:
                step, kind = ATTRIBUTE.unpack_from(data, at)
                if kind in READERS:
                    field, read = READERS[kind]
                    link[field] = read(data[at + 4 : at + step])
                at += step + 3 & ~3
            yield link
        offset += length + 3 & ~3


def listener() -> socket.socket:
    """A blocking socket on which link messages come."""
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    try:
        opened.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
    except PermissionError:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    opened.bind((0, RTNLGRP_LINK))
    return opened


def dump() -> dict[int, Link]:
    """ifindex -> link, by one request to the kernel."""
    body = LINK.pack(0, 0, 0, 0, 0) + ATTRIBUTE.pack(8, IFLA_EXT_MASK) + U32.pack(SKIP_STATS | WITH_VFS)
    found: dict[int, Link] = {}
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as opened:
        opened.bind((0, 0))
        opened.send(HEADER.pack(HEADER.size + len(body), RTM_GETLINK, REQUEST_OF_ALL, 1, 0) + body)
        while True:
            for link in walk(opened.recv(LARGEST)):
                if link is None:
                    return found
                found[link["ifindex"]] = link
