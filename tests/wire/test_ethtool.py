from __future__ import annotations

import errno
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2 import NlEthtool
from pyroute2.netlink.generic.ethtool import ethtool_linkmode_msg

from aiovirt.errors import ProtocolError
from aiovirt.model.netdev import Duplex
from aiovirt.wire.ethtool import Family, LinkModes, Modes, decode, dump_modes, get_modes, resolve

CTRL, ERROR, DONE = 0x10, 2, 3
NEWFAMILY, LINKMODES_GET_REPLY, LINKMODES_NTF = 1, 4, 3
NESTED = 0x8000
FAMILY = 21


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def message(kind: int, body: bytes, flags: int = 0) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, flags, 0, 0) + body + b"\0" * (-len(body) % 4)


def generic(*attributes: bytes, command: int = LINKMODES_GET_REPLY, kind: int = FAMILY) -> bytes:
    return message(kind, struct.pack("=BBxx", command, 1) + b"".join(attributes))


def header(ifindex: int = 4, name: bytes = b"eth0\0") -> bytes:
    return attribute(1 | NESTED, attribute(1, struct.pack("=I", ifindex)) + attribute(2, name))


def bitset() -> bytes:
    size = attribute(2, struct.pack("=I", 103))
    return size + attribute(4, bytes(16)) + attribute(5, bytes(16))


FULL = generic(
    header(),
    attribute(2, b"\x01"),
    attribute(3 | NESTED, bitset()),
    attribute(4 | NESTED, attribute(1, b"") + bitset()),
    attribute(5, struct.pack("=I", 25000)),
    attribute(6, b"\x01"),
    attribute(9, b"\x02"),
)


def end(kind: int = DONE, code: int = 0) -> bytes:
    return message(kind, struct.pack("=i", code) + (bytes(16) if kind == ERROR else b""))


def test_what_a_driver_says_of_its_link() -> None:
    assert decode(FULL) == Modes([LinkModes(4, 25000, Duplex.FULL)], None)


@pytest.mark.parametrize(
    ("speed", "duplex", "told"),
    [
        (0xFFFFFFFF, 0xFF, (None, None)),  # SPEED_UNKNOWN, DUPLEX_UNKNOWN
        (10, 0, (10, Duplex.HALF)),
        (400_000, 1, (400_000, Duplex.FULL)),
        (0, 2, (0, None)),
    ],
)
def test_speeds_and_duplexes(speed: int, duplex: int, told: tuple[int | None, Duplex | None]) -> None:
    datagram = generic(header(), attribute(5, struct.pack("=I", speed)), attribute(6, bytes([duplex])))
    assert decode(datagram) == Modes([LinkModes(4, *told)], None)


def test_a_driver_that_says_nothing_of_them() -> None:
    assert decode(generic(header())).told == [LinkModes(4, None, None)]


def test_many_devices_and_the_end_in_one_datagram() -> None:
    parts = [generic(header(index), attribute(5, struct.pack("=I", index * 1000))) for index in (3, 4, 7)]
    assert decode(b"".join(parts) + end()) == Modes([LinkModes(index, index * 1000, None) for index in (3, 4, 7)], 0)


def test_an_answer_ends_with_its_errno() -> None:
    assert decode(end(ERROR, -errno.EOPNOTSUPP)) == Modes([], errno.EOPNOTSUPP)
    assert decode(end(DONE, -errno.EMSGSIZE)) == Modes([], errno.EMSGSIZE)
    assert decode(end(ERROR)) == Modes([], 0)
    assert decode(b"") == Modes([], None)


def test_the_number_of_the_family() -> None:
    told = generic(attribute(2, b"ethtool\0"), attribute(1, struct.pack("=H", 33)), command=NEWFAMILY, kind=CTRL)
    assert decode(told) == Modes([Family(33)], None)


def test_other_commands_are_passed_over() -> None:
    assert decode(generic(header(), command=2) + generic(b"", command=17)) == Modes([], None)


@pytest.mark.parametrize(
    ("datagram", "what"),
    [
        (FULL[:8], "header cut off"),
        (FULL[:-4], "a message of"),
        (message(FAMILY, b"\x04"), "wrong size"),
        (generic(), "no device"),
        (generic(attribute(1 | NESTED, attribute(2, b"eth0\0"))), "no device"),
        (generic(attribute(1 | NESTED, attribute(1, b"\4"))), "wrong size"),
        (generic(attribute(1 | NESTED, struct.pack("=HH", 40, 1))), "an attribute of 40 bytes"),
        (generic(header(), attribute(5, b"\0\0")), "wrong size"),
        (generic(header(), attribute(6, b"")), "wrong size"),
        (generic(header(), b"\5"), "attribute header cut off"),
        (generic(attribute(1, b"\1"), command=NEWFAMILY, kind=CTRL), "wrong size"),
        (message(ERROR, b"\0"), "wrong size"),
        (end(ERROR, 5), "the code 5"),
    ],
)
def test_what_does_not_fit_is_refused_by_place(datagram: bytes, what: str) -> None:
    with pytest.raises(ProtocolError, match=what):
        decode(datagram)


