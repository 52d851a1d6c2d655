from __future__ import annotations

import gc
import math
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import anyio
import hypothesis.strategies as st
import pytest
from hypothesis import given

from aiovirt.system.deadlines import Deadline, Deadlines, Timer
from aiovirt.testing.clock import run_virtual
from tests.blocking import BlockingCalls

pytestmark = pytest.mark.anyio

Told = list[tuple[str, float]]


@asynccontextmanager
async def passing() -> AsyncIterator[tuple[Deadlines, Told, Callable[[str], Callable[[], None]]]]:
    """(deadlines that pass, what was told and when, what tells a name)."""
    deadlines = Deadlines()
    told: Told = []

    def teller(name: str) -> Callable[[], None]:
        return lambda: told.append((name, anyio.current_time()))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(deadlines.run)
        await anyio.wait_all_tasks_blocked()
        yield deadlines, told, teller
        tasks.cancel_scope.cancel()


def at(*expected: tuple[str, float]) -> Told:
    return [(name, pytest.approx(when, abs=1e-4)) for name, when in expected]  # type: ignore[misc]  # approx is a float to who compares


@pytest.mark.virtual_time
async def test_they_pass_in_their_order_whatever_order_they_were_set_in() -> None:
    async with passing() as (deadlines, told, teller):
        start = anyio.current_time()
        for name, seconds in {"third": 30.0, "first": 10.0, "second": 20.0}.items():
            deadlines.at(start + seconds, teller(name))
        await anyio.sleep(3600)
        assert told == at(("first", start + 10), ("second", start + 20), ("third", start + 30))


@pytest.mark.virtual_time
async def test_those_of_one_moment_pass_in_the_order_they_were_set_in() -> None:
    async with passing() as (deadlines, told, teller):
        when = anyio.current_time() + 1
        for number in range(50):
            deadlines.at(when, teller(str(number)))
        await anyio.sleep(2)
        assert [name for name, _ in told] == [str(number) for number in range(50)]


@pytest.mark.virtual_time
async def test_an_earlier_one_set_while_it_waits_is_in_time() -> None:
    async with passing() as (deadlines, told, teller):
        start = anyio.current_time()
        deadlines.at(start + 100, teller("later"))
        await anyio.sleep(50)
        deadlines.at(start + 60, teller("sooner"))
        await anyio.sleep(1000)
        assert told == at(("sooner", start + 60), ("later", start + 100))


@pytest.mark.virtual_time
@pytest.mark.parametrize("ago", [0, 1, 1e9, math.inf])
async def test_one_that_has_passed_already_passes_at_once(ago: float) -> None:
    async with passing() as (deadlines, told, teller):
        start = anyio.current_time()
        deadlines.at(start - ago, teller("past"))
        assert told == []  # never in the very call
        await anyio.wait_all_tasks_blocked()
        await anyio.sleep(1)
        assert [name for name, _ in told] == ["past"]
        assert told[0][1] <= start + 0.2


@pytest.mark.virtual_time
async def test_one_that_never_comes_holds_up_nobody() -> None:
    async with passing() as (deadlines, told, teller):
        deadlines.at(math.inf, teller("never"))
        deadlines.at(anyio.current_time() + 5, teller("soon"))
        await anyio.sleep(10**6)
        assert [name for name, _ in told] == ["soon"]


@pytest.mark.virtual_time
async def test_a_cancelled_one_is_not_called_and_keeps_nothing_alive() -> None:
    class Owner:
        def due(self) -> None:
            pytest.fail("it was cancelled")

    async with passing() as (deadlines, told, teller):
        owner = Owner()
        gone = weakref.ref(owner)
        start = anyio.current_time()
        first = deadlines.at(start + 5, owner.due)
        deadlines.at(start + 10, teller("next"))
        first.cancel()
        first.cancel()
        del owner
        gc.collect()
        assert gone() is None
        await anyio.sleep(100)
        assert told == at(("next", start + 10))


@pytest.mark.virtual_time
async def test_one_may_cancel_another_of_the_same_moment() -> None:
    async with passing() as (deadlines, told, teller):
        when = anyio.current_time() + 1
        kept: list[Timer] = []

        def cancel() -> None:
            kept[0].cancel()

        deadlines.at(when, cancel)
        kept.append(deadlines.at(when, teller("cancelled")))
        deadlines.at(when, teller("last"))
        await anyio.sleep(2)
        assert told == at(("last", when))


@pytest.mark.virtual_time
async def test_one_may_set_the_next() -> None:
    async with passing() as (deadlines, told, teller):
        start = anyio.current_time()

        def again() -> None:
            teller("tick")()
            if len(told) < 5:
                deadlines.at(anyio.current_time() + 7, again)

        deadlines.at(start + 7, again)
        await anyio.sleep(1000)
        assert told == at(*(("tick", start + 7 * number) for number in range(1, 6)))


@pytest.mark.virtual_time
async def test_one_that_sets_an_earlier_one_is_heard() -> None:
    """Between two looks at the heap no timer is set."""
    async with passing() as (deadlines, told, teller):
        start = anyio.current_time()

        def set_another() -> None:
            deadlines.at(start + 3, teller("middle"))

        deadlines.at(start + 50, teller("last"))
        deadlines.at(start + 1, set_another)
        await anyio.sleep(100)
        assert told == at(("middle", start + 3), ("last", start + 50))


@pytest.mark.virtual_time
async def test_those_set_before_it_runs_wait_for_it() -> None:
    deadlines = Deadlines()
    told: list[str] = []
    start = anyio.current_time()
    deadlines.at(start + 1, partial(told.append, "before"))
    deadlines.at(start + 20, partial(told.append, "while"))
    await anyio.sleep(10)
    assert told == []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(deadlines.run)
        await anyio.sleep(1)
        assert told == ["before"]
        await anyio.sleep(20)
        tasks.cancel_scope.cancel()
    assert told == ["before", "while"]


