"""What it costs to read a domain's XML and to write it: a document that libvirt wrote, of 16 devices, beside lxml alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from lxml import etree

from aiovirt.libvirtxml import parse, render
from benchmarks.harness import Bench, Figures, Lane, Stopwatch, main

__all__ = ["BENCH"]

READ: Final = "read"
WRITE: Final = "write"
TURNS: Final = 2000
QUICK_TURNS: Final = 300
DOCUMENT: Final = Path(__file__).parent.parent / "tests" / "libvirtxml" / "libvirt" / "pc.xml"


def act(lane: Lane) -> Callable[[], object]:
    """What is measured, with what it needs ready."""
    text = DOCUMENT.read_text()
    data, tree, spec = text.encode(), etree.fromstring(text.encode()), parse(text)
    acts: dict[tuple[str, str], Callable[[], object]] = {
        (READ, "aiovirt"): lambda: parse(text),
        (READ, "lxml"): lambda: etree.fromstring(data),
        (WRITE, "aiovirt"): lambda: render(spec),
        (WRITE, "lxml"): lambda: etree.tostring(tree),
    }
    return acts[lane.case, lane.contender]


def measure(lane: Lane, quick: bool, _: str) -> Figures:  # noqa: FBT001 - a Bench's measure
    turns, once = QUICK_TURNS if quick else TURNS, act(lane)
    for _warm in range(10):
        once()
    with Stopwatch() as watch:
        for _turn in range(turns):
            once()
    return watch.per(turns, 1e6)


BENCH: Final = Bench(
    name="bench_xml",
    lanes=tuple(Lane(case, contender, "none") for case in (READ, WRITE) for contender in ("aiovirt", "lxml")),
    baselines=("lxml",),
    units={"cpu": "us", "wall": "us", "memory": "MiB"},
    measure=measure,
)

if __name__ == "__main__":
    main(BENCH)
