from __future__ import annotations

import struct
from zlib import crc32

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from aiovirt.errors import Unsupported
from aiovirt.events import Event, HostStarted, NetdevAdded
from aiovirt.events.segment import (
    _BLOCK,
    HEADER_SIZE,
    RECORD_LIMIT,
    CutError,
    DamagedError,
    Ending,
    Header,
    decode_checkpoint,
    decode_event,
    decode_header,
    encode_checkpoint,
    encode_header,
    encode_record,
    walk,
)
from aiovirt.events.state import Checkpoint, HostState
from aiovirt.model.netdev import NETDEVS
from aiovirt.model.pci import PCI
from aiovirt.model.view import DOMAINS
from tests.events import samples
from tests.events.samples import netdev, started

HEADER = Header(host=samples.HOST, epoch="0" * 26, first=7, boot_id="b", began=5)
CHECKPOINT = Checkpoint(
    cursor=f"{'0' * 26}:{7:016}", boot_id="b", incarnation=3, tables={DOMAINS: (), NETDEVS: (netdev(1), netdev(2)), PCI: ()}
)
RECORDS = [encode_record(seq, replace(started(seq % 3), cursor=f"c{seq}", time=seq)) for seq in range(7, 12)]
DATA = b"".join(RECORDS)
ends = [sum(map(len, RECORDS[: number + 1])) for number in range(len(RECORDS))]
PAYLOADS = [record[16:] for record in RECORDS]


def read(data: bytes) -> tuple[list[bytes], type[DamagedError] | None]:
    """The payloads of the whole records, and how the walk ended."""
    found: list[bytes] = []
    try:
        for entry in walk(data, 0, 7):
            found.append(bytes(entry.payload))
            assert data[: entry.end].endswith(entry.payload)
    except DamagedError as error:
        return found, type(error)
    return found, None


@given(st.lists(samples.any_event, max_size=5), st.integers(1, 2**60))
def test_what_is_written_reads_back(events: list[Event], first: int) -> None:
    data = b"".join(encode_record(seq, event) for seq, event in enumerate(events, first))
    assert [repr(decode_event(entry.payload)) for entry in walk(data, 0, first)] == [repr(event) for event in events]


