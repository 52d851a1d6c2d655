"""The attached side by itself, with a holder that is made by hand, in virtual time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any
from uuid import UUID, uuid4

import anyio
import pytest

from aiovirt.engine.attached import SUCCESSION, AttachedEngine
from aiovirt.engine.failures import failure_of
from aiovirt.errors import HostGone, OrderTimeout, ProtocolError
from aiovirt.events.chain import Chain
from aiovirt.events.segment import encode_checkpoint
from aiovirt.events.state import HostState
from aiovirt.model import orders
from aiovirt.wire.attach import Frames, framed
from aiovirt.wire.attach.messages import (
    CLIENT_LIMIT,
    Answer,
    Ask,
    FromClient,
    FromEngine,
    Hello,
    Leaving,
    Unknown,
    Welcome,
    decode_from_client,
    encode,
    encode_value,
)
from aiovirt.wire.attach.requests import request_of

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

CHAIN = Chain.fresh()
HOST = uuid4()


def welcome(head: int = 0, state: bytes | None = None) -> Welcome:
    eras = tuple((era.epoch, era.base, era.end) for era in CHAIN.eras)
    return Welcome(1, HOST, 1, eras, head, 1, encode_checkpoint(HostState().checkpoint(CHAIN.cursor(head))) if state is None else state)


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

    async def run(self, heard: Callable[[bytes], None], resume_writing: Callable[[], None]) -> None:  # noqa: ARG002 - there is always room
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


# -- from one engine to the next ---------------------------------------------------------------


class Next:
    """See :class:`aiovirt.engine.attached.Doors`: these, one after the other, and then none."""

    def __init__(self, *following: Far) -> None:
        self._following = list(following)
        self.is_closed = False

    async def next(self) -> AbstractAsyncContextManager[Far]:
        if not self._following:
            await anyio.sleep_forever()
        return nullcontext(self._following.pop(0))

    def close(self) -> None:
        self.is_closed = True


def answers(far: Far, message: FromClient | Unknown) -> None:
    if isinstance(message, Ask):
        far.say(Answer(message.number, encode_value(None)))


def asked(far: Far) -> list[int]:
    return [message.number for message in far.heard if isinstance(message, Ask)]


async def test_what_the_one_that_leaves_has_taken_is_its_own_and_the_rest_is_asked_of_the_next() -> None:
    first, second = Far(lambda *_: None), Far(answers, welcome(state=b""))
    doors = Next(second)
    done: list[str] = []

    async def order(name: str, request: orders.Request[Any]) -> None:
        try:
            await engine.call(request)
            done.append(name)
        except OrderTimeout as late:
            done.append(f"{name}: sent={late.sent}")

    async with anyio.create_task_group() as tasks:
        engine = AttachedEngine("qemu:///session", first, None, lambda: doors)
        await tasks.start(engine.run)
        tasks.start_soon(order, "taken", orders.Suspend(uuid=UUID(int=1)))
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(order, "not taken", orders.Resume(uuid=UUID(int=1)))
        await anyio.wait_all_tasks_blocked()
        first.say(Leaving(1))
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(order, "later", orders.Reset(uuid=UUID(int=1)))
        await anyio.wait_all_tasks_blocked()
        assert asked(first) == [1, 2]
        assert done == [], "the one that leaves may still answer"
        first.close()  # it does not
        await anyio.wait_all_tasks_blocked()
        assert sorted(done) == ["later", "not taken", "taken: sent=True"]
        assert asked(second) == [2, 3]
        assert doors.is_closed
        tasks.cancel_scope.cancel()


async def test_who_has_all_its_answers_leaves_by_itself_and_begins_where_it_was() -> None:
    first, second = Far(answers), Far(answers, welcome(state=b""))
    async with anyio.create_task_group() as tasks:
        engine = AttachedEngine("qemu:///session", first, None, lambda: Next(second))
        await tasks.start(engine.run)
        await engine.call(orders.Suspend(uuid=UUID(int=1)))
        first.say(Leaving(1))
        await anyio.wait_all_tasks_blocked()
        await engine.call(orders.Resume(uuid=UUID(int=1)))
        assert asked(second) == [2]
        assert isinstance(second.heard[0], Hello)
        assert second.heard[0].after == CHAIN.cursor(0)
        tasks.cancel_scope.cancel()


async def test_what_only_reads_is_asked_again_and_what_was_given_up_is_not() -> None:
    first, second = Far(lambda *_: None), Far(answers, welcome(state=b""))
    async with anyio.create_task_group() as tasks:
        engine = AttachedEngine("qemu:///session", first, None, lambda: Next(second))
        await tasks.start(engine.run)

        async def read() -> None:
            with pytest.raises(ProtocolError, match="cannot be read"):  # of nothing
                await engine.call(orders.AskXML(uuid=UUID(int=1)))

        async with anyio.create_task_group() as inner:
            inner.start_soon(read)
            await anyio.wait_all_tasks_blocked()
            with anyio.move_on_after(1):
                await engine.call(orders.Suspend(uuid=UUID(int=1)))
            first.say(Leaving(1))
            first.close()
        assert asked(first) == [1, 2]
        assert asked(second) == [1]
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("why", ["nobody comes", "it does not know us"])
async def test_all_ends_where_no_engine_can_go_on(why: str) -> None:
    first = Far(answers)
    doors = Next() if why == "nobody comes" else Next(Far(answers))
    async with anyio.create_task_group() as tasks:
        engine = AttachedEngine("qemu:///session", first, None, lambda: doors)
        await tasks.start(engine.run)
        begin = anyio.current_time()
        first.say(Leaving(0))
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(HostGone):
            await engine.call(orders.Suspend(uuid=UUID(int=1), timeout=10 * SUCCESSION))
        assert engine.bus.closed
        assert anyio.current_time() - begin <= SUCCESSION
