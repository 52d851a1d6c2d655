"""A shortage of anything, in any phase of an engine's life, is told, and when it is over all is as if it had not been.

With ``AIOVIRT_SHORTAGE=all`` also the lives that do not go well yet, and each on every loop.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import anyio
import pytest

from tests.support.shortage import Kind
from tests.support.shortage_scenario import BACKENDS, PHASES, Case, live
from tests.support.starved import Told

ALL = os.environ.get("AIOVIRT_SHORTAGE") == "all"
AMISS = {
    Kind.ENOSPC: ("start", "event", "rotate"),
    Kind.EMFILE: ("attach", "order", "event", "rotate"),
    Kind.ENOMEM: ("attach", "order", "event", "rotate", "stop"),
    Kind.MEMORY: ("start", "attach", "order", "event", "rotate"),
    Kind.THREAD: ("start", "attach", "order", "event", "rotate", "stop"),
    Kind.WATCH: ("start",),
}
"""What does not go well yet: make shortage says how."""
NO_CALL = {(Kind.WATCH, phase) for phase in PHASES[1:]} | {(Kind.ENOSPC, "attach"), (Kind.MEMORY, "stop")}


def cases() -> list[Case]:
    """Each on one of the loops in turn, or on all."""
    shortages = [(kind, phase) for kind in Kind for phase in PHASES if (kind, phase) not in NO_CALL]
    return [
        Case(backend, phase, kind)
        for number, (kind, phase) in enumerate(shortages)
        for backend in (BACKENDS if ALL else (BACKENDS[number % len(BACKENDS)],))
        if ALL or phase not in AMISS.get(kind, ())
    ]


@pytest.fixture(scope="module")
def baseline() -> Callable[[str], Told]:
    """What an engine on a backend has at the end of a life without any shortage."""
    known: dict[str, Told] = {}

    def ask(backend: str) -> Told:
        if backend not in known:
            life = anyio.run(live, Case(backend))
            assert life.complaints == []
            known[backend] = life.told
        return known[backend]

    return ask


@pytest.mark.parametrize("case", cases(), ids=str)
def test_a_passing_shortage_is_told_and_leaves_nothing_behind(case: Case, baseline: Callable[[str], Told]) -> None:
    life = anyio.run(live, case, baseline(case.backend))
    assert life.complaints == [], life.words
    assert life.failed, "nothing was struck"
