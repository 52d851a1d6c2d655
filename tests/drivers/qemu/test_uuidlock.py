"""Who has the lock of a guest's uuid."""

from __future__ import annotations

from pathlib import Path

import pytest

from aiovirt.drivers.qemu.uuidlock import others_of
from aiovirt.system import files


def test_a_lock_that_its_holder_has_a_moment_longer_than_its_descriptors_is_taken_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel lets go of a lock after the descriptor is gone from /proc."""
    path = tmp_path / "lock"
    path.touch()
    really, looked = files.drop_lock, 0

    def drop_lock(path: Path) -> bool:
        nonlocal looked
        looked += 1
        return looked > 1 and really(path)

    monkeypatch.setattr(files, "drop_lock", drop_lock)
    assert others_of(path, session=1) == []
    assert not path.exists()
    assert looked == 2
