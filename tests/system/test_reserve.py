from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from aiovirt.errors import SystemFailure
from aiovirt.system.files import write_whole
from aiovirt.system.reserve import Reserve


@contextmanager
def no_descriptors(left: int = 0) -> Iterator[None]:
    """So many are left to this process within the block."""
    free = os.dup(0)
    os.close(free)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + left, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def count() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_what_must_be_written_is_written_where_there_is_no_descriptor_which_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reserve, path = Reserve(), tmp_path / "record"
    with reserve.kept(), no_descriptors():
        with pytest.raises(OSError, match="Too many open files"):
            write_whole(path, b"x")
        for text in (b"one", b"two"):
            reserve.run(write_whole, path, text)
    assert path.read_bytes() == b"two"
    assert caplog.text.count("descriptors are short") == 1


def test_a_reserve_that_cannot_be_filled_is_told(caplog: pytest.LogCaptureFixture) -> None:
    reserve = Reserve()
    with no_descriptors(left=1), reserve.kept():
        assert caplog.text.count("descriptors are short") == 1


def test_another_failure_is_not_tried_twice() -> None:
    reserve, tried = Reserve(), list[int]()

    def fail() -> None:
        tried.append(1)
        raise OSError(errno.ENOSPC, "No space left on device")

    with reserve.kept(), pytest.raises(OSError, match="No space"):
        reserve.run(fail)
    assert tried == [1]


def test_who_would_starve_is_refused_before_and_that_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    reserve = Reserve()
    with reserve.kept():
        reserve.check("it")
        with no_descriptors(left=4):
            for _ in range(3):
                with pytest.raises(SystemFailure, match=r"^it: too many open files: this process may have \d+ \(RLIMIT_NOFILE\)$"):
                    reserve.check("it")
        reserve.check("it")
    assert caplog.text.count("descriptors are short") == 1
    assert caplog.text.count("there are descriptors again") == 1


def test_what_was_given_up_is_kept_again_and_closed_at_the_end(tmp_path: Path) -> None:
    reserve, before = Reserve(), count()
    with reserve.kept():
        with reserve.kept():
            kept = count()
            with no_descriptors():
                reserve.run(write_whole, tmp_path / "record", b"x")
        reserve.check("it")
        assert count() == kept > before
    assert count() == before
