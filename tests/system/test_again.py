from __future__ import annotations

import errno
import itertools
import logging
from collections.abc import Callable

import anyio
import pytest

from aiovirt.errors import OperationInvalid, SystemFailure
from aiovirt.system.again import Backoff, contained, is_passing, keep_on, refused_by_system
from aiovirt.system.log import get_logger
from aiovirt.system.to_thread import NoThreadError
from tests.blocking import BlockingCalls

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]
log = get_logger("tests")
NO_ROOM = OSError(errno.ENOSPC, "No space left on device")


async def attempts(failures: int, error: Exception, *, lives: float = 0) -> list[float]:
    """When it was tried, that many times in vain."""
    tried: list[float] = []

    async def work(works: Callable[[], None]) -> None:
        tried.append(anyio.current_time() - begun)
        if lives:
            works()
            await anyio.sleep(lives)
        if len(tried) <= failures:
            raise error
        works()

    begun = anyio.current_time()
    await keep_on(work, log, lost="it is lost", back="it is back")
    return tried


def fail(error: Exception) -> None:
    raise error


def lines(caplog: pytest.LogCaptureFixture, words: str) -> int:
    return sum(words in record.getMessage() for record in caplog.records)


async def test_it_is_tried_again_later_each_time_up_to_half_a_minute() -> None:
    tried = await attempts(9, NO_ROOM)
    pauses = [after - before for before, after in itertools.pairwise(tried)]
    assert pauses == pytest.approx([0.25, 0.5, 1, 2, 4, 8, 16, 30, 30], abs=1e-3)


async def test_pauses_begin_anew_where_that_is_said() -> None:
    backoff, begun = Backoff(1, 3), anyio.current_time()
    seen: list[tuple[bool, float]] = []
    for reset in (False, False, True, False):
        await backoff.wait()
        seen.append((backoff.is_first, round(anyio.current_time() - begun, 3)))
        if reset:
            backoff.reset()
    assert seen == [(False, 1), (False, 3), (False, 6), (False, 7)]
    backoff.reset()
    assert (backoff.is_first, backoff.pause) == (True, 1)


async def test_who_was_under_way_for_long_is_tried_again_soon() -> None:
    tried = await attempts(3, NO_ROOM, lives=60)
    assert tried == pytest.approx([0, 60.25, 120.5, 180.75], abs=1e-2)


async def test_that_it_is_lost_and_that_it_is_back_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        await attempts(5, NO_ROOM)
    assert (lines(caplog, "it is lost"), lines(caplog, "it is back")) == (1, 1)
    assert "No space left on device" in caplog.text
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("error", [ValueError("a mistake"), MemoryError()], ids=repr)
async def test_what_is_no_refusal_of_the_system_is_told_with_its_traceback(
    caplog: pytest.LogCaptureFixture, blocking_calls: BlockingCalls, error: Exception
) -> None:
    with caplog.at_level(logging.INFO):
        await attempts(1, error)
        with contained(log, "a guest", domain="web"):
            fail(error)
    lost, _, guest = caplog.messages
    assert all("Traceback" in text and type(error).__name__ in text for text in (lost, guest))
    assert "web" in guest
    blocking_calls.take()  # a traceback shows the lines of its files


async def test_a_cancellation_ends_it() -> None:
    with anyio.move_on_after(100) as scope:
        await attempts(1000, NO_ROOM)
    assert scope.cancelled_caught
    with anyio.move_on_after(1) as scope, contained(log, "a guest"):
        await anyio.sleep_forever()
    assert scope.cancelled_caught


async def test_who_is_told_of_what_was_contained_has_the_error() -> None:
    told: list[Exception] = []
    with contained(log, "a guest", told.append):
        fail(NO_ROOM)
    assert told == [NO_ROOM]


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (NO_ROOM, True),
        (OSError(errno.EMFILE, "x"), True),
        (OSError(errno.ENOMEM, "x"), True),
        (NoThreadError(), True),
        (MemoryError(), True),
        (FileNotFoundError(errno.ENOENT, "x"), False),
        (ConnectionRefusedError(errno.ECONNREFUSED, "x"), False),
        (SystemFailure("x"), False),
        (ValueError(), False),
    ],
    ids=repr,
)
async def test_a_shortage_passes_also_behind_what_was_made_of_it(error: Exception, passes: bool) -> None:  # noqa: FBT001 - a row
    assert is_passing(error) is passes
    with pytest.raises(SystemFailure) as raised:
        raise SystemFailure("it cannot be written") from error
    assert is_passing(raised.value) is passes


async def test_what_the_system_refuses_is_an_error_of_ours() -> None:
    with pytest.raises(SystemFailure, match=r"^it: No space left on device: /a/file$"), refused_by_system("it"):
        raise OSError(errno.ENOSPC, "No space left on device", "/a/file")
    with pytest.raises(SystemFailure, match=r"^it: there is not enough memory$"), refused_by_system("it"):
        raise MemoryError
    with pytest.raises(OperationInvalid), refused_by_system("it"):
        raise OperationInvalid("not now")
