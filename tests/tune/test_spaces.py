"""The spaces that ship: that their templates still are what was measured, and what searches over them come to."""

from __future__ import annotations

import itertools
import json
import math
import random
import statistics
from pathlib import Path

import pytest

from flashsched.errors import Infeasible, TuneError
from flashsched.testing.checks import check_meaning
from flashsched.tune.search.knobs import FixedKnobs, RandomKnobs
from flashsched.tune.spaces import replay as replaying
from flashsched.tune.spaces.curves import replay_page, replay_text
from flashsched.tune.spaces.problems import PROBLEMS
from flashsched.tune.spaces.replay import Course, Replays, Strategy, random_curve, random_trials, replay
from flashsched.tune.spaces.runner import TableRunner, task_of
from flashsched.tune.spaces.t4 import from_t4, to_t4
from flashsched.tune.spaces.table import Point, Space, load_space, shipped_spaces


def tiny(points=None, **changes):
    """A space of two knobs, made up: the larger both, the faster."""
    blur = load_space("blur")
    knobs = {"x": [1, 2, 4, 8], "y": [10, 20, 30]}
    table = points or {(i, j): Point(1.0 / (1 + i + 3 * j)) for i in range(4) for j in range(3)}
    given = {"name": "tiny", "title": "made up", "device": "cpu", "source": "measured", "spec": blur.spec}
    return Space(**{**given, "knobs": knobs, "points": table, **changes})


# -- the data --------------------------------------------------------------------------------------------------------


def test_every_problem_ships_and_all_are_small():
    assert set(shipped_spaces()) == set(PROBLEMS)
    spaces = [load_space(name) for name in PROBLEMS]
    assert all(200 <= len(space) <= 2000 for space in spaces)
    assert {space.source for space in spaces} == {"measured", "simulated"}
    folder = Path(replaying.__file__).parent / "data"
    assert sum(path.stat().st_size for path in folder.iterdir()) < 300_000


@pytest.mark.parametrize("name", sorted(PROBLEMS))
def test_a_template_still_spans_the_space_that_was_measured(name):
    """Points of the table can be made; and what can be made at random is in the table."""
    space, rng = load_space(name), random.Random(0)
    task, spec = task_of(space), space.device_spec
    for key in rng.sample(list(space.points), 6):
        decisions = {knob: n for knob, n in zip(space.knobs, key, strict=True) if n >= 0}
        knobs = FixedKnobs(decisions)
        task.candidate(knobs, spec)
        assert knobs.unused == []
        assert all(knobs.sizes[knob] == len(space.knobs[knob]) for knob in decisions)
    for _ in range(6):
        drawn = RandomKnobs(rng)
        try:
            candidate = task.candidate(drawn, spec)
        except Infeasible:
            continue
        assert space.point(candidate.decisions).status in ("correct", "constraints")


def test_what_is_searched_computes_what_it_should():
    space, rng = load_space("columns"), random.Random(1)
    small = [key for key in space.points if key[0] == 1]
    key = rng.choice(small)
    decisions = {knob: n for knob, n in zip(space.knobs, key, strict=True) if n >= 0}
    candidate = task_of(space).candidate(FixedKnobs(decisions), space.device_spec)
    check_meaning(candidate.schedule)


# -- tables ----------------------------------------------------------------------------------------------------------


def test_round_trip(tmp_path):
    table = {(0, 0): Point(2.0), (0, 1): Point(None, "compile"), (1, -1): Point(1.0)}
    space = tiny(table, about={"date": "2026-01-01"})
    space.save(tmp_path / "a.json.gz")
    again = load_space(tmp_path / "a.json.gz")
    assert again == space
    again.save(tmp_path / "b.json.gz")
    assert (tmp_path / "a.json.gz").read_bytes() == (tmp_path / "b.json.gz").read_bytes()
    assert list(space.configurations())[2] == ({"x": 2}, Point(1.0))


def test_what_is_no_table_is_refused(tmp_path):
    with pytest.raises(TuneError, match=r"no space 'blurr'(.|\n)*blur"):
        load_space("blurr")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(TuneError, match="is no table of a space"):
        load_space(tmp_path / "a.json")
    (tmp_path / "a.json").write_text('{"format": "flashsched.space/9"}')
    with pytest.raises(TuneError, match=r"reads 'flashsched\.space/1'"):
        load_space(tmp_path / "a.json")
    (tmp_path / "a.json").write_text('{"format": "flashsched.space/1", "failed": {}}')
    with pytest.raises(TuneError, match="no table of a space: KeyError"):
        load_space(tmp_path / "a.json")
    with pytest.raises(TuneError, match="no point with a time"):
        tiny({(0, 0): Point(None, "wrong")})


