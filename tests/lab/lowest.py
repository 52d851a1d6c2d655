"""The lowest releases that pyproject.toml allows, as requirements for pip: ``anyio>=4.10`` becomes ``anyio==4.10``.

    python -m tests.lab.lowest GROUP…

Prints those of the package itself, and of the dependency groups that are named.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Final

__all__ = ["lowest"]

PYPROJECT: Final = Path(__file__).parents[2] / "pyproject.toml"


def lowest(*groups: str) -> list[str]:
    """One requirement a line; raises KeyError for a group that is not there."""
    read = tomllib.loads(PYPROJECT.read_text())
    wanted = [*read["project"]["dependencies"], *(one for group in groups for one in read["dependency-groups"][group])]
    return [re.sub(r">=([\w.]+)", r"==\1", one) for one in wanted]


if __name__ == "__main__":
    print("\n".join(lowest(*sys.argv[1:])))