@given(st.binary(max_size=200))
def test_any_bytes_are_told_or_refused(datagram: bytes) -> None:
    survives(datagram)


@given(st.integers(0, len(FULL) - 1), st.integers(0, 255), st.integers(0, len(FULL)))
def test_a_damaged_message_is_told_or_refused(place: int, byte: int, end: int) -> None:
    survives((FULL[:place] + bytes([byte]) + FULL[place + 1 :])[:end])


@given(st.lists(st.tuples(st.integers(0, 10), st.binary(max_size=12)), max_size=6), st.sampled_from([CTRL, FAMILY]), st.integers(0, 5))
def test_any_attributes_are_told_or_refused(attributes: list[tuple[int, bytes]], kind: int, command: int) -> None:
    survives(generic(*(attribute(number, value) for number, value in attributes), kind=kind, command=command))


def survives(datagram: bytes) -> None:
    try:
        modes = decode(datagram)
    except ProtocolError:
        return
    assert all(isinstance(told, LinkModes | Family) for told in modes.told)


@given(st.integers(1, 2**31 - 1), st.none() | st.integers(0, 2**32 - 2), st.none() | st.integers(0, 255))
def test_any_modes_as_pyroute2_reads_them(ifindex: int, speed: int | None, duplex: int | None) -> None:
    told = attribute(5, struct.pack("=I", speed)) if speed is not None else b""
    told += attribute(6, bytes([duplex])) if duplex is not None else b""
    datagram = generic(header(ifindex), attribute(2, b"\0"), told)
    assert decode(datagram).told == reference(datagram)


# -- against pyroute2, on what this machine's kernel says ---------------------------------------


def answers(request: bytes) -> list[bytes]:
    datagrams: list[bytes] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16) as asked:
        asked.sendto(request, (0, 0))
        while not datagrams or decode(datagrams[-1]).errno is None:
            datagrams.append(asked.recv(1 << 17))
    return datagrams


def told(request: bytes) -> tuple[list[LinkModes | Family], int | None]:
    modes = [decode(datagram) for datagram in answers(request)]
    return [one for mode in modes for one in mode.told], modes[-1].errno


def reference(datagram: bytes) -> list[LinkModes]:
    """The link modes of a datagram, as pyroute2 decodes them."""
    found, offset = [], 0
    while offset < len(datagram):
        length, kind = struct.unpack_from("=IH", datagram, offset)
        if kind not in (ERROR, DONE):
            decoded = ethtool_linkmode_msg(datagram[offset : offset + length])
            decoded.decode()
            found.append(as_ours(decoded))
        offset += length + 3 & ~3
    return found


def as_ours(theirs: ethtool_linkmode_msg) -> LinkModes:
    speed, duplex = theirs.get_attr("ETHTOOL_A_LINKMODES_SPEED"), theirs.get_attr("ETHTOOL_A_LINKMODES_DUPLEX")
    index = theirs.get_attr("ETHTOOL_A_LINKMODES_HEADER").get_attr("ETHTOOL_A_HEADER_DEV_INDEX")
    return LinkModes(index, None if speed == 0xFFFFFFFF else speed, {0: Duplex.HALF, 1: Duplex.FULL}.get(duplex))


def family() -> int:
    found, code = told(resolve(1))
    assert code == 0
    (family,) = found
    assert isinstance(family, Family)
    return family.number


def test_the_number_that_this_kernel_gave_it() -> None:
    with NlEthtool() as theirs:
        assert theirs.is_nlethtool_in_kernel()
        assert family() == theirs.asyncore.prid


def test_a_dump_of_this_machine_as_pyroute2_reads_it() -> None:
    datagrams = answers(dump_modes(family(), 1))
    ours = [one for datagram in datagrams for one in decode(datagram).told]
    assert decode(datagrams[-1]).errno == 0
    assert ours == [one for datagram in datagrams for one in reference(datagram)]


def test_each_device_of_this_machine_as_in_the_dump() -> None:
    number = family()
    dumped, _ = told(dump_modes(number, 1))
    for ifindex, _name in socket.if_nameindex():
        alone, code = told(get_modes(number, ifindex, 1))
        assert alone == [one for one in dumped if isinstance(one, LinkModes) and one.ifindex == ifindex]
        assert code == (0 if alone else errno.EOPNOTSUPP)


def test_each_device_of_this_machine_as_pyroute2_asks_for_it() -> None:
    with NlEthtool() as theirs:
        for modes in told(dump_modes(family(), 1))[0]:
            assert isinstance(modes, LinkModes)
            (asked,) = theirs.get_linkmode(ifindex=modes.ifindex)
            assert as_ours(asked) == modes


def test_a_device_that_is_not_there() -> None:
    assert told(get_modes(family(), 0x7FFFFFF0, 1)) == ([], errno.ENODEV)
