"""Which emulator a guest runs on, and what that one takes. Asking blocks: call it in a thread."""

from __future__ import annotations

import os
import re
import shutil
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple

from aiovirt.errors import SystemFailure
from aiovirt.model.node import Hypervisor
from aiovirt.model.spec import DomainSpec
from aiovirt.system.answer import answer_of

__all__ = ["Emulator", "find_emulator", "hypervisor", "version_in"]

PATIENCE: Final = 5.0
_VERSION: Final = re.compile(r"^QEMU emulator version ((\d+)\.(\d+)(?:\.\d+)*)", re.MULTILINE)


class Emulator(NamedTuple):
    """Its path, and its version where it says one."""

    path: str
    version: tuple[int, int] | None

    @property
    def names_its_threads(self) -> bool:
        """Whether it does so unasked: since 11.1, where ``debug-threads`` is deprecated."""
        return self.version is not None and self.version >= (11, 1)


def find_emulator(spec: DomainSpec) -> Emulator:
    """The one that ``spec`` asks for; raises SystemFailure where it is not installed."""
    wanted = spec.emulator or f"qemu-system-{spec.os.arch}"
    found = shutil.which(wanted)
    if found is None:
        raise SystemFailure(f"{wanted} is not installed (on Debian: apt-get install qemu-system-x86)")
    file = Path(found).stat()
    return Emulator(found, _version_of(found, file.st_dev, file.st_ino, file.st_mtime_ns))


@lru_cache(64)
def _version_of(path: str, *_identity: int) -> tuple[int, int] | None:
    """Asked once of each file: an upgrade makes another."""
    return version_in(answer_of([path, "-version"], timeout=PATIENCE).decode(errors="replace"))


def version_in(words: str) -> tuple[int, int] | None:
    """(major, minor) of what ``-version`` says, None where it is no QEMU's answer."""
    found = _VERSION.search(words)
    return (int(found[2]), int(found[3])) if found else None


def hypervisor() -> Hypervisor:
    """The emulator of this machine's own architecture. Raises SystemFailure where it is not installed, or does not say its version."""
    name = f"qemu-system-{os.uname().machine}"
    found = _VERSION.search(answer_of([name, "-version"], timeout=PATIENCE).decode(errors="replace"))
    if found is None:
        raise SystemFailure(f"{name} is not installed, or does not say its version")
    return Hypervisor("QEMU", found[1])
