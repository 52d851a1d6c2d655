from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from benchmarks.bench_isolation import BOUNDS, UNITS, Latencies, as_table, figures_of, main

ROOT = Path(__file__).parents[2]


def test_good_guests_are_compared_by_their_slowest_and_by_all_of_them() -> None:
    seen = Latencies(
        running=[[0.001, 0.010], [0.001, 0.030], [0.001, 0.020]],
        stopped=[[0.002, 0.090], [0.002, 0.020], [0.002, 0.030]],
        overdue=[0.004, 0.001],
    )
    figures = figures_of(seen)
    assert figures["slowest running"] == pytest.approx(20)
    assert figures["slowest stopped"] == pytest.approx(30)
    assert figures["slowest"] == pytest.approx(1.5)
    assert figures["p99"] == pytest.approx(figures["p99 stopped"] / figures["p99 running"])
    assert figures["soonest"] == pytest.approx(1)
    assert figures["latest"] == pytest.approx(4)


@pytest.mark.parametrize(("slowest", "verdict"), [(1.25, "kept"), (1.26, "EXCEEDED")])
def test_the_table_tells_which_bound_is_exceeded(slowest: float, verdict: str) -> None:
    good = dict.fromkeys(UNITS, 1.0)
    heads, line, *_ = as_table({"asyncio": good, "trio": good | {"slowest": slowest}})
    assert heads.split() == ["asyncio", "trio", "at", "most"]
    assert line.split() == ["slowest,", "x", "1.00", f"{slowest:.2f}", "1.25", verdict]


@pytest.mark.parametrize("backend", ["asyncio", "uvloop", "trio"])
def test_stopped_guests_cost_their_deadline_and_answer_again(backend: str) -> None:
    few = ["--guests", "6", "--stopped", "2", "--rounds", "4", "--deadline", "0.5", "--backend", backend, "--json"]
    done = subprocess.run([sys.executable, "-m", "benchmarks.bench_isolation", *few], cwd=ROOT, capture_output=True, check=False, text=True)
    assert done.returncode in {0, 1}, done.stderr  # so few rounds say little of the bounds
    told = msgspec.json.decode(done.stdout)
    assert (told["backend"], told["bounds"]) == (backend, BOUNDS)
    assert 0 <= told["soonest"] <= told["latest"]
    exceeded = any(told[metric] > most for metric, most in BOUNDS.items())
    assert done.returncode == exceeded


@pytest.mark.parametrize("arguments", [["--guests", "5", "--stopped", "5"], ["--rounds", "1"]], ids=" ".join)
def test_what_cannot_be_compared_is_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