def test_a_point_that_is_not_there():
    with pytest.raises(Infeasible, match="has no point"):
        tiny().point({"x": 0})
    with pytest.raises(Infeasible, match="has no point"):
        tiny().point({"x": 0, "y": 0, "z": 0})


# -- T4, and Kernel Tuner --------------------------------------------------------------------------------------------


def test_t4_there_and_back(tmp_path):
    space = tiny({(0, 0): Point(2.0), (0, 1): Point(None, "compile"), (3, 2): Point(1.0), (1, 1): Point(None, "wrong")})
    document = json.loads(json.dumps(to_t4(space)))
    assert document["schema_version"] == "1.0.0"
    for entry in document["results"]:
        assert {"configuration", "times", "invalidity", "correctness"} <= set(entry)
    (tmp_path / "a.json").write_text(json.dumps(document))
    again = load_space(tmp_path / "a.json")
    assert (again.name, again.problem) == ("tiny", None)
    assert [(c, p.time_s, p.status) for c, p in again.configurations()] == [
        (c, p.time_s, p.status) for c, p in space.configurations()
    ]


def test_t4_of_another_tuner():
    runs = {"compilation_time": 661.5, "framework": 53.1, "search_algorithm": 0, "validation": 0}
    document = {
        "results": [
            {
                "timestamp": "2023-12-21 10:44:42.236642+00:00",
                "configuration": {"block_size_x": size, "use_padding": pad, "layout": "NHWC"},
                "times": {**runs, "runtimes": [12.2, 12.4]},
                "invalidity": state,
                "correctness": 1,
                "measurements": [{"name": "time", "value": 160.0 / size, "unit": ""}] if state == "correct" else [],
                "objectives": ["time"],
            }
            for size, pad, state in ((32, 0, "correct"), (16, 1, "correct"), (128, 0, "constraints"))
        ],
        "schema_version": "1.0.0",
    }
    space = from_t4(document, "convolution")
    assert (space.name, space.best_s) == ("convolution", pytest.approx(5e-3))
    assert space.knobs == {"block_size_x": [16, 32, 128], "use_padding": [0, 1], "layout": ["NHWC"]}
    document["results"][0]["measurements"] = []
    assert from_t4(document).point({"block_size_x": 1, "use_padding": 0, "layout": 0}).time_s == pytest.approx(12.3e-3)


def test_a_cache_of_kernel_tuner(tmp_path):
    document = {
        "device_name": "Testing",
        "kernel_name": "convolution_kernel",
        "tune_params_keys": ["bx", "by"],
        "tune_params": {"bx": [16, 32], "by": [1, 2]},
        "objective": "time",
        "cache": {
            "16,1": {"bx": 16, "by": 1, "time": 3.9, "times": [3.9]},
            "16,2": {"bx": 16, "by": 2, "time": "RuntimeFailedConfig"},
            "32,2": {"bx": 32, "by": 2, "time": 1e20},
        },
    }
    (tmp_path / "cache.json").write_text(json.dumps(document))
    space = load_space(tmp_path / "cache.json")
    assert (space.name, space.title, space.device) == ("cache", "convolution_kernel", "Testing")
    assert [(p.time_s, p.status) for _, p in space.configurations()] == [
        (pytest.approx(3.9e-3), "correct"),
        (None, "runtime"),
        (None, "constraints"),
    ]


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ([], "neither a T4 document"),
        ({"results": []}, "neither a T4 document"),
        ({"results": [{"configuration": {}}]}, "result 0 of the T4 document is none: KeyError"),
        ({"results": [{}], "schema_version": "2.0.0"}, "has T4 schema 2.0.0"),
        ({"cache": {"1": {}}, "tune_params_keys": ["a"]}, "not a cache of Kernel Tuner's"),
    ],
)
def test_other_documents_are_refused(document, says):
    with pytest.raises(TuneError, match=says):
        from_t4(document)


# -- random search, counted ------------------------------------------------------------------------------------------


