from __future__ import annotations

import json
import random
import re

import numpy as np
import platformdirs
import pytest

from flashsched.cli import main
from flashsched.hw import devices
from flashsched.tune.costmodel.cost_model import CostModel
from flashsched.tune.costmodel.features import FEATURES, features
from flashsched.tune.costmodel.heldout import held_out
from flashsched.tune.costmodel.learners import forest, lasting_forest
from flashsched.tune.costmodel.ranking import best_of_first, pairwise
from flashsched.tune.costmodel.table import Table, _kept, joined, shipped
from flashsched.tune.costmodel.trees import Trees
from flashsched.tune.search.knobs import FirstKnobs
from flashsched.tune.task import Task


def drawn(tasks=10, each=20, seed=0):
    """Tasks whose prior knows their size, and half of what makes a schedule fast."""
    rng = random.Random(seed)
    entries = []
    for number in range(tasks):
        about = {"op": "x", "hash": f"{seed}.{number}", "shape": [number], "roofline_s": 1e-6}
        for _ in range(each):
            row = {"tile": float(rng.randrange(8)), "lanes": float(rng.randrange(4)), "noise": rng.random()}
            prior = 1e-6 * 2.0**number * 2 ** -row["lanes"]
            entries.append((about, row, prior, prior * (1 + row["tile"]) * rng.uniform(0.97, 1.03), 0.03))
    return Table.of(entries, ["tile", "lanes", "noise"], {"cpu": "a test"})


def test_a_table_is_saved_and_read_back(tmp_path):
    table = drawn()
    table.save(tmp_path / "t.npz")
    back = Table.load(tmp_path / "t.npz")
    assert (back.names, back.tasks, back.about) == (table.names, table.tasks, table.about)
    np.testing.assert_allclose(back.rows, table.rows, rtol=1e-3)
    np.testing.assert_array_equal(back.measured_s, table.measured_s)
    np.testing.assert_array_equal(back.task, table.task)


def test_two_tables_become_one():
    both = joined(drawn(4), drawn(3, seed=1))
    assert (len(both), len(both.tasks)) == (7 * 20, 7)
    assert len(joined(both, drawn(4)).tasks) == 7
    assert both.tasks[int(both.task[-1])]["hash"] == "1.2"


def test_held_out_tasks_are_ordered_by_what_others_taught():
    scores = held_out(drawn())
    assert scores["cost model"].pairwise > 0.95 > 0.85 > scores["device model"].pairwise
    assert scores["cost model"].top5 > 0.95
    assert scores["roofline"].pairwise == 0.5  # it says the same of all schedules of a task
    assert 0.45 < scores["random"].pairwise < 0.55
    assert {score.tasks for score in scores.values()} == {10}
    assert held_out(drawn(), only={"0.3"})["cost model"].tasks == 1


def test_a_forest_is_fitted_once_and_kept(monkeypatch, tmp_path):
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda *a, **b: str(tmp_path / "cache"))
    table, asked, fits = drawn(), drawn(seed=1).inputs(), []
    fitted = Table.fit
    monkeypatch.setattr(Table, "fit", lambda self: fits.append(self) or fitted(self))
    first = _kept(table)(asked)
    np.testing.assert_array_equal(_kept(table)(asked), first)
    assert len(fits) == 1
    other = _kept(drawn(seed=2))(asked)  # of another table
    assert (len(fits), np.array_equal(other, first)) == (2, False)
    for kept in (tmp_path / "cache" / "fits").iterdir():
        kept.write_bytes(kept.read_bytes()[:-100])
    np.testing.assert_array_equal(_kept(table)(asked), first)  # damaged, so fitted anew
    assert len(fits) == 3
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda *a, **b: "/dev/null/nowhere")
    np.testing.assert_array_equal(_kept(table)(asked), first)


@pytest.mark.parametrize("leaf", [1, 5, 500])  # 500: no tree has more than its root
def test_trees_say_what_the_forest_says_that_they_are_of(leaf):
    rng = np.random.default_rng(leaf)
    rows = rng.integers(0, 9, (300, 4)).astype(np.float32)
    values = rows[:, 0] * rows[:, 1] + rng.random(300)
    asked = rng.integers(0, 9, (50, 4))
    trees = lasting_forest(rows, values, 3, 12, leaf, 0.7)
    np.testing.assert_array_equal(trees(asked), forest(rows, values, 3, 12, leaf, 0.7)(asked))
    np.testing.assert_array_equal(Trees.from_bytes(trees.to_bytes())(asked), trees(asked))
    assert [len(each) for each in trees(asked[:0])] == [0, 0]


def test_measures_of_an_order():
    measured = np.array([1.0, 2.0, 3.0, 3.01])
    assert pairwise(measured, measured) == 1.0
    assert pairwise(-measured, measured) == 0.0
    assert pairwise(np.ones(4), measured) == 0.5
    assert np.isnan(pairwise(measured, np.ones(4)))
    far = np.array([0.0, 0.8, 0.0, 0.0])  # the second is too uncertain to be told from any
    assert pairwise(np.array([2.0, 1.0, 3.0, 3.0]), measured, far) == 1.0
    assert pairwise(np.array([2.0, 1.0, 3.0, 3.0]), measured) == 0.8
    assert best_of_first(-measured, measured, 2) == pytest.approx(1 / 3)


# -- what ships --------------------------------------------------------------------------------------------------


def test_what_ships_is_small_and_of_todays_features():
    table = shipped("cpu")
    assert table is not None
    assert table.names == FEATURES  # else: python benchmarks/costmodel.py pack
    assert len(table.tasks) >= 60
    assert np.isfinite(table.rows).all()
    assert (table.measured_s > 0).all()


def test_what_ships_orders_tasks_that_it_never_saw():
    scores = held_out(shipped("cpu"))
    assert scores["cost model"].pairwise >= max(0.85, scores["device model"].pairwise + 0.03)
    assert scores["cost model"].clear >= 0.9
    assert scores["cost model"].top5 >= 0.9
    assert scores["random"].top5 < scores["cost model"].top5


def test_a_cost_model_starts_from_what_ships_and_learns_from_there():
    spec, task = devices["cpu"], Task("matmul", (96, 64, 80))
    row = features(task.candidate(FirstKnobs(), spec).schedule, spec)
    model = CostModel(0, "cpu")
    (first,), (unsure,) = model.predict([row], [1e-4])
    assert first == pytest.approx(1e-4)  # the order is learned from others, the level is the prior's
    assert 0 < unsure < 3
    slow = {**row, "lanes": 0.0, "accumulators": 1.0}
    assert model.predict([row, slow], [1e-4, 1e-4])[0][1] > first
    for _ in range(20):
        model.learn(row, 1e-4, 3e-4)
    assert model.predict([row], [1e-4])[0][0] == pytest.approx(3e-4, rel=0.05)
    assert CostModel(0, "no such device").predict([row], [1e-4])[0].tolist() == [1e-4]


def test_the_command(capsys):
    assert main(["costmodel", "eval", "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert list(scores) == ["cost model", "device model", "roofline", "random"]
    assert 0.5 < scores["cost model"]["pairwise"] < scores["cost model"]["clear"] <= 1
    assert main(["costmodel", "eval", "--operators"]) == 0
    told = capsys.readouterr().out
    assert f"{scores['cost model']['pairwise']:.3f}" in told
    assert re.search(r"\nmatmul +\d+( +[01]\.\d{3}){5}\n", told)
