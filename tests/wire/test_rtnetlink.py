from __future__ import annotations

import errno
import socket
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from aiovirt.errors import ProtocolError
from aiovirt.model.netdev import VF, OperState, VFLinkState
from aiovirt.wire.rtnetlink import End, LinkMessage, LinkReader, decode, decode_each, dump_links, errno_of_dump, get_link, get_link_named

NEWLINK, DELLINK = 16, 17
NESTED = 0x8000
PORT_ID = bytes.fromhex("026c6e0001000000")


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def message(kind: int, body: bytes, flags: int = 0) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, flags, 0, 0) + body + b"\0" * (-len(body) % 4)


def link(*attributes: bytes, kind: int = NEWLINK, family: int = 0, ifindex: int = 7, flags: int = 0) -> bytes:
    return message(kind, struct.pack("=BxHiII", family, 1, ifindex, 0x1043, 0) + b"".join(attributes), flags)


FULL = link(
    attribute(1, bytes.fromhex("525400aa0000")),
    attribute(3, b"enp1s0\0"),
    attribute(4, struct.pack("=I", 9000)),
    attribute(5, struct.pack("=I", 3)),
    attribute(10, struct.pack("=I", 9)),
    attribute(16, b"\x06"),
    attribute(18 | 0x8000, attribute(1, b"macvlan\0") + attribute(2, b"\0" * 8)),
    attribute(33, b"\x01"),
    attribute(34, PORT_ID),
    attribute(35, struct.pack("=I", 6)),
    attribute(36, bytes.fromhex("aabbccdd")),
    attribute(37, struct.pack("=i", 2)),
    attribute(38, b"pf0vf3\0"),
    attribute(52 | NESTED, attribute(53, b"wan\0") + attribute(53, b"a-name-that-is-longer-than-fifteen\0")),
    attribute(54, bytes.fromhex("525400aa0001")),
    attribute(56, b"0000:01:00.0\0"),
    attribute(57, b"pci\0"),
    attribute(23, b"\0" * 96),
)


@pytest.mark.parametrize("name", ["a", "m\u00e5ne", "x" * 127])
def test_a_link_is_asked_for_by_name(name: str) -> None:
    request = get_link_named(name, 5)
    assert request is not None
    decoded = ifinfmsg(request)
    decoded.decode()
    assert (decoded["index"], decoded["header"]["sequence_number"], decoded.get("alt_ifname")) == (0, 5, name)


@pytest.mark.parametrize("name", ["", "x" * 128, "\u00e5" * 64, "a\0", "\0"])
def test_what_no_link_can_be_named_is_not_asked_for(name: str) -> None:
    assert get_link_named(name, 5) is None


def test_a_dump_ends_with_an_errno() -> None:
    def done(body: bytes) -> bytes:
        return struct.pack("=IHHII", 16 + len(body), 3, 2, 1, 0) + body

    assert errno_of_dump(b"") is None
    assert errno_of_dump(done(struct.pack("=i", 0))) == 0
    assert errno_of_dump(done(struct.pack("=i", -22))) == 22
    for wrong in (b"", struct.pack("=i", 22)):
        with pytest.raises(ProtocolError):
            errno_of_dump(done(wrong))


def test_a_link_with_all_that_is_decoded() -> None:
    assert decode(FULL) == [
        LinkMessage(
            ifindex=7,
            family=0,
            removed=False,
            interrupted=False,
            flags=0x1043,
            name="enp1s0",
            mac="52:54:00:aa:00:00",
            perm_address="52:54:00:aa:00:01",
            mtu=9000,
            operstate=OperState.UP,
            carrier=True,
            carrier_changes=6,
            altnames=("wan", "a-name-that-is-longer-than-fifteen"),
            kind="macvlan",
            master=9,
            link=3,
            link_netnsid=2,
            parent_dev_name="0000:01:00.0",
            parent_dev_bus_name="pci",
            phys_port_id="026c6e0001000000",
            phys_port_name="pf0vf3",
            phys_switch_id="aabbccdd",
        )
    ]


def test_a_link_that_went_to_another_namespace() -> None:
    (gone,) = decode(link(attribute(3, b"a\0"), attribute(45, struct.pack("=i", 1)), attribute(49, struct.pack("=i", 12)), kind=DELLINK))
    assert isinstance(gone, LinkMessage)
    assert (gone.removed, gone.new_netnsid, gone.new_ifindex) == (True, 1, 12)