def test_random_search_is_counted_exactly():
    table = {(0, 0): Point(1.0), (1, 0): Point(2.0), (2, 0): Point(None, "compile"), (3, 0): Point(1.02)}
    space = tiny(table)
    times = [point.time_s or math.inf for point in table.values()]
    orders = list(itertools.permutations(times))
    curve = random_curve(space, 6)
    for n in range(1, 5):
        assert curve[n - 1] == pytest.approx(statistics.fmean(1.0 / min(order[:n]) for order in orders))
    assert curve[4:] == [1.0, 1.0]
    first = statistics.fmean(next(n for n, t in enumerate(order, 1) if t <= 1 / 0.95) for order in orders)
    assert random_trials(space) == pytest.approx(first)


# -- replays ---------------------------------------------------------------------------------------------------------


def test_the_tuner_searches_a_table_and_does_the_same_twice():
    space = load_space("columns")
    one, other = (replay([space], [Strategy("tpe")], seeds=1, trials=9) for _ in range(2))
    assert one.courses == other.courses
    (course,) = one.courses
    assert len(course.fractions) == 9
    assert list(course.fractions) == sorted(course.fractions)
    assert course.fractions[-1] > random_curve(space, 9)[-1]


def test_a_table_without_a_program_is_searched_too():
    found = replay([tiny()], [Strategy("tpe"), Strategy("random", cost_model=False)], seeds=2, trials=30)
    assert [course.strategy for course in found.courses] == ["tpe", "tpe", "random-alone", "random-alone"]
    for course in found.courses:
        assert len(course.fractions) == 12  # each point once, and then there is an end
        assert course.fractions[-1] == 1.0


def test_a_template_that_has_changed_is_told():
    space = load_space("columns")
    less = Space(**{**{f: getattr(space, f) for f in space.__dataclass_fields__}, "points": {(9,) * 5: Point(1.0)}})
    with pytest.raises(TuneError, match="the template has changed since the table was made"):
        replay([less], [Strategy("random", cost_model=False)], 1, 1)
    with pytest.raises(TuneError, match="'fft', which is not known"):
        task_of(tiny(problem="fft"))


def test_points_that_failed_are_trials_too():
    runner = TableRunner(tiny({(0, 0): Point(None, "compile"), (1, 1): Point(2.0)}))
    task = task_of(runner.space)
    made = [task.candidate(FixedKnobs(d), runner.spec) for d in ({"x": 0, "y": 0}, {"x": 1, "y": 1})]
    trials = [trial for _, trial in runner.run(task, made, None)]
    assert [(trial.status, trial.times_s) for trial in trials] == [("compile", []), ("correct", [2.0])]
    assert runner.tried == [None, 2.0]
    assert [trial.status for trial in runner.finals(task, made)] == ["compile", "correct"]
    assert len(runner.tried) == 2


def test_strategies_by_their_names():
    assert Strategy.of("tpe-alone") == Strategy("tpe", cost_model=False)
    assert str(Strategy.of("random")) == "random"
    with pytest.raises(TuneError, match="unknown sampler 'tp'"):
        Strategy.of("tp-alone")
    with pytest.raises(TuneError, match="a trial and a seed at least"):
        replay([], [], 0, 1)


@pytest.fixture
def made_up():
    """A comparison of which everything is known."""
    space = tiny()
    courses = [
        Course("tiny", "a", 0, (0.5, 0.96, 1.0)),
        Course("tiny", "a", 1, (0.5, 0.6, 0.7)),
        Course("tiny", "b", 0, (1.0, 1.0, 1.0)),
    ]
    return Replays({"tiny": space}, 3, 0.95, courses)


def test_figures_of_a_comparison(made_up):
    a, b = made_up.rows()
    assert (a["reached"], a["seeds"], a["trials"], b["trials"]) == (1, 2, 2.5, 1.0)
    assert a["ratio"] == pytest.approx(2.5 / random_trials(tiny()))
    assert made_up.curve("tiny", "a") == pytest.approx([0.5, 0.78, 0.85])
    assert [row["reached"] for row in made_up.overall()] == [0.5, 1.0]


def test_a_comparison_is_told_and_drawn(made_up):
    text, page = replay_text(made_up), replay_page(made_up)
    assert "trials to 95 % of the optimum" in text
    assert "1/2" in text
    assert page.startswith("<!doctype html>")
    assert page.count("<section>") == 1
    assert page.count('stroke-width="2.2"') == 2
    assert "nan" not in page
