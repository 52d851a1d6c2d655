"""What QEMU said: packed once, when it comes, and decoded by who asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from aiovirt.events import DomainQMP, UnknownEvent, of_domains
from aiovirt.events.replica import Replica
from aiovirt.events.segment import decode_event, encode_event
from aiovirt.events.state import HostState
from tests.crash.engines import HUGE, engine
from tests.events import samples

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

DATA: dict[str, object] = {"device": "disk0", "of": [{"sectors": 2**40, "done": None}], "name": "Größe"}


def said() -> DomainQMP:
    return DomainQMP.made(uuid=samples.UUIDS[0], name="web", event="BLOCK_IO_ERROR", data=DATA)


async def test_journal_and_clients_have_it_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    event = said()
    async with engine(tmp_path, "boot", HUGE) as (bus, opened):
        assert opened.journal
        other = Replica(host=samples.HOST, chain=bus.chain, head=bus.head, state=HostState(), past=opened.journal)
        with monkeypatch.context() as patch:
            patch.setattr(of_domains, "_data_decoder", None)
            patch.setattr(of_domains, "_data_encoder", None)
            bus.publish(event)
            (payload,) = bus.payloads(bus.head, bus.head)
            assert bytes(event.body) in payload
            other.take([decode_event(payload)])
            with pytest.raises(AttributeError):
                assert event.data
        assert other.ring.get(other.head) == event
        assert event.data == DATA


def test_it_keeps_nothing_of_what_it_was_read_from() -> None:
    buffer = bytearray(encode_event(said()))
    with memoryview(buffer) as view:
        event = decode_event(view)
    buffer.clear()  # refused while anything of it is held
    assert isinstance(event, DomainQMP)
    assert event.data == DATA


@pytest.mark.parametrize("data", [None, 7, "x", [], [{}], True])
def test_what_has_other_data_than_members_is_of_another_version(data: object) -> None:
    members = msgspec.msgpack.decode(encode_event(said())) | {"cursor": f"{'0' * 26}:{1:016}", "data": data}
    assert isinstance(decode_event(msgspec.msgpack.encode(members)), UnknownEvent)


@pytest.mark.parametrize("count", [0, 1, 15, 16, 65_535, 65_536])
def test_members_are_as_many_as_there_are(count: int) -> None:
    event = decode_event(encode_event(DomainQMP.made(uuid=samples.UUIDS[0], name="web", event="X", data={str(n): n for n in range(count)})))
    assert isinstance(event, DomainQMP)
    assert len(event.data) == count
