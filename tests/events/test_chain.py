from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiovirt.events.chain import Chain
from aiovirt.events.cursor import format_cursor, new_epoch

lengths = st.lists(st.integers(0, 6), max_size=5)


def build(lengths: list[int]) -> tuple[Chain, int]:
    """A chain whose epochs had so many events, the last one 5."""
    chain, head = Chain.fresh(), 0
    for length in lengths:
        head += length
        chain = chain.chained(head)
    return chain, head + 5


@given(lengths)
def test_each_event_has_one_cursor_and_each_cursor_one_place(lengths: list[int]) -> None:
    chain, head = build(lengths)
    cursors = [chain.cursor(position) for position in range(head + 1)]
    assert [chain.position(cursor) for cursor in cursors] == list(range(head + 1))
    assert [chain.position_of(cursor) for cursor in cursors] == list(range(head + 1))
    assert len(set(cursors)) == len(cursors)


@given(lengths)
def test_within_an_epoch_the_order_of_texts_is_that_of_events(lengths: list[int]) -> None:
    chain, head = build(lengths)
    for era in chain.eras:
        cursors = [chain.cursor(position) for position in range(era.base, (head if era.end is None else era.end) + 1)]
        mine = [cursor for cursor in cursors if cursor.startswith(era.epoch)]
        assert mine == sorted(mine)


@given(lengths, st.integers(1, 10))
def test_a_cursor_that_was_given_out_keeps_its_place_when_its_epoch_ends_behind_it(lengths: list[int], more: int) -> None:
    chain, head = build(lengths)
    given = {position: chain.cursor(position) for position in range(head + more)}
    after = chain.chained(head)
    for position, cursor in given.items():
        assert after.position(cursor) == (position if position <= head else None)
    assert after.current.base == head
    assert after.cursor(head + 1) == format_cursor(after.current.epoch, 1)


@given(lengths)
def test_an_epoch_that_is_not_known_has_no_place(lengths: list[int]) -> None:
    chain, _ = build(lengths)
    stranger = format_cursor(new_epoch(), 1)
    assert chain.position(stranger) is None
    with pytest.raises(LookupError):
        chain.position_of(stranger)


def test_a_chained_epoch_sorts_behind_its_forerunner_whatever_the_clock_says(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 10**18
    monkeypatch.setattr("aiovirt.events.cursor.time.time_ns", lambda: now)
    chain = Chain.fresh()
    for _ in range(3):
        now -= 3_600 * 10**9
        chain = chain.chained(chain.current.base + 5)
    epochs = [era.epoch for era in chain.eras]
    assert epochs == sorted(set(epochs))