@pytest.mark.parametrize("where", [attribute(45, struct.pack("=i", -1)), attribute(49, struct.pack("=i", 12))])
def test_either_tells_that_a_link_moved(where: bytes) -> None:
    moved, gone = decode(link(where, kind=DELLINK) + link(kind=DELLINK))
    assert isinstance(moved, LinkMessage)
    assert isinstance(gone, LinkMessage)
    assert (moved.moved, gone.moved, gone.new_netnsid, gone.new_ifindex) == (True, False, None, None)


def test_what_is_no_change_of_a_link_can_be_told() -> None:
    left_its_bridge, wireless = decode(link(kind=DELLINK, family=socket.AF_BRIDGE) + link(attribute(3, b"w\0"), attribute(11, b"\0" * 8)))
    assert isinstance(left_its_bridge, LinkMessage)
    assert isinstance(wireless, LinkMessage)
    assert left_its_bridge.family == socket.AF_BRIDGE
    assert wireless.wireless


def test_a_dump_ends_with_its_errno_and_says_whether_it_was_disturbed() -> None:
    done, error = decode(message(3, struct.pack("=i", -errno.EMSGSIZE), 0x10) + message(2, struct.pack("=i", -errno.ENODEV) + b"\0" * 16))
    assert done == End(errno.EMSGSIZE, interrupted=True)
    assert error == End(errno.ENODEV, interrupted=False)
    (part,) = decode(link(flags=0x12))
    assert part.interrupted


def test_other_messages_are_passed_over() -> None:
    assert decode(message(20, b"\0" * 8) + message(1, b"")) == []
    assert decode(b"") == []


def test_states_that_no_kernel_had_are_unknown() -> None:
    (seen,) = decode(link(attribute(16, b"\x77")))
    assert isinstance(seen, LinkMessage)
    assert seen.operstate is OperState.UNKNOWN


@pytest.mark.parametrize(
    ("datagram", "what"),
    [
        (FULL[:8], "header cut off"),
        (FULL[:-4], "a message of"),
        (struct.pack("=IHHII", 15, NEWLINK, 0, 0, 0), "a message of 15 bytes"),
        (message(NEWLINK, b"\0" * 15), "wrong size"),
        (link(b"\x01\0"), "attribute header cut off"),
        (link(struct.pack("=HH", 3, 3)), "an attribute of 3 bytes"),
        (link(struct.pack("=HH", 9, 3) + b"abcd"), "an attribute of 9 bytes"),
        (link(attribute(18, struct.pack("=HH", 40, 1))), "an attribute of 40 bytes"),
        (link(attribute(4, b"\0\0")), "wrong size"),
        (link(attribute(16, b"")), "wrong size"),
        (link(attribute(35, b"\0")), "wrong size"),
        (link(attribute(52, struct.pack("=HH", 40, 53))), "an attribute of 40 bytes"),
        (link(attribute(22, struct.pack("=HH", 40, 1))), "an attribute of 40 bytes"),
        (link(attribute(22, attribute(1, b""))), "a virtual function without a number"),
        (link(attribute(22, attribute(1, attribute(1, bytes(35))))), "wrong size"),
        (link(attribute(22, attribute(1, attribute(9, bytes(4))))), "wrong size"),
        (link(attribute(22, attribute(1, attribute(12, attribute(1, bytes(12)))))), "wrong size"),
        (link(ifindex=0), "ifindex 0"),
        (message(3, b"\0\0"), "wrong size"),
        (message(2, struct.pack("=i", 5)), "the code 5"),
    ],
)
def test_what_does_not_fit_is_refused_by_place(datagram: bytes, what: str) -> None:
    with pytest.raises(ProtocolError, match=what):
        decode(datagram)


@given(st.binary(max_size=200))
def test_any_bytes_are_messages_or_refused(datagram: bytes) -> None:
    survives(datagram)


@given(st.integers(0, len(FULL) - 1), st.integers(0, 255), st.integers(0, len(FULL)))
def test_a_damaged_message_is_messages_or_refused(place: int, byte: int, end: int) -> None:
    survives((FULL[:place] + bytes([byte]) + FULL[place + 1 :])[:end])


@given(st.lists(st.tuples(st.integers(0, 70), st.binary(max_size=12)), max_size=6))
def test_any_attributes_are_a_link_or_refused(attributes: list[tuple[int, bytes]]) -> None:
    survives(link(*(attribute(kind, value) for kind, value in attributes)))


@given(st.lists(st.tuples(st.integers(0, 14), st.binary(max_size=40)), max_size=6))
def test_any_virtual_functions_are_a_link_or_refused(attributes: list[tuple[int, bytes]]) -> None:
    survives(link(attribute(22, attribute(1, b"".join(attribute(kind, value) for kind, value in attributes)))))


