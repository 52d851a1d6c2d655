"""Which commands go to QEMU, and when: against a reader of the whole list."""

from __future__ import annotations

import itertools

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec import Raw

from aiovirt.drivers.qemu.window import SLACK, WINDOW, Call, Priority, Stage, Window
from aiovirt.system.deadlines import Deadline
from aiovirt.wire.qmp import Failure, Reply, TooLong

PRIORITIES = (Priority.OUT_OF_BAND, Priority.URGENT, Priority.PLAIN)  # in the order in which they go

numbers = itertools.count(1)


def call(command: str = "stop", priority: Priority = Priority.PLAIN, descriptor: int | None = None) -> Call:
    return Call(number=next(numbers), command=command, line=b"", by=Deadline(0.0, 0.0), priority=priority, descriptor=descriptor)


def done(number: int | None) -> Reply:
    return Reply(number, Raw(b"{}"))


def refused(number: int | None = None) -> Failure:
    return Failure(number, "GenericError", "no")


class Mine:
    """What the oracle knows of one call: what was done with it, and nothing of what the window made of that."""

    def __init__(self, one: Call) -> None:
        self.call = one
        self.stage = Stage.WAITING
        self.in_band = one.priority is not Priority.OUT_OF_BAND
        self.changes = not one.command.startswith("query-")


