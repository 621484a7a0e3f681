from __future__ import annotations

import random
import subprocess
import sys

import numpy as np
import pytest

from flashsched.tune.costmodel import cost_model
from flashsched.tune.costmodel.cost_model import CostModel
from flashsched.tune.costmodel.table import PRIOR


def drawn(seed, count):
    """Features, a prior, and a truth: the prior knows the size, and not that small tiles are slow."""
    rng = random.Random(seed)
    rows, priors, truths = [], [], []
    for _ in range(count):
        row = {"size": rng.uniform(0, 4), "tile": float(rng.randrange(6)), "noise": rng.random()}
        priors.append(1e-6 * 2 ** row["size"])
        truths.append(priors[-1] * (1 + 8 * (row["tile"] < 3)) * rng.uniform(0.97, 1.03))
        rows.append(row)
    return rows, priors, truths


def rank_correlation(a, b):
    ranks = [np.argsort(np.argsort(x)) for x in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])


def taught(count, seed=0):
    model = CostModel(seed)
    for row, prior, truth in zip(*drawn(1, count), strict=True):
        model.learn(row, prior, truth)
    return model


def test_it_learns_what_the_prior_does_not_know():
    rows, priors, truths = drawn(2, 200)
    predicted, _ = taught(60).predict(rows, priors)
    assert rank_correlation(priors, truths) < 0.6
    assert rank_correlation(predicted, truths) > 0.95


@pytest.mark.parametrize(("right", "share"), [(1.0, 1.0), (0.0, 0.0), (-1.0, 0.0), (0.6, 0.6)])
def test_a_table_is_believed_as_far_as_the_run_bears_it_out(monkeypatch, right, share):
    """The table says how far the prior is off by its column x; *right* times that is true of this run."""

    def table(rows):  # the last column is the logarithm of the prior
        return rows[:, 0] + rows[:, -1], np.full(len(rows), 0.1)

    monkeypatch.setattr(cost_model, "base_model", lambda device: (("x", PRIOR), table))
    rows = [{"x": x} for x in np.linspace(-2, 2, 40)]
    model = CostModel(0, "any")
    first, _ = model.predict(rows, [1e-6] * 40)
    assert np.ptp(np.log(first)) == pytest.approx(2, rel=0.01)  # half of what the table says
    for row in rows[::2]:
        model.learn(row, 1e-6, 1e-6 * np.exp(right * row["x"]))
    assert model._trust() == pytest.approx(share, abs=0.1)
    predicted, _ = model.predict(rows[1::2], [1e-6] * 20)
    wanted = 1e-6 * np.exp([right * row["x"] for row in rows[1::2]])
    assert np.abs(np.log(predicted / wanted)).max() < 0.35


def test_a_few_samples_leave_the_prior_as_it_is():
    rows, priors, _ = drawn(2, 10)
    for count in range(6):
        predicted, unsure = taught(count).predict(rows, priors)
        np.testing.assert_array_equal(predicted, priors)
        assert (unsure > 0).all()
    assert not np.array_equal(taught(20).predict(rows, priors)[0], priors)


def test_the_same_samples_and_seed_predict_the_same():
    rows, priors, _ = drawn(2, 10)
    one, again, other = (taught(30, seed).predict(rows, priors)[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)


def test_it_is_fitted_again_when_more_is_learned():
    model, (rows, priors, _) = taught(20), drawn(2, 10)
    before, _ = model.predict(rows, priors)
    for row, prior, truth in zip(*drawn(3, 20), strict=True):
        model.learn(row, prior, 100 * truth)
    after, _ = model.predict(rows, priors)
    assert len(model) == 40
    assert np.median(after / before) > 2


def test_it_is_less_sure_where_samples_disagree():
    model, rng = CostModel(), random.Random(0)
    for n in range(80):
        wild = n % 2
        model.learn({"wild": float(wild), "x": rng.random()}, 1e-6, 1e-6 * (10 ** rng.uniform(-1, 1) if wild else 1))
    _, unsure = model.predict([{"wild": 0.0, "x": 0.5}, {"wild": 1.0, "x": 0.5}], [1e-6, 1e-6])
    assert unsure[1] > 3 * unsure[0]


def test_features_that_come_and_go():
    model = taught(20)
    predicted, _ = model.predict([{"size": 1.0}, {"size": 1.0, "tile": 0.0, "noise": 0.0, "new": 5.0}], [1e-6, 1e-6])
    assert predicted[0] == predicted[1]


def test_nothing_to_predict_and_a_prior_of_nothing():
    model = taught(20)
    assert len(model.predict([], [])[0]) == 0
    model.learn({"size": 0.0, "tile": 0.0, "noise": 0.0}, 0.0, 0.0)  # a kernel over no elements
    predicted, unsure = model.predict([{"size": 0.0, "tile": 0.0, "noise": 0.0}], [0.0])
    assert np.isfinite([*predicted, *unsure]).all()


def test_scikit_learn_is_imported_only_when_there_is_something_to_learn():
    text = """
import sys
from flashsched.tune.costmodel.cost_model import CostModel
model = CostModel()
model.predict([{"a": 1.0}], [1.0])
assert "sklearn" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", text], check=True)


def test_a_long_run_is_fitted_to_the_fastest_and_the_latest():
    rows, priors, truths = drawn(1, 1500)
    model = CostModel()
    for row, prior, truth in zip(rows, priors, truths, strict=True):
        model.learn(row, prior, truth)
    assert len(model) == 1500
    assert len(model._rows) < 1200
    assert {min(truths[:1200]), *truths[1200:]} <= set(model._measured)
    predicted, _ = model.predict(*drawn(2, 100)[:2])
    assert rank_correlation(predicted, drawn(2, 100)[2]) > 0.9


def test_it_is_fitted_anew_when_an_eighth_is_new(monkeypatch):
    fits = []
    monkeypatch.setattr(cost_model, "forest", lambda rows, *_: fits.append(len(rows)) or (lambda asked: (0.0, 0.0)))
    model = CostModel()
    for row, prior, truth in zip(*drawn(1, 100), strict=True):
        model.learn(row, prior, truth)
        model.predict([row], [prior])
    assert fits[:4] == [6, 7, 8, 9]
    assert fits[-3:] == [72, 81, 91]


def test_errors_that_are_all_alike_are_learned_as_they_are(monkeypatch):
    """As on a device that is its own model: nothing to split, and no forest is made."""
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    model = CostModel()
    rows, priors, _ = drawn(1, 20)
    for row, prior in zip(rows, priors, strict=True):
        model.learn(row, prior, 2 * prior)
    predicted, unsure = model.predict(*drawn(2, 5)[:2])
    assert predicted == pytest.approx(2 * np.array(drawn(2, 5)[1]))
    assert not unsure.any()
