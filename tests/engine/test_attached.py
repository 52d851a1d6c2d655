"""The attached side by itself, with a holder that is made by hand, in virtual time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import UUID, uuid4

import anyio
import pytest

from aiovirt.engine.attached import AttachedEngine
from aiovirt.engine.failures import failure_of
from aiovirt.errors import OrderTimeout
from aiovirt.events.chain import Chain
from aiovirt.events.segment import encode_memo
from aiovirt.events.state import HostState
from aiovirt.model import orders
from aiovirt.wire.attach import Frames, framed
from aiovirt.wire.attach.messages import (
    CLIENT_LIMIT,
    Ask,
    FromClient,
    FromEngine,
    Hello,
    Unknown,
    Welcome,
    decode_from_client,
    encode,
    request_of,
)

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

CHAIN = Chain.fresh()
HOST = uuid4()


def welcome(head: int = 0, state: bytes | None = None) -> Welcome:
    eras = tuple((era.epoch, era.base, era.end) for era in CHAIN.eras)
    return Welcome(1, HOST, 1, eras, head, 1, encode_memo(HostState().memo(CHAIN.cursor(head))) if state is None else state)


class Far:
    """A holder that welcomes whoever comes, and then does what ``said`` says to each word."""

    def __init__(self, said: Callable[[Far, FromClient | Unknown], None], greeting: Welcome | None = None) -> None:
        self.heard: list[FromClient | Unknown] = []
        self._said = said
        self._greeting = greeting or welcome()
        self._frames = Frames(CLIENT_LIMIT)
        self._send, self._receive = anyio.create_memory_object_stream[bytes](1000)

    def say(self, message: FromEngine) -> None:
        self._send.send_nowait(framed(encode(message)))

    async def run(self, heard: Callable[[bytes], None], has_room: Callable[[], None]) -> None:  # noqa: ARG002 - there is always room
        with self._receive, self._send:
            async for data in self._receive:
                heard(data)

    def write(self, data: bytes, descriptors: Sequence[int] = ()) -> bool:  # noqa: ARG002
        for frame in self._frames.feed(data):
            message = decode_from_client(frame)
            self.heard.append(message)
            if isinstance(message, Hello):
                self.say(self._greeting)
            else:
                self._said(self, message)
        return True

    def close(self) -> None:
        self._send.close()


async def outcome(far: Far, timeout: float) -> tuple[float, OrderTimeout]:
    """After which part of its deadline an order ended, and with what."""
    async with anyio.create_task_group() as tasks:
        engine = AttachedEngine("qemu:///session", far)
        await tasks.start(engine.run)
        begin = anyio.current_time()
        with pytest.raises(OrderTimeout) as late:
            await engine.call(orders.Suspend(uuid=UUID(int=1), timeout=timeout))
        ratio = (anyio.current_time() - begin) / timeout
        tasks.cancel_scope.cancel()
    return ratio, late.value


@pytest.mark.parametrize("timeout", [0.1, 2.0, 30.0])
async def test_an_order_to_an_engine_that_is_stopped_ends_within_a_twentieth_of_its_deadline(timeout: float) -> None:
    ratio, late = await outcome(Far(lambda *_: None), timeout)
    assert 1 <= ratio <= 1.05
    assert late.sent


@pytest.mark.parametrize("timeout", [0.1, 2.0, 30.0])
async def test_an_engine_that_lives_says_itself_whether_an_order_was_sent(timeout: float) -> None:
    async with anyio.create_task_group() as tasks:

        async def answer(far: Far, asked: Ask) -> None:
            await anyio.sleep(request_of(asked).timeout)
            far.say(failure_of(asked.number, OrderTimeout("it waited for its turn", sent=False)))

        def said(far: Far, message: FromClient | Unknown) -> None:
            if isinstance(message, Ask):
                tasks.start_soon(answer, far, message)

        ratio, late = await outcome(Far(said), timeout)
    assert 0.95 <= ratio <= 1.05
    assert not late.sent
