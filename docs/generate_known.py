"""Writes aiovirt/libvirtxml/known.txt: the names of all elements and attributes that libvirt's own schema of a domain has.

python -m docs.generate_known [/usr/share/libvirt/schemas/domain.rng]
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from lxml import etree
from lxml.etree import _Element as Element

__all__ = ["SCHEMA", "names_of", "paths_of", "table_of"]

SCHEMA: Final = Path("/usr/share/libvirt/schemas/domain.rng")
RNG: Final = "{http://relaxng.org/ns/structure/1.0}"
ANY: Final = "*"

Names = tuple[frozenset[str], dict[str, list[Element]]]
Node = tuple[frozenset[str], dict[str, int]]


class Schema:
    """The definitions of a schema and of what it includes."""

    def __init__(self, path: Path) -> None:
        self._read: set[Path] = set()
        self._elements: list[Element] = []  # lxml's objects have one identity for as long as they are held
        self._defined: dict[str, list[Element]] = {}
        self.root = self._load(path)

    def _load(self, path: Path) -> Element:
        self._read.add(path)
        root = etree.parse(path).getroot()
        self._elements.extend(root.iter())
        for include in root.iter(f"{RNG}include"):
            if (other := path.parent / str(include.get("href"))) not in self._read:
                self._load(other)
        for define in root.iter(f"{RNG}define"):
            self._defined.setdefault(str(define.get("name")), []).append(define)
        return root

    def names(self, patterns: list[Element]) -> Names:
        """The attributes and the elements that may stand in ``patterns``; those of other namespaces are left out."""
        attributes: set[str] = set()
        elements: dict[str, list[Element]] = {}
        followed: set[str] = set()
        left = list(patterns)
        while left:
            pattern = left.pop()
            kind = str(pattern.tag).removeprefix(RNG)
            if kind == "ref" and (name := str(pattern.get("name"))) not in followed:
                followed.add(name)
                left.extend(child for define in self._defined[name] for child in define)
            elif kind == "attribute":
                attributes.add(pattern.get("name") or ANY)
            elif kind == "element":
                if next((above.get("ns") for above in (pattern, *pattern.iterancestors()) if above.get("ns")), None) is None:
                    elements.setdefault(pattern.get("name") or ANY, []).append(pattern)
            elif kind in ("group", "interleave", "choice", "optional", "zeroOrMore", "oneOrMore", "mixed", "define", "div"):
                left.extend(pattern)
        return frozenset(attributes), elements


def names_of(path: Path) -> list[Node]:
    """Every kind of element: its attributes, and its children by the number of their kind; ``<domain>`` is the first."""
    schema = Schema(path)
    start = schema.root.find(f"{RNG}start")
    assert start is not None
    kinds: dict[frozenset[int], int] = {}
    nodes: list[Node] = []

    def kind_of(patterns: list[Element]) -> int:
        key = frozenset(map(id, patterns))
        if key not in kinds:
            kinds[key] = len(nodes)
            nodes.append((frozenset(), {}))
            attributes, elements = schema.names([child for pattern in patterns for child in pattern])
            nodes[kinds[key]] = attributes, {name: kind_of(below) for name, below in sorted(elements.items())}
        return kinds[key]

    kind_of(schema.names(list(start))[1]["domain"])
    return _merged(nodes)


def _merged(nodes: list[Node]) -> list[Node]:
    """The same with one kind for all that have the same names, all the way down."""
    group = [0] * len(nodes)
    while True:
        keys = [
            (group[at], attributes, tuple((name, group[to]) for name, to in below.items())) for at, (attributes, below) in enumerate(nodes)
        ]
        numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        if len(numbers) == len(set(group)):
            break
        group = [numbers[key] for key in keys]
    first = {number: at for at, number in reversed(list(enumerate(group)))}
    return [(nodes[first[number]][0], {name: group[to] for name, to in nodes[first[number]][1].items()}) for number in sorted(first)]


def table_of(nodes: list[Node]) -> str:
    """As a file: a line for each kind, with its attributes and its children and their kinds."""
    lines = [
        " ".join([*(f"@{name}" for name in sorted(attributes)), *(f"{name}={to}" for name, to in below.items())])
        for attributes, below in nodes
    ]
    return "".join(f"{line}\n" for line in lines)


def paths_of(nodes: list[Node]) -> set[tuple[str, ...]]:
    """Every path there is, down to where it repeats itself."""
    found: set[tuple[str, ...]] = set()

    def follow(number: int, path: tuple[str, ...], above: frozenset[int]) -> None:
        attributes, below = nodes[number]
        found.update((*path, f"@{name}") for name in attributes)
        for name, to in below.items():
            found.add((*path, name))
            if to not in above:
                follow(to, (*path, name), above | {to})

    follow(0, ("domain",), frozenset({0}))
    return found


if __name__ == "__main__":
    target = Path(__file__).parent.parent / "aiovirt" / "libvirtxml" / "known.txt"
    target.write_text(table_of(names_of(Path(sys.argv[1]) if len(sys.argv) > 1 else SCHEMA)))
