"""The loop on real descriptors and in real time, on each loop the same."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial

import anyio
import anyio.lowlevel
import pytest

from aiovirt.system.loop import Readiness, current_loop, new_waker

pytestmark = pytest.mark.anyio

PATIENCE = 60

Ending = Callable[["Attended"], None]


class Pair:
    """Two ends of a stream; ``ours`` does not block."""

    def __init__(self) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.ours.setblocking(False)

    def fill(self) -> int:
        """Sends until the kernel takes no more: how many bytes it took."""
        took = 0
        with suppress(BlockingIOError):
            while True:
                took += self.ours.send(b"x" * 1000)
        return took

    def empty(self) -> None:
        """Reads all that was sent."""
        with suppress(BlockingIOError):
            while self.theirs.recv(1 << 20, socket.MSG_DONTWAIT):
                pass

    def close(self) -> None:
        self.ours.close()
        self.theirs.close()


@pytest.fixture
def pair() -> Iterator[Pair]:
    one = Pair()
    yield one
    one.close()


class Attended:
    """Readiness that runs in a task: how often it called, and how it ended."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.readiness: Readiness = current_loop().readiness_of(pair.ours.fileno())
        self.scope = anyio.CancelScope()
        self.calls = 0
        self.ended = anyio.Event()
        self.why: BaseException | None = None

    async def run(self, readable: Callable[[], object]) -> None:
        def counted() -> None:
            self.calls += 1
            readable()

        with self.scope:
            try:
                await self.readiness.run(counted)
            except LookupError as error:
                self.why = error
        self.ended.set()

    def has_called(self, count: int) -> bool:
        return self.calls == count

    async def wait_ended(self) -> None:
        with anyio.fail_after(PATIENCE):
            await self.ended.wait()


@asynccontextmanager
async def attended(pair: Pair, readable: Callable[[], object] | None = None) -> AsyncIterator[Attended]:
    """Readiness that reads what comes, or calls ``readable``."""
    one = Attended(pair)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one.run, readable or (lambda: pair.ours.recv(100)))
        await anyio.wait_all_tasks_blocked()
        yield one
        tasks.cancel_scope.cancel()


async def until(is_so: Callable[[], bool]) -> None:
    """Lets others run until it is so."""
    with anyio.fail_after(PATIENCE):
        while not is_so():
            await anyio.lowlevel.checkpoint()


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await anyio.lowlevel.checkpoint()
    await anyio.wait_all_tasks_blocked()


# -- reading -----------------------------------------------------------------------------------


async def test_it_is_called_when_there_is_something_and_only_then(pair: Pair) -> None:
    async with attended(pair) as one:
        assert one.calls == 0
        for count in range(1, 4):
            pair.theirs.send(b"news")
            await until(partial(one.has_called, count))
            await turns()
            assert one.calls == count


async def test_it_is_called_again_while_something_is_left_and_others_have_turns(pair: Pair) -> None:
    order: list[str] = []

    def one_byte() -> None:
        order.append(pair.ours.recv(1).decode())

    async with attended(pair, one_byte) as one:
        pair.theirs.send(b"abcdefghij")
        with anyio.fail_after(PATIENCE):
            while one.calls < 10:
                order.append("-")
                await anyio.lowlevel.checkpoint()
    said = "".join(order)
    assert said.replace("-", "") == "abcdefghij"
    turn = said[said.index("a") : said.index("j")]
    assert max(map(len, turn.split("-"))) <= 2, said  # trio shuffles who comes first in a turn


async def test_what_was_there_before_is_told(pair: Pair) -> None:
    pair.theirs.send(b"early")
    async with attended(pair) as one:
        await until(lambda: one.calls == 1)


async def test_the_end_of_the_stream_is_something_to_read(pair: Pair) -> None:
    heard: list[bytes] = []

    def read() -> None:
        heard.append(pair.ours.recv(100))
        one.readiness.stop()

    async with attended(pair, read) as one:
        pair.theirs.close()
        await one.wait_ended()
    assert heard == [b""]


async def test_two_descriptors_do_not_mix(pair: Pair) -> None:
    other = Pair()
    async with attended(pair) as one, attended(other) as two:
        other.theirs.send(b"news")
        await until(lambda: two.calls == 1)
        await turns()
        assert (one.calls, two.calls) == (0, 1)
    other.close()


