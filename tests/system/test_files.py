from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from aiovirt.errors import AccessDenied, HostHeld, SystemFailure
from aiovirt.system.files import FileLock, ending_in, make_private, read_bounded, remove, rotate, shrink, write_whole


def test_a_file_is_whole_private_and_leaves_nothing_beside(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_whole(path, b"one")
    write_whole(path, b"two")
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    remove(path)
    remove(path)
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_whole(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_folder_that_cannot_be_listed_is_not_empty(tmp_path: Path) -> None:
    for name in ("b.xml", "a.xml", "a.json"):
        (tmp_path / name).touch()
    assert ending_in(".xml", tmp_path) == [tmp_path / "a.xml", tmp_path / "b.xml"]
    assert ending_in(".xml", tmp_path / "gone") == []
    assert ending_in(".xml", tmp_path / "a.xml") == []
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            ending_in(".xml", tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_link_in_the_way_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"precious")
    (tmp_path / ".file.new").symlink_to(tmp_path / "target")
    with pytest.raises(OSError, match="symbolic"):
        write_whole(tmp_path / "file", b"x")
    assert (tmp_path / "target").read_bytes() == b"precious"


def test_a_file_has_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_bounded(path, 5) == b"12345"
    with pytest.raises(SystemFailure):
        read_bounded(path, 4)


def test_a_log_is_moved_aside_when_it_is_large(tmp_path: Path) -> None:
    path = tmp_path / "log"
    assert rotate(path, 3) == 0
    path.write_bytes(b"123")
    assert rotate(path, 3) == 3
    path.write_bytes(b"1234")
    assert rotate(path, 3) == 0
    assert (tmp_path / "log.1").read_bytes() == b"1234"
    assert not path.exists()


def test_a_log_that_is_being_written_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "log"
    shrink(path, 4)
    with path.open("ab", buffering=0) as writer:
        writer.write(b"1234")
        shrink(path, 4)
        assert path.read_bytes() == b"1234"
        writer.write(b"56")
        shrink(path, 4)
        assert (path.read_bytes(), (tmp_path / "log.1").read_bytes()) == (b"", b"56")
        writer.write(b"7")
    assert path.read_bytes() == b"7"


def test_folders_are_private(tmp_path: Path) -> None:
    make_private(tmp_path / "a/b")
    assert (tmp_path / "a/b").stat().st_mode & 0o777 == 0o700
    make_private(tmp_path / "a/b")
    (tmp_path / "a/b").chmod(0o770)
    with pytest.raises(AccessDenied):
        make_private(tmp_path / "a/b")
    (tmp_path / "file").touch()
    with pytest.raises(SystemFailure):
        make_private(tmp_path / "file/x")


def test_a_lock_has_one_holder_and_dies_with_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    first, second = FileLock(path), FileLock(path)
    first.acquire()
    with pytest.raises(HostHeld) as held:
        second.acquire()
    assert held.value.pid == os.getpid()
    first.release()
    second.acquire()
    second.release()
    script = f"""
import os, pathlib
from aiovirt.system.files import FileLock
FileLock(pathlib.Path({str(path)!r})).acquire()
os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", script], check=False)
    first.acquire()
    first.release()


def test_a_folder_that_lets_others_in_says_so(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(mode=0o700)
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(AccessDenied, match="would let others in"):
        make_private(tmp_path / "open")
