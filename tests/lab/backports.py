"""Newer QEMUs beside the installed one: those of Debian's backports, unpacked into a folder and not installed.

    python -m tests.lab.backports FOLDER VERSION

VERSION is 10 (bookworm's backports) or 11 (trixie's). Prints the path of a program that runs it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from tests.lab.debian import relink, unpack

__all__ = ["fetch"]

SUITES: Final = {"10": "bookworm-backports", "11": "trixie-backports"}
PROGRAM: Final = """#!/bin/sh
export QEMU_MODULE_DIR={root}/usr/lib/x86_64-linux-gnu/qemu
exec {program} -L {root}/usr/share/qemu -L {root}/usr/share/seabios "$@"
"""


def fetch(folder: Path, version: str) -> Path:
    """The program, which is made once; raises CalledProcessError where the packages cannot be had."""
    program = folder / "qemu"
    if not program.exists():
        root = unpack(folder, SUITES[version], "qemu-system-x86")
        program.write_text(PROGRAM.format(root=root, program=relink(root, "qemu-system-x86_64")))
        program.chmod(0o755)
    return program


if __name__ == "__main__":
    print(fetch(Path(sys.argv[1]).resolve(), sys.argv[2]))