async def test_it_may_read_and_write_at_once(pair: Pair) -> None:
    """Room is made and news is sent between two turns of the loop: both are told."""
    async with attended(pair) as one:
        pair.fill()
        room: list[str] = []
        one.readiness.when_writable(lambda: room.append("room"))
        pair.empty()
        pair.theirs.send(b"news")
        await until(lambda: bool(one.calls and room))
        await turns()
        assert (one.calls, room) == (1, ["room"])


# -- the end -----------------------------------------------------------------------------------


async def test_stopped_from_within_it_is_not_called_again(pair: Pair) -> None:
    def once() -> None:
        pair.ours.recv(1)
        one.readiness.stop()

    async with attended(pair, once) as one:
        pair.theirs.send(b"several")
        await one.wait_ended()
        await turns()
        assert (one.calls, one.why) == (1, None)


async def test_stopped_from_outside_it_returns(pair: Pair) -> None:
    async with attended(pair) as one:
        one.readiness.stop()
        one.readiness.stop()
        pair.theirs.send(b"too late")
        await one.wait_ended()
        await turns()
        assert (one.calls, one.why, one.scope.cancelled_caught) == (0, None, False)


async def test_what_is_there_when_it_is_stopped_is_not_told(pair: Pair) -> None:
    async with attended(pair) as one:
        pair.theirs.send(b"at the same moment")
        one.readiness.stop()
        await one.wait_ended()
        assert one.calls == 0
    assert pair.ours.recv(100) == b"at the same moment"


async def test_stopped_before_it_runs_it_returns_at_once(pair: Pair) -> None:
    pair.theirs.send(b"news")
    attention = current_loop().readiness_of(pair.ours.fileno())
    attention.stop()
    with anyio.fail_after(PATIENCE):
        await attention.run(pytest.fail)


async def test_cancelled_it_ends_and_calls_nothing_more(pair: Pair) -> None:
    async with attended(pair) as one:
        one.scope.cancel()
        await one.wait_ended()
        assert one.scope.cancelled_caught
        pair.theirs.send(b"too late")
        await turns()
        assert one.calls == 0
        one.readiness.stop()
    async with attended(pair) as another:
        await until(lambda: another.calls == 1)


async def test_cancelled_from_within_it_is_not_called_again(pair: Pair) -> None:
    def once() -> None:
        pair.ours.recv(1)
        one.scope.cancel()

    async with attended(pair, once) as one:
        pair.theirs.send(b"several")
        await one.wait_ended()
        await turns()
        assert (one.calls, one.scope.cancelled_caught) == (1, True)


async def test_what_it_raises_is_raised_as_it_is(pair: Pair) -> None:
    error = LookupError("mine")

    def fail() -> None:
        raise error

    async with attended(pair, fail) as one:
        pair.theirs.send(b"news")
        await one.wait_ended()
        await turns()
        assert one.why is error
        assert one.calls == 1


async def test_what_is_raised_where_there_is_room_is_raised_as_it_is(pair: Pair) -> None:
    error = LookupError("mine")

    def fail() -> None:
        raise error

    async with attended(pair) as one:
        one.readiness.when_writable(fail)
        await one.wait_ended()
        assert one.why is error
        pair.theirs.send(b"too late")
        await turns()
        assert one.calls == 0


# -- writing -----------------------------------------------------------------------------------


async def test_room_is_told_once_and_not_before_there_is_some(pair: Pair) -> None:
    async with attended(pair) as one:
        pair.fill()
        room: list[str] = []
        one.readiness.when_writable(lambda: room.append("room"))
        await turns()
        assert room == []
        pair.empty()
        await until(lambda: bool(room))
        await turns()
        assert room == ["room"]


async def test_room_is_told_several_times_in_a_row_each_when_asked(pair: Pair) -> None:
    async with attended(pair) as one:
        room: list[int] = []
        for number in range(5):
            pair.fill()
            one.readiness.when_writable(partial(room.append, number))
            await turns(3)
            assert len(room) == number
            pair.empty()
            await until(partial(room.__contains__, number))
            await turns(3)
        assert room == [0, 1, 2, 3, 4]


async def test_room_may_be_asked_for_again_by_who_is_told(pair: Pair) -> None:
    told: list[int] = []

    def again() -> None:
        told.append(len(told))
        if len(told) < 5:
            one.readiness.when_writable(again)

    async with attended(pair) as one:
        one.readiness.when_writable(again)
        await until(lambda: len(told) == 5)
        await turns()
        assert told == [0, 1, 2, 3, 4]