VALUES = st.sampled_from([b"", b"a", b"b", b"ab\0", b"\x01", bytes(4), b"\1\0\0\0", bytes(8)])
ALIKE = st.tuples(
    st.integers(1, 3), st.integers(0, 1), st.lists(st.tuples(st.sampled_from([3, 4, 6, 10, 16, 18, 22, 34, 99]), VALUES), max_size=4)
)


@given(st.lists(ALIKE, max_size=30))
def test_who_has_seen_others_like_it_reads_the_same(alike: list[tuple[int, int, list[tuple[int, bytes]]]]) -> None:
    reader = LinkReader()
    for ifindex, flags, attributes in alike:
        datagram = link(*(attribute(kind, value) for kind, value in attributes), ifindex=ifindex, flags=flags)
        (expected,) = decode_each(datagram)
        (read,) = decode_each(datagram, body=reader.body)
        assert (type(read), str(read)) == (type(expected), str(expected))


def test_so_much_is_remembered_and_no_more() -> None:
    reader = LinkReader()
    for size in range(200):
        for kind in range(60, 70):
            assert decode(link(attribute(kind, bytes(4 * size))), body=reader.body) == decode(link())
    assert len(reader._layouts) == 64
    assert max(map(len, reader._layouts.values())) == 4


def survives(datagram: bytes) -> None:
    try:
        messages = decode(datagram)
    except ProtocolError:
        return
    assert all(isinstance(seen, LinkMessage | End) for seen in messages)


# -- virtual functions, as the kernel writes them (rtnl_fill_vfinfo in net/core/rtnetlink.c) ------


def vf(
    index: int,
    mac: bytes = b"",
    *,
    vlan: int = 0,
    qos: int = 0,
    proto: int = 0x8100,
    rates: tuple[int, int] = (0, 0),
    spoofchk: int = 1,
    link_state: int = 0,
    trust: int = 0,
    vlan_list: bool = True,
    stats: bool = False,
) -> bytes:
    return attribute(
        1,
        attribute(1, struct.pack("=I32s", index, mac))
        + attribute(13, b"\xff" * 6 + bytes(26))
        + attribute(2, struct.pack("=III", index, vlan, qos))
        + attribute(6, struct.pack("=III", index, *rates))
        + attribute(3, struct.pack("=II", index, rates[1]))
        + attribute(4, struct.pack("=II", index, spoofchk))
        + attribute(5, struct.pack("=II", index, link_state))
        + attribute(7, struct.pack("=II", index, 0xFFFFFFFF))
        + attribute(9, struct.pack("=II", index, trust))
        + (attribute(12, attribute(1, struct.pack("=III2sxx", index, vlan, qos, proto.to_bytes(2, "big")))) if vlan_list else b"")
        + (attribute(8, b"".join(attribute(kind, bytes(8)) for kind in (0, 1, 2, 3, 4, 5, 7, 8))) if stats else b""),
    )


def with_vfs(*vfs: bytes) -> bytes:
    return link(
        attribute(3, b"ens3\0"),
        attribute(4, struct.pack("=I", 1500)),
        attribute(21, struct.pack("=I", len(vfs))),
        attribute(22, b"".join(vfs)),
        attribute(34, PORT_ID),
    )


def vfs_of(datagram: bytes) -> tuple[VF, ...]:
    (seen,) = decode(datagram)
    assert isinstance(seen, LinkMessage)
    assert (seen.name, seen.phys_port_id) == ("ens3", PORT_ID.hex())
    return seen.vfs


MAC = bytes.fromhex("020304050607")


def test_what_is_set_for_a_virtual_function() -> None:
    told = vf(3, MAC, vlan=100, qos=5, proto=0x88A8, rates=(10, 1000), spoofchk=0, link_state=2, trust=1, stats=True)
    assert vfs_of(with_vfs(told)) == (
        VF(
            index=3,
            mac="02:03:04:05:06:07",
            vlan=100,
            vlan_qos=5,
            vlan_proto="802.1ad",
            trust=True,
            spoofchk=False,
            link_state=VFLinkState.DISABLE,
            min_tx_rate=10,
            max_tx_rate=1000,
        ),
    )


def test_what_a_driver_does_not_tell_of_a_virtual_function() -> None:
    told = vf(0, spoofchk=0xFFFFFFFF, trust=0xFFFFFFFF, link_state=3, proto=0x9100)
    (seen,) = vfs_of(with_vfs(told))
    assert (seen.spoofchk, seen.trust, seen.link_state, seen.vlan_proto) == (None, None, None, "0x9100")
    (bare,) = vfs_of(with_vfs(attribute(1, attribute(1, struct.pack("=I32s", 7, MAC)))))
    assert bare == VF(index=7, mac="02:03:04:05:06:07")


