"""A shortage of anything, in any phase of an engine's life, is told, and when it is over all is as if it had not been.

With ``AIOVIRT_SHORTAGE=all`` each on every loop.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

import aiovirt
from aiovirt.errors import SystemFailure
from tests.real.conftest import Place
from tests.support.shortage import Kind
from tests.support.shortage_scenario import BACKENDS, PHASES, Case, Starved, live
from tests.support.starved import Do, Told

ALL = os.environ.get("AIOVIRT_SHORTAGE") == "all"
NO_CALL = {(Kind.WATCH, phase) for phase in PHASES[1:]} | {(Kind.ENOSPC, "attach"), (Kind.THREAD, "attach"), (Kind.MEMORY, "stop")}

ENOUGH = {(Kind.EMFILE, "stop")}
"""What finds as many descriptors as it needs: more are closed before."""


def cases() -> list[Case]:
    """Each on one of the loops in turn, or on all."""
    shortages = [(kind, phase) for kind in Kind for phase in PHASES if (kind, phase) not in NO_CALL]
    return [
        Case(backend, phase, kind)
        for number, (kind, phase) in enumerate(shortages)
        for backend in (BACKENDS if ALL else (BACKENDS[number % len(BACKENDS)],))
        if (kind, phase) not in ENOUGH
    ]


@pytest.mark.parametrize("backend", BACKENDS)
def test_who_comes_when_there_is_no_descriptor_is_told_why_he_is_not_taken_on(backend: str, tmp_path: Path) -> None:
    async def come() -> None:
        place = Place(tmp_path)
        async with aiovirt.connect(place.uri) as host:
            await host.define(place.spec("ordered"))
        async with Starved.begin(place, backend, Do(phase="start")) as starved:
            async with place.attach() as host:
                await starved.do(Do(phase="order", kind=Kind.EMFILE))
                with pytest.raises(SystemFailure, match=r"no guest can be started: too many open files.*RLIMIT_NOFILE"):
                    await host.domain("ordered").start()
                with pytest.raises(SystemFailure, match="takes no client on: too many open files"):
                    async with place.attach():
                        pass
                await host.define(place.spec("defined"))
                await starved.do(Do(over=True))
                async with place.attach() as another:
                    await another.domain("ordered").start(paused=True)
                    await another.domain("ordered").destroy()
            assert (await starved.stop(Do(stop=True))).state == "ended"

    anyio.run(come)


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