async def test_room_asked_for_twice_is_told_once(pair: Pair) -> None:
    async with attended(pair) as one:
        pair.fill()
        room: list[str] = []

        def then() -> None:
            room.append("room")

        for _ in range(3):
            one.readiness.when_writable(then)
            await turns(3)
        pair.empty()
        await until(lambda: bool(room))
        await turns()
        assert room == ["room"]
        assert not one.ended.is_set()
        pair.theirs.send(b"news")
        await until(lambda: one.calls == 1)


async def test_room_asked_for_before_it_runs_is_told_when_it_does(pair: Pair) -> None:
    one = Attended(pair)
    room: list[str] = []
    one.readiness.when_writable(lambda: room.append("room"))
    await turns()
    assert room == []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one.run, pytest.fail)
        await until(lambda: bool(room))
        await turns()
        tasks.cancel_scope.cancel()
    assert room == ["room"]


# -- nothing is left ---------------------------------------------------------------------------


def stop(one: Attended) -> None:
    one.readiness.stop()


def cancel(one: Attended) -> None:
    one.scope.cancel()


def fail(one: Attended) -> None:
    one.pair.theirs.send(b"fail")


@pytest.mark.parametrize("end", [stop, cancel])
async def test_room_that_comes_after_the_end_is_told_to_nobody(pair: Pair, end: Ending) -> None:
    async with attended(pair) as one:
        pair.fill()
        one.readiness.when_writable(pytest.fail)
        end(one)
        await one.wait_ended()
        one.readiness.when_writable(pytest.fail)
        pair.empty()
        await turns()


@pytest.mark.parametrize("waits_for_room", [False, True], ids=["", "room"])
@pytest.mark.parametrize("end", [stop, cancel, fail])
async def test_the_same_number_again_is_another_descriptor(end: Ending, waits_for_room: bool) -> None:  # noqa: FBT001 - a parameter of the test
    first = Pair()
    number = first.ours.fileno()

    def read() -> None:
        if first.ours.recv(100) == b"fail":
            raise LookupError

    async with attended(first, read) as one:
        if waits_for_room:
            first.fill()
            one.readiness.when_writable(pytest.fail)
            await turns()
        end(one)
        await one.wait_ended()
    calls = one.calls
    first.close()
    second = Pair()
    assert second.ours.fileno() == number
    async with attended(second) as two:
        room: list[str] = []
        two.readiness.when_writable(lambda: room.append("room"))
        second.theirs.send(b"news")
        await until(lambda: bool(two.calls and room))
        await turns()
        assert (one.calls, two.calls, room) == (calls, 1, ["room"])
        one.readiness.stop()  # of one that has ended
        second.theirs.send(b"more")
        await until(lambda: two.calls == 2)
    second.close()


async def test_a_pipe_will_do(anyio_backend_name: str) -> None:
    """Any descriptor that polls, not only a socket."""
    inner, outer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    heard: list[bytes] = []
    attention = current_loop().readiness_of(inner)

    def read() -> None:
        heard.append(os.read(inner, 100))
        if not heard[-1]:
            attention.stop()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(attention.run, read)
        await anyio.wait_all_tasks_blocked()
        os.write(outer, b"news")
        await until(lambda: bool(heard))
        os.close(outer)
    os.close(inner)
    assert heard == [b"news", b""], anyio_backend_name


# -- waiting -----------------------------------------------------------------------------------


@asynccontextmanager
async def waiting() -> AsyncIterator[tuple[Callable[[], None], list[str], anyio.CancelScope]]:
    """(wake, what became of a task that waits twice, its scope)."""
    waker = new_waker()
    told: list[str] = []
    scope = anyio.CancelScope()

    async def wait() -> None:
        with scope:
            await waker.wait()
            told.append("once")
            await waker.wait()
            told.append("twice")
        told.append("cancelled" if scope.cancelled_caught else "done")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        yield waker.wake, told, scope
        tasks.cancel_scope.cancel()


async def test_who_waits_is_woken() -> None:
    async with waiting() as (wake, told, _):
        assert told == []
        wake()
        await turns()
        assert told == ["once"]
        wake()
        await turns()
        assert told == ["once", "twice", "done"]


async def test_a_wake_when_nobody_waits_does_not_count() -> None:
    waker = new_waker()
    waker.wake()
    waker.wake()
    with anyio.move_on_after(0.05) as scope:
        await waker.wait()
    assert scope.cancelled_caught