class WindowMachine(RuleBasedStateMachine):
    """A window, and the list of all that was ever asked, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.window = Window()
        self.all: list[Mine] = []
        self.sent: list[Mine] = []  # in the order in which QEMU has them

    # -- the oracle ------------------------------------------------------------------------

    def in_stage(self, *stages: Stage) -> list[Mine]:
        return [mine for mine in self.all if mine.stage in stages]

    def may_go(self, mine: Mine) -> bool:
        if mine.call.descriptor is not None and any(one.call.descriptor is not None for one in self.sent):
            return False
        return not mine.in_band or sum(one.in_band for one in self.sent) < 7

    def expected(self) -> Call | None:
        for priority in PRIORITIES:
            first = next((mine for mine in self.in_stage(Stage.WAITING) if mine.call.priority is priority), None)
            if first is not None and self.may_go(first):
                return first.call
        return None

    def mine(self, one: Call) -> Mine:
        return next(mine for mine in self.all if mine.call is one)

    def answer(self, mine: Mine) -> None:
        """One that was given up stays that: nobody is to be woken."""
        self.sent.remove(mine)
        if mine.stage is Stage.SENT:
            mine.stage = Stage.DONE

    def leave(self, one: Call) -> None:
        mine = self.mine(one)
        mine.stage = Stage.SENT
        self.sent.append(mine)
        self.window.mark_sent(one)

    # -- what may happen -------------------------------------------------------------------

    @rule(
        command=st.sampled_from(["stop", "query-status"]),
        priority=st.sampled_from(PRIORITIES),
        descriptor=st.sampled_from([None, None, 3]),
        times=st.integers(1, 5),
    )
    def ask(self, command: str, priority: Priority, descriptor: int | None, times: int) -> None:
        for _ in range(times):
            one = call(command, priority, descriptor)
            at_once = self.window.is_free_for(one)
            self.all.append(Mine(one))
            if at_once:
                assert self.expected() is one
                self.leave(one)
            else:
                self.window.add(one)

    @rule(times=st.integers(1, 12))
    def send(self, times: int) -> None:
        for _ in range(times):
            one = self.window.next()
            assert one is self.expected()
            if one is not None:
                self.leave(one)

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), how=st.sampled_from([done, refused, lambda number: TooLong(number, None, 3)]))
    def be_answered(self, data: st.DataObject, how: type[Reply]) -> None:
        mine = data.draw(st.sampled_from(self.sent), "which")
        answer = how(mine.call.number)  # type: ignore[call-arg]  # all three are made of a number
        assert self.window.answered(mine.call.number, answer) is mine.call
        assert mine.call.answer is (None if mine.stage is Stage.CANCELLED else answer)
        self.answer(mine)

    @rule()
    def be_refused_without_an_id(self) -> None:
        oldest = next((mine for mine in self.sent if mine.in_band), None)
        assert self.window.answered(None, refused()) is (oldest and oldest.call)
        if oldest is not None:
            self.answer(oldest)

    @rule(data=st.data())
    def be_answered_what_nobody_asked(self, data: st.DataObject) -> None:
        strangers = [0, -1, 10**9, *(mine.call.number for mine in self.all if mine not in self.sent)]
        number = data.draw(st.sampled_from(strangers), "which")
        assert self.window.answered(number, done(number)) is None

    @precondition(lambda self: self.all)
    @rule(data=st.data(), times=st.integers(1, 5))
    def give_up(self, data: st.DataObject, times: int) -> None:
        for mine in data.draw(st.lists(st.sampled_from(self.all), min_size=times, max_size=times), "which"):
            mine.stage = {Stage.WAITING: Stage.DROPPED, Stage.SENT: Stage.CANCELLED}.get(mine.stage, mine.stage)
            self.window.give_up(mine.call)

    # -- what always holds -----------------------------------------------------------------

    @invariant()
    def every_call_is_as_far_as_it_came(self) -> None:
        assert [mine.call.stage for mine in self.all] == [mine.stage for mine in self.all]

    @invariant()
    def never_more_than_seven_nor_two_descriptors(self) -> None:
        assert sum(mine.in_band for mine in self.sent) <= 7
        assert sum(mine.call.descriptor is not None for mine in self.sent) <= 1

    @invariant()
    def the_window_knows_what_qemu_has(self) -> None:
        assert list(self.window.sent.values()) == [mine.call for mine in self.sent]
        assert list(self.window.sent) == [mine.call.number for mine in self.sent]

    @invariant()
    def what_is_unsettled_is_counted(self) -> None:
        assert self.window.unsettled == sum(mine.changes and mine.stage is Stage.CANCELLED for mine in self.sent)

    @invariant()
    def somebody_waits_for_what_is_open(self) -> None:
        assert sorted(one.number for one in self.window.open()) == [mine.call.number for mine in self.in_stage(Stage.WAITING, Stage.SENT)]

    @invariant()
    def what_waits_is_not_overlooked(self) -> None:
        assert self.window.has_waiting or not self.in_stage(Stage.WAITING)

    @invariant()
    def what_was_dropped_does_not_pile_up(self) -> None:
        assert sum(map(len, self.window._queues.values())) <= 2 * len(self.in_stage(Stage.WAITING)) + 2 * SLACK


WindowMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=60)
TestWindow = WindowMachine.TestCase


# -- one by one --------------------------------------------------------------------------------


def pumped(window: Window) -> list[Call]:
    """What goes now."""
    went = []
    while (one := window.next()) is not None:
        window.mark_sent(one)
        went.append(one)
    return went


def filled() -> tuple[Window, list[Call]]:
    """A window that is full, and what it is full of."""
    window = Window()
    for _ in range(WINDOW):
        window.add(call())
    return window, pumped(window)


def test_qemu_reads_on_while_it_has_seven() -> None:
    """It stops at eight; the eighth is left for who comes to its monitor by hand."""
    assert WINDOW == 7
    window, first = filled()
    window.add(eighth := call())
    assert len(first) == 7
    assert pumped(window) == []
    window.answered(first[3].number, done(first[3].number))
    assert pumped(window) == [eighth]


def test_the_urgent_overtake_and_the_rest_keeps_its_order() -> None:
    window, first = filled()
    waiting = [call(priority=priority) for priority in (Priority.PLAIN, Priority.URGENT, Priority.PLAIN, Priority.URGENT)]
    for one in waiting:
        window.add(one)
    for one in first[:4]:
        window.answered(one.number, done(one.number))
    assert pumped(window) == [waiting[1], waiting[3], waiting[0], waiting[2]]


def test_out_of_band_needs_no_room() -> None:
    window, _ = filled()
    ten = [call(priority=Priority.OUT_OF_BAND) for _ in range(10)]
    for one in ten:
        window.add(one)
    assert pumped(window) == ten


def test_descriptors_go_one_at_a_time_and_those_without_wait_behind() -> None:
    window = Window()
    first, second, third = call("getfd", descriptor=3), call("getfd", descriptor=4), call("query-status")
    urgent = call(priority=Priority.URGENT)
    for one in (first, second, third, urgent):
        window.add(one)
    assert pumped(window) == [urgent, first]
    window.answered(first.number, done(first.number))
    assert pumped(window) == [second, third]


def test_a_descriptor_whose_caller_left_still_blocks_the_next() -> None:
    window = Window()
    first, second = call("getfd", descriptor=3), call("getfd", descriptor=4)
    window.add(first)
    window.add(second)
    assert pumped(window) == [first]
    window.give_up(first)
    assert pumped(window) == []
    window.answered(first.number, refused(first.number))
    assert pumped(window) == [second]


def test_ten_thousand_that_are_dropped_leave_nothing_behind() -> None:
    window, _ = filled()
    window.add(patient := call())
    for _ in range(10_000):
        window.add(one := call(priority=Priority.URGENT))
        window.give_up(one)
        assert sum(map(len, window._queues.values())) <= 2 + SLACK
    assert [one for one in window.open() if one.stage is Stage.WAITING] == [patient]


def test_many_that_wait_are_not_swept_at_every_drop() -> None:
    """The sweeps of n drops look at no more than some n calls."""
    window, _ = filled()
    waiting = [call() for _ in range(5000)]
    for one in waiting:
        window.add(one)
    before = [len(priority) for priority in window._queues.values()]
    for one in waiting[:2000]:
        window.give_up(one)
    assert [len(priority) for priority in window._queues.values()] == before
    for one in waiting[2000:]:
        window.give_up(one)
    assert sum(map(len, window._queues.values())) <= 2 * SLACK


def test_a_late_refusal_settles_as_well() -> None:
    window, first = filled()
    for one in first:
        window.give_up(one)
    assert window.unsettled == 7
    for left, one in zip(range(6, -1, -1), first, strict=True):
        window.answered(one.number, refused(one.number))
        assert window.unsettled == left
