"""What is asked of a host's emulators and of its KVM: a shortage is no answer, and none that is kept."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from msgspec.structs import replace

from aiovirt.drivers.qemu import guests
from aiovirt.drivers.qemu.emulator import find_emulator
from aiovirt.model.spec import DomainSpec
from aiovirt.model.units import MiB

SPEC = DomainSpec(name="web", memory=64 * MiB)


@pytest.fixture
def emulator(tmp_path: Path) -> Path:
    path = tmp_path / "qemu"
    path.write_text("#!/bin/sh\necho QEMU emulator version 9.2.1\n")
    path.chmod(0o700)
    return path


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOMEM, errno.EAGAIN])
def test_an_emulator_that_cannot_be_asked_just_now_is_asked_again(emulator: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def short(*_: object) -> tuple[int, int]:
        raise OSError(number, os.strerror(number))

    spec = replace(SPEC, emulator=str(emulator))
    with monkeypatch.context() as patch:
        patch.setattr("subprocess._fork_exec", short)
        with pytest.raises(OSError, match=os.strerror(number)):
            find_emulator(spec)
    assert find_emulator(spec).version == (9, 2)


def test_a_file_that_is_no_program_has_no_version(emulator: Path) -> None:
    emulator.write_text("\x7fELF")
    assert find_emulator(replace(SPEC, emulator=str(emulator))).version is None


@pytest.mark.parametrize(("number", "passes"), [(errno.EMFILE, True), (errno.ENOMEM, True), (errno.ENOENT, False), (errno.EACCES, False)])
def test_a_shortage_says_nothing_of_kvm(monkeypatch: pytest.MonkeyPatch, number: int, *, passes: bool) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "open", fail)
    if passes:
        with pytest.raises(OSError, match=os.strerror(number)):
            guests._has_kvm()
    else:
        assert not guests._has_kvm()
