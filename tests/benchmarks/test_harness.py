from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from benchmarks.harness import Bench, Figures, Lane, Round, Row, Stopwatch, aligned, main, ratios, rows, run_on, run_rounds
from benchmarks.promises import FILE, Promise, Table, judged, kept, read_promises, settled

ROOT = Path(__file__).parents[2]

OURS = Lane("one", "ours", "trio")
OURS_ELSEWHERE = Lane("one", "ours", "asyncio")
RIVAL = Lane("one", "rival", "trio")
RIVAL_ELSEWHERE = Lane("one", "rival", "asyncio")
FLOOR = Lane("one", "floor", "none")
LONELY = Lane("two", "ours", "trio")
LANES = (OURS_ELSEWHERE, OURS, RIVAL_ELSEWHERE, RIVAL, FLOOR, LONELY)


def measure(lane: Lane, quick: bool, place: str) -> Figures:  # noqa: FBT001
    return {"cpu": 1.0 + quick, "wall": float(len(lane.case + place))}


BENCH = Bench(
    name="bench_made_up", lanes=LANES, baselines=("rival", "floor"), units={"cpu": "us", "wall": "us", "memory": "MiB"}, measure=measure
)


def round_of(**costs: float) -> Round:
    """Each contender's cost, whatever the metric."""
    return {lane: dict.fromkeys(BENCH.units, costs[lane.contender]) for lane in LANES}


ROUNDS = [
    round_of(ours=1.0, rival=2.0, floor=1.0),
    round_of(ours=8.0, rival=4.0, floor=2.0),
    round_of(ours=3.0, rival=10.0, floor=1.0),
]


def promise(**changes: object) -> Promise:
    good = Promise(bench=BENCH.name, case="one", contender="ours", backend="trio", metric="cpu", ratio_to="rival", at_most=0.5)
    return msgspec.structs.replace(good, **changes)


# -- ratios ------------------------------------------------------------------------------------


def test_a_ratio_is_taken_within_each_round() -> None:
    assert ratios(ROUNDS, OURS, RIVAL, "cpu") == [0.5, 2.0, 0.3]


def test_a_row_has_the_median_value_and_the_median_of_the_rounds_ratios() -> None:
    found = {
        row.ratio_to: row
        for row in rows(BENCH, ROUNDS)
        if (row.contender, row.backend, row.metric, row.case) == ("ours", "trio", "cpu", "one")
    }
    assert found["rival"].value == 3.0  # the median of 1, 8 and 3
    assert found["rival"].ratio == 0.5  # of 0.5, 2 and 0.3; that of the medians would be 0.75
    assert found["floor"].ratio == 3.0
    assert found["rival"].unit == "us"


def test_what_has_nothing_beside_it_has_a_row_without_a_ratio() -> None:
    found = [row for row in rows(BENCH, ROUNDS) if row.case == "two"]
    assert [(row.metric, row.ratio_to, row.ratio) for row in found] == [("cpu", None, None), ("wall", None, None), ("memory", None, None)]


def test_a_case_may_have_metrics_of_its_own() -> None:
    bench = msgspec.structs.replace(BENCH, own_units={"two": {"bytes": "B"}})
    found = rows(bench, [figures | {LONELY: {"bytes": 7.0}} for figures in ROUNDS])
    assert [(row.metric, row.value, row.unit) for row in found if row.case == "two"] == [("bytes", 7.0, "B")]
    assert {row.metric for row in found if row.case == "one"} == {"cpu", "wall", "memory"}


def test_only_what_ran_is_compared() -> None:
    alone: list[Round] = [{OURS: {"cpu": 1.0, "wall": 1.0, "memory": 1.0}}]
    assert {row.ratio_to for row in rows(BENCH, alone)} == {None}


@pytest.mark.parametrize(
    ("lane", "contender", "partner"),
    [
        (OURS, "rival", RIVAL),
        (OURS_ELSEWHERE, "rival", RIVAL_ELSEWHERE),
        (OURS, "floor", FLOOR),
        (FLOOR, "ours", OURS_ELSEWHERE),
        (LONELY, "rival", None),
    ],
    ids=str,
)
def test_like_is_compared_with_like_where_there_is_such(lane: Lane, contender: str, partner: Lane | None) -> None:
    assert BENCH.partner(lane, contender) == partner