@pytest.mark.virtual_time
async def test_cancelled_it_lets_nothing_pass_and_may_run_again() -> None:
    deadlines = Deadlines()
    told: list[str] = []
    start = anyio.current_time()
    deadlines.at(start + 5, partial(told.append, "first"))
    with anyio.move_on_after(2):
        await deadlines.run()
    deadlines.at(start + 3, partial(told.append, "set in between"))
    await anyio.sleep(10)
    assert told == []
    with anyio.move_on_after(1) as scope:
        await deadlines.run()
    assert scope.cancelled_caught
    assert told == ["set in between", "first"]


@pytest.mark.virtual_time
async def test_cancelled_at_the_very_moment_it_ends_all_the_same() -> None:
    deadlines = Deadlines()
    when = anyio.current_time() + 1
    deadlines.at(when, lambda: None)
    with anyio.CancelScope(deadline=when) as scope:
        await deadlines.run()
    assert scope.cancelled_caught


Steps = list[tuple[float, float | None]]
"""(when it is to be, when it is cancelled)."""


@given(
    st.lists(st.tuples(st.integers(0, 20).map(float), st.none() | st.integers(0, 20).map(float)), max_size=30),
    st.sampled_from(["asyncio", "trio"]),
)
def test_any_number_of_them_against_a_sorted_list(steps: Steps, backend: str) -> None:
    async def pass_by() -> list[int]:
        async with passing() as (deadlines, told, teller):
            start = anyio.current_time()
            for number, (when, cancelled) in enumerate(steps):
                one = deadlines.at(start + when, teller(str(number)))
                if cancelled is not None:
                    deadlines.at(start + cancelled - 0.5, one.cancel)
            await anyio.sleep(100)
            return [int(name) for name, _ in told]

    due = [(when, number) for number, (when, cancelled) in enumerate(steps) if cancelled is None or cancelled - 0.5 > when]
    assert run_virtual(pass_by, backend=backend) == [number for _, number in sorted(due)]


# -- in real time ------------------------------------------------------------------------------


async def test_in_real_time_they_pass_in_order_and_never_early() -> None:
    async with passing() as (deadlines, told, teller):
        start = anyio.current_time()
        names = {"c": 0.06, "a": 0.02, "b": 0.04}
        done = anyio.Event()
        for name, seconds in names.items():
            deadlines.at(start + seconds, teller(name))
        deadlines.at(start + 0.01, teller("cancelled")).cancel()
        deadlines.at(start + 0.08, done.set)
        with anyio.fail_after(60):
            await done.wait()
        assert [name for name, _ in told] == ["a", "b", "c"]
        assert all(when >= start + names[name] for name, when in told)


async def test_in_real_time_an_earlier_one_does_not_wait_for_a_later() -> None:
    async with passing() as (deadlines, told, teller):
        done = anyio.Event()
        deadlines.at(anyio.current_time() + 3600, teller("later"))
        await anyio.wait_all_tasks_blocked()
        deadlines.at(anyio.current_time() + 0.01, done.set)
        with anyio.fail_after(60):
            await done.wait()
        assert told == []


@pytest.mark.virtual_time
async def test_what_fails_when_it_is_due_keeps_no_other_from_its_own(
    caplog: pytest.LogCaptureFixture, blocking_calls: BlockingCalls
) -> None:
    def fail() -> None:
        raise MemoryError

    async with passing() as (deadlines, told, teller):
        begun = anyio.current_time()
        deadlines.at(begun + 1, fail)
        deadlines.at(begun + 1, teller("with it"))
        deadlines.at(begun + 2, teller("after it"))
        await anyio.sleep(3)
        assert told == at(("with it", begun + 1), ("after it", begun + 2))
    assert "MemoryError" in caplog.text
    blocking_calls.take()


async def test_a_deadline_is_when_it_was_made_whoever_waits_for_it() -> None:
    by, start = Deadline.after(5), anyio.current_time()
    assert by.timeout == 5
    assert 4 < by.left <= 5
    with by.scope() as first:
        await anyio.sleep(2)
    with by.scope() as second:
        await anyio.sleep_forever()
    assert (first.cancelled_caught, second.cancelled_caught) == (False, True)
    assert anyio.current_time() - start >= 5
    assert by.left <= 0


# -- one that ends early -----------------------------------------------------------------------


@pytest.mark.virtual_time
async def test_one_that_is_cancelled_has_passed_for_all_who_wait_by_it_and_who_will() -> None:
    by, before, told = Deadline.after(60), anyio.current_time(), list[str]()

    async def wait(name: str) -> None:
        with by.scope() as outer, by.scope():
            await anyio.sleep_forever()
        told.append(name)
        assert outer.cancel_called

    async with anyio.create_task_group() as tasks:
        for name in "ab":
            tasks.start_soon(wait, name)
        await anyio.wait_all_tasks_blocked()
        assert not by.is_cancelled
        by.cancel()
        by.cancel()
    assert sorted(told) == ["a", "b"]
    await wait("c")
    assert by.is_cancelled
    assert by.left == -math.inf
    assert anyio.current_time() < before + 1


async def test_who_asks_often_is_told_once_and_costs_nothing_more() -> None:
    by, told = Deadline.after(60), list[str]()

    class Waits:
        def tell(self) -> None:
            told.append("cancelled")

    waits = Waits()
    for _ in range(100):
        by.when_cancelled(waits.tell)
    by.cancel()
    assert told == ["cancelled"]
