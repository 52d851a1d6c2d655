"""Which elements and attributes libvirt knows, by the names in its own schema (``known.txt``, written by docs/generate_known.py)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["is_known"]

ANY: Final = "*"
OF_LIBVIRT: Final = "{http://libvirt.org/schemas/domain/"
"""How the names begin that libvirt's drivers have of their own, as qemu:commandline."""


class _Kind(NamedTuple):
    attributes: frozenset[str]
    children: dict[str, int]


def is_known(tags: Sequence[str], name: str) -> bool:
    """Whether the element at the end of ``tags``, which go from the root down, may have the child ``name`` (or ``@attribute``)."""
    if name.startswith(OF_LIBVIRT):
        return True
    kinds = _kinds()
    at = 0
    for tag in tags[1:]:
        below = kinds[at].children
        if (found := below.get(tag, below.get(ANY))) is None:
            return False
        at = found
    if name.startswith("@"):
        return not {name[1:], ANY}.isdisjoint(kinds[at].attributes) and not name.startswith("@{")
    return name in kinds[at].children


@cache
def _kinds() -> list[_Kind]:
    lines = Path(__file__).with_name("known.txt").read_text(encoding="utf-8").splitlines()
    return [_kind(line.split()) for line in lines]


def _kind(words: list[str]) -> _Kind:
    children = (word.partition("=") for word in words if not word.startswith("@"))
    return _Kind(frozenset(word[1:] for word in words if word.startswith("@")), {name: int(to) for name, _, to in children})