@given(st.integers(0, len(DATA) * 8 - 1))
def test_a_bit_that_flipped_is_noticed(bit: int) -> None:
    data = bytearray(DATA)
    data[bit // 8] ^= 1 << bit % 8
    found, error = read(bytes(data))
    whole = sum(end <= bit // 8 for end in ends)
    assert found == PAYLOADS[:whole]
    assert error


@given(st.integers(0, len(DATA)))
def test_a_cut_is_noticed_unless_it_is_between_records(size: int) -> None:
    found, error = read(DATA[:size])
    assert found == PAYLOADS[: sum(end <= size for end in ends)]
    assert error is (None if size in {0, *ends} else CutError)


@given(st.integers(0, len(DATA)), st.integers(1, 1000))
def test_zeros_at_the_end_are_no_records(start: int, count: int) -> None:
    found, error = read(DATA[:start] + bytes(count))
    whole = sum(end <= start for end in ends)
    assert found == PAYLOADS[:whole]
    assert error


@given(st.binary(max_size=300), st.integers(0, 2**64 - 1))
def test_noise_has_no_records(noise: bytes, seq: int) -> None:
    with pytest.raises(DamagedError):
        list(walk(noise + b"\0", 0, seq))


@pytest.mark.parametrize("order", [[1, 0], [0, 2], [0, 0]])
def test_records_that_are_not_next_to_each_other_are_noticed(order: list[int]) -> None:
    found, error = read(b"".join(RECORDS[number] for number in order))
    assert (found, error) == ([PAYLOADS[0]] if order[0] == 0 else [], DamagedError)


def test_a_record_that_claims_too_much_is_not_waited_for() -> None:
    claim = struct.pack("<IIQ", RECORD_LIMIT + 1, 0, 7)
    assert read(claim) == ([], DamagedError)


@pytest.mark.parametrize("payload", [b"", b"\xc1", b"\x81\xa4type\xa1x", b"\x91" * 100_000])
def test_what_is_no_event_is_damaged(payload: bytes) -> None:
    with pytest.raises(DamagedError):
        decode_event(payload)


# -- blocks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", Ending)
@pytest.mark.parametrize("previous", [None, ("1" * 26, 10**15 - 1)])
def test_a_header_reads_back(ending: Ending, previous: tuple[str, int] | None) -> None:
    header = Header(
        host=samples.HOST,
        epoch="Z" * 26,
        first=10**15 - 1,
        boot_id="f" * 36,
        began=2**62,
        previous=previous,
        ending=ending,
        last=10**15 - 1,
        end=2**40,
        time=2**62,
    )
    assert len(encode_header(header)) == HEADER_SIZE
    assert decode_header(encode_header(header)) == header


@given(st.integers(0, HEADER_SIZE - 1))
def test_a_header_that_is_cut_is_none(size: int) -> None:
    with pytest.raises(DamagedError):
        decode_header(encode_header(HEADER)[:size])


@given(st.binary(max_size=600))
def test_noise_is_no_block(noise: bytes) -> None:
    for decode in (decode_header, decode_checkpoint):
        with pytest.raises(DamagedError):
            decode(noise)


@given(st.data())
def test_a_block_with_a_bit_that_flipped_is_damaged_or_newer_and_never_something_else(data: st.DataObject) -> None:
    checkpoint, header = bytearray(encode_checkpoint(CHECKPOINT)), bytearray(encode_header(HEADER))
    for block, decode, value in ((checkpoint, decode_checkpoint, CHECKPOINT), (header, decode_header, HEADER)):
        bit = data.draw(st.integers(0, len(block) * 8 - 1))
        block[bit // 8] ^= 1 << bit % 8
        try:
            found = decode(bytes(block))
        except (DamagedError, Unsupported):
            continue
        assert found == value  # it was in what fills the header up, or in a version that is older
        assert bit // 8 >= 20 + header[12] or bit // 8 in range(8, 12)


def header_of_a_newer_version(**members: object) -> bytes:
    body = msgspec.msgpack.encode({name: getattr(HEADER, name) for name in HEADER.__struct_fields__ if name != "newer"} | members)
    return (_BLOCK.pack(b"AIOVIRTJ", 1, len(body), crc32(body)) + body).ljust(HEADER_SIZE, b"\0")


def test_what_a_newer_version_wrote_in_a_header_is_kept_when_it_is_sealed() -> None:
    members = {"codec": "zstd", "keys": [1, {"of": b"what"}]}
    sealed = encode_header(replace(decode_header(header_of_a_newer_version(**members)), ending=Ending.SEALED, last=9, end=4096))
    _, _, length, _ = _BLOCK.unpack_from(sealed)
    written = msgspec.msgpack.decode(sealed[_BLOCK.size : _BLOCK.size + length])
    assert {name: written.get(name) for name in ("codec", "keys", "last")} == {**members, "last": 9}
    assert decode_header(sealed).last == 9


def test_what_has_no_room_in_a_header_any_more_is_left_out() -> None:
    full = header_of_a_newer_version(filling="")
    _, _, length, _ = _BLOCK.unpack_from(full)
    full = header_of_a_newer_version(filling="x" * (HEADER_SIZE - _BLOCK.size - length - 2))
    assert len(full) == HEADER_SIZE
    sealed = replace(decode_header(full), ending=Ending.SEALED, last=10**9, end=2**40, time=2**60, ended=2**60)
    assert decode_header(encode_header(sealed)) == replace(sealed, newer={})


@pytest.mark.parametrize("decode", [decode_header, decode_checkpoint])
def test_a_newer_version_is_refused_whatever_follows(decode: object) -> None:
    block = bytearray(encode_header(HEADER) if decode is decode_header else encode_checkpoint(CHECKPOINT))
    block[8:12] = (3).to_bytes(4, "little")
    block[25] ^= 255
    with pytest.raises(Unsupported, match="newer aiovirt"):
        decode(bytes(block))  # type: ignore[operator]


def test_one_kind_of_block_is_not_taken_for_another() -> None:
    with pytest.raises(DamagedError):
        decode_checkpoint(encode_header(HEADER))
    with pytest.raises(DamagedError):
        decode_header(encode_checkpoint(CHECKPOINT).ljust(HEADER_SIZE, b"\0"))


def test_a_state_reads_back() -> None:
    assert decode_checkpoint(encode_checkpoint(CHECKPOINT)) == CHECKPOINT


# -- a state of a later version ---------------------------------------------------------------------


def with_tables(data: bytes, **tables: object) -> bytes:
    """A state as a later version would put it down."""
    magic, version, length, _ = _BLOCK.unpack_from(data)
    body = msgspec.msgpack.encode(msgspec.msgpack.decode(data[_BLOCK.size :][:length]) | tables)
    return _BLOCK.pack(magic, version, len(body), crc32(body)) + body


def tables_of(data: bytes) -> dict[str, object]:
    members: dict[str, object] = msgspec.msgpack.decode(data[_BLOCK.size :])
    return members


POOLS = [{"name": "images", "size": 2**40, "volumes": [{"key": b"\xff", 3: None}]}]


def test_tables_that_only_a_later_version_knows_are_carried_on_as_they_came() -> None:
    """With the cursor of the last event that whoever knows them has folded in."""
    state = HostState(decode_checkpoint(with_tables(encode_checkpoint(CHECKPOINT), pools=POOLS, secrets=None)))
    state.apply(NetdevAdded(device=netdev(3)))
    later = f"{'0' * 26}:{8:016}"
    for cursor in (later, f"{'0' * 26}:{9:016}"):
        write_checkpoint = encode_checkpoint(state.checkpoint(cursor))
        members = tables_of(write_checkpoint)
        assert {name: members[name] for name in ("pools", "secrets", "newer_as_of", "cursor")} == {
            "pools": POOLS,
            "secrets": None,
            "newer_as_of": CHECKPOINT.cursor,
            "cursor": cursor,
        }
        state = HostState(decode_checkpoint(write_checkpoint))
        assert set(state.netdevs) == {netdev(n).id for n in (1, 2, 3)}


def test_a_state_that_begins_anew_has_nothing_of_a_later_version() -> None:
    state = HostState(decode_checkpoint(with_tables(encode_checkpoint(CHECKPOINT), pools=POOLS)))
    state.apply(HostStarted(boot_id="b", resumed=True))
    assert "pools" in tables_of(encode_checkpoint(state.checkpoint(CHECKPOINT.cursor)))
    state.apply(HostStarted(boot_id="b"))
    assert tables_of(encode_checkpoint(state.checkpoint(CHECKPOINT.cursor))) == tables_of(
        encode_checkpoint(HostState(replace(CHECKPOINT, tables={})).checkpoint(CHECKPOINT.cursor))
    )


def test_without_a_later_version_nothing_of_it_is_written() -> None:
    assert set(tables_of(encode_checkpoint(CHECKPOINT))) == {"cursor", "boot_id", "incarnation", "domains", "netdevs", "pci", "resyncs"}