def test_the_vlan_of_a_driver_that_lists_none() -> None:
    (seen,) = vfs_of(with_vfs(vf(0, vlan=100, qos=5, vlan_list=False)))
    assert (seen.vlan, seen.vlan_qos, seen.vlan_proto) == (100, 5, "802.1Q")
    (empty,) = vfs_of(with_vfs(attribute(1, attribute(1, struct.pack("=I32s", 0, MAC)) + attribute(12, b""))))
    assert empty.vlan == 0


@pytest.mark.parametrize("index", range(3))
def test_the_link_states_of_virtual_functions_have_the_kernels_numbers(index: int) -> None:
    (seen,) = vfs_of(with_vfs(vf(0, link_state=index)))
    assert seen.link_state == ("auto", "enable", "disable")[index]


def test_the_address_of_an_infiniband_virtual_function_is_whole() -> None:
    address = bytes.fromhex("000000a4fe80000000000000e41d2d0300a1b2c3")
    (seen,) = vfs_of(with_vfs(vf(0, address)))
    assert seen.mac == address.hex(":")


@pytest.mark.parametrize("stats", [True, False])
def test_sixty_four_virtual_functions(stats: bool) -> None:  # noqa: FBT001
    told = [vf(index, bytes([2, 0, 0, 0, 0, index]), vlan=index, rates=(0, index), stats=stats) for index in range(64)]
    seen = vfs_of(with_vfs(*told))
    assert [(one.index, one.mac, one.vlan, one.max_tx_rate) for one in seen] == [
        (index, f"02:00:00:00:00:{index:02x}", index, index) for index in range(64)
    ]


SETTING = st.fixed_dictionaries(
    {
        "mac": st.binary(min_size=6, max_size=6),
        "vlan": st.integers(0, 4095),
        "qos": st.integers(0, 7),
        "proto": st.sampled_from([0x8100, 0x88A8]),
        "rates": st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)),
        "spoofchk": st.sampled_from([0, 1, 0xFFFFFFFF]),
        "trust": st.sampled_from([0, 1, 0xFFFFFFFF]),
        "link_state": st.integers(0, 2),
        "vlan_list": st.booleans(),
        "stats": st.booleans(),
    }
)


@given(st.lists(SETTING, max_size=4))
def test_any_virtual_functions_as_pyroute2_reads_them(settings: list[dict[str, Any]]) -> None:
    datagram = with_vfs(*(vf(index, **setting) for index, setting in enumerate(settings)))
    (ours,), (theirs,) = decode(datagram), reference(datagram)
    assert {field: getattr(ours, field) for field in theirs} == theirs
    assert len(theirs["vfs"]) == len(settings)


# -- against pyroute2, on what this machine's kernel says ---------------------------------------


def answers(request: bytes) -> list[bytes]:
    datagrams: list[bytes] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as asked:
        asked.sendto(request, (0, 0))
        while not datagrams or not isinstance(decode(datagrams[-1])[-1], End):
            datagrams.append(asked.recv(1 << 17))
    return datagrams


def reference(datagram: bytes) -> list[dict[str, Any]]:
    """The links of a datagram, as pyroute2 decodes them."""
    links, offset = [], 0
    while offset < len(datagram):
        length, kind = struct.unpack_from("=IH", datagram, offset)
        if kind in (NEWLINK, DELLINK):
            decoded = ifinfmsg(datagram[offset : offset + length])
            decoded.decode()
            links.append(as_ours(decoded))
        offset += length + 3 & ~3
    return links