def test_a_stopwatch_gives_what_one_took() -> None:
    with Stopwatch() as watch:
        sum(range(1000))
    whole, half = watch.per(1, 1e6), watch.per(2, 1e6)
    assert whole["wall"] > 0
    assert half == {metric: value / 2 for metric, value in whole.items()}


# -- promises ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "holds"),
    [
        ([0.6, 0.7, 0.9, 0.6, 0.51], False),
        ([0.6, 0.7, 0.9, 0.6, 0.5], True),
        ([0.1, 0.1, 0.1, 0.1, 0.1], True),
    ],
)
def test_a_promise_is_broken_only_by_every_round(found: list[float], holds: bool) -> None:  # noqa: FBT001
    assert kept(promise(), found) is holds


def test_a_verdict_has_each_rounds_ratio_and_both_figures() -> None:
    (verdict,) = judged(BENCH, [promise()], ROUNDS)
    assert (verdict.found, verdict.value, verdict.other, verdict.unit) == ([0.5, 2.0, 0.3], 3.0, 4.0, "us")


def test_what_is_promised_without_a_ratio_is_held_against_the_figures_themselves() -> None:
    (verdict,) = judged(BENCH, [promise(ratio_to=None)], ROUNDS)
    assert (verdict.found, verdict.value, verdict.other) == ([1.0, 8.0, 3.0], 3.0, None)
    line = Table([verdict.promise]).line(verdict)
    assert line.split()[-6:] == ["us", "3.0", "0.50", "3.00", "1.00-8.00", "BROKEN"]


def test_a_promise_takes_the_unit_of_its_case() -> None:
    bench = msgspec.structs.replace(BENCH, own_units={"two": {"bytes": "B"}})
    (told,) = read_promises(toml(case="two", metric="bytes", ratio_to=None), {BENCH.name: bench})
    (verdict,) = judged(bench, [told], [{LONELY: {"bytes": 7.0}}])
    assert (verdict.found, verdict.unit) == ([7.0], "B")


@pytest.mark.parametrize(("at_most", "word"), [(0.3, "kept"), (0.2, "BROKEN")])
def test_the_report_says_what_was_kept(at_most: float, word: str) -> None:
    table = Table([promise(at_most=at_most)])
    heads, line = table.heads(), table.line(*judged(BENCH, [promise(at_most=at_most)], ROUNDS))
    assert heads.index("range") + len("range") == line.index("0.30-2.00") + len("0.30-2.00")
    assert heads.split()[:2] == ["bench", "case"]
    assert line.split()[-4:] == [f"{at_most:.2f}", "0.50", "0.30-2.00", word]


@pytest.mark.parametrize(("at_most", "least", "needed"), [(0.5, 1, 1), (0.4, 1, 3), (0.1, 1, 3), (0.5, 2, 2)])
def test_as_many_rounds_are_run_as_are_needed(at_most: float, least: int, needed: int) -> None:
    """One that is kept says all; a promise that no round keeps takes all of them."""
    (verdict,) = settled(BENCH, [promise(at_most=at_most)], iter(ROUNDS), least)
    assert verdict.found == [0.5, 2.0, 0.3][:needed]


def toml(**changes: object) -> str:
    values = msgspec.to_builtins(promise()) | changes
    given = {key: value for key, value in values.items() if value is not None}
    return "[[promise]]\n" + "\n".join(f"{key} = {msgspec.json.encode(value).decode()}" for key, value in given.items())


