"""Newer Pythons beside the installed one: those of later Debians, unpacked into a folder and not installed.

    python -m tests.lab.pythons FOLDER VERSION

VERSION is 3.13 (trixie's) or 3.14 (sid's). Prints the path of the program.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from tests.lab.debian import relink, unpack

__all__ = ["fetch"]

SUITES: Final = {"3.13": "trixie", "3.14": "sid"}


def fetch(folder: Path, version: str) -> Path:
    """The program, which is made once; raises CalledProcessError where the packages cannot be had."""
    name = f"python{version}"
    root, mark = unpack(folder, SUITES[version], name, f"{name}-venv"), folder / "linked"
    if not mark.exists():
        relink(root, name)
        mark.touch()
    return root / "usr/bin" / name


if __name__ == "__main__":
    print(fetch(Path(sys.argv[1]).resolve(), sys.argv[2]))