async def test_several_wakes_at_once_are_one() -> None:
    async with waiting() as (wake, told, _):
        wake()
        wake()
        wake()
        await turns()
        assert told == ["once"]


async def test_woken_and_cancelled_at_once_it_is_woken() -> None:
    """Whoever woke it has handed something over: the wait returns, and what comes after is cancelled."""
    async with waiting() as (wake, told, scope):
        wake()
        scope.cancel()
        await turns()
        assert told == ["once", "cancelled"]


async def test_cancelled_and_woken_at_once_it_ends_and_nothing_breaks() -> None:
    async with waiting() as (wake, told, scope):
        scope.cancel()
        wake()
        await turns()
        assert told[-1] == "cancelled"


async def test_a_wake_after_the_wait_was_cancelled_disturbs_nobody() -> None:
    """The task waits for something else by then."""
    waker = new_waker()
    told: list[str] = []
    other = anyio.Event()

    async def wait() -> None:
        with anyio.move_on_after(0.01):
            await waker.wait()
        told.append("cancelled")
        await other.wait()
        told.append("other")
        await waker.wait()
        told.append("woken")

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await until(lambda: told == ["cancelled"])
            await anyio.wait_all_tasks_blocked()
            waker.wake()
            await turns()
            assert told == ["cancelled"]
            other.set()
            await turns()
            assert told == ["cancelled", "other"]
            waker.wake()
    assert told == ["cancelled", "other", "woken"]


async def test_a_wake_comes_from_a_reader_too(pair: Pair) -> None:
    waker = new_waker()

    def read() -> None:
        pair.ours.recv(100)
        waker.wake()

    async with attended(pair, read):
        pair.theirs.send(b"news")
        with anyio.fail_after(PATIENCE):
            await waker.wait()


# -- answers -----------------------------------------------------------------------------------


async def test_who_waits_for_an_answer_goes_on_when_it_is_read(pair: Pair, anyio_backend: tuple[str, object]) -> None:
    answer, told = current_loop().new_answer(), list[str]()

    async def wait() -> None:
        await answer.wait()
        told.append("went on")

    def read() -> None:
        pair.ours.recv(100)
        answer.hand_over()
        told.append("was read")

    async with attended(pair, read), anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        pair.theirs.send(b"news")
        await until(lambda: len(told) == 2)
    assert told == (["was read", "went on"] if anyio_backend[0] == "trio" else ["went on", "was read"])


async def test_an_answer_may_come_from_a_task_and_once_only() -> None:
    answer, told = current_loop().new_answer(), list[str]()

    async def wait() -> None:
        answer.wake()  # nobody waits yet: it does not count
        await answer.wait()
        told.append("went on")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        answer.hand_over()
        answer.hand_over()
        assert told == []
        await until(lambda: told == ["went on"])


@pytest.mark.parametrize("both", [False, True])
async def test_who_waits_for_an_answer_can_be_cancelled(both: bool) -> None:  # noqa: FBT001
    answer, told = current_loop().new_answer(), list[str]()
    scope = anyio.CancelScope()

    async def wait() -> None:
        with scope:
            await answer.wait()
            told.append("went on")
        told.append("left")
        await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        scope.cancel()
        if both:
            answer.wake()
        await until(lambda: told[-1:] == ["left"])
        answer.wake()
        answer.hand_over()
        await turns()
    assert told == ["left"]


async def test_what_an_answer_leads_to_is_not_the_readers_fault(pair: Pair) -> None:
    answer = current_loop().new_answer()
    why: list[BaseException] = []

    async def wait() -> None:
        await answer.wait()
        raise LookupError("ours")

    def read() -> None:
        pair.ours.recv(100)
        answer.hand_over()

    async with attended(pair, read) as one:
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(wait)
                await anyio.wait_all_tasks_blocked()
                pair.theirs.send(b"news")
        except* LookupError as errors:
            why.extend(errors.exceptions)
        assert [str(error) for error in why] == ["ours"]
        assert not one.ended.is_set()


async def test_the_clock_is_that_of_the_loops_deadlines() -> None:
    now = current_loop().now
    before = now()
    assert abs(anyio.current_time() - before) < 5
    with anyio.move_on_after(0.02):
        await anyio.sleep_forever()
    assert now() - before >= 0.019