def test_promises_are_read() -> None:
    assert read_promises(toml() + "\n" + toml(ratio_to="floor"), {BENCH.name: BENCH}) == [promise(), promise(ratio_to="floor")]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (toml(bench="bench_nothing"), "promise 1: there is no 'bench_nothing'"),
        (toml() + "\n" + toml(case="three"), "promise 2: bench_made_up has no three: ours on trio"),
        (toml(backend="uvloop"), "promise 1: bench_made_up has no one: ours on uvloop"),
        (toml(metric="beauty"), "promise 1: bench_made_up does not measure 'beauty' in 'one'"),
        (toml(ratio_to="nobody"), "promise 1: nothing to compare with: 'nobody' in 'one'"),
        (toml(ratio_to="ours"), "promise 1: nothing to compare with: 'ours' in 'one'"),
        (toml(at_most=0), r"Expected `float` > 0.0 - at `\$.promise\[0\].at_most`"),
        (toml(at_most="little"), r"Expected `float`, got `str` - at `\$.promise\[0\].at_most`"),
        (toml(at_least=1), r"unknown field `at_least` - at `\$.promise\[0\]`"),
        ('[[promise]]\nbench = "x"', r"missing required field `case` - at `\$.promise\[0\]`"),
        ("", "missing required field `promise`"),
        ("[[promise", "promises.toml: "),
    ],
)
def test_a_promise_that_cannot_be_held_against_anything_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as caught:
        read_promises(text, {BENCH.name: BENCH})
    assert str(caught.value).startswith("promises.toml: ")


def test_the_projects_promises_are_in_order() -> None:
    from benchmarks import bench_burst, bench_engine, bench_events, bench_hostdev, bench_qmp

    benches = {
        bench.name: bench for bench in (bench_burst.BENCH, bench_engine.BENCH, bench_events.BENCH, bench_hostdev.BENCH, bench_qmp.BENCH)
    }
    promises = read_promises(FILE.read_text(encoding="utf-8"), benches)
    assert {one.bench for one in promises} == set(benches)
    assert len({msgspec.structs.replace(one, at_most=1.0) for one in promises}) == len(promises)


# -- the command line --------------------------------------------------------------------------


def test_columns_are_aligned() -> None:
    assert aligned([["who", "cost"], ["ours", "1.0"], ["a rival", "12.0"]], left=1) == [
        "who      cost",
        "ours      1.0",
        "a rival  12.0",
    ]


@pytest.mark.parametrize("backend", ["asyncio", "uvloop", "trio"])
def test_a_program_runs_on_the_backend_asked_for(backend: str) -> None:
    async def program() -> str:
        import sniffio

        if sniffio.current_async_library() == "trio":
            return "trio"
        import asyncio

        return "uvloop" if type(asyncio.get_running_loop()).__module__.startswith("uvloop") else "asyncio"

    assert run_on(backend, program) == backend


def test_one_measurement_is_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    main(BENCH, ["--contender", "ours", "--backend", "trio", "--case", "one", "--quick", "--place", "x"])
    figures = msgspec.json.decode(capsys.readouterr().out, type=Figures)
    assert figures.pop("memory") > 1
    assert figures == {"cpu": 2.0, "wall": 4.0}


@pytest.mark.parametrize(
    "arguments",
    [["--contender", "nobody", "--backend", "trio", "--case", "one"], ["--rounds", "0"], ["--rounds", "few"], ["--case", "three"]],
    ids=" ".join,
)
def test_what_cannot_be_measured_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(BENCH, arguments)
    assert caught.value.code == 2
    assert "error: " in capsys.readouterr().err


def test_a_measurement_that_fails_is_named() -> None:
    with pytest.raises(SystemExit, match=r"(?s)bench_made_up, one: ours on trio: failed.*No module named benchmarks.bench_made_up"):
        run_rounds(BENCH, [OURS], 1, quick=True)


def run(bench: str, *arguments: str) -> str:
    command = [sys.executable, "-m", f"benchmarks.{bench}", *arguments]
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True).stdout


COST = {"cpu", "wall", "memory"}
ALIKE = ("aiovirt", "aiovirt, in batches", "memory stream", "queue", "deque + waker", "bare deque")


