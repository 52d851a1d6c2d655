"""The scripted peer itself, without a session on its near side."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from aiovirt.testing.qmp_peer import QMPPeer
from aiovirt.wire.qmp import Failure, Greeting, Message, QMPEvent, QMPProtocol, Reply

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]


class Near:
    """What came from the peer."""

    def __init__(self, peer: QMPPeer) -> None:
        self.messages: list[Message] = []
        self.room = 0
        self.ended = False
        self._peer = peer
        self._protocol = QMPProtocol()

    async def run(self) -> None:
        await self._peer.run(self._heard, self._has_room)
        self.ended = True

    def _heard(self, data: bytes) -> None:
        self.messages += self._protocol.receive(data)

    def _has_room(self) -> None:
        self.room += 1


@asynccontextmanager
async def near(peer: QMPPeer) -> AsyncIterator[Near]:
    one = Near(peer)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one.run)
        await anyio.wait_all_tasks_blocked()
        yield one
        tasks.cancel_scope.cancel()


async def test_an_obliging_one_greets_agrees_and_answers() -> None:
    peer = QMPPeer()
    peer.answers["query-name"] = "web"
    async with near(peer) as one:
        assert peer.write(b'{"execute": "qmp_capabilities", "id": 1}\n{"execute": "query-na')
        assert peer.write(b'me", "id": 2}\n{"exec-oob": "x", "id": 3}\n')
        await anyio.wait_all_tasks_blocked()
        greeting, agreed, name = one.messages
        assert isinstance(greeting, Greeting)
        assert isinstance(agreed, Reply)
        assert isinstance(name, Reply)
        assert (name.id, bytes(name.body)) == (2, b'"web"')
        assert [command.id for command in peer.received] == [1, 2, 3]
        assert (await peer.next_command()).exec_oob == "x"


async def test_one_that_is_not_says_only_what_it_is_told() -> None:
    peer = QMPPeer(obliging=False)
    async with near(peer) as one:
        assert one.messages == []
        peer.greet(capabilities=())
        peer.write(b'{"execute": "qmp_capabilities", "id": 1}\n{"execute": "stop", "id": 2}\n')
        peer.reply(await peer.next_command())
        peer.fail(await peer.next_command(), "no", "CommandNotFound")
        peer.event("STOP", {"a": 1}, seconds=3, microseconds=4)
        await anyio.wait_all_tasks_blocked()
        greeting, _, refusal, event = one.messages
        assert isinstance(greeting, Greeting)
        assert greeting.capabilities == ()
        assert refusal == Failure(2, "CommandNotFound", "no")
        assert isinstance(event, QMPEvent)
        assert (event.name, event.time, bytes(event.body)) == ("STOP", 3_000_004_000, b'{"a":1}')


async def test_a_full_one_takes_nothing_until_it_reads_on() -> None:
    peer = QMPPeer()
    async with near(peer) as one:
        peer.stop_reading()
        assert not peer.write(b'{"execute": "stop", "id": 2}\n')
        assert peer.received == []
        peer.read_on()
        assert one.room == 1
        assert peer.write(b'{"execute": "stop", "id": 2}\n')
        assert [command.execute for command in peer.received] == ["stop"]


async def test_it_hangs_up_after_what_it_said() -> None:
    peer = QMPPeer()
    peer.event("STOP")
    peer.close()
    with pytest.raises(BrokenPipeError):
        peer.write(b"x")
    async with near(peer) as one:
        assert one.ended
        assert len(one.messages) == 2


async def test_descriptors_are_looked_at_as_they_come(tmp_path: Path) -> None:
    peer = QMPPeer()
    with (tmp_path / "a").open("w") as file:
        assert peer.write(b"", (file.fileno(),))
    assert [there.st_ino for there in peer.descriptors] == [(tmp_path / "a").stat().st_ino]
