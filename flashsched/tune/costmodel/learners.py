"""The door to scikit-learn: the regressions that the tuner learns by, each as a function that gives a prediction.

A prediction is ``predict(rows) -> (values, spread)``: the spread is the standard deviation of what is believed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from flashsched.tune.costmodel.trees import Trees

__all__ = ["Predict", "forest", "gaussian", "lasting_forest"]

Rows: TypeAlias = NDArray[Any]
Predict: TypeAlias = Callable[[Rows], tuple[Rows, Rows]]


def forest(rows: Rows, values: Rows, seed: int, trees: int = 48, leaf: int = 2, tried: float = 1.0) -> Predict:
    """Extremely randomised trees; the spread is that among the trees. *tried* is the share of columns a split is of.

    P. Geurts et al., "Extremely randomized trees", Machine Learning 63, 2006.
    """
    if np.all(values == values[0]):  # no tree would split, as where a device is its own model
        return functools.partial(_alike, float(values[0]))
    each = _grown(rows, values, seed, trees, leaf, tried)

    def predict(asked: Rows) -> tuple[Rows, Rows]:
        table = np.ascontiguousarray(asked, dtype=np.float32)
        votes = np.stack([tree.predict(table)[:, 0] for tree in each])
        return votes.mean(axis=0), votes.std(axis=0)

    return predict


def lasting_forest(rows: Rows, values: Rows, seed: int, trees: int, leaf: int, tried: float) -> Trees:
    """The same forest, as arrays that can be kept: slower to ask about thousands of rows."""
    return Trees.of(_grown(rows, values, seed, trees, leaf, tried))


def _grown(rows: Rows, values: Rows, seed: int, trees: int, leaf: int, tried: float) -> list[Any]:
    from sklearn.ensemble import ExtraTreesRegressor

    fitted = ExtraTreesRegressor(
        n_estimators=trees, min_samples_leaf=leaf, max_features=tried, random_state=seed, n_jobs=1
    )
    fitted.fit(np.asarray(rows, dtype=np.float32), values)
    return [tree.tree_ for tree in fitted.estimators_]


def _alike(value: float, asked: Rows) -> tuple[Rows, Rows]:
    return np.full(len(asked), value), np.zeros(len(asked))


def gaussian(rows: Rows, values: Rows, seed: int) -> Predict:
    """A Gaussian process with a Matérn kernel of one length scale and white noise, both fitted.

    C. E. Rasmussen and C. K. I. Williams, "Gaussian Processes for Machine Learning", 2006, chapter 5.
    """
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    kernel = ConstantKernel(1.0, (1e-2, 1e2)) * Matern(1.0, (1e-1, 2e1), nu=2.5) + WhiteKernel(1e-2, (1e-5, 1.0))
    fitted = GaussianProcessRegressor(kernel, normalize_y=True, random_state=seed)
    with warnings.catch_warnings():  # a scale at the end of its range is still a scale
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted.fit(rows, values)

    def predict(asked: Rows) -> tuple[Rows, Rows]:
        mean, spread = fitted.predict(asked, return_std=True)
        return mean, spread

    return predict