@pytest.mark.parametrize(
    ("bench", "case", "metrics"),
    [
        ("bench_events", "1000 readers, 999 match no type", COST),
        ("bench_events", "10 readers, 10,000 events a second", {"p50", "p99", "cpu", "memory"}),
        ("bench_events", "100,000 events resumed from disk", COST),
        ("bench_events", "10,000 readers that wait", {"bytes", "task", "memory"}),
        ("bench_hostdev", "2,000 links at first", COST),
        ("bench_qmp", "1 session", COST | {"peer"}),
        ("bench_qmp", "1,000 idle sessions", {"bytes", "memory"}),
        ("bench_qmp", "50 QEMUs", COST),
    ],
)
def test_a_bench_runs(bench: str, case: str, metrics: set[str]) -> None:
    lines = run(bench, "--quick", "--rounds", "1", "--json", "--case", case).splitlines()
    found = [msgspec.json.decode(line, type=Row) for line in lines]
    assert set(msgspec.json.decode(lines[0])) == {"bench", "case", "contender", "backend", "metric", "value", "unit", "ratio_to", "ratio"}
    assert {(row.bench, row.case) for row in found} == {(bench, case)}
    assert {row.metric for row in found} == metrics
    ours = [row for row in found if row.contender == "aiovirt"]
    assert {row.backend for row in ours} == {"asyncio", "uvloop", "trio"}
    assert all(row.value > 0 for row in found)
    assert all(row.ratio_to and row.ratio for row in ours)


def test_ten_thousand_sessions_open_and_answer() -> None:
    which = ["--contender", "aiovirt", "--backend", "trio", "--case", "10,000 sessions", "--quick"]
    assert set(msgspec.json.decode(run("bench_qmp", *which))) == {"cpu", "wall", "peer", "open", "memory"}


@pytest.mark.parametrize(
    ("case", "contender", "backend", "metrics"),
    [
        ("a query-status", "attached", "trio", {"wall", "cpu", "memory"}),
        ("an event of QEMU", "local", "asyncio", {"p50", "p99", "memory"}),
        ("500 idle clients", "aiovirt", "uvloop", {"bytes", "memory"}),
        ("aiovirt list", "aiovirt", "none", {"wall", "memory"}),
    ],
)
def test_an_engine_is_measured(case: str, contender: str, backend: str, metrics: set[str]) -> None:
    lane = ["--contender", contender, "--backend", backend, "--case", case, "--quick"]
    assert set(msgspec.json.decode(run("bench_engine", *lane))) == metrics


def test_a_burst_is_heard_to_its_end() -> None:
    lane = ["--contender", "aiovirt", "--backend", "asyncio", "--case", "200,000 events"]
    assert set(msgspec.json.decode(run("bench_burst", *lane))) == {"stall", "p99", "cpu", "wall", "memory"}


def test_a_stage_stands_around_the_cases_that_are_measured() -> None:
    stood: list[str] = []

    @contextmanager
    def stage() -> Iterator[str]:
        stood.append("there")
        try:
            yield "a place"
        finally:
            stood.append("gone")

    bench = msgspec.structs.replace(BENCH, stages={"two": stage})
    with bench.stage_of("one") as nowhere, bench.stage_of("two") as place:
        assert (nowhere, place, stood) == ("", "a place", ["there"])
    with pytest.raises(SystemExit, match="bench_made_up, two: ours on trio: failed"):
        run_rounds(bench, [LONELY], 1, quick=True)
    assert stood == ["there", "gone"] * 2


def test_the_table_for_people_has_a_line_for_each_contender() -> None:
    lines = run("bench_events", "--quick", "--rounds", "1", "--case", "10 readers, burst 16").splitlines()
    assert lines[:2] == ["", "bench_events: 10 readers, burst 16"]
    heads = [
        "contender",
        "backend",
        "cpu ns",
        "wall ns",
        "memory MiB",
        *(f"cpu / {name}" for name in ALIKE if not name.startswith("aiovirt")),
    ]
    assert " ".join(lines[2].split()) == " ".join(heads)
    assert [line.split("  ")[0] for line in lines[3:]] == [name for name in ALIKE for _ in range(1 if name == "bare deque" else 3)]