def as_ours(theirs: ifinfmsg) -> dict[str, Any]:
    info = theirs.get_attr("IFLA_LINKINFO")
    carrier, master = theirs.get_attr("IFLA_CARRIER"), theirs.get_attr("IFLA_MASTER")
    properties, vfs = theirs.get_attr("IFLA_PROP_LIST"), theirs.get_attr("IFLA_VFINFO_LIST")
    return {
        "ifindex": theirs["index"],
        "family": theirs["family"],
        "flags": theirs["flags"],
        "name": theirs.get_attr("IFLA_IFNAME"),
        "mac": theirs.get_attr("IFLA_ADDRESS") or "",
        "perm_address": theirs.get_attr("IFLA_PERM_ADDRESS"),
        "mtu": theirs.get_attr("IFLA_MTU"),
        "operstate": OperState[theirs.get_attr("IFLA_OPERSTATE") or "UNKNOWN"],
        "carrier": None if carrier is None else bool(carrier),
        "kind": info.get_attr("IFLA_INFO_KIND") if info else None,
        "master": master,
        "link": theirs.get_attr("IFLA_LINK"),
        "link_netnsid": theirs.get_attr("IFLA_LINK_NETNSID"),
        "parent_dev_name": theirs.get_attr("IFLA_PARENT_DEV_NAME"),
        "parent_dev_bus_name": theirs.get_attr("IFLA_PARENT_DEV_BUS_NAME"),
        "phys_port_id": without_colons(theirs.get_attr("IFLA_PHYS_PORT_ID")),
        "phys_port_name": theirs.get_attr("IFLA_PHYS_PORT_NAME"),
        "phys_switch_id": without_colons(theirs.get_attr("IFLA_PHYS_SWITCH_ID")),
        "new_netnsid": as_the_kernel_wrote(theirs.get_attr("IFLA_NEW_NETNSID")),
        "new_ifindex": theirs.get_attr("IFLA_NEW_IFINDEX"),
        "carrier_changes": theirs.get_attr("IFLA_CARRIER_CHANGES") or 0,
        "altnames": tuple(properties.altnames()) if properties else (),
        "vfs": tuple(vf_as_ours(info) for info in vfs.get_attrs("IFLA_VF_INFO")) if vfs else (),
    }


def vf_as_ours(theirs: Any) -> VF:  # noqa: ANN401
    told = {name.removeprefix("IFLA_VF_").lower(): value for name, value in theirs["attrs"]}
    listed = told["vlan_list"].get_attr("IFLA_VF_VLAN_INFO") if "vlan_list" in told else told["vlan"] | {"proto": 0x8100}
    return VF(
        index=told["mac"]["vf"],
        mac=told["mac"]["mac"],
        vlan=listed["vlan"],
        vlan_qos=listed["qos"],
        vlan_proto={0x8100: "802.1Q", 0x88A8: "802.1ad"}[listed["proto"]],
        trust={0: False, 1: True, 0xFFFFFFFF: None}[told["trust"]["trust"]],
        spoofchk={0: False, 1: True, 0xFFFFFFFF: None}[told["spoofchk"]["spoofchk"]],
        link_state=(VFLinkState.AUTO, VFLinkState.ENABLE, VFLinkState.DISABLE)[told["link_state"]["link_state"]],
        min_tx_rate=told["rate"]["min_tx_rate"],
        max_tx_rate=told["rate"]["max_tx_rate"],
    )


def as_the_kernel_wrote(number: int | None) -> int | None:
    """pyroute2 takes this one for big-endian; the kernel (nla_put_s32) writes it as the machine does."""
    return None if number is None else int(struct.unpack("=i", struct.pack(">I", number))[0])


def without_colons(text: str | None) -> str | None:
    return text and text.replace(":", "")


def test_a_dump_of_this_machine_as_pyroute2_reads_it() -> None:
    datagrams = answers(dump_links(1))
    ours = [seen for datagram in datagrams for seen in decode(datagram) if isinstance(seen, LinkMessage)]
    theirs = [seen for datagram in datagrams for seen in reference(datagram)]
    assert "lo" in [seen.name for seen in ours]
    assert [{field: getattr(seen, field) for field in theirs[0]} for seen in ours] == theirs


def test_a_made_up_link_as_pyroute2_reads_it() -> None:
    (ours,) = decode(FULL)
    (theirs,) = reference(FULL)
    assert {field: getattr(ours, field) for field in theirs} == theirs


@pytest.mark.parametrize("nsid", [-1, 0, 1, 4711])
def test_a_link_that_moved_as_pyroute2_reads_it(nsid: int) -> None:
    datagram = link(
        attribute(3, b"a\0"),
        attribute(4, struct.pack("=I", 1500)),
        attribute(45, struct.pack("=i", nsid)),
        attribute(49, struct.pack("=i", 12)),
        kind=DELLINK,
    )
    (ours,), (theirs,) = decode(datagram), reference(datagram)
    assert {field: getattr(ours, field) for field in theirs} == theirs
    assert (theirs["new_netnsid"], theirs["new_ifindex"]) == (nsid, 12)


def test_one_link_of_this_machine() -> None:
    seen, end = [seen for datagram in answers(get_link(1, 1)) for seen in decode(datagram)]
    assert isinstance(seen, LinkMessage)
    assert (seen.ifindex, seen.name, end) == (1, "lo", End(0))


def test_a_link_that_is_not_there() -> None:
    assert [seen for datagram in answers(get_link(0x7FFFFFF0, 1)) for seen in decode(datagram)] == [End(errno.ENODEV)]
